//! The interface between the inbox and a database. Each engine implements it in its own folder,
//! with the same file names: `open`, `insert`, `steps` (of a turn), `handle` (a handler's
//! transaction), `letters` (dead ones) and `upkeep` (counts, pruning, settings).

#[cfg(feature = "catch-up")]
pub(crate) mod catch_up;
mod choice;
mod crashes;
#[cfg(test)]
pub(crate) mod fake;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod gate;
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

/// The maximum number of rows that one call changes.
pub(crate) const ROWS_PER_CALL: i64 = 500;

pub(crate) const SETTINGS_GONE: &str = "the inbox's settings are gone";

/// Whether the row of the settings exists.
pub(crate) const HAS_SETTINGS: &str = "SELECT EXISTS (SELECT 1 FROM ptolemy_inbox_settings)";

/// How often the inbox is pruned.
pub(crate) const PRUNE_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// How long a turn may take, or the begin or end of a handler's transaction.
pub(crate) const TURN_TIMEOUT: Duration = Duration::from_secs(10);

/// A row that caused a conflict, and was pruned before its state was read.
pub(crate) const PRUNED_MEANWHILE: &str = "a duplicate was pruned at this moment";

pub(crate) trait Store: Send + Sync {
    /// Adds the deliveries that are not there yet, in one transaction that is on disk when this
    /// returns. Returns one answer for each, in the same order.
    fn insert<'a>(&'a self, arrivals: &'a [Arrival]) -> Answer<'a, Vec<Accepted>>;

    /// Returns whether an error of `insert` may be caused by a single arrival, so that the others
    /// can be added without it: the database did answer.
    fn may_be_of_one(&self, error: &(dyn Error + 'static)) -> bool;

    /// Returns why the database does not answer at the moment, if the store knows.
    fn trouble(&self) -> Option<SharedError> {
        None
    }

    /// Writes a row as an accept does, removes it, and commits as an accept does.
    fn ready(&self) -> Answer<'_, ()>;

    /// Settles, renews and takes, in one transaction.
    fn turn<'a>(&'a self, turn: Turn<'a>) -> Answer<'a, Turned>;

    fn stats(&self) -> Answer<'_, Stats>;

    /// Returns the dead letters among these, in ascending order of their ids.
    fn dead(&self, ids: Ids, limit: u32) -> Answer<'_, Vec<DeadLetter>>;

    fn dead_body(&self, id: i64) -> Answer<'_, Option<Bytes>>;

    /// Returns the first few dead letters among these to the queue; returns their ids.
    fn replay(&self, ids: Ids) -> Answer<'_, Vec<i64>>;

    /// Same as `replay`, but marks them as done.
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

/// How far a worker is that prunes in batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pruning {
    Begins,
    /// This worker pruned the previous batch, and there may be more.
    GoesOn,
}

impl Pruning {
    /// Returns the answer if it is not due, or if another worker prunes.
    pub(crate) fn not_now(has_settings: bool) -> Result<Option<u64>, BoxError> {
        if has_settings {
            Ok(None)
        } else {
            Err(SETTINGS_GONE.into())
        }
    }

    /// Returns how long no other worker begins after a batch: an hour after the last one, and a
    /// minute otherwise, in case this worker dies.
    #[cfg_attr(not(any(feature = "postgres", feature = "sqlite")), allow(dead_code))]
    pub(crate) fn pause_after(pruned: u64) -> Duration {
        if Self::may_go_on(pruned) {
            Duration::from_secs(60)
        } else {
            PRUNE_INTERVAL
        }
    }

    /// Returns whether there may be more after a batch.
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

/// Converts a stored attempt count: no stored number may stop a worker or a list.
pub(crate) fn attempts(stored: i64) -> u32 {
    u32::try_from(stored.max(0)).unwrap_or(u32::MAX)
}

/// Combines the answers for new rows with those for existing rows; `None` if an arrival is neither.
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
