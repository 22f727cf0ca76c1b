//! Counts of the events that are not done.

#[cfg(test)]
mod plans;

use sqlx::PgConnection;

use super::PostgresStore;
use crate::error::BoxError;
use crate::stats::Stats;

/// All counts are of one moment, and come from indexes even before the table was analyzed: done
/// rows, which may be many more, are not read. Compiling the statements takes seconds, which a
/// count does not gain back.
const BEGIN_COUNT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
     SET LOCAL idle_in_transaction_session_timeout = '15s';
     SET LOCAL lock_timeout = 0;
     SET LOCAL statement_timeout = '30s';
     SET LOCAL enable_seqscan = off;
     SET LOCAL jit = off";

/// After a vacuum, these read indexes alone.
const COUNTS: &str = "SELECT
    (SELECT count(*) FROM ptolemy_inbox
     WHERE state = 'waiting' AND waits_for IS NULL
       AND queue IN ('first', 'again', 'suspect') AND run_at <= now()),
    (SELECT count(*) FROM ptolemy_inbox WHERE waits_for IS NOT NULL),
    (SELECT count(*) FROM ptolemy_inbox WHERE state = 'running'),
    (SELECT count(*) FROM ptolemy_inbox WHERE state = 'dead'),
    (SELECT count(*) FROM ptolemy_inbox WHERE state = 'dead' AND malformed)";

/// The front of each queue separately, which is what the index is for.
const OLDEST: &str = "SELECT extract(epoch FROM now() - min(greatest(front, 'epoch')))::float8
    FROM (VALUES ('first'), ('again'), ('suspect')) AS of (queue),
         LATERAL (SELECT min(run_at) FROM ptolemy_inbox AS inbox
                  WHERE state = 'waiting' AND waits_for IS NULL
                    AND inbox.queue = of.queue) AS oldest (front)
    WHERE front <= now()";

/// Retrying and postponed events. No index has `postponed`, so their rows are read: once, and with
/// `read_by_page` in the order of their pages instead of the order of their times.
const LATER: &str =
    "SELECT count(*) FILTER (WHERE NOT postponed), count(*) FILTER (WHERE postponed)
    FROM ptolemy_inbox
    WHERE state = 'waiting' AND waits_for IS NULL
      AND queue IN ('first', 'again', 'suspect') AND run_at > now()";

/// Sets how `LATER` is run.
async fn read_by_page(tx: &mut PgConnection) -> Result<(), sqlx::Error> {
    let settings = "SET LOCAL enable_indexscan = off; SET LOCAL enable_bitmapscan = on";
    sqlx::raw_sql(settings).execute(tx).await.map(drop)
}

impl PostgresStore {
    pub(super) async fn count(&self) -> Result<Stats, BoxError> {
        let mut session = self.session().await?;
        let mut tx = session.begin(BEGIN_COUNT).await?;
        let (due, blocked, running, dead, malformed) = sqlx::query_as(COUNTS)
            .persistent(self.named)
            .fetch_one(&mut *tx)
            .await?;
        let oldest: Option<f64> = sqlx::query_scalar(OLDEST)
            .persistent(self.named)
            .fetch_one(&mut *tx)
            .await?;
        read_by_page(&mut tx).await?;
        let (retrying, postponed) = sqlx::query_as(LATER)
            .persistent(self.named)
            .fetch_one(&mut *tx)
            .await?;
        tx.commit().await?;
        session.end();
        let counts = (due, retrying, postponed, blocked, running, dead, malformed);
        Stats::new(counts, oldest.map(time::Duration::seconds_f64))
    }
}
