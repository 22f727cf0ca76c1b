//! The interface between a catch-up and a database, separate from `Store`, since only a catch-up
//! needs it. Each engine implements it in its file `catch_up`.
//!
//! The entries of Ptolemy's logs are spooled into a table, so that a run needs the same memory for
//! ten entries and for a million, and so that a killed run can be continued: a redelivery is
//! counted on disk before it is requested.

#[cfg(test)]
pub(crate) mod compare;
mod tidy;

use std::time::Duration;

use sqlx::{ColumnIndex, Decode, Row, Type};
use time::OffsetDateTime;

pub(crate) use self::tidy::Tidy;
use super::{Answer, Ids};
use crate::error::BoxError;

/// How long a run holds its webhook without a renewal, and therefore how long a dead run blocks the
/// next.
pub(crate) const LEASE: Duration = Duration::from_secs(60);

/// How often all runs together redeliver an event at most.
pub(crate) const MAX_TRIES: i32 = 3;

/// The maximum number of event types that are counted: they come from outside.
pub(crate) const MAX_TYPES: i64 = 10_000;

/// How many entries a [`Tidy`] changes: accepts wait for the write lock of SQLite meanwhile.
pub(crate) const ROWS_PER_TIDY: u32 = 5_000;

/// How many rows of the inbox a step has; see [`CatchUpStore::step`].
pub(crate) const ROWS_PER_STEP: i64 = 5_000;

/// How far two times of one event may differ because the engines round them.
const ROUNDED: time::Duration = time::Duration::milliseconds(1);

/// How long before its creation an event may have been received, since the clocks differ: receivers
/// reject a difference of more than 5 minutes.
const CLOCKS_DIFFER: time::Duration = time::Duration::minutes(6);

/// One run, which holds its webhook exclusively.
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

/// The state of an entry in the table.
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
    /// In the form that the inbox stores.
    pub(crate) event_id: Option<String>,
    pub(crate) event_type: Option<String>,
    pub(crate) delivery_id: Option<String>,
    /// The time of the delivery, or of the event's creation without a delivery.
    pub(crate) delivered_at: Option<OffsetDateTime>,
    /// According to the event log.
    pub(crate) created_at: Option<OffsetDateTime>,
    pub(crate) state: State,
}

impl Entry {
    /// Whether another event has the same id: it has another type, was created at another time, or
    /// was in the inbox before this one was created.
    pub(crate) fn is_another(&self, other: &Other<'_>) -> bool {
        let types = self.event_type.as_deref().zip(other.event_type);
        let times = self.created_at.zip(other.created_at);
        let received = self.created_at.zip(other.received_at);
        types.is_some_and(|(one, other)| one != other)
            || times.is_some_and(|(one, other)| (one - other).abs() > ROUNDED)
            || received.is_some_and(|(created, received)| created - received > CLOCKS_DIFFER)
    }
}

/// The known attributes of an event that has the id of an entry.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Other<'a> {
    pub(crate) event_type: Option<&'a str>,
    pub(crate) created_at: Option<OffsetDateTime>,
    pub(crate) received_at: Option<OffsetDateTime>,
}

/// An entry whose redelivery is to be requested now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) key: String,
    pub(crate) delivery_id: String,
    pub(crate) has_event_id: bool,
    pub(crate) delivered_at: Option<OffsetDateTime>,
}

/// The result for an entry that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settled {
    pub(crate) key: String,
    pub(crate) state: State,
    /// Whether the redelivery certainly did not happen, so that it does not count as a try.
    pub(crate) gives_back: bool,
    /// The status of a rejection; `None` clears an earlier one.
    pub(crate) answer: Option<u16>,
}

/// The number of entries with the same attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) state: State,
    pub(crate) has_event_id: bool,
    /// Whether this or an earlier run has tried it.
    pub(crate) is_tried: bool,
    /// Whether tries are left and the log has a usable delivery id.
    pub(crate) may_be_tried: bool,
    /// Whether the API said that the delivery does not exist.
    pub(crate) is_gone: bool,
    pub(crate) entries: u64,
}

impl Count {
    /// Reads the columns in the order of the fields.
    pub(crate) fn read<'r, R>(row: &'r R) -> Result<Self, BoxError>
    where
        R: Row,
        usize: ColumnIndex<R>,
        &'r str: Decode<'r, R::Database> + Type<R::Database>,
        bool: Decode<'r, R::Database> + Type<R::Database>,
        i64: Decode<'r, R::Database> + Type<R::Database>,
    {
        Ok(Self {
            state: State::read(row.try_get(0)?)?,
            has_event_id: row.try_get(1)?,
            is_tried: row.try_get(2)?,
            may_be_tried: row.try_get(3)?,
            is_gone: row.try_get(4)?,
            entries: u64::try_from(row.try_get::<i64, _>(5)?).unwrap_or_default(),
        })
    }
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
    /// Changes only the end of the lease.
    Renew,
    /// Changes some entries, up to [`ROWS_PER_TIDY`].
    Tidy(Tidy),
    /// Adds entries or updates existing ones. The keys differ. The result is the number of entries
    /// whose id another event has.
    Spool(&'a [Entry]),
    /// Settles entries that were taken, unless their events have arrived meanwhile.
    Settle(&'a [Settled]),
    /// Sets the checkpoint.
    Checkpoint(OffsetDateTime),
}

pub(crate) trait CatchUpStore: Send + Sync {
    /// Takes the lease if no other run has it.
    fn begin<'a>(&'a self, claim: &'a Claim) -> Answer<'a, Begun>;

    fn release<'a>(&'a self, claim: &'a Claim) -> Answer<'a, ()>;

    /// Renews the lease and makes a change, in one transaction. Returns how many entries were
    /// changed, or `None` if the lease was lost; nothing is changed then.
    fn change<'a>(&'a self, claim: &'a Claim, change: Change<'a>) -> Answer<'a, Option<u64>>;

    /// Returns the time up to which rows were pruned.
    fn pruned_to(&self) -> Answer<'_, Option<OffsetDateTime>>;

    /// Returns the ids of all rows of the inbox: `after` is below the smallest, `up_to` is the
    /// largest.
    fn rows(&self) -> Answer<'_, Ids>;

    /// Returns the id of the last of the first [`ROWS_PER_STEP`] of these rows; `up_to` if there
    /// are fewer. There can be large gaps between ids.
    fn step(&self, rows: Ids) -> Answer<'_, i64>;

    /// Marks the entries whose events are among these rows of the inbox; returns their keys. With a
    /// source, only rows of that source count.
    fn mark_here<'a>(
        &'a self,
        claim: &'a Claim,
        rows: Ids,
        source: Option<&'a str>,
    ) -> Answer<'a, Vec<String>>;

    /// Renews the lease, takes open entries, those with the fewest tries first and the oldest of
    /// those first, and counts a try for each; `None` if the lease was lost.
    fn take<'a>(&'a self, claim: &'a Claim, limit: u32) -> Answer<'a, Option<Vec<Taken>>>;

    fn counts<'a>(&'a self, claim: &'a Claim) -> Answer<'a, Vec<Count>>;

    /// Returns how many entries of each event type are to be redelivered.
    fn types<'a>(&'a self, claim: &'a Claim) -> Answer<'a, Vec<(Option<String>, u64)>>;

    /// Returns the first entries in a state, oldest first.
    fn list<'a>(&'a self, claim: &'a Claim, state: State, limit: u32) -> Answer<'a, Vec<Listed>>;
}
