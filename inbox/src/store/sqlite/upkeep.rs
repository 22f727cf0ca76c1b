//! Counts, the removal of old done rows, and the settings that all processes share.

use std::time::Duration;

use sqlx::sqlite::SqliteConnection;
use time::OffsetDateTime;

use super::{SqliteStore, clock};
use crate::error::BoxError;
use crate::event_order::EventOrder;
use crate::stats::Stats;
use crate::store::{HAS_SETTINGS, PRUNE_INTERVAL, Pruning, ROWS_PER_CALL, SETTINGS_GONE};

impl SqliteStore {
    pub(super) async fn count(&self) -> Result<Stats, BoxError> {
        let mut tx = self.pool.begin().await?;
        let now = self.now(&mut tx).await?;
        let counts = sqlx::query_as(
            // No index has `postponed`, so the rows of retrying and postponed events are read,
            // once.
            "SELECT (SELECT count(*) FROM ptolemy_inbox INDEXED BY ptolemy_inbox_ready
                     WHERE state = 'waiting' AND waits_for IS NULL
                       AND queue IN ('first', 'again', 'suspect') AND run_at <= ?1),
                    later.retrying, later.postponed,
                    (SELECT count(*) FROM ptolemy_inbox INDEXED BY ptolemy_inbox_waits_for
                        WHERE waits_for IS NOT NULL),
                    (SELECT count(*) FROM ptolemy_inbox INDEXED BY ptolemy_inbox_running
                     WHERE state = 'running'),
                    (SELECT count(*) FROM ptolemy_inbox INDEXED BY ptolemy_inbox_dead
                        WHERE state = 'dead'),
                    (SELECT count(*) FROM ptolemy_inbox INDEXED BY ptolemy_inbox_malformed
                        WHERE state = 'dead' AND malformed)
             FROM (SELECT count(*) FILTER (WHERE NOT postponed) AS retrying,
                          count(*) FILTER (WHERE postponed) AS postponed
                   FROM ptolemy_inbox INDEXED BY ptolemy_inbox_ready
                   WHERE state = 'waiting' AND waits_for IS NULL
                     AND queue IN ('first', 'again', 'suspect') AND run_at > ?1) AS later",
        )
        .bind(clock::text(now))
        .fetch_one(&mut *tx)
        .await?;
        // The front of each queue separately, which is what the index is for.
        let oldest: Option<String> = sqlx::query_scalar(
            // A time that a person wrote may have another form, or none that can be read; then its
            // event runs next.
            "SELECT min(strftime('%Y-%m-%dT%H:%M:%fZ', run_at)) FROM (
                 SELECT min(run_at) AS run_at FROM ptolemy_inbox INDEXED BY ptolemy_inbox_ready
                 WHERE state = 'waiting' AND waits_for IS NULL AND queue = 'first'
                 UNION ALL
                 SELECT min(run_at) FROM ptolemy_inbox INDEXED BY ptolemy_inbox_ready
                 WHERE state = 'waiting' AND waits_for IS NULL AND queue = 'again'
                 UNION ALL
                 SELECT min(run_at) FROM ptolemy_inbox INDEXED BY ptolemy_inbox_ready
                 WHERE state = 'waiting' AND waits_for IS NULL AND queue = 'suspect')
             WHERE run_at <= ?",
        )
        .bind(clock::text(now))
        .fetch_one(&mut *tx)
        .await?;
        let oldest = oldest.and_then(|oldest| clock::parse(&oldest).ok());
        Stats::new(counts, oldest.map(|oldest| now - oldest))
    }

    pub(super) async fn prune_some(&self, older_than: Duration) -> Result<u64, BoxError> {
        let mut writer = self.writer().await?;
        let mut tx = writer.begin().await?;
        let _now = self.now(&mut tx).await?;
        let pruned = prune(&mut tx, self.clock.ages(), older_than).await?;
        tx.commit().await?;
        Ok(pruned)
    }

    pub(super) async fn prune_as_one(
        &self,
        older_than: Duration,
        turn: Pruning,
    ) -> Result<Option<u64>, BoxError> {
        let mut writer = self.writer().await?;
        let mut tx = writer.begin().await?;
        let now = self.now(&mut tx).await?;
        // The write lock keeps every other worker out, so it is enough to look.
        let due: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM ptolemy_inbox_settings
                            WHERE prune_at <= ? OR prune_at > ?)",
        )
        .bind(clock::text(now))
        // It was written while the clock was ahead.
        .bind(clock::text(clock::after(now, 2 * PRUNE_INTERVAL)))
        .fetch_one(&mut *tx)
        .await?;
        if turn == Pruning::Begins && !due {
            let exists = sqlx::query_scalar(HAS_SETTINGS);
            return Pruning::not_now(exists.fetch_one(&mut *tx).await?);
        }
        let pruned = prune(&mut tx, self.clock.ages(), older_than).await?;
        sqlx::query("UPDATE ptolemy_inbox_settings SET prune_at = ?")
            .bind(clock::text(clock::after(now, Pruning::pause_after(pruned))))
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(Some(pruned))
    }

    pub(super) async fn read_order(&self) -> Result<EventOrder, BoxError> {
        let mut connection = self.pool.acquire().await?;
        Ok(stored_order(&mut connection).await?.unwrap_or_default())
    }

    pub(super) async fn write_order(
        &self,
        order: EventOrder,
    ) -> Result<Option<EventOrder>, BoxError> {
        let mut writer = self.writer().await?;
        let mut tx = writer.begin().await?;
        let before = stored_order(&mut tx).await?;
        if before == Some(order) {
            make_commit_sync(&mut tx).await?;
        } else {
            let written = sqlx::query("UPDATE ptolemy_inbox_settings SET event_order = ?")
                .bind(order.as_str())
                .execute(&mut *tx)
                .await?;
            if written.rows_affected() == 0 {
                return Err(SETTINGS_GONE.into());
            }
            if order == EventOrder::AsDue {
                sqlx::query(
                    "UPDATE ptolemy_inbox INDEXED BY ptolemy_inbox_waits_for
                         SET waits_for = NULL WHERE waits_for IS NOT NULL",
                )
                .execute(&mut *tx)
                .await?;
            }
        }
        tx.commit().await?;
        Ok(before)
    }
}

