//! The steps of a turn: one statement for all rows, since each statement is a network round trip;
//! with locks that skip the rows of others, since there are many writers; and with the database's
//! clock.

use std::collections::HashSet;
use std::time::Duration;

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Row as _};
use time::OffsetDateTime;

use super::floors::Floors;
use super::{ORDER_LOCK, column};
use crate::error::BoxError;
use crate::event_order::EventOrder;
use crate::store::attempts;
use crate::store::choice::{Due, Rotation, fronts, unnamed};
use crate::store::steps::{MAX_AHEAD, MENDED_PER_STEP, RUNNING_PER_TURN, Steps, Terms};
use crate::turn::{Claim, Lease, Queue, Running, Stamped, Verdict, WorkerId};

/// The columns that are set for an event that is done, by a turn and by the transaction of its
/// handler.
pub(super) const DONE: &str = "
    state = 'done', finished_at = clock_timestamp(), lease_until = NULL, last_error = NULL,
    malformed = FALSE, written_at = now(), crash_group = NULL, queue = 'again', postponed = FALSE";

pub(super) struct PostgresSteps<'t> {
    tx: &'t mut PgConnection,
    /// Whether statements are prepared by name; see `PostgresStore`.
    named: bool,
    /// Where the queues begin.
    pub(super) floors: Floors,
    /// Where the next look beside the pages begins.
    pub(super) rotation: Rotation,
}

impl<'t> PostgresSteps<'t> {
    pub(super) fn new(
        tx: &'t mut PgConnection,
        named: bool,
        floors: Floors,
        rotation: Rotation,
    ) -> Self {
        Self {
            tx,
            named,
            floors,
            rotation,
        }
    }
}

