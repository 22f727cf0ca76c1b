//! What the inbox asks of a database. Each engine answers in a folder of its own, with the same
//! file names: `open`, `insert`, `steps` (of a turn), `handle` (a handler's transaction), `letters`
//! (dead ones) and `upkeep` (counts, pruning, settings).

#[cfg(feature = "catch-up")]
pub(crate) mod catch_up;
mod choice;
mod crashes;
#[cfg(test)]
pub(crate) mod fake;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod migrate;
#[cfg(all(test, feature = "postgres", feature = "sqlite"))]
mod model;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;
mod steps;

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;

use crate::accepted::{Accepted, EventState};
use crate::arrival::Arrival;
use crate::dead::DeadLetter;
use crate::error::{BoxError, SharedError};
use crate::event_order::EventOrder;
use crate::stats::Stats;
use crate::turn::{Turn, Turned};

/// A boxed future that can be sent to another thread.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

pub(crate) type Answer<'a, T> = BoxFuture<'a, Result<T, BoxError>>;

/// How many rows one call changes when it could change very many.
pub(crate) const ROWS_PER_CALL: i64 = 500;

/// How often the inbox is pruned.
pub(crate) const PRUNE_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// How long the database may take for a turn, or to begin or end the transaction of a handler.
pub(crate) const TURN_TIMEOUT: Duration = Duration::from_secs(10);

/// A row that was there when it kept another out, and was pruned before its state was read.
pub(crate) const PRUNED_MEANWHILE: &str = "a duplicate was pruned at this moment";

pub(crate) trait Store: Send + Sync {
    /// Adds what is not there, in one transaction that is on disk when this returns; one answer for
    /// each, in the same order.
    fn insert<'a>(&'a self, arrivals: &'a [Arrival]) -> Answer<'a, Vec<Accepted>>;

    /// Whether an error of `insert` may be that of one arrival, so that the others may be added
    /// without it: the database has answered.
    fn may_be_of_one(&self, error: &(dyn Error + 'static)) -> bool;

    /// What keeps the database from answering at the moment, if the store knows.
    fn trouble(&self) -> Option<SharedError> {
        None
    }

    /// Writes what an accept would, takes it back, and commits as an accept does.
    fn ready(&self) -> Answer<'_, ()>;

    /// Settles, renews and takes, in one transaction.
    fn turn<'a>(&'a self, turn: Turn<'a>) -> Answer<'a, Turned>;

    fn stats(&self) -> Answer<'_, Stats>;

    /// The dead letters among these, the smallest id first.
    fn dead(&self, ids: Ids, limit: u32) -> Answer<'_, Vec<DeadLetter>>;

    fn dead_body(&self, id: i64) -> Answer<'_, Option<Bytes>>;

    /// Makes the first few dead letters among these wait again; returns their ids.
    fn replay(&self, ids: Ids) -> Answer<'_, Vec<i64>>;

    /// Same as `replay`, but they count as done.
    fn discard(&self, ids: Ids) -> Answer<'_, Vec<i64>>;

    /// Removes some done rows, and returns how many.
    fn prune(&self, older_than: Duration) -> Answer<'_, u64>;

    /// Same as `prune`, by one worker at a time: `None` if another one prunes, or has done so
    /// within the last hour.
    fn prune_as_one(&self, older_than: Duration, turn: Pruning) -> Answer<'_, Option<u64>>;

    fn order(&self) -> Answer<'_, EventOrder>;

    /// Sets the order; returns the one before, `None` if it was never set.
    fn set_order(&self, order: EventOrder) -> Answer<'_, Option<EventOrder>>;
}

/// Where a worker is that prunes, batch by batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pruning {
    Begins,
    /// The batch before was this worker's, and there may be more.
    GoesOn,
}

impl Pruning {
    /// How long no other worker begins after a batch: for an hour after the last one, and for a
    /// minute otherwise, in case this worker dies.
    #[cfg_attr(not(any(feature = "postgres", feature = "sqlite")), allow(dead_code))]
    pub(crate) fn pause_after(pruned: u64) -> Duration {
        if Self::may_go_on(pruned) {
            Duration::from_secs(60)
        } else {
            PRUNE_INTERVAL
        }
    }

    /// Whether there may be more after a batch.
    pub(crate) fn may_go_on(pruned: u64) -> bool {
        i64::try_from(pruned).is_ok_and(|pruned| pruned >= ROWS_PER_CALL)
    }
}

/// Ids greater than `after`, up to and including `up_to`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ids {
    pub(crate) after: i64,
    pub(crate) up_to: i64,
}

impl Ids {
    pub(crate) const ALL: Self = Self {
        after: 0,
        up_to: i64::MAX,
    };

    pub(crate) fn one(id: i64) -> Self {
        Self {
            after: id.saturating_sub(1),
            up_to: id,
        }
    }
}

/// An attempt count as it is stored: no number there may stop a worker, or a list.
pub(crate) fn attempts(stored: i64) -> u32 {
    u32::try_from(stored.max(0)).unwrap_or(u32::MAX)
}

/// Puts the answers for what was added together with those for what was there; `None` if one is
/// neither.
pub(crate) fn answers(
    arrivals: &[Arrival],
    added: &HashSet<String>,
    states: &HashMap<String, EventState>,
) -> Option<Vec<Accepted>> {
    let mut answered = HashSet::new();
    arrivals
        .iter()
        .map(|Arrival { key, .. }| {
            let state = if !added.contains(key) {
                *states.get(key)?
            } else if answered.insert(key) {
                return Some(Accepted::New);
            } else {
                // Twice among the arrivals.
                EventState::Waiting
            };
            Some(Accepted::Duplicate { state })
        })
        .collect()
}
