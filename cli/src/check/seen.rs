//! Facts from the answers to all probes.

use std::collections::BTreeSet;
use std::time::Duration;

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
