//! The steps of a turn: one statement for each row, since SQLite runs in this process and has no
//! arrays, and without locks, since it has one writer.

use std::time::Duration;

use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Row as _};
use time::OffsetDateTime;

use super::clock;
use super::upkeep::stored_order;
use crate::error::BoxError;
use crate::event_order::EventOrder;
use crate::retry::MAX_DELAY;
use crate::store::attempts;
use crate::store::choice::{Due, Rotation, fronts, unnamed};
use crate::store::steps::{MAX_AHEAD, MENDED_PER_STEP, RUNNING_PER_TURN, Steps, Terms};
use crate::turn::{Claim, Lease, Queue, Running, Stamped, Verdict, WorkerId};

pub(super) struct SqliteSteps<'t> {
    tx: &'t mut SqliteConnection,
    /// SQLite has no monotonic clock, so each transaction uses one time.
    now: OffsetDateTime,
    /// Where the next look beside the pages begins.
    pub(super) rotation: Rotation,
}

impl<'t> SqliteSteps<'t> {
    pub(super) fn new(
        tx: &'t mut SqliteConnection,
        now: OffsetDateTime,
        rotation: Rotation,
    ) -> Self {
        Self { tx, now, rotation }
    }
}

impl Steps for SqliteSteps<'_> {
    type Time = String;

    async fn settle(&mut self, verdicts: &[(Lease, Verdict)]) -> Result<Vec<Lease>, BoxError> {
        let mut lost = Vec::new();
        for (lease, verdict) in verdicts {
            if !self.settle_one(*lease, verdict).await? {
                lost.push(*lease);
            }
        }
        Ok(lost)
    }

    async fn renew(&mut self, leases: &[Lease], lease: Duration) -> Result<Vec<Lease>, BoxError> {
        let until = clock::text(clock::after(self.now, lease));
        let mut lost = Vec::new();
        for lease in leases {
            let renewed = sqlx::query(
                "UPDATE ptolemy_inbox SET renewed_at = ?, lease_until = ?
                 WHERE id = ? AND lease_token = ? AND state = 'running'",
            )
            .bind(clock::text(self.now))
            .bind(&until)
            .bind(lease.id)
            .bind(lease.token)
            .execute(&mut *self.tx)
            .await?;
            if renewed.rows_affected() == 0 && !self.is_done(*lease).await? {
                lost.push(*lease);
            }
        }
        Ok(lost)
    }

    async fn mend_times(&mut self) -> Result<u64, BoxError> {
        self.mend_leases().await?;
        let mended = sqlx::query(
            "UPDATE ptolemy_inbox SET run_at = ?1, written_at = ?1
             WHERE id IN (SELECT id FROM ptolemy_inbox INDEXED BY ptolemy_inbox_ready
                          WHERE state = 'waiting' AND waits_for IS NULL
                            AND queue IN ('first', 'again', 'suspect') AND run_at > ?1
                            AND written_at > ?2 LIMIT ?3)",
        )
        .bind(clock::text(self.now))
        .bind(clock::text(clock::after(self.now, MAX_AHEAD)))
        .bind(MENDED_PER_STEP)
        .execute(&mut *self.tx)
        .await?;
        Ok(mended.rows_affected())
    }

    async fn running(&mut self) -> Result<Vec<Running>, BoxError> {
        let now = self.now;
        sqlx::query(
            "SELECT id, lease_token, renewed_at, lease_until, lease_worker, attempts, crash_group,
                    dedup_key, event_type
             FROM ptolemy_inbox INDEXED BY ptolemy_inbox_running
                 WHERE state = 'running'
             ORDER BY lease_until LIMIT ?",
        )
        .bind(RUNNING_PER_TURN)
        .fetch_all(&mut *self.tx)
        .await?
        .iter()
        .map(|row| running_of(row, now))
        .collect()
    }

    /// No other writer can hold a row.
    async fn hold(&mut self, leases: &[Lease], expired: bool) -> Result<Vec<Lease>, BoxError> {
        let mut held = Vec::new();
        for Lease { id, token } in leases {
            let holds: bool = sqlx::query_scalar(
                "SELECT EXISTS (SELECT 1 FROM ptolemy_inbox
                                WHERE id = ? AND lease_token = ? AND state = 'running'
                                  AND (NOT ? OR coalesce(lease_until, '') < ?))",
            )
            .bind(id)
            .bind(token)
            .bind(expired)
            .bind(clock::text(self.now))
            .fetch_one(&mut *self.tx)
            .await?;
            let (id, token) = (*id, *token);
            held.extend(holds.then_some(Lease { id, token }));
        }
        Ok(held)
    }

    /// No other worker writes meanwhile.
    async fn lock_suspects(&mut self, _: WorkerId) -> Result<bool, BoxError> {
        Ok(true)
    }

    async fn suspects(&mut self, rows: usize) -> Result<Vec<u32>, BoxError> {
        Ok(sqlx::query_scalar(
            "SELECT min(max(coalesce(crash_group, 1), 1), 2147483647) FROM ptolemy_inbox
                 INDEXED BY ptolemy_inbox_ready
             WHERE state = 'waiting' AND waits_for IS NULL AND queue = 'suspect' AND run_at <= ?
             ORDER BY run_at, id LIMIT ?",
        )
        .bind(clock::text(self.now))
        .bind(i64::try_from(rows)?)
        .fetch_all(&mut *self.tx)
        .await?)
    }

    async fn due(&mut self, queues: [Queue; 2], rows: usize) -> Result<[Vec<i64>; 2], BoxError> {
        let first = self.due_in(queues[0], rows).await?;
        let second = if queues[0] == queues[1] {
            Vec::new()
        } else {
            self.due_in(queues[1], rows).await?
        };
        Ok([first, second])
    }

    /// Never `None`: another worker that chooses would hold the write lock.
    async fn order(&mut self) -> Result<Option<EventOrder>, BoxError> {
        Ok(Some(stored_order(self.tx).await?.unwrap_or_default()))
    }

    async fn page(
        &mut self,
        queue: Queue,
        after: Option<&(String, i64)>,
        rows: i64,
    ) -> Result<Vec<Due<String>>, BoxError> {
        let (run_at, id) = after.map_or(("", 0), |(run_at, id)| (run_at, *id));
        Ok(sqlx::query_as(
            "SELECT run_at, id, resource, resource_id,
                    (SELECT max(e.id) FROM ptolemy_inbox AS e INDEXED BY ptolemy_inbox_order
                     WHERE e.resource = r.resource AND e.resource_id = r.resource_id AND e.id < r.id
                       AND e.finished_at IS NULL AND e.resource_id IS NOT NULL),
                    -- By the index of what runs: a resource may have very many events.
                    EXISTS (SELECT 1 FROM ptolemy_inbox AS l INDEXED BY ptolemy_inbox_running
                     WHERE l.state = 'running' AND l.id > r.id
                       AND +l.resource = r.resource AND +l.resource_id = r.resource_id)
             FROM ptolemy_inbox AS r INDEXED BY ptolemy_inbox_ready
             WHERE state = 'waiting' AND waits_for IS NULL AND queue = ?5 AND run_at <= ?1
               AND (run_at, id) > (?2, ?3)
             ORDER BY run_at, id LIMIT ?4",
        )
        .bind(clock::text(self.now))
        .bind(run_at)
        .bind(id)
        .bind(rows)
        .bind(queue.as_str())
        .fetch_all(&mut *self.tx)
        .await?)
    }

    async fn aside(&mut self, rows: i64) -> Result<Vec<Due<String>>, BoxError> {
        let (kind, name) = self.rotation.clone().unwrap_or_default();
        let now = clock::text(self.now);
        let fronts_of = sqlx::query_as(
            // Finds the next resource in two steps: SQLite would scan all rows of the previous one
            // if both columns were compared as a row.
            "WITH RECURSIVE front (id, resource, resource_id) AS (
                 SELECT NULL, ?1, ?2
                 UNION ALL
                 SELECT next.id, next.resource, next.resource_id
                 FROM front CROSS JOIN ptolemy_inbox AS next ON next.id = coalesce(
                     (SELECT id FROM ptolemy_inbox AS n INDEXED BY ptolemy_inbox_order
                      WHERE finished_at IS NULL AND resource_id IS NOT NULL
                        AND n.resource = front.resource AND n.resource_id > front.resource_id
                      ORDER BY n.resource_id, id LIMIT 1),
                     (SELECT id FROM ptolemy_inbox AS n INDEXED BY ptolemy_inbox_order
                      WHERE finished_at IS NULL AND resource_id IS NOT NULL
                        AND n.resource > front.resource
                      ORDER BY n.resource, n.resource_id, id LIMIT 1))
                 LIMIT ?3 + 1)
             SELECT run_at, r.id, r.resource, r.resource_id,
                    state || '' = 'waiting' AND waits_for IS NULL AND run_at <= ?4
                        AND queue IN ('first', 'again'),
                    EXISTS (SELECT 1 FROM ptolemy_inbox AS l INDEXED BY ptolemy_inbox_running
                     WHERE l.state = 'running' AND l.id > r.id
                       AND +l.resource = r.resource AND +l.resource_id = r.resource_id)
             FROM front CROSS JOIN ptolemy_inbox AS r ON r.id = front.id
             ORDER BY r.resource, r.resource_id",
        )
        .bind(kind)
        .bind(name)
        .bind(rows)
        .bind(&now)
        .fetch_all(&mut *self.tx)
        .await?;
        let mut aside = fronts(fronts_of, rows, &mut self.rotation);
        let last: Vec<(String, i64)> = sqlx::query_as(
            "SELECT run_at, id FROM (
                 SELECT run_at, id, resource_id FROM ptolemy_inbox INDEXED BY ptolemy_inbox_ready
                 WHERE state = 'waiting' AND waits_for IS NULL AND queue = 'first' AND run_at <= ?
                 ORDER BY run_at DESC, id DESC LIMIT ?)
             WHERE resource_id IS NULL",
        )
        .bind(now)
        .bind(rows)
        .fetch_all(&mut *self.tx)
        .await?;
        aside.extend(last.into_iter().map(unnamed));
        Ok(aside)
    }

    async fn mark(&mut self, waiting: &[(i64, i64)]) -> Result<(), BoxError> {
        for (id, earlier) in waiting {
            sqlx::query("UPDATE ptolemy_inbox SET waits_for = ? WHERE id = ?")
                .bind(earlier)
                .bind(id)
                .execute(&mut *self.tx)
                .await?;
        }
        Ok(())
    }

    async fn claim(&mut self, ids: &[i64], terms: Terms) -> Result<Vec<Claim>, BoxError> {
        let mut claims = Vec::new();
        for (others, id) in ids.iter().enumerate() {
            let group = terms.group_after(others);
            claims.push(self.claim_one(*id, terms, group).await?);
        }
        Ok(claims)
    }
}

