//! Counts, the removal of what was done long ago, and the settings that all processes share.

use std::time::Duration;

use sqlx::postgres::PgConnection;

use super::{BEGIN_SHORT, ORDER_LOCK, PostgresStore};
use crate::error::BoxError;
use crate::event_order::EventOrder;
use crate::stats::Stats;
use crate::store::{Pruning, ROWS_PER_CALL};

/// Nothing in the table is older, and PostgreSQL can subtract it from the time.
const MAX_AGE: Duration = Duration::from_secs(100 * 366 * 24 * 60 * 60);

impl PostgresStore {
    pub(super) async fn count(&self) -> Result<Stats, BoxError> {
        let mut session = self.session().await?;
        let mut tx = session.begin(BEGIN_SHORT).await?;
        let counts: Vec<(String, i64)> = sqlx::query_as(
            // One by one, so that the index is used also before the table was analyzed; SQLite
            // plans without statistics.
            "SELECT state, (SELECT count(*) FROM ptolemy_inbox AS inbox
                            WHERE inbox.state <> 'done' AND inbox.state = counted.state)
             FROM (VALUES ('waiting'), ('running'), ('dead')) AS counted (state)",
        )
        .persistent(self.named)
        .fetch_all(&mut *tx)
        .await?;
        let oldest: Option<f64> = sqlx::query_scalar(
            "SELECT extract(epoch FROM now() - received_at)::float8 FROM ptolemy_inbox
             WHERE state <> 'done' AND state = 'waiting' ORDER BY id LIMIT 1",
        )
        .persistent(self.named)
        .fetch_optional(&mut *tx)
        .await?;
        let malformed: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM ptolemy_inbox WHERE state = 'dead' AND malformed",
        )
        .persistent(self.named)
        .fetch_one(&mut *tx)
        .await?;
        tx.commit().await?;
        session.end();
        Stats::new(&counts, malformed, oldest.map(time::Duration::seconds_f64))
    }

    pub(super) async fn prune_some(&self, older_than: Duration) -> Result<u64, BoxError> {
        let mut session = self.session().await?;
        let mut tx = session.begin(BEGIN_SHORT).await?;
        let pruned = prune(&mut tx, older_than, self.named).await?;
        tx.commit().await?;
        session.end();
        Ok(pruned)
    }

    pub(super) async fn prune_as_one(
        &self,
        older_than: Duration,
        turn: Pruning,
    ) -> Result<Option<u64>, BoxError> {
        let mut session = self.session().await?;
        let mut tx = session.begin(BEGIN_SHORT).await?;
        // The row is locked until the end: another worker finds it locked, or the time moved.
        let row: Option<bool> = sqlx::query_scalar(
            "SELECT prune_at <= now() FROM ptolemy_inbox_settings FOR UPDATE SKIP LOCKED",
        )
        .persistent(self.named)
        .fetch_optional(&mut *tx)
        .await?;
        let Some(due) = row else {
            return Ok(None);
        };
        if turn == Pruning::Begins && !due {
            return Ok(None);
        }
        let pruned = prune(&mut tx, older_than, self.named).await?;
        sqlx::query(
            "UPDATE ptolemy_inbox_settings SET prune_at = now() + make_interval(secs => $1)",
        )
        .persistent(self.named)
        .bind(Pruning::pause_after(pruned).as_secs_f64())
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        session.end();
        Ok(Some(pruned))
    }

    pub(super) async fn read_order(&self) -> Result<EventOrder, BoxError> {
        let mut session = self.session().await?;
        let mut tx = session.begin(BEGIN_SHORT).await?;
        let order = stored_order(&mut tx, self.named).await?.unwrap_or_default();
        tx.commit().await?;
        session.end();
        Ok(order)
    }

    pub(super) async fn write_order(
        &self,
        order: EventOrder,
    ) -> Result<Option<EventOrder>, BoxError> {
        let mut session = self.session().await?;
        let mut tx = session.begin(BEGIN_SHORT).await?;
        // No worker chooses meanwhile, so that none has read the old order and takes events by it
        // while another one takes them by the new one.
        sqlx::query("SELECT pg_advisory_xact_lock($1)")
            .persistent(self.named)
            .bind(ORDER_LOCK)
            .execute(&mut *tx)
            .await?;
        let before = stored_order(&mut tx, self.named).await?;
        if before != Some(order) {
            sqlx::query("UPDATE ptolemy_inbox_settings SET event_order = $1")
                .persistent(self.named)
                .bind(order.as_str())
                .execute(&mut *tx)
                .await?;
            if order == EventOrder::AsDue {
                sqlx::query(
                    "UPDATE ptolemy_inbox SET waits_for = NULL WHERE waits_for IS NOT NULL",
                )
                .persistent(self.named)
                .execute(&mut *tx)
                .await?;
            }
        }
        tx.commit().await?;
        session.end();
        Ok(before)
    }
}

/// The order in the settings; `None` if it was never set.
async fn stored_order(
    connection: &mut PgConnection,
    named: bool,
) -> Result<Option<EventOrder>, BoxError> {
    let order: Option<String> =
        sqlx::query_scalar("SELECT (SELECT event_order FROM ptolemy_inbox_settings)")
            .persistent(named)
            .fetch_one(connection)
            .await?;
    order.map(|order| EventOrder::read(&order)).transpose()
}

async fn prune(
    connection: &mut PgConnection,
    older_than: Duration,
    named: bool,
) -> Result<u64, BoxError> {
    let pruned = sqlx::query(
        "DELETE FROM ptolemy_inbox
         WHERE id IN (SELECT id FROM ptolemy_inbox
                      WHERE state = 'done' AND finished_at < now() - make_interval(secs => $1)
                      ORDER BY finished_at LIMIT $2 FOR UPDATE SKIP LOCKED)",
    )
    .persistent(named)
    .bind(older_than.min(MAX_AGE).as_secs_f64())
    .bind(ROWS_PER_CALL)
    .execute(connection)
    .await?;
    Ok(pruned.rows_affected())
}
