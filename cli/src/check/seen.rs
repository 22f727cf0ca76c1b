//! Facts from the answers to all probes.

use std::collections::BTreeSet;
use std::time::Duration;

use super::probe::{Expected, Probe};
use super::wire::{Answer, Came};

/// The answers so far.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) answers: u32,
    /// Requests without an answer in time, other than in the burst.
    pub(crate) silent: u32,
    /// The slowest answer to an accepted delivery.
    pub(crate) slowest: Option<Duration>,
    /// The statuses with which forgeries were rejected.
    pub(crate) rejected_with: BTreeSet<u16>,
    pub(crate) skew: Option<i64>,
    pub(crate) shows_secret: Vec<&'static str>,
    pub(crate) shows_signature: Vec<&'static str>,
}

impl Seen {
    pub(crate) fn add(&mut self, probe: &Probe, answer: &Answer) {
        if matches!(answer.came, Came::Nothing | Came::Unreachable(_)) {
            self.silent += 1;
        }
        let Some(status) = answer.status() else {
            return;
        };
        self.answers += 1;
        if answer.is_accepted() {
            self.slowest = self.slowest.max(Some(answer.took));
        }
        if probe.is_forgery() && answer.is_rejected() {
            self.rejected_with.insert(status);
        }
        // The clock that is the least off: a `Date` is cut to seconds, and an answer can be late.
        if let Some(skew) = answer.skew
            && self.skew.is_none_or(|least| skew.abs() < least.abs())
        {
            self.skew = Some(skew);
        }
        if answer.shows_secret {
            self.shows_secret.push(probe.id);
        }
        // A receiver may show a signature to the one who made it.
        if answer.shows_signature && probe.expected != Expected::Accepted {
            self.shows_signature.push(probe.id);
        }
    }
}
