//! The looks of a turn that takes events in order by resource, and the marks of events that must
//! wait.

#[cfg(test)]
mod plans;

use std::collections::HashSet;

use sqlx::Row as _;
use time::OffsetDateTime;

use super::super::column;
use super::super::floors::{BEGIN, Place};
use super::PostgresSteps;
use crate::error::BoxError;
use crate::store::choice::{Due, fronts, is_full, unnamed};
use crate::turn::Queue;

/// The events that run, by the floor in `$1` and `$2`. They are read once, since a resource may
/// have very many events. Without an end of the times the planner would expect a third of the
/// waiting events, and could read the table.
macro_rules! running {
    () => {
        "running AS MATERIALIZED (
             SELECT id, resource, resource_id, greatest(started_at, 'epoch') AS started_at
             FROM ptolemy_inbox
             WHERE state = 'running' AND resource_id IS NOT NULL
               AND greatest(started_at, 'epoch')
                   BETWEEN CASE WHEN now() >= $2 THEN $1 ELSE 'epoch' END AND 'infinity'),"
    };
}

/// A page of a queue: its rows from the floor on, and those before it that were released. Each row
/// has the floors too, also if there is none.
const PAGE: &str = concat!(
    "WITH ",
    running!(),
    "
     released AS MATERIALIZED (
         SELECT run_at, id, resource, resource_id, queue, released_at FROM ptolemy_inbox
         WHERE state = 'waiting' AND waits_for IS NULL AND released_at BETWEEN $9 AND 'infinity')
     SELECT now(), (SELECT least(min(started_at), now()) FROM running),
            (SELECT least(min(released_at), now()) FROM released),
            run_at, id, resource, resource_id, earlier,
            earlier IS NULL AND EXISTS (
                SELECT 1 FROM running AS l
                WHERE l.resource = r.resource AND l.resource_id = r.resource_id
                  AND l.id > r.id)
     FROM (SELECT) AS one
     LEFT JOIN (
         (SELECT run_at, id, resource, resource_id FROM ptolemy_inbox
          WHERE state = 'waiting' AND waits_for IS NULL AND queue = $6 AND run_at <= now()
            AND (run_at, id) > ($7, $8)
          ORDER BY run_at, id LIMIT $5)
         UNION ALL
         SELECT run_at, id, resource, resource_id FROM released
         WHERE queue = $6 AND run_at <= now()
           AND (run_at, id) > ($3, $4) AND (run_at, id) <= ($7, $8)
         ORDER BY run_at, id LIMIT $5) AS r ON TRUE
     LEFT JOIN LATERAL (
         SELECT max(e.id) FROM ptolemy_inbox AS e
         WHERE e.resource = r.resource AND e.resource_id = r.resource_id
           AND e.id < r.id AND e.finished_at IS NULL
           AND e.resource_id IS NOT NULL) AS e (earlier) ON TRUE
     ORDER BY run_at, id"
);

/// The first unfinished event of each of this many resources.
const ASIDE: &str = concat!(
    "WITH RECURSIVE ",
    running!(),
    "
     front AS (
         (SELECT id, resource, resource_id FROM ptolemy_inbox
          WHERE finished_at IS NULL AND resource_id IS NOT NULL
            AND (resource, resource_id) > ($3, $4)
          ORDER BY resource, resource_id, id LIMIT 1)
         UNION ALL
         SELECT next.* FROM front CROSS JOIN LATERAL (
             SELECT id, resource, resource_id FROM ptolemy_inbox
             WHERE finished_at IS NULL AND resource_id IS NOT NULL
               AND (resource, resource_id) > (front.resource, front.resource_id)
             ORDER BY resource, resource_id, id LIMIT 1) AS next)
     SELECT least(greatest(run_at, 'epoch'), '9999-12-31'), r.id, r.resource, r.resource_id,
            state || '' = 'waiting' AND waits_for IS NULL AND run_at <= now()
                AND queue IN ('first', 'again'),
            EXISTS (SELECT 1 FROM running AS l
             WHERE l.resource = r.resource AND l.resource_id = r.resource_id AND l.id > r.id)
     FROM (SELECT id FROM front LIMIT $5) AS front JOIN ptolemy_inbox AS r USING (id)
     ORDER BY r.resource, r.resource_id"
);

impl PostgresSteps<'_> {
    /// Also raises the floors.
    pub(super) async fn read_page(
        &mut self,
        queue: Queue,
        after: Option<&Place>,
        rows: i64,
    ) -> Result<Vec<Due<OffsetDateTime>>, BoxError> {
        let floor = self.floors.of(queue);
        let after_or_begin = after.copied().unwrap_or(BEGIN);
        // Just before the floor: the rows after it are read.
        let from = after_or_begin.max((floor.0, floor.1.saturating_sub(1)));
        let read = sqlx::query(PAGE)
            .persistent(self.named)
            .bind(self.floors.running().since)
            .bind(self.floors.running().seen_at)
            .bind(after_or_begin.0)
            .bind(after_or_begin.1)
            .bind(rows)
            .bind(queue.as_str())
            .bind(from.0)
            .bind(from.1)
            .bind(self.floors.released())
            .fetch_all(&mut *self.tx)
            .await?;
        let mut page = Vec::with_capacity(read.len());
        let mut seen = None;
        for row in &read {
            seen = Some((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?));
            // Without one there is a row too.
            if let Some(run_at) = row.try_get(3)? {
                page.push((
                    run_at,
                    row.try_get(4)?,
                    row.try_get(5)?,
                    row.try_get(6)?,
                    row.try_get(7)?,
                    row.try_get(8)?,
                ));
            }
        }
        if let Some((now, running, released)) = seen {
            self.floors.raise_in_order(now, running, released);
            let mut places = page.iter().map(|(run_at, id, ..): &Due<_>| (*run_at, *id));
            let front = places.find(|place| *place > from);
            // A page that is full of released events does not say where the queue begins.
            if after.is_none() && (front.is_some() || !is_full(&page, rows)) {
                self.floors.raise(queue, front, now);
            }
        }
        Ok(page)
    }

    pub(super) async fn look_aside(
        &mut self,
        rows: i64,
    ) -> Result<Vec<Due<OffsetDateTime>>, BoxError> {
        let (kind, name) = self.rotation.clone().unwrap_or_default();
        let fronts_of = sqlx::query_as(ASIDE)
            .persistent(self.named)
            .bind(self.floors.running().since)
            .bind(self.floors.running().seen_at)
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
                   AND run_at BETWEEN 'epoch' AND now()
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
        sqlx::query(concat!(
            "WITH free AS MATERIALIZED (
                 SELECT id FROM ptolemy_inbox
                 WHERE id = ANY($1) AND state || '' = 'waiting'
                   AND ",
            stored_order!(),
            " = $3
                 FOR UPDATE SKIP LOCKED)
             UPDATE ptolemy_inbox AS inbox SET waits_for = mark.earlier
             FROM free JOIN unnest($1::bigint[], $2::bigint[]) AS mark (id, earlier) USING (id)
             WHERE inbox.id = free.id"
        ))
        .persistent(self.named)
        .bind(ids)
        .bind(earlier)
        .bind(self.order.as_str())
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }
}
