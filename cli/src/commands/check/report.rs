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
    came: String,
    status: Option<u16>,
    result: Outcome,
    took_ms: Option<u64>,
    #[serde(skip)]
    fix: &'static str,
}

impl Result {
    pub(super) fn new(probe: &Probe, verdict: Verdict) -> Self {
        let milliseconds = |took: std::time::Duration| u64::try_from(took.as_millis()).ok();
        Self {
            id: probe.id,
            title: probe.title,
            weight: probe.weight,
            basis: probe.basis,
            expected: probe.expected.as_str(),
            came: verdict.came,
            status: verdict.status,
            result: verdict.outcome,
            took_ms: verdict.took.and_then(milliseconds),
            fix: probe.fix,
        }
    }

    pub(super) fn outcome(&self) -> Outcome {
        self.result
    }

    /// What is wrong.
    fn finding(&self) -> String {
        format!(
            "{} {} ({}): {}; expected {}, came {}",
            self.result.as_str(),
            self.id,
            self.weight.as_str(),
            self.title,
            self.expected,
            text::words(&self.came),
        )
    }

    /// What to change, and on what the expectation rests.
    fn remedy(&self) -> String {
        let is_forgery = self.weight == Weight::Security;
        let fix = match (self.id, self.result) {
            (GOOD_DELIVERY, _) => good_delivery(self.status),
            (_, Outcome::Advice) if is_forgery => NOT_ACCEPTED,
            _ => self.fix,
        };
        format!("  {fix} {}", self.basis.sentence())
    }
}

/// The remedy for a forgery that was not accepted and not rejected with a 4xx either.
const NOT_ACCEPTED: &str = "The forgery was not accepted. Answer it with 401 nevertheless: a bad request is not a fault \
                            of the server.";

/// Why the delivery on which all others depend was not accepted, and the next step.
fn good_delivery(status: Option<u16>) -> &'static str {
    match status {
        Some(400..=403 | 422) => {
            "The secret here may not be the receiver's, its clock may be off by more than 300 s, or it \
             computes the signature in another way: `ptolemy-webhooks why` explains a rejected request. It \
             may also reject the event: its id is not a UUID."
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
        Some(_) => "Look into the receiver's log.",
        None => "The receiver accepted the connection and did not answer: look into its log.",
    }
}

impl Record for Result {
    const COLUMNS: &'static [&'static str] = &["RESULT", "ID", "WEIGHT", "EXPECTED", "CAME"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.result.as_str().to_owned(),
            self.id.to_owned(),
            self.weight.as_str().to_owned(),
            self.expected.to_owned(),
            self.came.clone(),
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
            requests: probe.cost(forge),
        }
    }
}

impl Record for Listed {
    const COLUMNS: &'static [&'static str] = &[
        "ID", "WEIGHT", "BASIS", "EXPECTED", "STORES", "REQUESTS", "TITLE",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.to_owned(),
            self.weight.as_str().to_owned(),
            self.basis.as_str().to_owned(),
            self.expected.to_owned(),
            if self.stores { "yes" } else { "no" }.to_owned(),
            self.requests.to_string(),
            self.title.to_owned(),
        ]
    }
}

/// Explains failures, then advice, and sums up.
pub(super) fn explain(rows: &[Result], budget: u32) {
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
    let over: Vec<_> = rows
        .iter()
        .filter(|row| row.result == Outcome::Skipped && row.came.starts_with("needs "))
        .map(|row| row.id)
        .collect();
    if !over.is_empty() {
        notice::warning(&format!(
            "the budget of {budget} requests is too small: {} did not run; raise --requests",
            over.join(", ")
        ));
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