impl Steps for PostgresSteps<'_> {
    type Time = OffsetDateTime;

    async fn settle(&mut self, verdicts: &[(Lease, Verdict)]) -> Result<Vec<Lease>, BoxError> {
        let is_done = |(_, verdict): &&(Lease, Verdict)| *verdict == Verdict::Done;
        let (done, others): (Vec<_>, Vec<_>) = verdicts.iter().partition(is_done);
        let mut settled = HashSet::new();
        if !done.is_empty() {
            settled.extend(self.settle_done(&done).await?);
        }
        if !others.is_empty() {
            settled.extend(self.settle_others(&others).await?);
        }
        let settled = |lease: &Lease| settled.contains(&lease.id);
        let ended = verdicts.iter().filter(|(_, verdict)| verdict.is_end());
        let ended: Vec<i64> = ended
            .filter(|(lease, _)| settled(lease))
            .map(|(lease, _)| lease.id)
            .collect();
        self.release(ended).await?;
        let leases = verdicts.iter().map(|(lease, _)| *lease);
        Ok(leases.filter(|lease| !settled(lease)).collect())
    }

    async fn renew(&mut self, leases: &[Lease], lease: Duration) -> Result<Vec<Lease>, BoxError> {
        let renewed: Vec<i64> = sqlx::query_scalar(
            "UPDATE ptolemy_inbox AS inbox
             SET renewed_at = clock_timestamp(),
                 lease_until = clock_timestamp() + make_interval(secs => $3)
             FROM unnest($1::bigint[], $2::bigint[]) AS held (id, token)
             WHERE inbox.id = held.id AND inbox.lease_token = held.token
               AND inbox.state || '' = 'running'
             RETURNING inbox.id",
        )
        .persistent(self.named)
        .bind(column(leases, |lease| lease.id))
        .bind(column(leases, |lease| lease.token))
        .bind(lease.as_secs_f64())
        .fetch_all(&mut *self.tx)
        .await?;
        let mut held: HashSet<i64> = renewed.into_iter().collect();
        if held.len() < leases.len() {
            held.extend(self.done_of(leases).await?);
        }
        let lost = leases.iter().filter(|lease| !held.contains(&lease.id));
        Ok(lost.copied().collect())
    }

    async fn mend_times(&mut self) -> Result<u64, BoxError> {
        sqlx::query(
            "UPDATE ptolemy_inbox
             SET renewed_at = now(),
                 lease_until = now() + CASE WHEN isfinite(lease_until) AND isfinite(renewed_at)
                     THEN CASE WHEN lease_until - renewed_at BETWEEN interval '0' AND interval '366 d'
                               THEN lease_until - renewed_at ELSE interval '0' END
                     ELSE interval '0' END
             WHERE id IN (SELECT id FROM ptolemy_inbox
                          WHERE state <> 'done' AND state = 'running'
                            AND renewed_at > now() + make_interval(secs => $1)
                          FOR UPDATE SKIP LOCKED)",
        )
        .persistent(self.named)
        .bind(MAX_AHEAD.as_secs_f64())
        .execute(&mut *self.tx)
        .await?;
        let mended = sqlx::query(
            "UPDATE ptolemy_inbox SET run_at = now(), written_at = now()
             WHERE id IN (WITH ahead AS MATERIALIZED (
                              -- From the index alone, for which the lock is taken apart.
                              SELECT id FROM ptolemy_inbox
                              WHERE state = 'waiting' AND waits_for IS NULL
                                AND queue IN ('first', 'again', 'suspect') AND run_at > now()
                                AND written_at > now() + make_interval(secs => $1)
                              LIMIT $2)
                          SELECT id FROM ptolemy_inbox WHERE id IN (SELECT id FROM ahead)
                          FOR UPDATE SKIP LOCKED)",
        )
        .persistent(self.named)
        .bind(MAX_AHEAD.as_secs_f64())
        .bind(MENDED_PER_STEP)
        .execute(&mut *self.tx)
        .await?;
        Ok(mended.rows_affected())
    }

    async fn running(&mut self) -> Result<Vec<Running>, BoxError> {
        sqlx::query(
            "SELECT id, lease_token, least(greatest(renewed_at, 'epoch'), '9999-12-31'),
                    -- No worker writes a longer one.
                    CASE WHEN isfinite(lease_until) AND isfinite(renewed_at)
                         THEN CASE WHEN lease_until - renewed_at <= interval '366 d'
                                   THEN extract(epoch FROM lease_until - renewed_at) ELSE 0 END
                         ELSE 0 END::float8,
                    lease_worker, attempts, crash_group, coalesce(lease_until < now(), TRUE),
                    dedup_key, event_type,
                    least(greatest(started_at, 'epoch'), '9999-12-31')
             FROM ptolemy_inbox WHERE state <> 'done' AND state = 'running'
             ORDER BY lease_until LIMIT $1",
        )
        .persistent(self.named)
        .bind(RUNNING_PER_TURN)
        .fetch_all(&mut *self.tx)
        .await?
        .iter()
        .map(running_of)
        .collect()
    }

    /// A row that is locked by others is alive: they are settling or renewing it, or are frozen.
    async fn hold(&mut self, leases: &[Lease], expired: bool) -> Result<Vec<Lease>, BoxError> {
        let held: Vec<(i64, i64)> = sqlx::query_as(
            "SELECT inbox.id, inbox.lease_token FROM ptolemy_inbox AS inbox
             JOIN unnest($1::bigint[], $2::bigint[]) AS held (id, token)
               ON inbox.id = held.id AND inbox.lease_token = held.token
             WHERE inbox.state || '' = 'running'
               AND (NOT $3 OR coalesce(inbox.lease_until < now(), TRUE))
             ORDER BY inbox.id FOR UPDATE OF inbox SKIP LOCKED",
        )
        .persistent(self.named)
        .bind(column(leases, |lease| lease.id))
        .bind(column(leases, |lease| lease.token))
        .bind(expired)
        .fetch_all(&mut *self.tx)
        .await?;
        let held = held.into_iter();
        Ok(held.map(|(id, token)| Lease { id, token }).collect())
    }

    async fn suspects(&mut self, rows: usize) -> Result<Vec<u32>, BoxError> {
        let groups: Vec<i32> = sqlx::query_scalar(
            "SELECT coalesce(crash_group, 1) FROM ptolemy_inbox
             WHERE state = 'waiting' AND waits_for IS NULL AND queue = 'suspect'
               AND run_at <= now()
             ORDER BY run_at, id LIMIT $1",
        )
        .persistent(self.named)
        .bind(i64::try_from(rows)?)
        .fetch_all(&mut *self.tx)
        .await?;
        let groups = groups.into_iter();
        Ok(groups
            .map(|group| u32::try_from(group).unwrap_or(1))
            .collect())
    }

    /// Both queues in one statement.
    async fn due(&mut self, queues: [Queue; 2], rows: usize) -> Result<[Vec<i64>; 2], BoxError> {
        let floors = queues.map(|queue| self.floors.of(queue));
        let due: Vec<(i64, OffsetDateTime, i32)> = sqlx::query_as(
            "WITH first AS MATERIALIZED (
                 SELECT id, run_at FROM ptolemy_inbox
                 WHERE state = 'waiting' AND waits_for IS NULL AND queue = $1
                   AND run_at <= now() AND (run_at, id) >= ($2, $6)
                 ORDER BY run_at, id LIMIT $5 FOR UPDATE SKIP LOCKED),
             second AS MATERIALIZED (
                 SELECT id, run_at FROM ptolemy_inbox
                 WHERE $1 <> $3 AND state = 'waiting' AND waits_for IS NULL AND queue = $3
                   AND run_at <= now() AND (run_at, id) >= ($4, $7)
                 ORDER BY run_at, id LIMIT $5 FOR UPDATE SKIP LOCKED)
             SELECT id, run_at, 0 AS of FROM first
             UNION ALL SELECT id, run_at, 1 FROM second
             UNION ALL SELECT 0, now(), 2
             ORDER BY of, run_at, id",
        )
        .persistent(self.named)
        .bind(queues[0].as_str())
        .bind(floors[0].0)
        .bind(queues[1].as_str())
        .bind(floors[1].0)
        .bind(i64::try_from(rows)?)
        .bind(floors[0].1)
        .bind(floors[1].1)
        .fetch_all(&mut *self.tx)
        .await?;
        let now = due.last().map(|(_, now, _)| *now);
        let mut ids = [Vec::new(), Vec::new()];
        for (of, (queue, ids)) in (0..).zip(queues.into_iter().zip(&mut ids)) {
            let mut rows = due.iter().filter(|(.., queue)| *queue == of).peekable();
            let front = rows.peek().map(|(id, run_at, _)| (*run_at, *id));
            if let Some(now) = now {
                self.floors.raise(queue, front, now);
            }
            ids.extend(rows.map(|(id, ..)| *id));
        }
        Ok(ids)
    }

    /// Only one worker at a time may choose in order: another would not see the events that this
    /// one takes. Workers that choose as due exclude it but not each other, in case the order has
    /// just changed. A turn does not wait for the lock, since its settled results and renewed
    /// leases must not wait either.
    async fn order(&mut self) -> Result<Option<EventOrder>, BoxError> {
        let (order, locked): (String, bool) = sqlx::query_as(
            "SELECT event_order, CASE event_order
                                 WHEN 'by_resource' THEN pg_try_advisory_xact_lock($1)
                                 ELSE pg_try_advisory_xact_lock_shared($1) END
             FROM (SELECT coalesce((SELECT event_order FROM ptolemy_inbox_settings), 'as_due'))
                  AS stored (event_order)",
        )
        .persistent(self.named)
        .bind(ORDER_LOCK)
        .fetch_one(&mut *self.tx)
        .await?;
        Ok(locked.then_some(EventOrder::read(&order)?))
    }

    async fn page(
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

    async fn aside(&mut self, rows: i64) -> Result<Vec<Due<OffsetDateTime>>, BoxError> {
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

    async fn mark(&mut self, waiting: &[(i64, i64)]) -> Result<(), BoxError> {
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

    async fn claim(&mut self, ids: &[i64], terms: Terms) -> Result<Vec<Claim>, BoxError> {
        let group = |others| {
            let group = terms.group_after(others);
            group.map(|group| i32::try_from(group).unwrap_or(i32::MAX))
        };
        let groups: Vec<_> = (0..ids.len()).map(group).collect();
        let mut claims = sqlx::query(
            "WITH free AS MATERIALIZED (
                 SELECT id FROM ptolemy_inbox
                 WHERE id = ANY($1)
                   -- Not by an index of states: it has far more rows, which the planner may not know.
                   AND state || '' = 'waiting' AND waits_for IS NULL AND run_at <= now()
                 FOR UPDATE SKIP LOCKED)
             UPDATE ptolemy_inbox AS inbox
             SET state = 'running', started_at = clock_timestamp(),
                 renewed_at = clock_timestamp(),
                 lease_until = clock_timestamp() + make_interval(secs => $2),
                 lease_worker = $3, crash_group = taken.crash_group,
                 -- Whatever the row holds, it must not fail the statement, which is for all rows.
                 attempts = least(greatest(attempts, 0), 2147483646) + 1,
                 lease_token = CASE lease_token WHEN 9223372036854775807 THEN 1
                                                ELSE lease_token + 1 END
             FROM free JOIN unnest($1::bigint[], $4::int[]) AS taken (id, crash_group) USING (id)
             WHERE inbox.id = free.id
             RETURNING inbox.id, lease_token, dedup_key, attempts,
                       least(greatest(received_at, 'epoch'), '9999-12-31'), started_at, body,
                       event_type, source",
        ).persistent(self.named)
        .bind(ids)
        .bind(terms.lease.as_secs_f64())
        .bind(terms.worker.number())
        .bind(groups)
        .fetch_all(&mut *self.tx)
        .await?
        .iter()
        .map(claim_of)
        .collect::<Result<Vec<_>, BoxError>>()?;
        claims.sort_by_key(|claim| claim.lease.id);
        Ok(claims)
    }
}

impl PostgresSteps<'_> {
    /// Ends the leases of events that are done; returns the ids of those that were not lost before.
    async fn settle_done(&mut self, done: &[&(Lease, Verdict)]) -> Result<Vec<i64>, BoxError> {
        // By the primary key, here and below: entries of events that ran stay in the index of
        // states until a vacuum.
        let settle = format!(
            "UPDATE ptolemy_inbox AS inbox SET {DONE}
             FROM unnest($1::bigint[], $2::bigint[]) AS done (id, token)
             WHERE inbox.id = done.id AND inbox.lease_token = done.token
               AND inbox.state || '' = 'running'
             RETURNING inbox.id"
        );
        Ok(sqlx::query_scalar(AssertSqlSafe(settle))
            .persistent(self.named)
            .bind(column(done, |(lease, _)| lease.id))
            .bind(column(done, |(lease, _)| lease.token))
            .fetch_all(&mut *self.tx)
            .await?)
    }

    /// Same as `settle_done`, for events that are not done.
    async fn settle_others(&mut self, others: &[&(Lease, Verdict)]) -> Result<Vec<i64>, BoxError> {
        Ok(sqlx::query_scalar(
            "UPDATE ptolemy_inbox AS inbox
             SET state = settled.state,
                 run_at = coalesce(now() + make_interval(secs => settled.delay), run_at),
                 finished_at = CASE WHEN settled.is_end THEN clock_timestamp() END,
                 lease_until = NULL,
                 last_error = coalesce(settled.error, last_error),
                 malformed = settled.malformed,
                 attempts = CASE WHEN settled.counts THEN attempts
                                 ELSE greatest(attempts, 1) - 1 END,
                 written_at = now(),
                 crash_group = CASE WHEN settled.queue IS NULL THEN inbox.crash_group
                                    ELSE settled.crash_group END,
                 queue = coalesce(settled.queue, inbox.queue),
                 postponed = settled.postponed
             FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::float8[], $5::bool[],
                         $6::text[], $7::bool[], $8::bool[], $9::text[], $10::int[], $11::bool[])
                  AS settled (id, token, state, delay, is_end, error, malformed, counts, queue,
                              crash_group, postponed)
             WHERE inbox.id = settled.id AND inbox.lease_token = settled.token
               AND inbox.state || '' = 'running'
             RETURNING inbox.id",
        )
        .persistent(self.named)
        .bind(column(others, |(lease, _)| lease.id))
        .bind(column(others, |(lease, _)| lease.token))
        .bind(column(others, |(_, verdict)| verdict.state().as_str()))
        .bind(column(others, |(_, verdict)| {
            Some(verdict.delay()?.as_secs_f64())
        }))
        .bind(column(others, |(_, verdict)| verdict.is_end()))
        .bind(column(others, |(_, verdict)| verdict.error()))
        .bind(column(others, |(_, verdict)| verdict.is_malformed()))
        .bind(column(others, |(_, verdict)| verdict.counts()))
        .bind(column(others, |(_, verdict)| {
            verdict.queue().map(Queue::as_str)
        }))
        .bind(column(others, |(_, verdict)| {
            verdict
                .group()
                .map(|group| i32::try_from(group).unwrap_or(i32::MAX))
        }))
        .bind(column(others, |(_, verdict)| verdict.is_postponed()))
        .fetch_all(&mut *self.tx)
        .await?)
    }

    /// Releases the events that wait for one of these.
    async fn release(&mut self, ended: Vec<i64>) -> Result<(), BoxError> {
        if !ended.is_empty() {
            // A separate statement: it must see events that have begun to wait for these rows since
            // they were locked.
            sqlx::query("UPDATE ptolemy_inbox SET waits_for = NULL WHERE waits_for = ANY($1)")
                .persistent(self.named)
                .bind(ended)
                .execute(&mut *self.tx)
                .await?;
        }
        Ok(())
    }

    /// Returns those that a handler's own transaction has ended, and whose tasks end soon. A
    /// separate statement, since the previous one may have waited for that transaction.
    async fn done_of(&mut self, leases: &[Lease]) -> Result<Vec<i64>, BoxError> {
        Ok(sqlx::query_scalar(
            "SELECT inbox.id FROM ptolemy_inbox AS inbox
             JOIN unnest($1::bigint[], $2::bigint[]) AS held (id, token)
               ON inbox.id = held.id AND inbox.lease_token = held.token
             WHERE inbox.state = 'done'",
        )
        .persistent(self.named)
        .bind(column(leases, |lease| lease.id))
        .bind(column(leases, |lease| lease.token))
        .fetch_all(&mut *self.tx)
        .await?)
    }
}

