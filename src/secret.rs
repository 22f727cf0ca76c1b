//! The shared secret of a webhook.

use std::env;
use std::fmt;

use zeroize::{Zeroize, Zeroizing};

const PREFIX: &str = "whsec_";

/// The shared secret of one webhook, checked, redacted in `Debug` and wiped from memory on drop.
///
/// Ptolemy shows a secret once, when a webhook is created and when its secret is rotated, as text
/// that begins with `whsec_`. The **whole** text is the key of the HMAC, prefix included; nothing
/// in it is decoded.
///
/// A secret that cannot be right is refused here, when the program starts, instead of turning every
/// delivery away later.
///
/// It is no `Clone`, so that no copy is left about: a [`Verifier`](crate::Verifier) takes it, a
/// [`Signer`](crate::Signer) borrows it.
///
/// # Examples
///
/// ```
/// use ptolemy_webhooks::Secret;
///
/// let secret = Secret::new("whsec_a3f9b2c1d4e5f6a7b8c9d0e1")?;
/// assert_eq!(format!("{secret:?}"), "Secret(..)");
///
/// let error = Secret::new("whsec_a3f9b2c1d4e5f6a7b8c9d0e1\n").unwrap_err();
/// assert!(error.to_string().contains("trailing newline"));
/// # Ok::<(), ptolemy_webhooks::SecretError>(())
/// ```
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes a secret as Ptolemy shows it.
    ///
    /// A `String` that is passed in is wiped when it is refused, as it is when the secret is dropped.
    /// A `&str` is copied, and the copy is wiped.
    ///
    /// # Errors
    ///
    /// Refuses text that is empty or blank, that holds white space or a control character anywhere,
    /// that does not begin with `whsec_`, or that is nothing but this prefix.
    pub fn new(text: impl Into<String>) -> Result<Self, SecretError> {
        let mut text = Zeroizing::new(text.into());
        check_text(&text).map_err(SecretError::new)?;
        // Moves the buffer, so that no second copy of the secret is left behind.
        Ok(Self(Zeroizing::new(
            std::mem::take(&mut *text).into_bytes(),
        )))
    }

    /// Takes a key that is not in the documented form, checking only that it is not empty.
    ///
    /// For test vectors and stand-in senders. A secret of Ptolemy's belongs in [`Secret::new`],
    /// whose checks find the usual mistakes.
    ///
    /// # Errors
    ///
    /// Refuses an empty key.
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Result<Self, SecretError> {
        let bytes = Zeroizing::new(bytes.into());
        if bytes.is_empty() {
            return Err(SecretError::new(SecretErrorKind::Empty));
        }
        Ok(Self(bytes))
    }

    /// Reads a secret from the environment variable `name`.
    ///
    /// # Errors
    ///
    /// Refuses a variable that is not set or not Unicode, and whatever [`Secret::new`] refuses. The
    /// error names the variable.
    pub fn from_env(name: &str) -> Result<Self, SecretError> {
        let value = env::var_os(name).ok_or(SecretErrorKind::NotSet);
        value
            .and_then(|value| {
                String::from_utf8(value.into_encoded_bytes()).map_err(|error| {
                    error.into_bytes().zeroize();
                    SecretErrorKind::NotUnicode
                })
            })
            .map_err(SecretError::new)
            .and_then(Self::new)
            .map_err(|error| error.in_variable(name))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

fn check_text(text: &str) -> Result<(), SecretErrorKind> {
    if text.is_empty() {
        return Err(SecretErrorKind::Empty);
    }
    if text.trim().is_empty() {
        return Err(SecretErrorKind::Blank);
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(SecretErrorKind::Whitespace);
    }
    match text.strip_prefix(PREFIX) {
        None => Err(SecretErrorKind::NoPrefix),
        Some("") => Err(SecretErrorKind::PrefixOnly),
        Some(_) => Ok(()),
    }
}

/// Why a [`Secret`] was refused: a mistake in the receiver's configuration.
///
/// It never holds or prints a part of the refused secret. `Debug` prints the same line as `Display`,
/// since that is what a `main` that returns an error shows.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{kind}", VariablePrefix(variable.as_deref()))]
pub struct SecretError {
    variable: Option<String>,
    kind: SecretErrorKind,
}

impl SecretError {
    fn new(kind: SecretErrorKind) -> Self {
        Self {
            variable: None,
            kind,
        }
    }

    /// Tells what is wrong.
    #[must_use]
    pub fn kind(&self) -> SecretErrorKind {
        self.kind
    }

    /// Names the environment variable that the secret was read from, if it was read from one.
    #[must_use]
    pub fn variable(&self) -> Option<&str> {
        self.variable.as_deref()
    }

    fn in_variable(self, name: &str) -> Self {
        Self {
            variable: Some(name.to_owned()),
            ..self
        }
    }
}

impl fmt::Debug for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

struct VariablePrefix<'a>(Option<&'a str>);

impl fmt::Display for VariablePrefix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(name) => write!(f, "environment variable {name}: "),
            None => Ok(()),
        }
    }
}

/// What is wrong with a refused secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretErrorKind {
    /// The environment variable is not set.
    #[error("secret is not set")]
    NotSet,
    /// The environment variable is not valid Unicode.
    #[error("secret is not valid Unicode")]
    NotUnicode,
    /// There is no byte in it: every sender would know this key.
    #[error("secret is empty")]
    Empty,
    /// It consists of white space.
    #[error("secret is blank")]
    Blank,
    /// It holds white space or a control character.
    #[error(
        "secret holds white space or a control character; a trailing newline is the usual cause"
    )]
    Whitespace,
    /// It does not begin with `whsec_`.
    #[error(
        "secret does not begin with `whsec_`; an API token (`ptk_live_…`) or quotes around it are the \
         usual mix-up"
    )]
    NoPrefix,
    /// Nothing follows the prefix `whsec_`.
    #[error("secret is nothing but the prefix `whsec_`")]
    PrefixOnly,
}
