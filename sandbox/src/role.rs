//! The roles of tokens.

use std::fmt;

/// The role of an API token, from the least to the most.
///
/// Ptolemy documents these four. A robot can only be a `Viewer` or a `Member`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Role {
    /// Reads.
    Viewer,
    /// The same as `Viewer` for the calls of the sandbox.
    Member,
    /// The same as `Viewer` for the calls of the sandbox.
    Editor,
    /// Also creates, changes and deletes webhooks, and sends deliveries again.
    Admin,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Viewer => "Viewer",
            Self::Member => "Member",
            Self::Editor => "Editor",
            Self::Admin => "Admin",
        })
    }
}
