//! The transaction of a handler.

use std::sync::Arc;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Postgres, Transaction};
use tokio::time::{Instant, timeout, timeout_at};

use super::session::{CHECK_TIMEOUT, ReadOnly, Session, is_broken};
use super::steps::DONE;
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
        let _running = match self.gate.enter() {
            Ok(running) => running,
            Err(closed) => return Outcome::not_begun(closed),
        };
        let turn = match self.transactions.clone().acquire_owned().await {
            Ok(turn) => Arc::new(turn),
            Err(closed) => return Outcome::not_begun(closed),
        };
        let give_up = Instant::now() + TURN_TIMEOUT;
        let mut kept = self.kept.take(&self.pool);
        // Once more, on a new connection, if the first one breaks before the handler begins.
        let mut tries = 0..2;
        loop {
            let is_kept = kept.is_some();
            let (mut session, limit) = match kept.take() {
                // The connection was not pinged; this message serves as the ping.
                Some(session) => (session, give_up.min(Instant::now() + CHECK_TIMEOUT)),
                None => match timeout_at(give_up, self.session()).await {
                    Ok(Ok(session)) => (session, give_up),
                    Ok(Err(error)) => return Outcome::not_begun(error),
                    Err(elapsed) => return Outcome::not_begun(elapsed),
                },
            };
            session.keep_until_its_end(turn.clone());
            let again = |error: BoxError| {
                tracing::debug!(
                    error,
                    "a transaction could not begin; trying again on a new connection"
                );
                // What happened to one connection has happened to the others.
                self.kept.clear();
            };
            let tx = match timeout_at(limit, begin_held(&mut session, lease)).await {
                Ok(Ok(Begun::Held(tx))) => tx,
                Ok(Ok(Begun::Lost)) => return Outcome::Lost,
                Ok(Err(error)) if is_broken(&*error) && tries.next().is_some() => {
                    again(error);
                    continue;
                }
                Ok(Err(error)) => return Outcome::not_begun(error),
                Err(elapsed) if is_kept => {
                    again(elapsed.into());
                    continue;
                }
                Err(elapsed) => return Outcome::not_begun(elapsed),
            };
            let outcome = run(tx, lease, handler).await;
            if let Outcome::Committed = outcome {
                self.kept.put(session, &self.pool);
            }
            return outcome;
        }
    }
}

/// Calls the handler, and ends its transaction.
async fn run<F>(mut tx: Transaction<'_, Postgres>, lease: Lease, handler: F) -> Outcome
where
    F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<(), Failure>>,
{
    if let Err(failure) = handler(&mut tx).await {
        return Outcome::failed(failure);
    }
    // Unlike on SQLite, the end of this transaction may wait for the network.
    match timeout(TURN_TIMEOUT, finish(tx, lease)).await {
        Ok(finished) => finished.unwrap_or_else(Outcome::failed),
        Err(elapsed) => Outcome::failed(elapsed.into()),
    }
}

/// The transaction of a handler, or `Lost` without one.
enum Begun<'c> {
    Held(Transaction<'c, Postgres>),
    Lost,
}

/// Errors of the message that begins a handler's transaction: the lease was lost, and the server
/// may not write. The driver ignores the rows of that message but returns its errors, so each of
/// these is a text that the server fails to parse as a number.
const LOST: &str = "ptolemy_inbox: the lease of this event was lost";
const READ_ONLY: &str = "ptolemy_inbox: the transaction is read-only";

/// Begins the transaction of a handler, if its lease was not lost. The begin, the check of the
/// lease and the savepoint are one message, since a round trip costs more than the statements do.
/// The numbers in it are the inbox's own.
async fn begin_held(
    session: &mut Session,
    Lease { id, token }: Lease,
) -> Result<Begun<'_>, BoxError> {
    // Without a lock, so that the lease can be renewed while the handler runs. In a read-only
    // transaction every write fails; an error from one of the handler's writes would count as an
    // attempt. Each text contains the result of a function, since constants are evaluated before
    // the case is decided.
    let begin = format!(
        "{BEGIN_LONG};
         SELECT CASE WHEN current_setting('transaction_read_only')::bool
                THEN ('{READ_ONLY}' || current_setting('transaction_read_only'))::int
                WHEN NOT EXISTS (SELECT 1 FROM ptolemy_inbox
                                 WHERE id = {id} AND lease_token = {token}
                                   AND state || '' = 'running')
                THEN ('{LOST}: {id} ' || current_setting('transaction_read_only'))::int END;
         SAVEPOINT ptolemy_inbox"
    );
    let error = match session.begin(AssertSqlSafe(begin)).await {
        Ok(tx) => return Ok(Begun::Held(tx)),
        Err(error) => error,
    };
    let says = |text: &str| match &error {
        sqlx::Error::Database(error) => error.message().contains(text),
        _ => false,
    };
    if says(LOST) {
        return Ok(Begun::Lost);
    }
    Err(if says(READ_ONLY) {
        ReadOnly.into()
    } else {
        error.into()
    })
}

/// Ends the transaction of a handler, unless its lease was lost.
async fn finish(
    mut tx: Transaction<'_, Postgres>,
    Lease { id, token }: Lease,
) -> Result<Outcome, Failure> {
    // One message, which fails if the handler's transaction has ended or failed.
    let end = format!(
        "{END_OF_HANDLER};
         UPDATE ptolemy_inbox SET {DONE}
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
