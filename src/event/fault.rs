//! Why data cannot be read as a resource.

use std::fmt;

/// Why a value could not be read, and the path to it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(super) path: String,
    /// The key in the path that the sender chose.
    pub(super) key: Option<String>,
    pub(super) cause: Cause,
}

impl Fault {
    pub(super) fn new(cause: Cause) -> Self {
        Self {
            path: String::new(),
            key: None,
            cause,
        }
    }

    pub(super) fn under(self, name: &str) -> Self {
        let dot = if self.path.is_empty() || self.path.starts_with('[') {
            ""
        } else {
            "."
        };
        Self {
            path: format!("{name}{dot}{}", self.path),
            ..self
        }
    }

    /// Same as `under`, for a key that the sender chose: the path shows `*` in its place.
    pub(super) fn under_key(mut self, key: &str) -> Self {
        self.key = Some(key.to_owned());
        self.under("*")
    }

    pub(super) fn at_index(self, index: usize) -> Self {
        self.under(&format!("[{index}]"))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Missing,
    Unexpected {
        expected: &'static str,
        found: &'static str,
    },
    NotATime,
    TimeOutOfRange,
    LoneSurrogate,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("missing"),
            Self::Unexpected { expected, found } => write!(f, "expected {expected}, found {found}"),
            Self::NotATime => f.write_str(
                "expected an ISO 8601 time with an offset from UTC, found another string",
            ),
            Self::TimeOutOfRange => {
                f.write_str("expected a time within the years -9999 to 9999 in UTC")
            }
            Self::LoneSurrogate => f.write_str("expected text, found a lone surrogate"),
        }
    }
}
