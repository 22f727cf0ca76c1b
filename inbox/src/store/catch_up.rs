//! What a catch-up asks of a database, apart from `Store`: only a catch-up needs it. Each engine
//! answers in its file `catch_up`.
//!
//! The entries of Ptolemy's logs are spooled into a table, so that a run needs the same memory for ten
//! entries and for a million, and so that a run that was killed is continued: how often a redelivery
//! was asked for is on disk before it is asked for.

use std::time::Duration;

use time::OffsetDateTime;

use super::{Answer, Ids};
use crate::error::BoxError;

/// How long a run has its webhook for itself unless it renews: a dead one blocks the next no longer.
pub(crate) const LEASE: Duration = Duration::from_secs(60);

/// How often an event is redelivered at most, by all runs together.
pub(crate) const MAX_TRIES: i32 = 3;

/// How many kinds of counts are read at most: event types come from outside.
pub(crate) const MAX_COUNTS: i64 = 10_000;

/// One run, which has its webhook for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) webhook: String,
    /// A random number.
    pub(crate) holder: i64,
}

/// Whether a run may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    Held {
        checkpoint: Option<OffsetDateTime>,
        /// Events that were done before this time may have been pruned.
        pruned_to: Option<OffsetDateTime>,
    },
    /// Another run has the lease.
    Busy { until: OffsetDateTime },
}

/// The state of an event, as the table has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Open,
    Sent,
    Here,
    Rejected,
    Unconfirmed,
    Later,
    Known,
    Unreachable,
    Unsubscribed,
    Listed,
}

impl State {
    const ALL: [Self; 10] = [
        Self::Open,
        Self::Sent,
        Self::Here,
        Self::Rejected,
        Self::Unconfirmed,
        Self::Later,
        Self::Known,
        Self::Unreachable,
        Self::Unsubscribed,
        Self::Listed,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Sent => "sent",
            Self::Here => "here",
            Self::Rejected => "rejected",
            Self::Unconfirmed => "unconfirmed",
            Self::Later => "later",
            Self::Known => "known",
            Self::Unreachable => "unreachable",
            Self::Unsubscribed => "unsubscribed",
            Self::Listed => "listed",
        }
    }

    pub(crate) fn read(text: &str) -> Result<Self, BoxError> {
        let known = Self::ALL.into_iter().find(|state| state.as_str() == text);
        known.ok_or_else(|| "an entry of a catch-up has an unknown state".into())
    }
}

/// An entry of one of the logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    /// As the inbox labels events.
    pub(crate) event_id: Option<String>,
    pub(crate) event_type: Option<String>,
    pub(crate) delivery_id: Option<String>,
    /// When it was delivered; if there is no delivery, when the event was created.
    pub(crate) delivered_at: Option<OffsetDateTime>,
    pub(crate) state: State,
}

/// An entry whose redelivery is to be asked for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) key: String,
    pub(crate) delivery_id: String,
    pub(crate) has_event_id: bool,
    pub(crate) delivered_at: Option<OffsetDateTime>,
}

/// What became of an entry that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settled {
    pub(crate) key: String,
    pub(crate) state: State,
    /// Whether the redelivery certainly did not take place, so that it does not count as a try.
    pub(crate) gives_back: bool,
    /// The status of a rejection.
    pub(crate) answer: Option<u16>,
}

/// How many entries are alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) state: State,
    pub(crate) has_event_id: bool,
    /// Whether tries are left.
    pub(crate) may_be_tried: bool,
    pub(crate) event_type: Option<String>,
    pub(crate) entries: u64,
}

/// An entry for a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) event_id: Option<String>,
    pub(crate) event_type: Option<String>,
    pub(crate) delivery_id: Option<String>,
    pub(crate) tries: u32,
    pub(crate) answer: Option<u16>,
}

/// A change that only the run with the lease may make.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change<'a> {
    /// Nothing but the end of the lease.
    Renew,
    /// Forgets what earlier runs found in the logs, but not what was tried or reported; with `again`, the
    /// tries too.
    Reset { again: bool },
    /// Adds entries, or updates those that are there. The keys differ.
    Spool(&'a [Entry]),
    /// Settles entries that were taken, unless they are in the inbox meanwhile.
    Settle(&'a [Settled]),
    /// Moves the checkpoint, never back; notes that unreachable events were reported, and forgets what no
    /// later run needs: what is here, and what is older than `forget_before`.
    Finish {
        checkpoint: OffsetDateTime,
        forget_before: Option<OffsetDateTime>,
    },
}

pub(crate) trait CatchUpStore: Send + Sync {
    /// Takes the lease if no other run has it.
    fn begin<'a>(&'a self, claim: &'a Claim) -> Answer<'a, Begun>;

    fn release<'a>(&'a self, claim: &'a Claim) -> Answer<'a, ()>;

    /// Renews the lease and makes a change, in one transaction; `false` if the lease was lost, and then
    /// nothing was changed.
    fn change<'a>(&'a self, claim: &'a Claim, change: Change<'a>) -> Answer<'a, bool>;

    /// The ids of all rows of the inbox: `after` is below the smallest, `up_to` is the largest.
    fn rows(&self) -> Answer<'_, Ids>;

    /// Marks the entries whose events are among these rows of the inbox; returns their keys. With a
    /// source, only rows of that source count.
    fn mark_here<'a>(
        &'a self,
        claim: &'a Claim,
        rows: Ids,
        source: Option<&'a str>,
    ) -> Answer<'a, Vec<String>>;

    /// Renews the lease, takes open entries, those with the fewest tries first and the oldest of those
    /// first, and counts a try for each; `None` if the lease was lost.
    fn take<'a>(&'a self, claim: &'a Claim, limit: u32) -> Answer<'a, Option<Vec<Taken>>>;

    fn counts<'a>(&'a self, claim: &'a Claim) -> Answer<'a, Vec<Count>>;

    /// The first entries in a state, the oldest first.
    fn list<'a>(&'a self, claim: &'a Claim, state: State, limit: u32) -> Answer<'a, Vec<Listed>>;
}
