//! Why a secret was not accepted.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a [`Secret`](crate::Secret) was not accepted: a mistake in the receiver's configuration.
///
/// No message contains a part of the secret. `Display` names the environment variable and the file,
/// if the secret was read from them. `Debug` prints the same line, followed by the cause if a file
/// could not be read, because a `main` that returns an error prints it.
pub struct SecretError {
    kind: SecretErrorKind,
    variable: Option<String>,
    path: Option<PathBuf>,
    source: Option<io::Error>,
}

impl SecretError {
    pub(crate) fn new(kind: SecretErrorKind) -> Self {
        Self {
            kind,
            variable: None,
            path: None,
            source: None,
        }
    }

    pub(crate) fn unreadable(source: io::Error) -> Self {
        Self {
            source: Some(source),
            ..Self::new(SecretErrorKind::Unreadable)
        }
    }

    pub(crate) fn in_variable(self, name: impl Into<String>) -> Self {
        Self {
            variable: Some(name.into()),
            ..self
        }
    }

    pub(crate) fn in_file(self, path: &Path) -> Self {
        Self {
            path: Some(path.to_owned()),
            ..self
        }
    }

    /// Returns whether the secret is absent, as opposed to wrong: the variable is not set, the file
    /// does not exist, or one of them is empty.
    ///
    /// A reload that finds no previous secret ends a rotation, for example.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        let is_no_file = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        matches!(self.kind, SecretErrorKind::NotSet | SecretErrorKind::Empty)
            || self.source.as_ref().is_some_and(is_no_file)
    }

    /// Returns what is wrong.
    #[must_use]
    pub fn kind(&self) -> SecretErrorKind {
        self.kind
    }

    /// Returns the name of the environment variable that contains the secret or the path of its
    /// file.
    #[must_use]
    pub fn variable(&self) -> Option<&str> {
        self.variable.as_deref()
    }

    /// Returns the path of the file that the secret was read from.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.variable {
            write!(f, "environment variable {name}: ")?;
        }
        if let Some(path) = &self.path {
            write!(f, "file {}: ", path.display())?;
        }
        self.kind.fmt(f)
    }
}

impl fmt::Debug for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl Error for SecretError {
    /// Returns the `std::io::Error` of a file that could not be read.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source
            .as_ref()
            .map(|source| source as &(dyn Error + 'static))
    }
}

/// What is wrong with a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecretErrorKind {
    /// The environment variable is not set.
    NotSet,
    /// The environment variable or the file is not valid UTF-8.
    NotUnicode,
    /// The file cannot be read, or is longer than 64 KiB.
    Unreadable,
    /// The secret is set both in its variable and as a file in the variable that ends in `_FILE`.
    BothForms,
    /// It is empty: anyone could sign with it.
    Empty,
    /// It consists of white space.
    Blank,
    /// It contains white space or a control character.
    Whitespace,
    /// It contains a character that is not visible ASCII, such as a byte order mark.
    NotVisibleAscii,
    /// It is masked, as dashboards and logs show secrets: `whsec_••••`, `whsec_...`, `whsec_****`,
    /// `whsec_xxxx`.
    Masked,
    /// It is a placeholder that was not replaced: `${NAME}`, `$NAME`, `%NAME%`, `{{name}}`,
    /// `<secret>`, `[secret]`.
    Placeholder,
    /// It begins or ends with a quotation mark.
    Quoted,
    /// It ends with a comma, a semicolon or a closing bracket.
    TrailingPunctuation,
    /// It ends with `\n`, `\r` or `\t`, written as a backslash and a letter.
    EscapedNewline,
    /// It does not begin with `whsec_`.
    NoPrefix,
    /// Nothing follows the prefix `whsec_`.
    PrefixOnly,
}

impl fmt::Display for SecretErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotSet => "secret is not set",
            Self::NotUnicode => "secret is not valid Unicode",
            Self::Unreadable => "secret cannot be read",
            Self::BothForms => {
                "secret is set twice, in this variable and in the one that ends in `_FILE`; unset one"
            }
            Self::Empty => "secret is empty",
            Self::Blank => "secret is blank",
            Self::Whitespace => {
                "secret contains white space or a control character; a trailing newline is the usual \
                 cause"
            }
            Self::NotVisibleAscii => {
                "secret contains a character that is not visible ASCII, such as a byte order mark"
            }
            Self::Masked => "secret is masked, as dashboards and logs show it; copy the whole secret",
            Self::Placeholder => "secret is a placeholder that was not replaced",
            Self::Quoted => "secret begins or ends with a quotation mark",
            Self::TrailingPunctuation => "secret ends with punctuation, such as a comma",
            Self::EscapedNewline => r"secret ends with white space that is written out, such as `\n`",
            Self::NoPrefix => {
                "secret does not begin with `whsec_`; did you pass an API token (`ptk_live_…`)?"
            }
            Self::PrefixOnly => "secret is nothing but the prefix `whsec_`",
        })
    }
}