fn running_of(row: &PgRow) -> Result<Running, BoxError> {
    let (id, token) = (row.try_get(0)?, row.try_get(1)?);
    let length = Duration::try_from_secs_f64(row.try_get(3)?);
    let group: Option<i32> = row.try_get(6)?;
    Ok(Running {
        stamped: Stamped {
            lease: Lease { id, token },
            renewed_at: row.try_get(2)?,
        },
        length: length.unwrap_or_default(),
        worker: row.try_get::<Option<i64>, _>(4)?.map(WorkerId::read),
        attempts: attempts(row.try_get::<i32, _>(5)?.into()),
        group: group.map(|group| u32::try_from(group).unwrap_or(1)),
        started_at: row.try_get(10)?,
        is_expired: row.try_get(7)?,
        key: row.try_get(8)?,
        event_type: row.try_get(9)?,
    })
}

fn claim_of(row: &PgRow) -> Result<Claim, BoxError> {
    let (id, token) = (row.try_get(0)?, row.try_get(1)?);
    Ok(Claim {
        lease: Lease { id, token },
        key: row.try_get(2)?,
        attempts: attempts(row.try_get::<i32, _>(3)?.into()),
        received_at: row.try_get(4)?,
        started_at: row.try_get(5)?,
        body: row.try_get::<Vec<u8>, _>(6)?.into(),
        event_type: row.try_get(7)?,
        source: row.try_get(8)?,
    })
}
