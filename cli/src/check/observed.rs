//! Probes that send nothing: they look at the answers to all others.

use std::time::Duration;

use super::probe::{Basis, Probe};
use super::seen::Seen;
use super::verdict::{Outcome, Verdict};
use super::wire::ANSWER_LIMIT;

/// A receiver that queues answers well below this.
const AT_ONCE: Duration = Duration::from_secs(1);

/// The most seconds by which clocks differ that run with NTP, with room for a slow answer.
const MAX_SKEW: i64 = 5;

fn slowest(seen: &Seen, limit: Duration, missed: Outcome) -> Verdict {
    let Some(slowest) = seen.slowest else {
        return Verdict::skipped("no delivery was accepted");
    };
    let outcome = if slowest <= limit {
        Outcome::Pass
    } else {
        missed
    };
    Verdict::new(outcome, format!("slowest {:.1} s", slowest.as_secs_f64()))
}

fn absent(seen: &Seen, shown: &[&'static str]) -> Verdict {
    if seen.answers == 0 {
        return Verdict::skipped("nothing was answered");
    }
    match shown.first() {
        None => Verdict::new(Outcome::Pass, "not found"),
        Some(first) => {
            let came = format!("found in {} answers, first in {first}", shown.len());
            Verdict::new(Outcome::Fail, came)
        }
    }
}

pub(super) const PROBES: &[Probe] = &[
    Probe::observed(
        "answer-in-time",
        "each delivery is answered within 10 s",
        "2xx within 10 s",
        "Answer before the work is done: store the delivery or queue it, and handle it in the background.",
        |seen| slowest(seen, ANSWER_LIMIT, Outcome::Fail),
    ),
    Probe::observed(
        "answer-early",
        "each delivery is answered within 1 s",
        "2xx within 1 s",
        "Store the delivery or queue it, answer, and do the work in the background. Ptolemy documents 10 s.",
        |seen| slowest(seen, AT_ONCE, Outcome::Advice),
    )
    .advice(Basis::OwnChoice),
    Probe::observed(
        "secret-not-shown",
        "no answer contains the secret",
        "not found",
        "Remove the secret from the answers and from error pages, and rotate it.",
        |seen| absent(seen, &seen.shows_secret),
    )
    .security()
    .basis(Basis::SecurityPractice),
    Probe::observed(
        "signature-not-shown",
        "no answer contains the signature that was expected",
        "not found",
        "Answer a wrong signature with 401 and without details: an answer with the right one signs forgeries.",
        |seen| absent(seen, &seen.shows_signature),
    )
    .security()
    .basis(Basis::SecurityPractice),
    Probe::observed(
        "rejected-with-401",
        "forgeries are rejected with 401",
        "401",
        "Answer 401, as the handler in Ptolemy's guide does; other 4xx work too.",
        |seen| {
            let statuses: Vec<_> = seen.rejected_with.iter().map(ToString::to_string).collect();
            match statuses.as_slice() {
                [] => Verdict::skipped("no forgery was rejected"),
                [only] if only == "401" => Verdict::new(Outcome::Pass, "401"),
                _ => Verdict::new(Outcome::Advice, statuses.join(", ")),
            }
        },
    )
    .advice(Basis::Documented),
    Probe::observed(
        "clock",
        "the clocks of the receiver and of this machine agree within 5 s",
        "within 5 s",
        "Keep both clocks right with NTP: a receiver rejects deliveries if its clock is off by more than 300 s.",
        |seen| match seen.skew {
            None => Verdict::skipped("no answer has a Date header"),
            Some(skew) => {
                let is_close = skew.abs() <= MAX_SKEW;
                let outcome = if is_close { Outcome::Pass } else { Outcome::Advice };
                let direction = if skew < 0 { "behind" } else { "ahead" };
                Verdict::new(outcome, format!("{} s {direction}", skew.abs()))
            }
        },
    )
    .advice(Basis::OwnChoice),
];
