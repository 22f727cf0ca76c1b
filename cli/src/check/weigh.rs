//! From answers to a verdict.

use std::collections::BTreeMap;
use std::time::Duration;

use super::probe::{Expected, Probe, Weight};
use super::verdict::{Outcome, Verdict};
use super::wire::{Answer, Came};

/// The verdict on the answers that count: the worst of them.
pub(crate) fn verdict(probe: &Probe, answers: &[Answer]) -> Verdict {
    let rank = |answer: &&Answer| match outcome(probe, answer) {
        Outcome::Fail => 3,
        Outcome::Advice => 2,
        Outcome::Pass => 1,
        Outcome::Skipped => 0,
    };
    // Of several equally bad answers the first one is named.
    let Some(worst) = answers.iter().rev().max_by_key(rank) else {
        return Verdict::skipped("nothing was sent");
    };
    Verdict {
        outcome: outcome(probe, worst),
        actual: actual(answers, worst),
        status: worst.status(),
        took: Some(worst.took),
    }
}

/// The verdict on a probe at the edge of the window whose requests were made on two clocks, of
/// which it is not known which one the receiver goes by: the probe fails only if it fails on both.
pub(crate) fn on_two_clocks(skew: i64, here: Verdict, there: Verdict) -> Verdict {
    let is_pass = |verdict: &Verdict| verdict.outcome == Outcome::Pass;
    if is_pass(&here) == is_pass(&there) {
        return here;
    }
    Verdict::skipped(format!(
        "the clocks differ by {} s: {} by the clock here, {} by the Date of the answers",
        skew.abs(),
        here.actual,
        there.actual
    ))
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
        match probe.weight {
            Weight::Security | Weight::Correctness => Outcome::Fail,
            Weight::Advice => Outcome::Advice,
        }
    }
}

fn actual(answers: &[Answer], worst: &Answer) -> String {
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
        Came::Nothing(patience) => format!("no answer within {} s", patience.as_secs()),
        Came::Broken => "connection closed without an answer".to_owned(),
        Came::Unreachable(_) => "no connection".to_owned(),
    }
}
