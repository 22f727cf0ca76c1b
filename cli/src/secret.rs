//! The webhook secret of a command: from a file, from standard input or from the environment.

use std::env;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use clap::Args;
use ptolemy_webhooks::Secret;

use crate::secret_mode;
use crate::stop::{Stop, chain};

/// The name of the variable that holds the secret; `…_FILE` holds the path of a file instead.
const VARIABLE: &str = "PTOLEMY_WEBHOOK_SECRET";

const FILE_VARIABLE: &str = "PTOLEMY_WEBHOOK_SECRET_FILE";

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
        let secret = match &self.secret_file {
            None => {
                if let Some(path) = env::var_os(FILE_VARIABLE) {
                    secret_mode::warn_before_reading(Path::new(&path));
                }
                Secret::from_env(VARIABLE)
            }
            Some(path) if path.as_os_str() == "-" => return from_standard_input(),
            Some(path) => {
                secret_mode::warn_before_reading(path);
                Secret::from_file(path)
            }
        };
        secret.map_err(|error| Stop::usage(chain(&error)))
    }
}

fn from_standard_input() -> Result<Secret, Stop> {
    let fault = |fault: String| Stop::usage(format!("secret on standard input: {fault}"));
    let mut text = Vec::new();
    io::stdin()
        .take(MAX_SECRET_BYTES)
        .read_to_end(&mut text)
        .map_err(|error| fault(error.to_string()))?;
    // One line end is removed, as from a file.
    if text.last() == Some(&b'\n') {
        text.pop();
        if text.last() == Some(&b'\r') {
            text.pop();
        }
    }
    Secret::from_bytes(text).map_err(|error| fault(chain(&error)))
}
