//! Facts from the answers to all probes.

use std::collections::BTreeSet;
use std::time::Duration;

/// The answers so far.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) answers: u32,
    /// Requests without an answer in time.
    pub(crate) silent: u32,
    /// The last probe that was answered before the first of these requests.
    pub(crate) last_answered: Option<&'static str>,
    /// The first probe after it, which was not answered.
    pub(crate) first_silent: Option<&'static str>,
    /// The slowest answer to an accepted delivery, other than in the burst.
    pub(crate) slowest: Option<Duration>,
    /// The statuses with which forgeries were rejected.
    pub(crate) rejected_with: BTreeSet<u16>,
    pub(crate) skew: Option<i64>,
    pub(crate) shows_secret: Vec<&'static str>,
    pub(crate) shows_signature: Vec<&'static str>,
}
