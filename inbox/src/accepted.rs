use std::fmt;

use crate::error::BoxError;

/// What became of a delivery that is safe in the inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Accepted {
    /// It was not there before, and waits for a worker.
    New,
    /// It was there before; nothing was added, and nothing changed.
    #[non_exhaustive]
    Duplicate {
        /// How far the first one is.
        state: State,
    },
}

/// How far an event is; the column `state` has these words in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// It waits for a worker: for its first attempt, or for the next one.
    Waiting,
    /// A worker has it.
    Running,
    /// It was handled, or discarded.
    Done,
    /// It failed for good, and waits for a person.
    Dead,
}

impl State {
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

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
