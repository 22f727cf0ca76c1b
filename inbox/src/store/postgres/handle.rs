//! The transaction of a handler.

use sqlx::postgres::PgConnection;
use sqlx::{Postgres, Transaction};
use tokio::time::timeout;

use super::floors::Floors;
use super::{BEGIN, PostgresSteps, PostgresStore};
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
        let _turn = match self.transactions.acquire().await {
            Ok(turn) => turn,
            Err(closed) => return Outcome::NotBegun(closed.into()),
        };
        let mut tx = match timeout(TURN_TIMEOUT, self.begin_held(lease)).await {
            Ok(Ok(Some(tx))) => tx,
            Ok(Ok(None)) => return Outcome::Lost,
            Ok(Err(error)) => return Outcome::NotBegun(error),
            Err(elapsed) => return Outcome::NotBegun(elapsed.into()),
        };
        if let Err(failure) = handler(&mut tx).await {
            return Outcome::Failed(failure);
        }
        let finish = async {
            // It fails if the handler's transaction is no more, or has failed.
            sqlx::query("RELEASE SAVEPOINT ptolemy_inbox")
                .execute(&mut *tx)
                .await?;
            let done = [(lease, Verdict::Done)];
            let lost = PostgresSteps::new(&mut tx, Floors::NONE)
                .settle(&done)
                .await;
            if !lost.map_err(Failure::retry)?.is_empty() {
                return Ok(Outcome::Lost);
            }
            tx.commit().await?;
            Ok(Outcome::Committed)
        };
        // Unlike SQLite's, this end of the transaction may have to wait for a network.
        match timeout(TURN_TIMEOUT, finish).await {
            Ok(finished) => finished.unwrap_or_else(Outcome::Failed),
            Err(elapsed) => Outcome::Failed(elapsed.into()),
        }
    }

    /// Begins the transaction of a handler, if its lease was not lost.
    async fn begin_held(
        &self,
        Lease { id, token }: Lease,
    ) -> Result<Option<Transaction<'static, Postgres>>, BoxError> {
        let mut tx = self.pool.begin_with(BEGIN).await?;
        // Without a lock, so that the lease can be renewed while the handler runs.
        let held: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM ptolemy_inbox
                            WHERE id = $1 AND lease_token = $2 AND state = 'running')",
        )
        .bind(id)
        .bind(token)
        .fetch_one(&mut *tx)
        .await?;
        sqlx::query("SAVEPOINT ptolemy_inbox")
            .execute(&mut *tx)
            .await?;
        Ok(held.then_some(tx))
    }
}
