//! The transaction of a handler.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Postgres, Transaction};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::session::{CHECK_TIMEOUT, Session, TRY_AGAIN_FOR, is_broken};
use super::{BEGIN, BEGIN_SHORT, END_OF_HANDLER, PostgresStore};
use crate::accepted::EventState;
use crate::error::BoxError;
use crate::failure::Failure;
use crate::outcome::Outcome;
use crate::store::{BoxFuture, TURN_TIMEOUT};
use crate::turn::Lease;

/// How long to wait before a transaction whose end is unknown is looked for again.
const PAUSE_BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// How a handler's transaction ended.
enum End {
    Committed,
    /// The connection broke, or did not answer, after the commit was sent.
    Unknown(Failure),
    Other(Outcome),
}

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
            // The inbox may have been closed while this waited for other handlers, or the pool.
            if let Err(closed) = self.gate.check() {
                return Outcome::not_begun(closed);
            }
            let again = |error: BoxError| {
                tracing::debug!(
                    error,
                    "a transaction could not begin; trying again on a new connection"
                );
                // What happened to one connection has happened to the others.
                self.kept.clear();
            };
            let tx = match timeout_at(limit, self.begin_held(&mut session, lease)).await {
                Ok(Ok(tx)) => tx,
                Ok(Err(error)) if is_lost(&error) => return Outcome::Lost,
                Ok(Err(error)) if is_broken(&error) && tries.next().is_some() => {
                    again(error.into());
                    continue;
                }
                Ok(Err(error)) => return Outcome::not_begun(error),
                Err(elapsed) if is_kept => {
                    again(elapsed.into());
                    continue;
                }
                Err(elapsed) => return Outcome::not_begun(elapsed),
            };
            return match self.run(tx, lease, handler).await {
                End::Committed => {
                    self.kept.put(session, &self.pool);
                    Outcome::Committed
                }
                End::Unknown(failure) => {
                    // Others may need its place, and so may the look.
                    session.abandon();
                    if self.is_committed(lease).await {
                        Outcome::Committed
                    } else {
                        Outcome::failed(failure)
                    }
                }
                End::Other(outcome) => outcome,
            };
        }
    }

    /// Calls the handler, and ends its transaction.
    async fn run<F>(&self, mut tx: Transaction<'_, Postgres>, lease: Lease, handler: F) -> End
    where
        F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<(), Failure>>,
    {
        if let Err(failure) = handler(&mut tx).await {
            return End::Other(Outcome::failed(failure));
        }
        // Unlike on SQLite, the end of this transaction may wait for the network.
        match timeout(TURN_TIMEOUT, self.finish(tx, lease)).await {
            Ok(Ok(())) => End::Committed,
            Ok(Err(error)) if is_lost(&error) => End::Other(Outcome::Lost),
            Ok(Err(error)) if is_broken(&error) => End::Unknown(error.into()),
            Ok(Err(error)) => End::Other(Outcome::failed(error.into())),
            Err(elapsed) => End::Unknown(elapsed.into()),
        }
    }

    /// Whether a transaction whose commit had no answer was committed. `false` if that cannot be
    /// found out; then the attempt counts as failed, and if it was committed after all, the next
    /// turn finds the event done.
    async fn is_committed(&self, lease: Lease) -> bool {
        let look = async {
            let mut session = self.session().await?;
            let give_up = Instant::now() + CHECK_TIMEOUT;
            loop {
                let mut tx = session.begin(BEGIN_SHORT).await?;
                // It waits while the server works on the commit.
                let state: Option<String> = sqlx::query_scalar(
                    "SELECT state FROM ptolemy_inbox WHERE id = $1 AND lease_token = $2 FOR SHARE",
                )
                .persistent(self.named)
                .bind(lease.id)
                .bind(lease.token)
                .fetch_optional(&mut *tx)
                .await?;
                tx.rollback().await?;
                let is = |wanted: EventState| state.as_deref() == Some(wanted.as_str());
                // While it runs, the server may not have read the message yet.
                if !is(EventState::Running) || Instant::now() >= give_up {
                    session.end();
                    return Ok::<_, BoxError>(is(EventState::Done));
                }
                sleep(PAUSE_BETWEEN_LOOKS).await;
            }
        };
        matches!(timeout(TRY_AGAIN_FOR, look).await, Ok(Ok(true)))
    }

    /// Begins the transaction of a handler, if its lease was not lost. The begin and the check are
    /// one message, since a round trip costs more than they do.
    ///
    /// In a read-only transaction every write fails; an error from one of the handler's writes
    /// would count as an attempt. So the check fails there too.
    async fn begin_held<'s>(
        &self,
        session: &'s mut Session,
        lease: Lease,
    ) -> Result<Transaction<'s, Postgres>, sqlx::Error> {
        let check = self.call("ptolemy_inbox_begin", lease);
        session
            .begin(AssertSqlSafe(format!("{BEGIN}; {check}")))
            .await
    }

    /// Ends the transaction of a handler, unless its lease was lost.
    ///
    /// In one message, after which the connection is in a new and empty transaction: the driver
    /// commits only in a separate message, but a rollback waits for the next message. Not behind a
    /// pooler, which would keep a process of the server for that transaction.
    async fn finish(
        &self,
        mut tx: Transaction<'_, Postgres>,
        lease: Lease,
    ) -> Result<(), sqlx::Error> {
        // The limits of the role are meant for the handler's statements.
        let end = format!(
            "{END_OF_HANDLER}; {}",
            self.call("ptolemy_inbox_end", lease)
        );
        if !self.named {
            sqlx::raw_sql(AssertSqlSafe(end)).execute(&mut *tx).await?;
            return tx.commit().await;
        }
        let end = format!("{end}; COMMIT AND CHAIN");
        sqlx::raw_sql(AssertSqlSafe(end)).execute(&mut *tx).await?;
        drop(tx);
        Ok(())
    }

    /// Calls a function of the inbox. The server has quoted the schema, and the numbers are the
    /// inbox's own. They have the types of the arguments, since a function for other types could
    /// fit better.
    fn call(&self, function: &str, Lease { id, token }: Lease) -> String {
        let schema = &self.schema;
        format!("SELECT {schema}.{function}({id}::BIGINT, {token}::BIGINT)")
    }
}

/// The code of the error that the functions of the inbox raise if the lease was lost
/// (`migrations/postgres`).
const LOST: &str = "PI001";

fn is_lost(error: &sqlx::Error) -> bool {
    let error = error.as_database_error();
    error.and_then(|error| error.code()).as_deref() == Some(LOST)
}

#[cfg(test)]
mod tests {
    use crate::store::postgres::steps::{DONE, RELEASED};

    #[test]
    fn an_event_is_done_in_the_same_way_in_a_turn_and_in_a_transaction() {
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let tables = include_str!("../../../migrations/postgres/functions.sql");
        for set in [DONE, RELEASED] {
            let update = format!("UPDATE {{schema}}.ptolemy_inbox SET {} WHERE", words(set));
            assert!(words(tables).contains(&update), "{update}");
        }
    }
}
