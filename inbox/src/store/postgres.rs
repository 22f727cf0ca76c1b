//! The inbox in a PostgreSQL database.

#[cfg(feature = "catch-up")]
mod catch_up;
mod floors;
mod handle;
mod horizon;
mod insert;
mod kept;
mod letters;
mod open;
mod pooler;
#[cfg(test)]
pub(crate) mod scratch;
mod session;
mod settings;
mod stats;
mod steps;
mod trouble;
mod upkeep;
mod versions;

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use sqlx::postgres::PgPool;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use self::floors::{Floors, Known};
use self::kept::Kept;
use self::session::{commit_once, is_broken};
use self::settings::Settings;
use self::steps::PostgresSteps;
use self::trouble::Trouble;
use super::choice::Rotation;
use super::gate::Gate;
use super::steps::take_turn;
use super::{Answer, Ids, Pruning, Store};
use crate::accepted::Accepted;
use crate::arrival::Arrival;
use crate::dead::DeadLetter;
use crate::error::{BoxError, SharedError};
use crate::event_order::EventOrder;
use crate::stats::Stats;
use crate::turn::{Turn, Turned};

/// Every statement sees what was committed before it, regardless of the database's default:
/// stricter levels fail if two receivers accept the same delivery.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

/// Same as `BEGIN`, for the inbox's own transactions, regardless of the settings of the database
/// and the role. A commit waits for the disk, and for synchronous standbys if there are any; and a
/// process that is frozen in mid-transaction, or cut off, does not keep its locks for long.
const BEGIN_SHORT: &str = "BEGIN ISOLATION LEVEL READ COMMITTED;
     SET LOCAL idle_in_transaction_session_timeout = '15s';
     SET LOCAL lock_timeout = 0;
     SET LOCAL statement_timeout = '30s';
     SELECT set_config('synchronous_commit', 'on', true)
     WHERE current_setting('synchronous_commit') IN ('off', 'local')";

/// Sets the inbox's own limits at the end of a handler's transaction: those of the role are meant
/// for the handler's statements. The end locks the event's row, and the commit may be another
/// message, so a process that is cut off between the two must not keep the lock for long.
const END_OF_HANDLER: &str = "SET LOCAL idle_in_transaction_session_timeout = '15s';
     SET LOCAL lock_timeout = 0;
     SET LOCAL statement_timeout = '30s'";

/// How long the connections may take to close: a server that does not answer answers no goodbye.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// The number of the lock under which the tables are migrated; an arbitrary number that others are
/// unlikely to use.
const MIGRATION_LOCK: i64 = 0x0070_746f_6c65_6d79;

/// The number of the lock under which events are taken in order.
const ORDER_LOCK: i64 = MIGRATION_LOCK + 1;

/// The first number of the lock under which the workers of a process take suspects; the second one
/// is that of the process.
const SUSPECTS_LOCK: i32 = 0x7074_6f6c;

pub(crate) struct PostgresStore {
    pub(super) pool: PgPool,
    owns_pool: bool,
    gate: Gate,
    trouble: Trouble,
    settings: Settings,
    /// Whether statements are prepared by name. Behind a pooler that gives each transaction another
    /// connection, a name may belong to another statement.
    named: bool,
    /// The schema of the tables and functions, quoted where that is needed: a handler may set
    /// `search_path`.
    schema: String,
    /// Limits handlers in transactions so that connections are left for accepts; they wait here for
    /// each other and not in the pool.
    transactions: Arc<Semaphore>,
    max_transactions: usize,
    kept: Kept,
    /// Where the queues begin, as found by the last turn of this process.
    floors: Mutex<Floors>,
    /// Where the next look beside the pages begins.
    rotation: Mutex<Rotation>,
}

impl PostgresStore {
    /// How many handlers in transactions may run at the same time.
    pub(crate) fn max_transactions(&self) -> usize {
        self.max_transactions
    }

    /// Closes the connections that belong to the inbox, and gives back those of a user's pool.
    pub(crate) async fn close(&self) {
        self.gate.close().await;
        self.kept.clear();
        if self.owns_pool {
            let _ = timeout(CLOSE_TIMEOUT, self.pool.close()).await;
        }
    }

    async fn turn(&self, turn: &Turn<'_>) -> Result<Turned, BoxError> {
        let mut session = self.session().await?;
        let mut tx = session.begin(BEGIN_SHORT).await?;
        // A turn does not acknowledge deliveries, so it may continue without `fsync`.
        let _ = self.settings.check(&mut tx).await?;
        let known = Known::read(&self.floors, turn.upkeep.is_some());
        let rotation = self.rotation.lock();
        let rotation = rotation.unwrap_or_else(PoisonError::into_inner).clone();
        let mut steps = PostgresSteps::new(&mut tx, self.named, known.floors(), rotation);
        let turned = take_turn(&mut steps, turn).await?;
        let (floors, rotation) = (steps.floors, steps.rotation);
        // A second try would find the leases settled and count them as lost.
        commit_once(tx).await?;
        session.end();
        known.write(floors);
        *self.rotation.lock().unwrap_or_else(PoisonError::into_inner) = rotation;
        Ok(turned)
    }
}

/// Returns one value of each row, for a statement that takes rows as arrays.
fn column<'a, R, T>(rows: &'a [R], of: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}

impl Store for PostgresStore {
    fn insert<'a>(&'a self, arrivals: &'a [Arrival]) -> Answer<'a, Vec<Accepted>> {
        Box::pin(self.again(|| self.add(arrivals)))
    }

    fn may_be_of_one(&self, error: &(dyn Error + 'static)) -> bool {
        // Also errors that a user's trigger raises.
        let answered = matches!(
            error.downcast_ref(),
            Some(sqlx::Error::Database(_) | sqlx::Error::Encode(_))
        );
        answered && !is_broken(error)
    }

    fn trouble(&self) -> Option<SharedError> {
        self.trouble.get()
    }

    fn ready(&self) -> Answer<'_, ()> {
        Box::pin(self.again(|| self.try_insert()))
    }

    fn turn<'a>(&'a self, turn: Turn<'a>) -> Answer<'a, Turned> {
        Box::pin(async move { self.again(|| self.turn(&turn)).await })
    }

    fn stats(&self) -> Answer<'_, Stats> {
        Box::pin(self.again(|| self.count()))
    }

    fn dead(&self, ids: Ids, limit: u32) -> Answer<'_, Vec<DeadLetter>> {
        Box::pin(self.again(move || self.list_dead(ids, limit)))
    }

    fn dead_body(&self, id: i64) -> Answer<'_, Option<Bytes>> {
        Box::pin(self.again(move || self.read_dead_body(id)))
    }

    fn replay(&self, ids: Ids) -> Answer<'_, Vec<i64>> {
        Box::pin(self.again(move || self.replay_some(ids)))
    }

    fn discard(&self, ids: Ids) -> Answer<'_, Vec<i64>> {
        Box::pin(self.again(move || self.discard_some(ids)))
    }

    fn prune(&self, older_than: Duration) -> Answer<'_, u64> {
        Box::pin(self.again(move || self.prune_some(older_than)))
    }

    fn prune_as_one(&self, older_than: Duration, turn: Pruning) -> Answer<'_, Option<u64>> {
        Box::pin(self.again(move || self.prune_as_one(older_than, turn)))
    }

    fn order(&self) -> Answer<'_, EventOrder> {
        Box::pin(self.again(|| self.read_order()))
    }

    fn set_order(&self, order: EventOrder) -> Answer<'_, Option<EventOrder>> {
        Box::pin(self.again(move || self.write_order(order)))
    }
}
