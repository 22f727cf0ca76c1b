use std::cmp::Ordering;
use std::fmt;

use crate::text::{LogText, serde_as_text, text_type};

/// What happened to a resource: the part of an event type after its first dot.
///
/// The five named actions are those that Ptolemy's public documentation lists, though not for every
/// resource. The list is open: any other text is [`Other`](Self::Other) and keeps its text.
///
/// # Examples
///
/// ```
/// use ptolemy_webhooks::Action;
///
/// assert_eq!(Action::from("archived"), Action::Archived);
///
/// let renamed = Action::from("renamed");
/// assert!(matches!(renamed, Action::Other(_)));
/// assert_eq!(renamed.as_str(), "renamed");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// `created`
    Created,
    /// `updated`
    Updated,
    /// `archived`: moved to the archive, which can be undone.
    Archived,
    /// `restored`: brought back from the archive.
    Restored,
    /// `deleted`: removed permanently.
    Deleted,
    /// Any other action.
    Other(OtherAction),
}

/// The text of an action without a variant in [`Action`].
///
/// Only [`Action::from`] creates one, so its text is never that of a named action.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct OtherAction(Box<str>);

impl OtherAction {
    /// The text as it was sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for OtherAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Action {
    /// The text as it was sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Archived => "archived",
            Self::Restored => "restored",
            Self::Deleted => "deleted",
            Self::Other(other) => other.as_str(),
        }
    }
}

impl From<&str> for Action {
    fn from(text: &str) -> Self {
        match text {
            "created" => Self::Created,
            "updated" => Self::Updated,
            "archived" => Self::Archived,
            "restored" => Self::Restored,
            "deleted" => Self::Deleted,
            _ => Self::Other(OtherAction(text.into())),
        }
    }
}

text_type!(Action);
serde_as_text!(Action);

/// The order is that of the texts.
impl Ord for Action {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl PartialOrd for Action {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Shows the text as one word; see [`LogText`].
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        LogText::new(self.as_str()).fmt(f)
    }
}
