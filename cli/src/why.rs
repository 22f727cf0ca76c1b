//! Why a request was rejected: the verdict, its cause, the numbers and the fix, as a value.

mod body;
mod cause;
mod form;
mod guide;
mod header;
mod input;
mod json;
mod keys;
mod report;
mod search;
mod suspicions;
mod text_codes;
mod verdict;

use std::path::Path;
use std::time::Duration;

use ptolemy_webhooks::{Secret, Verifier};
use time::OffsetDateTime;

pub(crate) use crate::why::guide::{causes, heading};
pub(crate) use crate::why::input::Saved;
pub(crate) use crate::why::json::leaves;
pub(crate) use crate::why::report::Report;
pub(crate) use crate::why::search::Effort;
pub(crate) use crate::why::verdict::Clock;

use crate::secret::GivenSecret;
use crate::since;
use crate::stop::{Stop, chain};
use crate::why::header::Reading;
use crate::why::keys::Key;
use crate::why::search::{Search, Searched};
use crate::why::verdict::{EventReport, Verdict};

/// The secrets that a receiver accepts, and others that are tried.
pub(crate) struct Secrets {
    secret: GivenSecret,
    previous: Option<GivenSecret>,
    keys: Vec<Key>,
    /// How many files of the folder are not secrets.
    unreadable: usize,
}

impl Secrets {
    /// Returns an error if the secret is empty. An empty previous secret is left out.
    pub(crate) fn new(secret: GivenSecret, previous: Option<GivenSecret>) -> Result<Self, Stop> {
        if secret.bytes.is_empty() {
            return Err(Stop::usage(format!("{}: secret is empty", secret.place)));
        }
        let previous = previous.filter(|previous| !previous.bytes.is_empty());
        let mut keys = keys::accepted(&secret, "the secret");
        if let Some(previous) = &previous {
            keys.extend(keys::accepted(previous, "the previous secret"));
        }
        Ok(Self {
            secret,
            previous,
            keys,
            unreadable: 0,
        })
    }

    /// Tries the secret in each file of a folder too.
    pub(crate) fn with_folder(mut self, folder: &Path) -> Result<Self, Stop> {
        let (others, unreadable) = keys::in_folder(folder)?;
        self.keys.extend(others);
        self.unreadable = unreadable;
        Ok(self)
    }

    /// Whether the bytes contain one of the secrets that the receiver accepts.
    pub(crate) fn is_in(&self, bytes: &[u8]) -> bool {
        let accepted = [Some(&self.secret), self.previous.as_ref()];
        let mut accepted = accepted.into_iter().flatten();
        accepted.any(|given| {
            let secret = given.bytes.as_slice();
            bytes
                .windows(secret.len().max(1))
                .any(|part| part == secret)
        })
    }

    /// A receiver that accepts the secrets as they are, right or wrong.
    pub(crate) fn verifier(&self, tolerance_s: u64) -> Result<Verifier, Stop> {
        let secret = |given: &GivenSecret| {
            Secret::from_bytes(given.bytes.to_vec())
                .map_err(|error| Stop::usage(format!("{}: {}", given.place, chain(&error))))
        };
        let mut verifier =
            Verifier::new(secret(&self.secret)?).with_tolerance(Duration::from_secs(tolerance_s));
        if let Some(previous) = &self.previous {
            verifier = verifier.with_previous(secret(previous)?);
        }
        Ok(verifier)
    }
}

/// A request, the secrets and the time.
pub(crate) struct Case<'a> {
    saved: Saved,
    secrets: &'a Secrets,
    readings: Vec<Reading>,
    clock: Clock,
    tolerance_s: u64,
    signed_at: Option<OffsetDateTime>,
    effort: Effort,
}

impl<'a> Case<'a> {
    pub(crate) fn new(
        saved: Saved,
        secrets: &'a Secrets,
        clock: Clock,
        tolerance_s: u64,
        effort: Effort,
    ) -> Self {
        let readings = header::readings(&saved.signatures);
        Self {
            signed_at: readings.first().and_then(|reading| signed_at(&reading.t)),
            saved,
            secrets,
            readings,
            clock,
            tolerance_s,
            effort,
        }
    }

    /// Verifies the request, and finds the cause if it is rejected.
    pub(crate) fn explain(&self) -> Result<Report, Stop> {
        let verifier = self.secrets.verifier(self.tolerance_s)?;
        let verdict = verdict::verdict(&verifier, &self.saved, self.clock, self.signed_at);
        let mut report = self.report(&verdict);
        match &verdict.result {
            Ok(_) => suspicions::of_valid(self, &mut report),
            Err(rejection) => cause::explain(self, rejection, &verdict, &mut report),
        }
        Ok(report)
    }

    fn report(&self, verdict: &Verdict) -> Report {
        let rejection = verdict.result.as_ref().err();
        let delivery = verdict.result.as_ref().ok();
        let secret = delivery.map(|delivery| match delivery.secret_index() {
            0 => "the secret",
            _ => "the previous secret",
        });
        Report {
            verdict: if rejection.is_some() {
                "rejected"
            } else {
                "valid"
            },
            code: rejection.map(|it| it.reason().as_str()),
            reason: rejection.map(ToString::to_string),
            cause: None,
            fix: None,
            causes: Vec::new(),
            fixes: Vec::new(),
            proven: false,
            suspicions: Vec::new(),
            signed_with: secret.map(str::to_owned),
            signed_at: self.signed_at.map(since::rfc3339),
            received_at: since::rfc3339(self.clock.time),
            clock: if self.clock.is_given { "given" } else { "now" },
            age_s: self.age_s(),
            event: delivery.map(EventReport::new),
        }
    }

    /// How old the request is, in seconds.
    fn age_s(&self) -> Option<i64> {
        self.signed_at
            // Both are cut to whole seconds, as the library does.
            .map(|it| self.clock.time.unix_timestamp() - it.unix_timestamp())
    }

    fn search(&self) -> Searched {
        let bodies = body::signed_bodies(&self.saved.body, &self.saved.extra, self.effort);
        let search = Search {
            readings: &self.readings,
            keys: &self.secrets.keys,
            forms: &form::forms(),
            bodies: &bodies,
            effort: self.effort,
        };
        search.run()
    }
}

/// The time of a `t` that counts seconds.
fn signed_at(t: &[u8]) -> Option<OffsetDateTime> {
    let seconds: i64 = str::from_utf8(t).ok()?.parse().ok()?;
    OffsetDateTime::from_unix_timestamp(seconds).ok()
}
