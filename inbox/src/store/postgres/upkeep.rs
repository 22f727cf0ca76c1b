//! Counts of what is not done, and the removal of what was done long ago.

use std::time::Duration;

use super::PostgresStore;
use crate::error::BoxError;
use crate::stats::Stats;
use crate::store::ROWS_PER_CALL;

/// Nothing in the table is older, and PostgreSQL can subtract it from the time.
const MAX_AGE: Duration = Duration::from_secs(100 * 366 * 24 * 60 * 60);

impl PostgresStore {
    pub(super) async fn count(&self) -> Result<Stats, BoxError> {
        let counts: Vec<(String, i64)> = sqlx::query_as(
            // One by one, so that the index is used also before the table was analyzed; SQLite
            // plans without statistics.
            "SELECT state, (SELECT count(*) FROM ptolemy_inbox AS inbox
                            WHERE inbox.state <> 'done' AND inbox.state = counted.state)
             FROM (VALUES ('waiting'), ('running'), ('dead')) AS counted (state)",
        )
        .fetch_all(&self.pool)
        .await?;
        let oldest: Option<f64> = sqlx::query_scalar(
            "SELECT extract(epoch FROM now() - received_at)::float8 FROM ptolemy_inbox
             WHERE state <> 'done' AND state = 'waiting' ORDER BY id LIMIT 1",
        )
        .fetch_optional(&self.pool)
        .await?;
        let malformed: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM ptolemy_inbox WHERE state = 'dead' AND malformed",
        )
        .fetch_one(&self.pool)
        .await?;
        Stats::new(&counts, malformed, oldest.map(time::Duration::seconds_f64))
    }

    pub(super) async fn prune_some(&self, older_than: Duration) -> Result<u64, BoxError> {
        let mut tx = self.begin().await?;
        let pruned = sqlx::query(
            "DELETE FROM ptolemy_inbox
             WHERE id IN (SELECT id FROM ptolemy_inbox
                          WHERE state = 'done' AND finished_at < now() - make_interval(secs => $1)
                          ORDER BY finished_at LIMIT $2 FOR UPDATE SKIP LOCKED)",
        )
        .bind(older_than.min(MAX_AGE).as_secs_f64())
        .bind(ROWS_PER_CALL)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(pruned.rows_affected())
    }
}
