//! The result of a probe.

use std::time::Duration;

use serde::Serialize;

/// Whether the receiver passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Pass,
    Fail,
    Advice,
    Skipped,
}

impl Outcome {
    /// Returns the word in the table.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "FAIL",
            Self::Advice => "advice",
            Self::Skipped => "skipped",
        }
    }
}

/// A result and its basis.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    pub(crate) outcome: Outcome,
    /// The actual answer, or why nothing was sent.
    pub(crate) actual: String,
    pub(crate) status: Option<u16>,
    pub(crate) took: Option<Duration>,
}

impl Verdict {
    pub(crate) fn new(outcome: Outcome, actual: impl Into<String>) -> Self {
        Self {
            outcome,
            actual: actual.into(),
            status: None,
            took: None,
        }
    }

    pub(crate) fn skipped(why: impl Into<String>) -> Self {
        Self::new(Outcome::Skipped, why)
    }
}
