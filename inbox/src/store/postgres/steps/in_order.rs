//! The looks of a turn that takes events in order by resource, and the marks of events that must
//! wait.

use std::collections::HashSet;

use time::OffsetDateTime;

use super::super::column;
use super::PostgresSteps;
use crate::error::BoxError;
use crate::store::choice::{Due, fronts, unnamed};
use crate::turn::Queue;

impl PostgresSteps<'_> {
    pub(super) async fn read_page(
        &mut self,
        queue: Queue,
        after: Option<&(OffsetDateTime, i64)>,
        rows: i64,
    ) -> Result<Vec<Due<OffsetDateTime>>, BoxError> {
        let (run_at, id) = after.copied().unwrap_or((OffsetDateTime::UNIX_EPOCH, 0));
        Ok(sqlx::query_as(
            // Running events are read once, since a resource may have very many events.
            "WITH running AS MATERIALIZED (
                 SELECT id, resource, resource_id FROM ptolemy_inbox
                 WHERE state <> 'done' AND state = 'running' AND resource_id IS NOT NULL)
             SELECT run_at, id, resource, resource_id, earlier,
                    earlier IS NULL AND EXISTS (
                        SELECT 1 FROM running AS l
                        WHERE l.resource = r.resource AND l.resource_id = r.resource_id
                          AND l.id > r.id)
             FROM (
                 SELECT run_at, id, resource, resource_id,
                        (SELECT max(e.id) FROM ptolemy_inbox AS e
                         WHERE e.resource = r.resource AND e.resource_id = r.resource_id
                           AND e.id < r.id AND e.finished_at IS NULL
                           AND e.resource_id IS NOT NULL) AS earlier
                 FROM ptolemy_inbox AS r
                 WHERE state = 'waiting' AND waits_for IS NULL AND queue = $4 AND run_at <= now()
                   AND (run_at, id) > ($1, $2)
                 ORDER BY run_at, id LIMIT $3) AS r
             ORDER BY run_at, id",
        )
        .persistent(self.named)
        .bind(run_at)
        .bind(id)
        .bind(rows)
        .bind(queue.as_str())
        .fetch_all(&mut *self.tx)
        .await?)
    }

    pub(super) async fn look_aside(
        &mut self,
        rows: i64,
    ) -> Result<Vec<Due<OffsetDateTime>>, BoxError> {
        let (kind, name) = self.rotation.clone().unwrap_or_default();
        let fronts_of = sqlx::query_as(
            "WITH RECURSIVE front AS (
                 (SELECT id, resource, resource_id FROM ptolemy_inbox
                  WHERE finished_at IS NULL AND resource_id IS NOT NULL
                    AND (resource, resource_id) > ($1, $2)
                  ORDER BY resource, resource_id, id LIMIT 1)
                 UNION ALL
                 SELECT next.* FROM front CROSS JOIN LATERAL (
                     SELECT id, resource, resource_id FROM ptolemy_inbox
                     WHERE finished_at IS NULL AND resource_id IS NOT NULL
                       AND (resource, resource_id) > (front.resource, front.resource_id)
                     ORDER BY resource, resource_id, id LIMIT 1) AS next),
             running AS MATERIALIZED (
                 SELECT id, resource, resource_id FROM ptolemy_inbox
                 WHERE state <> 'done' AND state = 'running' AND resource_id IS NOT NULL)
             SELECT run_at, r.id, r.resource, r.resource_id,
                    state || '' = 'waiting' AND waits_for IS NULL AND run_at <= now()
                        AND queue IN ('first', 'again'),
                    EXISTS (SELECT 1 FROM running AS l
                     WHERE l.resource = r.resource AND l.resource_id = r.resource_id AND l.id > r.id)
             FROM (SELECT id FROM front LIMIT $3) AS front JOIN ptolemy_inbox AS r USING (id)
             ORDER BY r.resource, r.resource_id",
        )
        .persistent(self.named)
        .bind(kind)
        .bind(name)
        .bind(rows)
        .fetch_all(&mut *self.tx)
        .await?;
        let mut aside = fronts(fronts_of, rows, &mut self.rotation);
        let last: Vec<(OffsetDateTime, i64)> = sqlx::query_as(
            "SELECT run_at, id FROM (
                 SELECT run_at, id, resource_id FROM ptolemy_inbox
                 WHERE state = 'waiting' AND waits_for IS NULL AND queue = 'first'
                   AND run_at <= now()
                 ORDER BY run_at DESC, id DESC LIMIT $1) AS last
             WHERE resource_id IS NULL",
        )
        .persistent(self.named)
        .bind(rows)
        .fetch_all(&mut *self.tx)
        .await?;
        aside.extend(last.into_iter().map(unnamed));
        Ok(aside)
    }

    pub(super) async fn mark_waiting(&mut self, waiting: &[(i64, i64)]) -> Result<(), BoxError> {
        // A transaction that is ending one of these holds its row, which is skipped this time; a
        // later one waits for this transaction, and then sees the marks.
        let held: HashSet<i64> = sqlx::query_scalar(
            "SELECT id FROM ptolemy_inbox
             WHERE id = ANY($1) AND state || '' IN ('waiting', 'running')
             FOR SHARE SKIP LOCKED",
        )
        .persistent(self.named)
        .bind(column(waiting, |(_, earlier)| *earlier))
        .fetch_all(&mut *self.tx)
        .await?
        .into_iter()
        .collect();
        let (ids, earlier): (Vec<i64>, Vec<i64>) = waiting
            .iter()
            .filter(|(_, earlier)| held.contains(earlier))
            .copied()
            .unzip();
        sqlx::query(
            "WITH free AS MATERIALIZED (
                 SELECT id FROM ptolemy_inbox WHERE id = ANY($1) AND state || '' = 'waiting'
                 FOR UPDATE SKIP LOCKED)
             UPDATE ptolemy_inbox AS inbox SET waits_for = mark.earlier
             FROM free JOIN unnest($1::bigint[], $2::bigint[]) AS mark (id, earlier) USING (id)
             WHERE inbox.id = free.id",
        )
        .persistent(self.named)
        .bind(ids)
        .bind(earlier)
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }
}
