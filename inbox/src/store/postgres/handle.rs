//! The transaction of a handler.

use std::sync::Arc;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Postgres, Row as _, Transaction};
use tokio::time::{Instant, timeout, timeout_at};

use super::session::{Session, is_broken};
use super::{BEGIN_LONG, END_OF_HANDLER, PostgresStore};
use crate::error::BoxError;
use crate::failure::Failure;
use crate::outcome::Outcome;
use crate::store::{BoxFuture, TURN_TIMEOUT};
use crate::turn::Lease;

impl PostgresStore {
    /// Handles an event, and marks it as done, in one transaction.
    pub(crate) async fn handle<F>(&self, lease: Lease, handler: F) -> Outcome
    where
        F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<(), Failure>>,
    {
        let turn = match self.transactions.clone().acquire_owned().await {
            Ok(turn) => Arc::new(turn),
            Err(closed) => return Outcome::not_begun(closed),
        };
        let give_up = Instant::now() + TURN_TIMEOUT;
        // Once more, on a new connection, if the first one breaks before the handler begins.
        let mut tries = 0..2;
        loop {
            let mut session = match timeout_at(give_up, self.session()).await {
                Ok(Ok(session)) => session,
                Ok(Err(error)) => return Outcome::not_begun(error),
                Err(elapsed) => return Outcome::not_begun(elapsed),
            };
            session.keep_until_its_end(turn.clone());
            let mut tx = match timeout_at(give_up, begin_held(&mut session, lease)).await {
                Ok(Ok(Some(tx))) => tx,
                Ok(Ok(None)) => return Outcome::Lost,
                Ok(Err(error)) if is_broken(&*error) && tries.next().is_some() => continue,
                Ok(Err(error)) => return Outcome::not_begun(error),
                Err(elapsed) => return Outcome::not_begun(elapsed),
            };
            if let Err(failure) = handler(&mut tx).await {
                return Outcome::failed(failure);
            }
            // Unlike SQLite's, this end of the transaction may have to wait for a network.
            let outcome = match timeout(TURN_TIMEOUT, finish(tx, lease)).await {
                Ok(finished) => finished.unwrap_or_else(Outcome::failed),
                Err(elapsed) => Outcome::failed(elapsed.into()),
            };
            if let Outcome::Committed = outcome {
                session.end();
            }
            return outcome;
        }
    }
}

/// Begins the transaction of a handler, if its lease was not lost. The look at the lease and the savepoint
/// are one message, since a message and its answer cost more than the statements do. The numbers in it
/// are the inbox's own.
async fn begin_held(
    session: &mut Session,
    Lease { id, token }: Lease,
) -> Result<Option<Transaction<'_, Postgres>>, BoxError> {
    let mut tx = session.begin(BEGIN_LONG).await?;
    // Without a lock, so that the lease can be renewed while the handler runs.
    let look = format!(
        "SELECT EXISTS (SELECT 1 FROM ptolemy_inbox
                        WHERE id = {id} AND lease_token = {token} AND state || '' = 'running'),
                current_setting('transaction_read_only')::bool;
         SAVEPOINT ptolemy_inbox"
    );
    // All of it, since what comes after the row may be an error.
    let rows = sqlx::raw_sql(AssertSqlSafe(look))
        .fetch_all(&mut *tx)
        .await?;
    let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    let (held, read_only): (bool, bool) = (row.try_get(0)?, row.try_get(1)?);
    if read_only {
        // Any write fails, and says so as one of the handler's would, which would count.
        sqlx::raw_sql("SELECT id FROM ptolemy_inbox LIMIT 0 FOR UPDATE")
            .execute(&mut *tx)
            .await?;
    }
    Ok(held.then_some(tx))
}

/// Ends the transaction of a handler, unless its lease was lost.
async fn finish(
    mut tx: Transaction<'_, Postgres>,
    Lease { id, token }: Lease,
) -> Result<Outcome, Failure> {
    // One message, which sets what `PostgresSteps::settle` sets for an event that is done. It fails if the
    // handler's transaction is no more, or has failed.
    let end = format!(
        "{END_OF_HANDLER};
         UPDATE ptolemy_inbox
         SET state = 'done', finished_at = clock_timestamp(), lease_until = NULL, last_error = NULL,
             malformed = FALSE, written_at = now(), crash_group = NULL, queue = 'again',
             postponed = FALSE
         WHERE id = {id} AND lease_token = {token} AND state || '' = 'running'
         RETURNING id;
         UPDATE ptolemy_inbox SET waits_for = NULL WHERE waits_for = {id}"
    );
    let ended = sqlx::raw_sql(AssertSqlSafe(end))
        .fetch_all(&mut *tx)
        .await?;
    if ended.is_empty() {
        return Ok(Outcome::Lost);
    }
    tx.commit().await?;
    Ok(Outcome::Committed)
}
