//! The transaction of a handler.

use std::sync::Arc;

use sqlx::postgres::PgConnection;
use sqlx::{Postgres, Transaction};
use tokio::time::{Instant, timeout, timeout_at};

use super::floors::Floors;
use super::session::{Session, is_broken};
use super::{BEGIN_LONG, END_OF_HANDLER, PostgresSteps, PostgresStore};
use crate::error::BoxError;
use crate::failure::Failure;
use crate::outcome::Outcome;
use crate::store::steps::Steps as _;
use crate::store::{BoxFuture, TURN_TIMEOUT};
use crate::turn::{Lease, Verdict};

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
            let mut tx =
                match timeout_at(give_up, begin_held(&mut session, lease, self.named)).await {
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
            let outcome = match timeout(TURN_TIMEOUT, finish(tx, lease, self.named)).await {
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

/// Begins the transaction of a handler, if its lease was not lost.
async fn begin_held(
    session: &mut Session,
    Lease { id, token }: Lease,
    named: bool,
) -> Result<Option<Transaction<'_, Postgres>>, BoxError> {
    let mut tx = session.begin(BEGIN_LONG).await?;
    // Without a lock, so that the lease can be renewed while the handler runs.
    let (held, read_only): (bool, bool) = sqlx::query_as(
        "SELECT EXISTS (SELECT 1 FROM ptolemy_inbox
                        WHERE id = $1 AND lease_token = $2 AND state || '' = 'running'),
                current_setting('transaction_read_only')::bool",
    )
    .persistent(named)
    .bind(id)
    .bind(token)
    .fetch_one(&mut *tx)
    .await?;
    if read_only {
        // Any write fails, and says so as one of the handler's would, which would count.
        sqlx::raw_sql("SELECT id FROM ptolemy_inbox LIMIT 0 FOR UPDATE")
            .execute(&mut *tx)
            .await?;
    }
    sqlx::raw_sql("SAVEPOINT ptolemy_inbox")
        .execute(&mut *tx)
        .await?;
    Ok(held.then_some(tx))
}

/// Ends the transaction of a handler, unless its lease was lost.
async fn finish(
    mut tx: Transaction<'_, Postgres>,
    lease: Lease,
    named: bool,
) -> Result<Outcome, Failure> {
    // It fails if the handler's transaction is no more, or has failed.
    sqlx::raw_sql(END_OF_HANDLER).execute(&mut *tx).await?;
    let done = [(lease, Verdict::Done)];
    let lost = PostgresSteps::new(&mut tx, named, Floors::NONE)
        .settle(&done)
        .await;
    if !lost.map_err(Failure::retry)?.is_empty() {
        return Ok(Outcome::Lost);
    }
    tx.commit().await?;
    Ok(Outcome::Committed)
}
