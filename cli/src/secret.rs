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
    /// The file that holds the secret; `-` is standard input. Without this option the secret is
    /// read from PTOLEMY_WEBHOOK_SECRET or from the file named by PTOLEMY_WEBHOOK_SECRET_FILE
    #[arg(long, value_name = "PATH")]
    pub(crate) secret_file: Option<PathBuf>,
}

/// Where the secret before the last rotation is.
#[derive(Args, Debug)]
pub(crate) struct PreviousSecretSource {
    /// The file that holds the previous secret. Without this option it is read from
    /// PTOLEMY_WEBHOOK_SECRET_PREVIOUS or from the file named by
    /// PTOLEMY_WEBHOOK_SECRET_PREVIOUS_FILE, if one of them is set
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

    /// Returns where the secret is; `None` if nothing is set.
    pub(crate) fn place(&self) -> Result<Option<Place>, Stop> {
        Place::find(self.secret_file.as_deref(), VARIABLE)
    }

    /// Reads the bytes of a secret that was checked, for what `Signer` does not sign. They are
    /// wiped on drop.
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
        let file = self.previous_secret_file.as_deref();
        if file == Some(Path::new("-")) {
            return Err(Stop::usage(
                "--previous-secret-file cannot be standard input: name a file",
            ));
        }
        read(file, PREVIOUS_VARIABLE)
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

/// Where a secret is.
#[derive(Debug)]
pub(crate) enum Place {
    StandardInput,
    File(PathBuf),
    /// In the file that a variable names.
    NamedFile {
        variable: String,
        path: PathBuf,
    },
    Variable(&'static str),
}

impl Place {
    /// Returns where the secret is in the environment, as the variable or the file that `…_FILE`
    /// names; `None` if nothing is set.
    fn from_env(variable: &'static str) -> Result<Option<Self>, Stop> {
        let file_variable = format!("{variable}_FILE");
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        match (set(variable), set(&file_variable)) {
            (Some(_), Some(_)) => Err(Stop::usage(format!(
                "{variable}: secret is set twice, in this variable and in {file_variable}; unset one"
            ))),
            (None, Some(path)) => Ok(Some(Self::NamedFile {
                variable: file_variable,
                path: path.into(),
            })),
            (Some(_), None) => Ok(Some(Self::Variable(variable))),
            (None, None) => Ok(None),
        }
    }

    /// The place that an option names, or else the one in the environment.
    fn find(option: Option<&Path>, variable: &'static str) -> Result<Option<Self>, Stop> {
        match option {
            Some(path) if path.as_os_str() == "-" => Ok(Some(Self::StandardInput)),
            Some(path) => Ok(Some(Self::File(path.to_owned()))),
            None => Self::from_env(variable),
        }
    }

    /// Returns the place of the webhook's secret in the environment.
    pub(crate) fn of_environment() -> Result<Option<Self>, Stop> {
        Self::from_env(VARIABLE)
    }

    /// The file, if it is one.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) | Self::NamedFile { path, .. } => Some(path),
            Self::StandardInput | Self::Variable(_) => None,
        }
    }

    /// Prints a warning if others may use the file.
    pub(crate) fn warn(&self) {
        if let Some(path) = self.path() {
            secret_mode::warn_before_reading(path);
        }
    }

    /// Reads the secret, right or wrong.
    pub(crate) fn read(&self) -> Result<GivenSecret, Stop> {
        match self {
            Self::StandardInput => {
                let given = GivenSecret::from_reader(io::stdin(), "standard input".to_owned());
                given.map_err(|error| Stop::usage(format!("secret on standard input: {error}")))
            }
            Self::File(path) => GivenSecret::from_file(path),
            Self::NamedFile { variable, path } => {
                GivenSecret::from_file(path).map_err(|stop| stop.while_doing(variable))
            }
            Self::Variable(name) => Ok(GivenSecret {
                bytes: Zeroizing::new(env::var_os(name).unwrap_or_default().into_encoded_bytes()),
                place: (*name).to_owned(),
                had_line_end: false,
            }),
        }
    }
}

/// Reads the file, or the variable or the file that it names; `None` if nothing is set.
fn read(file: Option<&Path>, variable: &'static str) -> Result<Option<GivenSecret>, Stop> {
    let place = Place::find(file, variable)?;
    place.map_or(Ok(None), |place| {
        place.warn();
        place.read().map(Some)
    })
}