/// Makes the commit of a transaction that has nothing to write sync the file.
///
/// The rows that it has read may not be synced: SQLite shows them even if their writer was killed
/// between writing and syncing. A commit that writes syncs the whole log, including what other
/// processes wrote to it. SQLite does not write a row that does not change, so a number is
/// incremented.
pub(super) async fn make_commit_sync(connection: &mut SqliteConnection) -> Result<(), BoxError> {
    let written = sqlx::query("UPDATE ptolemy_inbox_settings SET commits = commits + 1")
        .execute(connection)
        .await?;
    match written.rows_affected() {
        0 => Err(SETTINGS_GONE.into()),
        _ => Ok(()),
    }
}

/// The order in the settings; `None` if it was never set.
pub(super) async fn stored_order(
    connection: &mut SqliteConnection,
) -> Result<Option<EventOrder>, BoxError> {
    let order: Option<String> =
        sqlx::query_scalar("SELECT (SELECT event_order FROM ptolemy_inbox_settings)")
            .fetch_one(connection)
            .await?;
    order.map(|order| EventOrder::read(&order)).transpose()
}

async fn prune(
    connection: &mut SqliteConnection,
    now: OffsetDateTime,
    older_than: Duration,
) -> Result<u64, BoxError> {
    let bound = clock::text(clock::before(now, older_than));
    let pruned = sqlx::query(
        "DELETE FROM ptolemy_inbox
         WHERE id IN (SELECT id FROM ptolemy_inbox INDEXED BY ptolemy_inbox_done
                      WHERE state = 'done' AND finished_at < ? ORDER BY finished_at LIMIT ?)",
    )
    .bind(&bound)
    .bind(ROWS_PER_CALL)
    .execute(&mut *connection)
    .await?
    .rows_affected();
    if pruned > 0 {
        // A catch-up must not request removed events: they would be handled again.
        sqlx::query(
            "UPDATE ptolemy_inbox_settings SET pruned_to = max(coalesce(pruned_to, ?1), ?1)",
        )
        .bind(&bound)
        .execute(connection)
        .await?;
    }
    Ok(pruned)
}
