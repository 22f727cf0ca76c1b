//! The transaction of a handler.

use sqlx::sqlite::SqliteConnection;
use sqlx::{Sqlite, Transaction};

use super::{SqliteSteps, SqliteStore, Writer};
use crate::error::BoxError;
use crate::failure::Failure;
use crate::outcome::Outcome;
use crate::store::BoxFuture;
use crate::store::steps::Steps as _;
use crate::turn::{Lease, Verdict};

impl SqliteStore {
    /// Handles an event, and marks it as done, in one transaction.
    ///
    /// Waiting for the write lock has no limit: the handler before may take as long as it likes.
    pub(crate) async fn handle<F>(&self, lease: Lease, handler: F) -> Outcome
    where
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<(), Failure>>,
    {
        let mut writer = match self.writer().await {
            Ok(writer) => writer,
            Err(error) => return Outcome::not_begun(error),
        };
        if let Err(lost) = self.watch.check() {
            return Outcome::not_begun(lost);
        }
        let mut tx = match begin_held(&mut writer, lease).await {
            Ok(Some(tx)) => tx,
            Ok(None) => return Outcome::Lost,
            Err(error) => return Outcome::not_begun(error),
        };
        let handled = async {
            handler(&mut tx).await?;
            // It fails if the handler's transaction is no more: SQLite may have ended it by itself.
            sqlx::query("RELEASE ptolemy_inbox")
                .execute(&mut *tx)
                .await?;
            let now = self.now(&mut tx).await.map_err(Failure::retry)?;
            let done = [(lease, Verdict::Done)];
            let lost = SqliteSteps::new(&mut tx, now).settle(&done).await;
            if !lost.map_err(Failure::retry)?.is_empty() {
                return Ok(Outcome::Lost);
            }
            tx.commit().await?;
            Ok(Outcome::Committed)
        };
        handled.await.unwrap_or_else(Outcome::failed)
    }
}

/// Begins the transaction of a handler, if its lease was not lost.
async fn begin_held<'a>(
    writer: &'a mut Writer<'_>,
    Lease { id, token }: Lease,
) -> Result<Option<Transaction<'a, Sqlite>>, BoxError> {
    let mut tx = writer.begin().await?;
    let held: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM ptolemy_inbox
                        WHERE id = ? AND lease_token = ? AND state = 'running')",
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
