//! The answer to a request, and the count of all of them.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::text;

const MAX_SHOWN_CHARS: usize = 200;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// The answer is 2xx.
    Accepted,
    /// The answer is another one.
    Rejected,
    /// Nothing was sent.
    NotConnected,
    /// It was sent, at least in part, and no answer came: it may have been handled.
    NoAnswer,
    /// It was broken off on purpose, and no answer came.
    BrokenOff,
}

/// The answer to one request, or why there is none.
#[derive(Debug, Serialize)]
pub(crate) struct Answer {
    /// Counted from 1.
    pub(crate) number: u32,
    pub(crate) event_id: Option<String>,
    pub(crate) response_status: Option<u16>,
    /// The beginning of the answer's text, or the error.
    pub(crate) text: String,
    pub(crate) took_ms: u64,
    pub(crate) outcome: Outcome,
    /// The words of the status.
    #[serde(skip)]
    pub(crate) reason: &'static str,
}

impl Answer {
    /// The line for people; `None` if an error message follows.
    pub(crate) fn line(&self) -> Option<String> {
        let line = match (self.response_status, self.outcome) {
            (Some(status), _) => {
                let text = text::words(&self.text);
                format!("{status} {} {text}", self.reason)
            }
            (None, Outcome::BrokenOff) => self.text.clone(),
            (None, _) => return None,
        };
        Some(line.trim_end().to_owned())
    }
}

/// The beginning of a text.
pub(crate) fn beginning(text: &str) -> String {
    text.trim_end().chars().take(MAX_SHOWN_CHARS).collect()
}

/// How many answers had which status.
#[derive(Default)]
pub(crate) struct Answers {
    by_status: BTreeMap<u16, u32>,
    without: u32,
    broken_off: u32,
}

impl Answers {
    pub(crate) fn count(&mut self, answer: &Answer) {
        match answer.response_status {
            Some(status) => *self.by_status.entry(status).or_default() += 1,
            None => self.without += 1,
        }
        self.broken_off += u32::from(answer.outcome == Outcome::BrokenOff);
    }

    /// Whether a request was broken off and not answered: the receiver may have handled what it
    /// got.
    pub(crate) fn have_broken_off(&self) -> bool {
        self.broken_off > 0
    }

    pub(crate) fn all_are_2xx(&self) -> bool {
        self.without == 0
            && self
                .by_status
                .keys()
                .all(|status| (200..300).contains(status))
    }

    pub(crate) fn summary(&self, count: u32) -> String {
        let answered: u32 = self.by_status.values().sum();
        let counts: Vec<_> = self
            .by_status
            .iter()
            .map(|(status, n)| format!("{n} × {status}"))
            .collect();
        let counts = if counts.is_empty() {
            "none".to_owned()
        } else {
            counts.join(", ")
        };
        format!("{answered} of {count} answered: {counts}")
    }
}
