//! Why a client could not be created.

use std::error::Error;
use std::fmt;

/// Why a [`Client`](crate::Client) could not be created: a mistake in the program's configuration.
///
/// `Display` names the environment variable or the argument, and never shows the token.
#[derive(Debug)]
pub struct ConfigError {
    place: String,
    fault: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl ConfigError {
    pub(crate) fn new(place: &str, fault: impl Into<String>) -> Self {
        Self {
            place: place.to_owned(),
            fault: fault.into(),
            source: None,
        }
    }

    pub(crate) fn caused_by(self, source: impl Error + Send + Sync + 'static) -> Self {
        Self {
            source: Some(Box::new(source)),
            ..self
        }
    }

    /// Returns the environment variable or the argument that is wrong.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.fault)
    }
}

impl Error for ConfigError {
    /// Returns the `std::io::Error` of a token file that cannot be read, or the error of reqwest.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let source = self.source.as_ref()?;
        Some(source.as_ref())
    }
}
