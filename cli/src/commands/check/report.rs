//! What `check` prints.

use serde::Serialize;

use crate::check::{Basis, Forge, GOOD_DELIVERY, Outcome, Probe, Verdict, Weight};
use crate::notice;
use crate::output::Record;
use crate::text;

/// A probe and its result.
#[derive(Clone, Serialize)]
pub(super) struct Result {
    id: &'static str,
    title: &'static str,
    weight: Weight,
    basis: Basis,
    expected: &'static str,
    actual: String,
    status: Option<u16>,
    result: Outcome,
    took_ms: Option<u64>,
    stores: bool,
    /// What to change if the result is not `pass`.
    fix: &'static str,
}

impl Result {
    pub(super) fn new(probe: &Probe, verdict: Verdict) -> Self {
        let milliseconds = |took: std::time::Duration| u64::try_from(took.as_millis()).ok();
        Self {
            fix: fix(probe, &verdict),
            id: probe.id,
            title: probe.title,
            weight: probe.weight,
            basis: probe.basis,
            expected: probe.expected.as_str(),
            actual: verdict.actual,
            status: verdict.status,
            result: verdict.outcome,
            took_ms: verdict.took.and_then(milliseconds),
            stores: probe.stores,
        }
    }

    pub(super) fn outcome(&self) -> Outcome {
        self.result
    }

    /// What is wrong.
    fn finding(&self) -> String {
        format!(
            "{} {} ({}): {}; expected {}, actual {}",
            self.result.as_str(),
            self.id,
            self.weight.as_str(),
            self.title,
            self.expected,
            text::words(&self.actual),
        )
    }

    /// What to change, and the basis of the expectation.
    fn remedy(&self) -> String {
        format!("  {} {}", self.fix, self.basis.sentence())
    }
}

/// What to change.
fn fix(probe: &Probe, verdict: &Verdict) -> &'static str {
    let is_forgery = probe.weight == Weight::Security;
    match (probe.id, verdict.outcome) {
        (GOOD_DELIVERY, Outcome::Fail) => good_delivery(verdict.status),
        (_, Outcome::Advice) if is_forgery => NOT_ACCEPTED,
        _ => probe.fix,
    }
}

/// The remedy for a forgery that was neither accepted nor rejected with a 4xx.
const NOT_ACCEPTED: &str = "The forgery was not accepted. Answer it with 401 nevertheless: a bad request is not a fault \
                            of the server.";

/// Why the delivery on which all others depend was not accepted, and the next step.
fn good_delivery(status: Option<u16>) -> &'static str {
    match status {
        Some(400..=403 | 422) => {
            "The secret here may not be the receiver's, its clock may be off by more than 300 s, or it \
             computes the signature in another way: `ptolemy-webhooks why` explains a rejected request. It \
             may also reject the event: --event sends a type that it expects."
        }
        Some(404 | 405 | 410) => {
            "The path of the URL is probably wrong: the receiver does not accept POST there."
        }
        Some(300..=399) => {
            "Redirects are not followed, and a POST would lose its body: pass the final URL."
        }
        Some(500..=599) => "The receiver failed: its log says why.",
        Some(200..=299) => {
            "The answer came too late: store the delivery or queue it, answer, and handle it later."
        }
        Some(_) => "Look at the receiver's log.",
        None => "The receiver accepted the connection and did not answer: look at its log.",
    }
}

impl Record for Result {
    const COLUMNS: &'static [&'static str] = &["RESULT", "ID", "WEIGHT", "EXPECTED", "ACTUAL"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.result.as_str().to_owned(),
            self.id.to_owned(),
            self.weight.as_str().to_owned(),
            self.expected.to_owned(),
            self.actual.clone(),
        ]
    }
}

/// A probe in the list of all.
#[derive(Serialize)]
pub(super) struct Listed {
    id: &'static str,
    title: &'static str,
    weight: Weight,
    basis: Basis,
    expected: &'static str,
    stores: bool,
    hostile: bool,
    requests: u32,
}

impl Listed {
    pub(super) fn new(probe: &Probe, forge: &Forge) -> Self {
        Self {
            id: probe.id,
            title: probe.title,
            weight: probe.weight,
            basis: probe.basis,
            expected: probe.expected.as_str(),
            stores: probe.stores,
            hostile: probe.is_hostile,
            requests: probe.cost(forge),
        }
    }
}

impl Record for Listed {
    const COLUMNS: &'static [&'static str] = &[
        "ID", "WEIGHT", "BASIS", "EXPECTED", "STORES", "HOSTILE", "REQUESTS", "TITLE",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.to_owned(),
            self.weight.as_str().to_owned(),
            self.basis.as_str().to_owned(),
            self.expected.to_owned(),
            yes_or_no(self.stores),
            yes_or_no(self.hostile),
            self.requests.to_string(),
            self.title.to_owned(),
        ]
    }
}

fn yes_or_no(it: bool) -> String {
    if it { "yes" } else { "no" }.to_owned()
}

/// Explains failures, then advice, and sums up.
pub(super) fn explain(rows: &[Result]) {
    for outcome in [Outcome::Fail, Outcome::Advice] {
        let mut rows = rows.iter().filter(|row| row.result == outcome).peekable();
        while let Some(row) = rows.next() {
            notice::note(&row.finding());
            // Neighbours with the same remedy share it.
            let remedy = row.remedy();
            if rows.peek().is_none_or(|next| next.remedy() != remedy) {
                notice::note(&remedy);
            }
        }
    }
    let count = |outcome| rows.iter().filter(|row| row.result == outcome).count();
    notice::note(&format!(
        "{} probes: {} passed, {} failed, {} with advice, {} skipped",
        rows.len(),
        count(Outcome::Pass),
        count(Outcome::Fail),
        count(Outcome::Advice),
        count(Outcome::Skipped),
    ));
}
