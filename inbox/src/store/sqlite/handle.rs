//! The transaction of a handler.

use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Row as _, Sqlite, Transaction};

use super::clock::{self, Seen};
use super::steps::settle_done;
use super::{LATEST_TIMES, SqliteStore, Writer, seen};
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
        if let Err(lost) = self.watch.check() {
            return Outcome::not_begun(lost);
        }
        let limit = clock::text(self.clock.limit());
        let (mut tx, seen) = match begin_held(&mut writer, lease, &limit).await {
            Ok(Some(begun)) => begun,
            Ok(None) => return Outcome::Lost,
            Err(error) => return Outcome::not_begun(error),
        };
        let handled = async {
            handler(&mut tx).await?;
            // No other writer has added a later time meanwhile.
            let now = self.clock.now(seen);
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

/// Begins the transaction of a handler, if its lease was not lost; with the latest times in the
/// table.
///
/// A call for each statement would cost more than the statements do, since SQLite runs in a
/// separate thread.
async fn begin_held<'a>(
    writer: &'a mut Writer<'_>,
    Lease { id, token }: Lease,
    limit: &str,
) -> Result<Option<(Transaction<'a, Sqlite>, Seen)>, BoxError> {
    let mut tx = writer.begin().await?;
    let begin = format!(
        "SELECT EXISTS (SELECT 1 FROM ptolemy_inbox
                        WHERE id = ? AND lease_token = ? AND state = 'running'), latest.*
         FROM ({LATEST_TIMES}) AS latest;
         SAVEPOINT ptolemy_inbox"
    );
    let rows = sqlx::query(AssertSqlSafe(begin))
        .bind(id)
        .bind(token)
        .bind(limit)
        .bind(limit)
        .fetch_all(&mut *tx)
        .await?;
    let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    let held: bool = row.try_get(0)?;
    let seen = seen(row.try_get(1)?, row.try_get(2)?);
    Ok(held.then_some((tx, seen)))
}
