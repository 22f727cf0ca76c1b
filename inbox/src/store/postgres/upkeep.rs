//! The removal of old done rows, and the settings that all processes share.

use std::time::Duration;

use sqlx::postgres::PgConnection;
use time::OffsetDateTime;

use super::session::commit_once;
use super::{BEGIN_SHORT, ORDER_LOCK, PostgresStore};
use crate::error::BoxError;
use crate::event_order::EventOrder;
use crate::store::{HAS_SETTINGS, PRUNE_INTERVAL, Pruning, ROWS_PER_CALL, SETTINGS_GONE};

/// No row is older, and PostgreSQL can subtract it from the current time.
const MAX_AGE: Duration = Duration::from_secs(100 * 366 * 24 * 60 * 60);

impl PostgresStore {
    pub(super) async fn prune_some(&self, older_than: Duration) -> Result<u64, BoxError> {
        let mut session = self.session().await?;
        let mut tx = session.begin(BEGIN_SHORT).await?;
        let pruned = prune(&mut tx, older_than, OffsetDateTime::now_utc(), self.named).await?;
        commit_once(tx).await?;
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
        // The row stays locked until the end: another worker finds it locked, or finds a later
        // time.
        let row: Option<bool> = sqlx::query_scalar(
            // One that is further ahead was written by a clock that was ahead.
            "SELECT prune_at <= now() OR prune_at > now() + make_interval(secs => $1)
             FROM ptolemy_inbox_settings FOR UPDATE SKIP LOCKED",
        )
        .persistent(self.named)
        .bind((2 * PRUNE_INTERVAL).as_secs_f64())
        .fetch_optional(&mut *tx)
        .await?;
        let Some(due) = row else {
            // Another worker has locked it, or it was removed.
            let exists = sqlx::query_scalar(HAS_SETTINGS).persistent(self.named);
            return Pruning::not_now(exists.fetch_one(&mut *tx).await?);
        };
        if turn == Pruning::Begins && !due {
            return Ok(None);
        }
        let pruned = prune(&mut tx, older_than, OffsetDateTime::now_utc(), self.named).await?;
        sqlx::query(
            "UPDATE ptolemy_inbox_settings SET prune_at = now() + make_interval(secs => $1)",
        )
        .persistent(self.named)
        .bind(Pruning::pause_after(pruned).as_secs_f64())
        .execute(&mut *tx)
        .await?;
        commit_once(tx).await?;
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
        // No worker chooses meanwhile; otherwise one could take events by the old order while
        // another takes them by the new one.
        sqlx::query("SELECT pg_advisory_xact_lock($1)")
            .persistent(self.named)
            .bind(ORDER_LOCK)
            .execute(&mut *tx)
            .await?;
        let before = stored_order(&mut tx, self.named).await?;
        // Even if it is set already: a commit that writes nothing would not wait until the first
        // one is durable.
        let written = sqlx::query("UPDATE ptolemy_inbox_settings SET event_order = $1")
            .persistent(self.named)
            .bind(order.as_str())
            .execute(&mut *tx)
            .await?;
        if written.rows_affected() == 0 {
            return Err(SETTINGS_GONE.into());
        }
        if before != Some(order) && order == EventOrder::AsDue {
            sqlx::query("UPDATE ptolemy_inbox SET waits_for = NULL WHERE waits_for IS NOT NULL")
                .persistent(self.named)
                .execute(&mut *tx)
                .await?;
        }
        commit_once(tx).await?;
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

/// Computes ages from the earlier of the server's clock and this host's, since a row that counts as
/// old is removed and its event forgotten.
async fn prune(
    connection: &mut PgConnection,
    older_than: Duration,
    host: OffsetDateTime,
    named: bool,
) -> Result<u64, BoxError> {
    let pruned: i64 = sqlx::query_scalar(
        // The removal is recorded, since a catch-up that requested these events would have them
        // handled again.
        "WITH removed AS
             (DELETE FROM ptolemy_inbox
              WHERE id IN (SELECT id FROM ptolemy_inbox
                           WHERE state = 'done'
                             AND finished_at < least(now(), $3) - make_interval(secs => $1)
                           ORDER BY finished_at LIMIT $2 FOR UPDATE SKIP LOCKED)
              RETURNING id),
         noted AS
             (UPDATE ptolemy_inbox_settings
              SET pruned_to = greatest(pruned_to, least(now(), $3) - make_interval(secs => $1))
              WHERE EXISTS (SELECT 1 FROM removed))
         SELECT count(*) FROM removed",
    )
    .persistent(named)
    .bind(older_than.min(MAX_AGE).as_secs_f64())
    .bind(ROWS_PER_CALL)
    .bind(host)
    .fetch_one(connection)
    .await?;
    Ok(u64::try_from(pruned).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use sqlx::Executor as _;

    use super::super::scratch::Scratch;
    use super::*;

    #[tokio::test]
    #[ignore = "needs postgres"]
    async fn pruning_fails_without_the_settings_and_not_if_another_worker_prunes() {
        let database = Scratch::create("unsettled").await;
        let store = PostgresStore::connect(&database.url).await.unwrap();
        let month = Duration::from_secs(30 * 24 * 60 * 60);
        let prune = async || store.prune_as_one(month, Pruning::Begins).await;
        let mut other = store.pool.begin().await.unwrap();
        let lock = "SELECT FROM ptolemy_inbox_settings FOR UPDATE";
        other.execute(lock).await.unwrap();
        assert_eq!(prune().await.unwrap(), None);
        let remove = "DELETE FROM ptolemy_inbox_settings";
        other.execute(remove).await.unwrap();
        other.commit().await.unwrap();
        assert_eq!(prune().await.unwrap_err().to_string(), SETTINGS_GONE);
        store.close().await;
        database.remove().await;
    }

    #[tokio::test]
    #[ignore = "needs postgres"]
    async fn rows_are_as_old_as_the_earlier_clock_says() {
        let server = std::env::var("PTOLEMY_INBOX_POSTGRES_URL").expect("a server's URL");
        let pool = sqlx::PgPool::connect(&server).await.unwrap();
        let mut tx = pool.begin().await.unwrap();
        sqlx::raw_sql(
            "CREATE TEMPORARY TABLE ptolemy_inbox_settings (pruned_to TIMESTAMPTZ);
             CREATE TEMPORARY TABLE ptolemy_inbox (id BIGINT, state TEXT, finished_at TIMESTAMPTZ);
             INSERT INTO ptolemy_inbox VALUES (1, 'done', now() - interval '40 days')",
        )
        .execute(&mut *tx)
        .await
        .unwrap();
        let (now, day) = (OffsetDateTime::now_utc(), Duration::from_secs(24 * 60 * 60));
        for (host, pruned) in [
            (now - 11 * day, 0),
            // The server's clock is the earlier one.
            (now + 3_650 * day, 1),
        ] {
            assert_eq!(prune(&mut tx, 30 * day, host, true).await.unwrap(), pruned);
        }
    }
}
