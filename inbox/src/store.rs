//! What the inbox asks of a database. Each engine answers in a file of its own.

#[cfg(feature = "sqlite")]
mod clock;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod migrate;
#[cfg(all(test, feature = "postgres", feature = "sqlite"))]
mod model;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod order;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use time::OffsetDateTime;

use crate::accepted::{Accepted, State};
use crate::dead::DeadLetter;
use crate::error::BoxError;
use crate::failure::Failure;
use crate::key::Labels;
use crate::retry::Retry;
use crate::stats::Stats;

/// A boxed future that can be sent to another thread.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

pub(crate) type Answer<'a, T> = BoxFuture<'a, Result<T, BoxError>>;

/// How many rows one statement changes when it could change very many.
pub(crate) const SMALL_BATCH: i64 = 500;

/// How long the database may take for a transaction, without what a handler takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// How many expired leases one turn looks at.
pub(crate) const EXPIRED: i64 = 100;

/// A row that was there when it kept another out, and was pruned before its state was read.
pub(crate) const VANISHED: &str = "a duplicate was pruned at this moment";

pub(crate) const LEASE_EXPIRED: &str =
    "the lease expired: the worker was killed, or could not reach the database";

/// A delivery on its way into the table.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) key: String,
    pub(crate) labels: Labels,
    pub(crate) body: Bytes,
}

/// An event that a worker holds.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) lease: Lease,
    pub(crate) key: String,
    pub(crate) attempts: u32,
    pub(crate) received_at: OffsetDateTime,
    pub(crate) started_at: OffsetDateTime,
    pub(crate) event_type: Option<String>,
    pub(crate) body: Bytes,
}

/// A row and the token under which it was taken; whoever has an older token has nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Lease {
    pub(crate) id: i64,
    pub(crate) token: i64,
}

/// What becomes of an event that a worker holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    Done,
    /// It waits for its next attempt.
    Again {
        delay: Duration,
        error: String,
    },
    Dead {
        error: String,
    },
    /// It waits as if it had not been taken, at least for so long.
    Returned {
        delay: Duration,
    },
}

impl Verdict {
    /// After a failure: another attempt, or the end.
    pub(crate) fn after(delay: Option<Duration>, error: String) -> Self {
        match delay {
            Some(delay) => Self::Again { delay, error },
            None => Self::Dead { error },
        }
    }

    pub(crate) fn state(&self) -> State {
        match self {
            Self::Done => State::Done,
            Self::Again { .. } | Self::Returned { .. } => State::Waiting,
            Self::Dead { .. } => State::Dead,
        }
    }

    /// Whether events that wait for this one may go on.
    pub(crate) fn is_end(&self) -> bool {
        matches!(self, Self::Done | Self::Dead { .. })
    }

    pub(crate) fn delay(&self) -> Option<Duration> {
        match self {
            Self::Again { delay, .. } | Self::Returned { delay } => Some(*delay),
            Self::Done | Self::Dead { .. } => None,
        }
    }

    /// Whether the attempt does not count.
    pub(crate) fn is_returned(&self) -> bool {
        matches!(self, Self::Returned { .. })
    }

    pub(crate) fn error(&self) -> Option<&str> {
        match self {
            Self::Again { error, .. } | Self::Dead { error } => Some(error),
            Self::Done | Self::Returned { .. } => None,
        }
    }
}

/// What a worker wants in one transaction.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    pub(crate) settle: &'a [(Lease, Verdict)],
    pub(crate) renew: &'a [Lease],
    /// How many events to take.
    pub(crate) take: usize,
    pub(crate) in_order: bool,
    pub(crate) lease: Duration,
    /// For events whose worker is gone.
    pub(crate) retry: &'a Retry,
}

#[derive(Debug, Default)]
pub(crate) struct Turned {
    /// Those of `settle` and `renew` that others have taken over.
    pub(crate) lost: Vec<Lease>,
    pub(crate) claims: Vec<Claim>,
    pub(crate) next: Look,
}

/// When another turn may find more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Look {
    AtOnce,
    /// Another worker was choosing; SQLite lets one write at a time anyway.
    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    Soon,
    #[default]
    Later,
}

impl Look {
    pub(crate) fn at_once(more: bool) -> Self {
        if more { Self::AtOnce } else { Self::Later }
    }
}

/// How handling an event in a transaction ended.
pub(crate) enum Handled {
    /// What the handler wrote and "done" are committed.
    Committed,
    /// Another worker has the event; nothing was committed.
    Lost,
    Failed(Failure),
    /// The database was in the way before the handler was called.
    NotCalled(BoxError),
}

pub(crate) trait Store: Send + Sync {
    /// Adds what is not there, in one transaction that is on disk when this returns; one answer for
    /// each, in the same order.
    fn insert<'a>(&'a self, arrivals: &'a [Arrival]) -> Answer<'a, Vec<Accepted>>;

    /// Whether an error of `insert` may be that of one arrival, so that the others may be added without
    /// it.
    fn is_of_one(&self, error: &(dyn Error + 'static)) -> bool;

    fn turn<'a>(&'a self, turn: Turn<'a>) -> Answer<'a, Turned>;

    fn stats(&self) -> Answer<'_, Stats>;

    /// The dead letters in the range, the smallest id first.
    fn dead(&self, range: Range, limit: u32) -> Answer<'_, Vec<DeadLetter>>;

    fn dead_body(&self, id: i64) -> Answer<'_, Option<Bytes>>;

    /// Makes the first few dead letters of the range wait again; returns their ids.
    fn replay(&self, range: Range) -> Answer<'_, Vec<i64>>;

    /// As `replay`, but they count as done.
    fn discard(&self, range: Range) -> Answer<'_, Vec<i64>>;

    /// Removes some done rows, and tells how many.
    fn prune(&self, older_than: Duration) -> Answer<'_, u64>;
}

/// Ids greater than the first and up to the second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range(pub(crate) i64, pub(crate) i64);

/// Puts the answers for what was added together with those for what was there; `None` if one is
/// neither.
pub(crate) fn answers(
    arrivals: &[Arrival],
    added: &HashSet<String>,
    states: &HashMap<String, State>,
) -> Option<Vec<Accepted>> {
    let mut told = HashSet::new();
    arrivals
        .iter()
        .map(|Arrival { key, .. }| {
            let state = if !added.contains(key) {
                *states.get(key)?
            } else if told.insert(key) {
                return Some(Accepted::New);
            } else {
                // Twice among the arrivals.
                State::Waiting
            };
            Some(Accepted::Duplicate { state })
        })
        .collect()
}