impl SqliteSteps<'_> {
    /// Ends a lease; `false` if it was lost before.
    async fn settle_one(
        &mut self,
        Lease { id, token }: Lease,
        verdict: &Verdict,
    ) -> Result<bool, BoxError> {
        if *verdict == Verdict::Done {
            return settle_done(self.tx, "", Lease { id, token }, self.now)
                .await
                .map_err(Into::into);
        }
        let delay = verdict.delay();
        let run_at = delay.map(|delay| clock::text(clock::after(self.now, delay)));
        let settled = sqlx::query(
            "UPDATE ptolemy_inbox
             SET state = ?1, run_at = coalesce(?2, run_at), finished_at = ?3, lease_until = NULL,
                 last_error = coalesce(?4, last_error),
                 malformed = ?5, written_at = ?9,
                 attempts = CASE WHEN ?6 THEN attempts ELSE max(attempts, 1) - 1 END,
                 crash_group = CASE WHEN ?10 IS NULL THEN crash_group ELSE ?11 END,
                 queue = coalesce(?10, queue), postponed = ?12
             WHERE id = ?7 AND lease_token = ?8 AND state = 'running'",
        )
        .bind(verdict.state().as_str())
        .bind(run_at)
        .bind(verdict.is_end().then(|| clock::text(self.now)))
        .bind(verdict.error())
        .bind(verdict.is_malformed())
        .bind(verdict.counts())
        .bind(id)
        .bind(token)
        .bind(clock::text(self.now))
        .bind(verdict.queue().map(Queue::as_str))
        .bind(verdict.group())
        .bind(verdict.is_postponed())
        .execute(&mut *self.tx)
        .await?;
        if settled.rows_affected() == 0 {
            return Ok(false);
        }
        if verdict.is_end() {
            sqlx::query(
                "UPDATE ptolemy_inbox INDEXED BY ptolemy_inbox_waits_for
                SET waits_for = NULL WHERE waits_for = ?",
            )
            .bind(id)
            .execute(&mut *self.tx)
            .await?;
        }
        Ok(true)
    }

    /// Whether a handler's own transaction has ended this lease, and its task ends soon.
    async fn is_done(&mut self, Lease { id, token }: Lease) -> Result<bool, BoxError> {
        Ok(sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM ptolemy_inbox
                            WHERE id = ? AND lease_token = ? AND state = 'done')",
        )
        .bind(id)
        .bind(token)
        .fetch_one(&mut *self.tx)
        .await?)
    }

    /// Restarts the leases that were written while the clock was ahead.
    async fn mend_leases(&mut self) -> Result<(), BoxError> {
        let limit = clock::after(self.now, MAX_AHEAD);
        for running in self.running().await? {
            if running.stamped.renewed_at <= limit {
                continue;
            }
            sqlx::query("UPDATE ptolemy_inbox SET renewed_at = ?, lease_until = ? WHERE id = ?")
                .bind(clock::text(self.now))
                .bind(clock::text(clock::after(self.now, running.length)))
                .bind(running.stamped.lease.id)
                .execute(&mut *self.tx)
                .await?;
        }
        Ok(())
    }

    async fn due_in(&mut self, queue: Queue, rows: usize) -> Result<Vec<i64>, BoxError> {
        Ok(sqlx::query_scalar(
            "SELECT id FROM ptolemy_inbox INDEXED BY ptolemy_inbox_ready
             WHERE state = 'waiting' AND waits_for IS NULL AND queue = ? AND run_at <= ?
             ORDER BY run_at, id LIMIT ?",
        )
        .bind(queue.as_str())
        .bind(clock::text(self.now))
        .bind(i64::try_from(rows)?)
        .fetch_all(&mut *self.tx)
        .await?)
    }

    async fn claim_one(
        &mut self,
        id: i64,
        terms: Terms,
        group: Option<u32>,
    ) -> Result<Claim, BoxError> {
        let row = sqlx::query(
            "UPDATE ptolemy_inbox
             SET state = 'running', started_at = ?1, renewed_at = ?1, lease_until = ?2,
                 lease_worker = ?3,
                 -- Whatever the row holds, it must not fail the turn, which is for all rows.
                 attempts = min(max(attempts, 0), 2147483646) + 1,
                 lease_token = CASE lease_token WHEN 9223372036854775807 THEN 1
                                                ELSE lease_token + 1 END,
                 crash_group = ?4
             WHERE id = ?5
             RETURNING lease_token, dedup_key, attempts, received_at, body, event_type, source",
        )
        .bind(clock::text(self.now))
        .bind(clock::text(clock::after(self.now, terms.lease)))
        .bind(terms.worker.number())
        .bind(group)
        .bind(id)
        .fetch_one(&mut *self.tx)
        .await?;
        let token = row.try_get(0)?;
        Ok(Claim {
            lease: Lease { id, token },
            key: row.try_get(1)?,
            attempts: attempts(row.try_get(2)?),
            received_at: clock::parse(row.try_get(3)?).unwrap_or(self.now),
            started_at: self.now,
            body: row.try_get::<Vec<u8>, _>(4)?.into(),
            event_type: row.try_get(5)?,
            source: row.try_get(6)?,
        })
    }
}

