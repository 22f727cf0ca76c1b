//! Counts of what is not done, and the removal of what was done long ago.

use std::time::Duration;

use super::{SqliteStore, clock};
use crate::error::BoxError;
use crate::stats::Stats;
use crate::store::ROWS_PER_CALL;

impl SqliteStore {
    pub(super) async fn count(&self) -> Result<Stats, BoxError> {
        let mut connection = self.pool.acquire().await?;
        let now = self.now(&mut connection).await?;
        let counts: Vec<(String, i64)> = sqlx::query_as(
            "SELECT state, count(*) FROM ptolemy_inbox WHERE state <> 'done' GROUP BY state",
        )
        .fetch_all(&mut *connection)
        .await?;
        let oldest: Option<String> = sqlx::query_scalar(
            "SELECT received_at FROM ptolemy_inbox WHERE state <> 'done' AND state = 'waiting'
             ORDER BY id LIMIT 1",
        )
        .fetch_optional(&mut *connection)
        .await?;
        let oldest = oldest.map(|oldest| clock::parse(&oldest)).transpose()?;
        let malformed: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM ptolemy_inbox WHERE state = 'dead' AND malformed",
        )
        .fetch_one(&mut *connection)
        .await?;
        Stats::new(&counts, malformed, oldest.map(|oldest| now - oldest))
    }

    pub(super) async fn prune_some(&self, older_than: Duration) -> Result<u64, BoxError> {
        let mut writer = self.writer().await?;
        let mut tx = writer.begin().await?;
        let before = clock::before(self.now(&mut tx).await?, older_than);
        let pruned = sqlx::query(
            "DELETE FROM ptolemy_inbox
             WHERE id IN (SELECT id FROM ptolemy_inbox
                          WHERE state = 'done' AND finished_at < ? ORDER BY finished_at LIMIT ?)",
        )
        .bind(clock::text(before))
        .bind(ROWS_PER_CALL)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(pruned.rows_affected())
    }
}
