//! The transaction of a handler.

use sqlx::sqlite::SqliteConnection;
use sqlx::{Sqlite, Transaction};

use super::clock::Seen;
use super::steps::settle_done;
use super::{SqliteStore, Writer};
use crate::error::BoxError;
use crate::failure::Failure;
use crate::outcome::Outcome;
use crate::store::BoxFuture;
use crate::turn::Lease;

impl SqliteStore {
    /// Handles an event, and marks it as done, in one transaction.
    ///
    /// There is no limit on waiting for the write lock, since the previous handler has none here
    /// either.
    pub(crate) async fn handle<F>(&self, lease: Lease, handler: F) -> Outcome
    where
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<(), Failure>>,
    {
        let _running = match self.gate.enter() {
            Ok(running) => running,
            Err(closed) => return Outcome::not_begun(closed),
        };
        let mut writer = match self.writer().await {
            Ok(writer) => writer,
            Err(error) => return Outcome::not_begun(error),
        };
        // The inbox may have been closed while this waited for another handler.
        if let Err(closed) = self.gate.check() {
            return Outcome::not_begun(closed);
        }
        if let Err(lost) = self.watch.check() {
            return Outcome::not_begun(lost);
        }
        let mut tx = match begin_held(&mut writer, lease).await {
            Ok(Some(begun)) => begun,
            Ok(None) => return Outcome::Lost,
            Err(error) => return Outcome::not_begun(error),
        };
        let handled = async {
            handler(&mut tx).await?;
            // The turn that took this event has read the times in the table, and the clock of this
            // process does not go back.
            let now = self.clock.now(Seen::default());
            // Fails if the handler's transaction has ended, for example because SQLite has ended it
            // by itself.
            if !settle_done(&mut tx, "RELEASE ptolemy_inbox;", lease, now).await? {
                return Ok(Outcome::Lost);
            }
            tx.commit().await?;
            Ok(Outcome::Committed)
        };
        handled.await.unwrap_or_else(Outcome::failed)
    }
}

/// Begins the transaction of a handler, if its lease was not lost.
///
/// A call for each statement would cost more than the statements do, since SQLite runs in a
/// separate thread.
async fn begin_held<'a>(
    writer: &'a mut Writer<'_>,
    Lease { id, token }: Lease,
) -> Result<Option<Transaction<'a, Sqlite>>, BoxError> {
    let mut tx = writer.begin().await?;
    let begin = "SELECT EXISTS (SELECT 1 FROM ptolemy_inbox
                                WHERE id = ? AND lease_token = ? AND state = 'running');
                 SAVEPOINT ptolemy_inbox";
    let held: bool = sqlx::query_scalar(begin)
        .bind(id)
        .bind(token)
        .fetch_all(&mut *tx)
        .await?
        .first()
        .copied()
        .ok_or(sqlx::Error::RowNotFound)?;
    Ok(held.then_some(tx))
}
