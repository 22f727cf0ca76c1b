//! The webhook secret of a command: from a file, from standard input or from the environment.

use std::ffi::OsString;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::{env, fs};

use clap::Args;
use ptolemy_webhooks::{Secret, SecretErrorKind};
use zeroize::Zeroizing;

use crate::stop::{Stop, chain};

/// The name of the variable that holds the secret; `…_FILE` holds the path of a file instead.
const VARIABLE: &str = "PTOLEMY_WEBHOOK_SECRET";

/// More than a secret, and an end for `/dev/zero`.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// Where the secret is.
#[derive(Args, Debug)]
pub(crate) struct SecretSource {
    /// The file that holds the secret; `-` is standard input. Without this option the secret is read
    /// from PTOLEMY_WEBHOOK_SECRET or from the file named by PTOLEMY_WEBHOOK_SECRET_FILE
    #[arg(long, value_name = "PATH")]
    pub(crate) secret_file: Option<PathBuf>,
}

impl SecretSource {
    /// Reads the secret.
    pub(crate) fn read(&self) -> Result<Secret, Stop> {
        let bytes = self.bytes()?;
        Secret::from_bytes(bytes.to_vec()).map_err(|error| Stop::usage(chain(&error)))
    }

    /// Reads the bytes of the secret, for what [`ptolemy_webhooks::Signer`] does not sign. The text was
    /// checked as a secret. Its copy is wiped on drop.
    pub(crate) fn bytes(&self) -> Result<Zeroizing<Vec<u8>>, Stop> {
        match &self.secret_file {
            Some(path) if path.as_os_str() == "-" => from_standard_input(),
            Some(path) => from_file(path),
            None => from_environment(),
        }
    }
}

fn from_environment() -> Result<Zeroizing<Vec<u8>>, Stop> {
    let variable = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    let file_variable = format!("{VARIABLE}_FILE");
    match (variable(VARIABLE), variable(&file_variable)) {
        (Some(_), Some(_)) => Err(Stop::usage(format!(
            "{VARIABLE} and {file_variable} are both set: set one of them"
        ))),
        (None, Some(path)) => {
            from_file(Path::new(&path)).map_err(|stop| stop.while_doing(&file_variable))
        }
        (value, None) => {
            Secret::from_env(VARIABLE).map_err(|error| {
                let next = match error.kind() {
                    SecretErrorKind::NotSet => {
                        ". Set it, set PTOLEMY_WEBHOOK_SECRET_FILE, or pass --secret-file"
                    }
                    _ => "",
                };
                Stop::usage(chain(&error) + next)
            })?;
            Ok(Zeroizing::new(
                value.map(OsString::into_encoded_bytes).unwrap_or_default(),
            ))
        }
    }
}

fn from_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, Stop> {
    // Checks the length and the text, and has the better errors.
    Secret::from_file(path).map_err(|error| Stop::usage(chain(&error)))?;
    let bytes =
        fs::read(path).map_err(|error| Stop::usage(format!("{}: {error}", path.display())))?;
    Ok(without_line_end(Zeroizing::new(bytes)))
}

fn from_standard_input() -> Result<Zeroizing<Vec<u8>>, Stop> {
    let fault = |fault: String| Stop::usage(format!("secret on standard input: {fault}"));
    let mut text = Zeroizing::new(Vec::new());
    io::stdin()
        .take(MAX_SECRET_BYTES)
        .read_to_end(&mut text)
        .map_err(|error| fault(error.to_string()))?;
    let text = without_line_end(text);
    let shown = String::from_utf8(text.to_vec()).map_err(|_| fault("not UTF-8".to_owned()))?;
    Secret::new(shown).map_err(|error| fault(chain(&error)))?;
    Ok(text)
}

/// Removes one line end, as `Secret::from_file` does.
fn without_line_end(mut text: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
    if text.last() == Some(&b'\n') {
        text.pop();
        if text.last() == Some(&b'\r') {
            text.pop();
        }
    }
    text
}
