//! What stands in the way of reading data as a resource.

use std::fmt;

/// Why a value could not be read, and the way to it.
pub(crate) struct Fault {
    pub(super) path: String,
    pub(super) reason: Reason,
}

impl Fault {
    pub(super) fn new(reason: Reason) -> Self {
        Self {
            path: String::new(),
            reason,
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
            reason: self.reason,
        }
    }

    /// As `under`, for a key that the sender chose: only one that could be a field's name is told.
    pub(super) fn under_key(self, key: &str) -> Self {
        let is_name = (1..=64).contains(&key.len())
            && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        self.under(if is_name { key } else { "*" })
    }

    pub(super) fn at_index(self, index: usize) -> Self {
        self.under(&format!("[{index}]"))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Missing,
    Unexpected {
        expected: &'static str,
        found: &'static str,
    },
    NotATime,
    LoneSurrogate,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("missing"),
            Self::Unexpected { expected, found } => write!(f, "expected {expected}, found {found}"),
            Self::NotATime => f.write_str("expected an ISO 8601 time, found another string"),
            Self::LoneSurrogate => f.write_str("expected text, found a lone surrogate"),
        }
    }
}
