//! The webhook secrets of a command: from a file, from standard input or from the environment.

use std::env;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use ptolemy_webhooks::Secret;
use zeroize::Zeroizing;

use crate::secret_mode;
use crate::stop::{Stop, chain};

/// The name of the variable that holds the secret; `…_FILE` holds the path of a file instead.
const VARIABLE: &str = "PTOLEMY_WEBHOOK_SECRET";

/// The same for the secret before the last rotation.
const PREVIOUS_VARIABLE: &str = "PTOLEMY_WEBHOOK_SECRET_PREVIOUS";

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

/// Where the secret before the last rotation is.
#[derive(Args, Debug)]
pub(crate) struct PreviousSecretSource {
    /// The file that holds the previous secret. Without this option it is read from
    /// PTOLEMY_WEBHOOK_SECRET_PREVIOUS or from the file named by PTOLEMY_WEBHOOK_SECRET_PREVIOUS_FILE,
    /// if one of them is set
    #[arg(long, value_name = "PATH")]
    pub(crate) previous_secret_file: Option<PathBuf>,
}

impl SecretSource {
    /// Reads the secret, right or wrong.
    pub(crate) fn read_as_it_is(&self) -> Result<GivenSecret, Stop> {
        let given = read(self.secret_file.as_deref(), VARIABLE)?;
        given.ok_or_else(|| {
            Stop::usage(format!(
                "{VARIABLE}: secret is not set; set it, or {VARIABLE}_FILE, or pass --secret-file"
            ))
        })
    }

    /// Reads the bytes of a secret that was checked, for what `Signer` does not sign. They are wiped on
    /// drop.
    pub(crate) fn bytes(&self) -> Result<Zeroizing<Vec<u8>>, Stop> {
        let given = self.read_as_it_is()?;
        given.checked()?;
        Ok(given.bytes)
    }

    pub(crate) fn is_standard_input(&self) -> bool {
        self.secret_file.as_deref() == Some(Path::new("-"))
    }
}

impl PreviousSecretSource {
    /// Reads the previous secret, right or wrong; `None` if there is none.
    pub(crate) fn read_as_it_is(&self) -> Result<Option<GivenSecret>, Stop> {
        read(self.previous_secret_file.as_deref(), PREVIOUS_VARIABLE)
    }
}

/// A secret as it was found, and where.
pub(crate) struct GivenSecret {
    pub(crate) bytes: Zeroizing<Vec<u8>>,
    /// The name of the variable or of the file.
    pub(crate) place: String,
    /// Whether the file ends with a line end, which is not in the bytes.
    pub(crate) had_line_end: bool,
}

impl GivenSecret {
    /// Reads a file. One line end at its end is removed, because editors and `echo` add it.
    pub(crate) fn from_file(path: &Path) -> Result<Self, Stop> {
        let place = format!("file {}", path.display());
        let file = File::open(path);
        file.and_then(|file| Self::from_reader(file, place.clone()))
            .map_err(|error| Stop::usage(format!("{place}: secret cannot be read: {error}")))
    }

    fn from_reader(reader: impl Read, place: String) -> io::Result<Self> {
        // All at once: a buffer that grows would leave copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_SECRET_BYTES as usize + 64));
        reader.take(MAX_SECRET_BYTES + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_SECRET_BYTES {
            let message = format!("longer than {MAX_SECRET_BYTES} bytes");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
        }
        let text_length = match &**bytes {
            [text @ .., b'\r', b'\n'] | [text @ .., b'\n'] => text.len(),
            text => text.len(),
        };
        let had_line_end = text_length < bytes.len();
        bytes.truncate(text_length);
        Ok(Self {
            bytes,
            place,
            had_line_end,
        })
    }

    /// Returns the secret, or an error that names the place and the mistake.
    pub(crate) fn checked(&self) -> Result<Secret, Stop> {
        let fault = |fault: &str| Stop::usage(format!("{}: {fault}", self.place));
        let text = str::from_utf8(&self.bytes).map_err(|_| fault("secret is not valid Unicode"))?;
        Secret::new(text).map_err(|error| fault(&chain(&error)))
    }
}

impl fmt::Debug for GivenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GivenSecret")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

/// Reads the file, or the variable or the file that it names; `None` if nothing is set.
fn read(file: Option<&Path>, variable: &str) -> Result<Option<GivenSecret>, Stop> {
    if let Some(path) = file {
        if path.as_os_str() != "-" {
            secret_mode::warn_before_reading(path);
            return GivenSecret::from_file(path).map(Some);
        }
        let given = GivenSecret::from_reader(io::stdin(), "standard input".to_owned());
        let given =
            given.map_err(|error| Stop::usage(format!("secret on standard input: {error}")));
        return given.map(Some);
    }
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    let value = set(variable).map(|value| Zeroizing::new(value.into_encoded_bytes()));
    match (value, set(&format!("{variable}_FILE"))) {
        (Some(_), Some(_)) => Err(Stop::usage(format!(
            "{variable}: secret is set twice, in this variable and in the one that ends in `_FILE`; \
             unset one"
        ))),
        (None, Some(path)) => {
            let path = Path::new(&path);
            secret_mode::warn_before_reading(path);
            GivenSecret::from_file(path)
                .map_err(|stop| stop.while_doing(&format!("{variable}_FILE")))
                .map(Some)
        }
        (Some(bytes), None) => Ok(Some(GivenSecret {
            bytes,
            place: variable.to_owned(),
            had_line_end: false,
        })),
        (None, None) => Ok(None),
    }
}
