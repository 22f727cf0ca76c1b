use std::fmt;

use serde::{Serialize, Serializer};

use crate::error::BoxError;

/// The result of [`accept`](crate::Inbox::accept): whether the delivery was new. In both cases it
/// is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Accepted {
    /// It was not in the inbox, and now waits for a worker.
    New,
    /// It was already in the inbox; nothing was changed.
    #[non_exhaustive]
    Duplicate {
        /// The state of the event that was already there.
        state: EventState,
    },
}

/// The state of an event. The column `state` has these words in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventState {
    /// It waits for its first attempt or for a retry.
    Waiting,
    /// A worker has taken it.
    Running,
    /// It was handled, or discarded.
    Done,
    /// It failed permanently. It stays until it is replayed or discarded.
    Dead,
}

impl EventState {
    /// The word in the table.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Done => "done",
            Self::Dead => "dead",
        }
    }

    /// Reads the word in the table.
    pub(crate) fn read(word: &str) -> Result<Self, BoxError> {
        [Self::Waiting, Self::Running, Self::Done, Self::Dead]
            .into_iter()
            .find(|state| state.as_str() == word)
            .ok_or_else(|| "the inbox's table has a state that is not known".into())
    }
}

impl fmt::Display for EventState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// As the word in the table.
impl Serialize for EventState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
