//! From answers to a verdict.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::probe::{Expected, Probe, Weight};
use super::wire::{Answer, Came, PATIENCE};

/// The result of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Pass,
    Fail,
    Advice,
    Skipped,
}

impl Outcome {
    /// As the table shows it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "FAIL",
            Self::Advice => "advice",
            Self::Skipped => "skipped",
        }
    }

    /// For something other than what was expected.
    pub(crate) fn missed(weight: Weight) -> Self {
        match weight {
            Weight::Security | Weight::Correctness => Self::Fail,
            Weight::Advice => Self::Advice,
        }
    }
}

/// A result and what it was made from.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    pub(crate) outcome: Outcome,
    /// What came, or why nothing was sent.
    pub(crate) came: String,
    pub(crate) status: Option<u16>,
    pub(crate) took: Option<Duration>,
}

impl Verdict {
    pub(crate) fn new(outcome: Outcome, came: impl Into<String>) -> Self {
        Self {
            outcome,
            came: came.into(),
            status: None,
            took: None,
        }
    }

    pub(crate) fn skipped(why: impl Into<String>) -> Self {
        Self::new(Outcome::Skipped, why)
    }

    /// The verdict on the answers that count: the worst of them.
    pub(crate) fn of(probe: &Probe, answers: &[Answer]) -> Self {
        let rank = |answer: &&Answer| match outcome(probe, answer) {
            Outcome::Fail => 3,
            Outcome::Advice => 2,
            Outcome::Pass => 1,
            Outcome::Skipped => 0,
        };
        // Of several equally bad answers the first one is named.
        let Some(worst) = answers.iter().rev().max_by_key(rank) else {
            return Self::skipped("nothing was sent");
        };
        Self {
            outcome: outcome(probe, worst),
            came: came(answers, worst),
            status: worst.status(),
            took: Some(worst.took),
        }
    }
}

fn outcome(probe: &Probe, answer: &Answer) -> Outcome {
    let is_right = match probe.expected {
        Expected::Accepted => answer.is_accepted() && answer.is_in_time(),
        Expected::Rejected => answer.is_rejected(),
        Expected::NotAccepted => answer.status().is_some() && !answer.is_accepted(),
        Expected::NoFault => answer.is_accepted() || answer.is_rejected(),
        Expected::RejectedOrClosed => answer.is_rejected() || matches!(answer.came, Came::Broken),
        Expected::OfAnswers(_) => true,
    };
    if is_right {
        Outcome::Pass
    } else if probe.is_forgery() && !answer.is_accepted() {
        // It was not accepted, which is what matters; how it was rejected can be better.
        Outcome::Advice
    } else {
        Outcome::missed(probe.weight)
    }
}

fn came(answers: &[Answer], worst: &Answer) -> String {
    if answers.len() == 1 {
        let mut text = one(worst);
        if worst.took > Duration::from_secs(1) && worst.status().is_some() {
            text.push_str(&format!(" after {:.1} s", worst.took.as_secs_f64()));
        }
        return text;
    }
    let mut counts = BTreeMap::new();
    for answer in answers {
        *counts.entry(one(answer)).or_insert(0_u32) += 1;
    }
    let parts = counts
        .iter()
        .map(|(text, count)| format!("{count} × {text}"));
    let mut text = parts.collect::<Vec<_>>().join(", ");
    let slowest = answers.iter().map(|answer| answer.took).max();
    if let Some(slowest) = slowest.filter(|slowest| *slowest > Duration::from_secs(1)) {
        text.push_str(&format!(", slowest {:.1} s", slowest.as_secs_f64()));
    }
    text
}

fn one(answer: &Answer) -> String {
    match &answer.came {
        Came::Status(status) => status.to_string(),
        Came::Nothing => format!("no answer within {} s", PATIENCE.as_secs()),
        Came::Broken => "connection closed without an answer".to_owned(),
        Came::Unreachable(_) => "no connection".to_owned(),
    }
}