/// Marks an event as done, in a turn or at the end of its handler's transaction, after this
/// statement; `false` if its lease was lost.
///
/// A call for each statement would cost more than the statements do, since SQLite runs in a
/// separate thread.
pub(super) async fn settle_done(
    tx: &mut SqliteConnection,
    before: &'static str,
    Lease { id, token }: Lease,
    now: OffsetDateTime,
) -> Result<bool, sqlx::Error> {
    let settle = format!(
        "{before}
         UPDATE ptolemy_inbox
         SET state = 'done', finished_at = ?1, lease_until = NULL, last_error = NULL,
             malformed = FALSE, written_at = ?1, crash_group = NULL, queue = 'again',
             postponed = FALSE
         WHERE id = ?2 AND lease_token = ?3 AND state = 'running'
         RETURNING id;
         UPDATE ptolemy_inbox INDEXED BY ptolemy_inbox_waits_for SET waits_for = NULL
         WHERE waits_for = ?2
           AND EXISTS (SELECT 1 FROM ptolemy_inbox
                       WHERE id = ?2 AND lease_token = ?3 AND state = 'done')"
    );
    let settled = sqlx::query(AssertSqlSafe(settle))
        .bind(clock::text(now))
        .bind(id)
        .bind(token)
        .fetch_all(tx)
        .await?;
    Ok(!settled.is_empty())
}

fn running_of(row: &SqliteRow, now: OffsetDateTime) -> Result<Running, BoxError> {
    let (id, token) = (row.try_get(0)?, row.try_get(1)?);
    let time = |text: Option<&str>| {
        let time = text.and_then(|text| clock::parse(text).ok());
        time.unwrap_or(OffsetDateTime::UNIX_EPOCH)
    };
    let (renewed_at, until) = (time(row.try_get(2)?), time(row.try_get(3)?));
    let group: Option<i64> = row.try_get(6)?;
    Ok(Running {
        stamped: Stamped {
            lease: Lease { id, token },
            renewed_at,
        },
        // No worker writes a longer one.
        length: Duration::try_from(until - renewed_at)
            .ok()
            .filter(|length| *length <= MAX_DELAY)
            .unwrap_or_default(),
        worker: row.try_get::<Option<i64>, _>(4)?.map(WorkerId::read),
        attempts: attempts(row.try_get(5)?),
        group: group.map(|group| u32::try_from(group).unwrap_or(1)),
        is_expired: until < now,
        key: row.try_get(7)?,
        event_type: row.try_get(8)?,
    })
}
