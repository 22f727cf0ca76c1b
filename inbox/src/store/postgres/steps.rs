//! The steps of a turn: one statement for all rows, since each statement is a network round trip;
//! with locks that skip the rows of others, since there are many writers; and with the database's
//! clock.

/// The order in the settings, as a value of SQL.
macro_rules! stored_order {
    () => {
        "coalesce((SELECT event_order FROM ptolemy_inbox_settings), 'as_due')"
    };
}

mod in_order;
mod leases;
#[cfg(test)]
mod reordered;
mod settling;

use std::time::Duration;

use sqlx::Row as _;
use sqlx::postgres::{PgConnection, PgRow};
use time::OffsetDateTime;

use super::floors::Floors;
use super::{ORDER_LOCK, SUSPECTS_LOCK};
use crate::error::BoxError;
use crate::event_order::EventOrder;
use crate::store::attempts;
use crate::store::choice::{Due, Rotation};
use crate::store::steps::{MAX_AHEAD, MENDED_PER_STEP, Steps, Terms};
use crate::turn::{Claim, Lease, Queue, Running, Verdict, WorkerId};

/// The columns that are set for an event that is done. The function `ptolemy_inbox_end` of the
/// database sets the same ones.
pub(super) const DONE: &str = "
    state = 'done', finished_at = clock_timestamp(), lease_until = NULL, last_error = NULL,
    malformed = FALSE, written_at = now(), crash_group = NULL, queue = 'again', postponed = FALSE";

/// The columns that are set for an event that waited for one that has ended.
/// `ptolemy_inbox_end` sets the same ones.
pub(super) const RELEASED: &str = "waits_for = NULL, released_at = clock_timestamp()";

pub(super) struct PostgresSteps<'t> {
    tx: &'t mut PgConnection,
    /// Whether statements are prepared by name; see `PostgresStore`.
    named: bool,
    /// Where the queues begin.
    pub(super) floors: Floors,
    /// Where the next look beside the pages begins.
    pub(super) rotation: Rotation,
    /// The order by which this turn chooses.
    order: EventOrder,
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
            order: EventOrder::default(),
        }
    }
}

impl Steps for PostgresSteps<'_> {
    type Time = OffsetDateTime;

    async fn settle(&mut self, verdicts: &[(Lease, Verdict)]) -> Result<Vec<Lease>, BoxError> {
        self.settle_all(verdicts).await
    }

    async fn renew(&mut self, leases: &[Lease], lease: Duration) -> Result<Vec<Lease>, BoxError> {
        self.renew_all(leases, lease).await
    }

    async fn running(&mut self) -> Result<Vec<Running>, BoxError> {
        self.read_running().await
    }

    async fn hold(&mut self, leases: &[Lease], expired: bool) -> Result<Vec<Lease>, BoxError> {
        self.hold_all(leases, expired).await
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
                          WHERE state = 'running'
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
                              (SELECT id FROM ptolemy_inbox
                               WHERE state = 'waiting' AND waits_for IS NULL
                                 AND queue IN ('first', 'again', 'suspect') AND run_at > now()
                                 AND written_at > now() + make_interval(secs => $1)
                               LIMIT $2)
                              UNION ALL
                              -- Written by a person, and before the beginning of each queue.
                              (SELECT id FROM ptolemy_inbox
                               WHERE state = 'waiting' AND waits_for IS NULL
                                 AND queue IN ('first', 'again', 'suspect') AND run_at < 'epoch'
                               LIMIT $2))
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

    async fn lock_suspects(&mut self, worker: WorkerId) -> Result<bool, BoxError> {
        Ok(
            sqlx::query_scalar("SELECT pg_try_advisory_xact_lock($1, $2)")
                .persistent(self.named)
                .bind(SUSPECTS_LOCK)
                .bind(i32::try_from(worker.process())?)
                .fetch_one(&mut *self.tx)
                .await?,
        )
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
    ///
    /// The order is read before the lock is taken, and may have changed in between. So each
    /// statement that acts on it asks again whether it is the same.
    async fn order(&mut self) -> Result<Option<EventOrder>, BoxError> {
        let (order, locked): (String, bool) = sqlx::query_as(concat!(
            "SELECT event_order, CASE event_order
                                 WHEN 'by_resource' THEN pg_try_advisory_xact_lock($1)
                                 ELSE pg_try_advisory_xact_lock_shared($1) END
             FROM (SELECT ",
            stored_order!(),
            ") AS stored (event_order)"
        ))
        .persistent(self.named)
        .bind(ORDER_LOCK)
        .fetch_one(&mut *self.tx)
        .await?;
        let order = EventOrder::read(&order)?;
        if locked {
            self.floors.keep_if(order);
            self.order = order;
        }
        Ok(locked.then_some(order))
    }

    async fn page(
        &mut self,
        queue: Queue,
        after: Option<&(OffsetDateTime, i64)>,
        rows: i64,
    ) -> Result<Vec<Due<OffsetDateTime>>, BoxError> {
        self.read_page(queue, after, rows).await
    }

    async fn aside(&mut self, rows: i64) -> Result<Vec<Due<OffsetDateTime>>, BoxError> {
        self.look_aside(rows).await
    }

    async fn mark(&mut self, waiting: &[(i64, i64)]) -> Result<(), BoxError> {
        self.mark_waiting(waiting).await
    }

    async fn claim(&mut self, ids: &[i64], terms: Terms) -> Result<Vec<Claim>, BoxError> {
        let group = |others| {
            let group = terms.group_after(others);
            group.map(|group| i32::try_from(group).unwrap_or(i32::MAX))
        };
        let groups: Vec<_> = (0..ids.len()).map(group).collect();
        let mut claims = sqlx::query(concat!(
            "WITH free AS MATERIALIZED (
                 SELECT id FROM ptolemy_inbox
                 WHERE id = ANY($1)
                   -- By id: the planner may not know how many rows an index of waiting events has.
                   AND state || '' = 'waiting' AND waits_for IS NULL AND run_at <= now()
                   AND ",
            stored_order!(),
            " = $5
                 FOR UPDATE SKIP LOCKED)
             UPDATE ptolemy_inbox AS inbox
             SET state = 'running', started_at = clock_timestamp(),
                 renewed_at = clock_timestamp(),
                 lease_until = clock_timestamp() + make_interval(secs => $2),
                 lease_worker = $3, crash_group = taken.crash_group, released_at = NULL,
                 -- Whatever the row holds, it must not fail the statement, which is for all rows.
                 attempts = least(greatest(attempts, 0), 2147483646) + 1,
                 lease_token = CASE lease_token WHEN 9223372036854775807 THEN 1
                                                ELSE lease_token + 1 END
             FROM free JOIN unnest($1::bigint[], $4::int[]) AS taken (id, crash_group) USING (id)
             WHERE inbox.id = free.id
             RETURNING inbox.id, lease_token, dedup_key, attempts,
                       least(greatest(received_at, 'epoch'), '9999-12-31'), started_at, body,
                       event_type, source"
        ))
        .persistent(self.named)
        .bind(ids)
        .bind(terms.lease.as_secs_f64())
        .bind(terms.worker.number())
        .bind(groups)
        .bind(self.order.as_str())
        .fetch_all(&mut *self.tx)
        .await?
        .iter()
        .map(claim_of)
        .collect::<Result<Vec<_>, BoxError>>()?;
        claims.sort_by_key(|claim| claim.lease.id);
        Ok(claims)
    }
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
