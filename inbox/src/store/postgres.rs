//! The inbox in a PostgreSQL database.

mod floors;
mod handle;
mod insert;
mod letters;
mod open;
mod steps;
mod upkeep;

use std::error::Error;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use sqlx::postgres::PgPool;
use sqlx::{Postgres, Transaction};
use tokio::sync::Semaphore;

use self::floors::Floors;
use self::steps::PostgresSteps;
use super::steps::take_turn;
use super::{Answer, Ids, Pruning, Store};
use crate::accepted::Accepted;
use crate::arrival::Arrival;
use crate::dead::DeadLetter;
use crate::error::BoxError;
use crate::event_order::EventOrder;
use crate::stats::Stats;
use crate::turn::{Turn, Turned};

/// Every transaction sees what was committed before each of its statements, whatever the database's
/// default is: stricter levels fail if two receivers take the same delivery.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

/// Same as `BEGIN`. A commit is waited for even if the database's or the role's setting says
/// otherwise; and a process that is frozen in mid-transaction, or cut off, does not keep its locks
/// for long.
const BEGIN_SHORT: &str = "BEGIN ISOLATION LEVEL READ COMMITTED;
     SET LOCAL idle_in_transaction_session_timeout = '15s';
     SELECT set_config('synchronous_commit', 'on', true)
     WHERE current_setting('synchronous_commit') = 'off'";

/// The number of the lock under which the tables change; any number that others do not use.
const MIGRATION_LOCK: i64 = 0x0070_746f_6c65_6d79;

/// The number of the lock under which events are taken in order.
const ORDER_LOCK: i64 = MIGRATION_LOCK + 1;

pub(crate) struct PostgresStore {
    pub(super) pool: PgPool,
    /// As many handlers in transactions as leave accepts a connection; they wait here for each other
    /// and not in the pool.
    transactions: Semaphore,
    max_transactions: usize,
    /// Where the queues begin, as the last turn of this process found it.
    floors: Mutex<Floors>,
}

impl PostgresStore {
    /// How many handlers in transactions may run at the same time.
    pub(crate) fn max_transactions(&self) -> usize {
        self.max_transactions
    }

    /// Begins a transaction that waits for nobody but the database.
    async fn begin(&self) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
        self.pool.begin_with(BEGIN_SHORT).await
    }

    async fn turn(&self, turn: Turn<'_>) -> Result<Turned, BoxError> {
        let mut tx = self.begin().await?;
        let floors = match turn.upkeep {
            Some(_) => Floors::NONE,
            None => *self.floors.lock().unwrap_or_else(PoisonError::into_inner),
        };
        let mut steps = PostgresSteps::new(&mut tx, floors);
        let turned = take_turn(&mut steps, &turn).await?;
        let floors = steps.floors;
        tx.commit().await?;
        *self.floors.lock().unwrap_or_else(PoisonError::into_inner) = floors;
        Ok(turned)
    }
}

/// One value of each row, for a statement that takes rows as arrays.
fn column<'a, R, T>(rows: &'a [R], of: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}

impl Store for PostgresStore {
    fn insert<'a>(&'a self, arrivals: &'a [Arrival]) -> Answer<'a, Vec<Accepted>> {
        Box::pin(self.add(arrivals))
    }

    fn is_of_one(&self, error: &(dyn Error + 'static)) -> bool {
        let error = error.downcast_ref::<sqlx::Error>();
        let code = error
            .and_then(sqlx::Error::as_database_error)
            .and_then(|error| error.code());
        // A value that is not taken; a constraint or a trigger of the user's; two transactions that
        // wait for each other.
        let classes = ["22", "23", "40", "P0"];
        code.is_some_and(|code| classes.iter().any(|class| code.starts_with(class)))
    }

    fn turn<'a>(&'a self, turn: Turn<'a>) -> Answer<'a, Turned> {
        Box::pin(self.turn(turn))
    }

    fn stats(&self) -> Answer<'_, Stats> {
        Box::pin(self.count())
    }

    fn dead(&self, ids: Ids, limit: u32) -> Answer<'_, Vec<DeadLetter>> {
        Box::pin(self.list_dead(ids, limit))
    }

    fn dead_body(&self, id: i64) -> Answer<'_, Option<Bytes>> {
        Box::pin(self.read_dead_body(id))
    }

    fn replay(&self, ids: Ids) -> Answer<'_, Vec<i64>> {
        Box::pin(self.replay_some(ids))
    }

    fn discard(&self, ids: Ids) -> Answer<'_, Vec<i64>> {
        Box::pin(self.discard_some(ids))
    }

    fn prune(&self, older_than: Duration) -> Answer<'_, u64> {
        Box::pin(self.prune_some(older_than))
    }

    fn prune_as_one(&self, older_than: Duration, turn: Pruning) -> Answer<'_, Option<u64>> {
        Box::pin(self.prune_as_one(older_than, turn))
    }

    fn order(&self) -> Answer<'_, EventOrder> {
        Box::pin(self.read_order())
    }

    fn set_order(&self, order: EventOrder) -> Answer<'_, Option<EventOrder>> {
        Box::pin(self.write_order(order))
    }
}
