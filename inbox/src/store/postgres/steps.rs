//! The steps of a turn: one statement for all rows, since the server is a network away; with locks
//! that pass over what others have, since there are many writers; and by the database's clock.

use std::collections::HashSet;
use std::time::Duration;

use sqlx::Row as _;
use sqlx::postgres::{PgConnection, PgRow};
use time::OffsetDateTime;

use super::{ORDER_LOCK, column};
use crate::error::BoxError;
use crate::event_order::EventOrder;
use crate::store::choice::{Due, Resource};
use crate::store::steps::{EXPIRED_PER_TURN, Steps};
use crate::turn::{Claim, Lease, Verdict};

pub(super) struct PostgresSteps<'t> {
    tx: &'t mut PgConnection,
    /// Whether statements have names, and stay prepared; see `PostgresStore`.
    named: bool,
}

impl<'t> PostgresSteps<'t> {
    pub(super) fn new(tx: &'t mut PgConnection, named: bool) -> Self {
        Self { tx, named }
    }
}

impl Steps for PostgresSteps<'_> {
    type Time = OffsetDateTime;

    async fn settle(&mut self, verdicts: &[(Lease, Verdict)]) -> Result<Vec<Lease>, BoxError> {
        let settled: HashSet<i64> = sqlx::query_scalar(
            "UPDATE ptolemy_inbox AS inbox
             SET state = settled.state,
                 run_at = coalesce(now() + make_interval(secs => settled.delay), run_at),
                 finished_at = CASE WHEN settled.is_end THEN clock_timestamp() END,
                 lease_until = NULL,
                 last_error = CASE WHEN settled.state <> 'done'
                                   THEN coalesce(settled.error, last_error) END,
                 malformed = settled.malformed,
                 attempts = attempts - (NOT settled.counts)::int
             FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::float8[], $5::bool[],
                         $6::text[], $7::bool[], $8::bool[])
                  AS settled (id, token, state, delay, is_end, error, malformed, counts)
             WHERE inbox.id = settled.id AND inbox.lease_token = settled.token
               AND inbox.state = 'running'
             RETURNING inbox.id",
        )
        .persistent(self.named)
        .bind(column(verdicts, |(lease, _)| lease.id))
        .bind(column(verdicts, |(lease, _)| lease.token))
        .bind(column(verdicts, |(_, verdict)| verdict.state().as_str()))
        .bind(column(verdicts, |(_, verdict)| {
            Some(verdict.delay()?.as_secs_f64())
        }))
        .bind(column(verdicts, |(_, verdict)| verdict.is_end()))
        .bind(column(verdicts, |(_, verdict)| verdict.error()))
        .bind(column(verdicts, |(_, verdict)| verdict.is_malformed()))
        .bind(column(verdicts, |(_, verdict)| verdict.counts()))
        .fetch_all(&mut *self.tx)
        .await?
        .into_iter()
        .collect();
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
               AND inbox.state = 'running'
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

    async fn expired(&mut self) -> Result<Vec<(Lease, u32)>, BoxError> {
        let rows: Vec<(i64, i64, i32)> = sqlx::query_as(
            "SELECT id, lease_token, attempts FROM ptolemy_inbox
             WHERE state <> 'done' AND state = 'running' AND lease_until < now()
             ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED",
        )
        .persistent(self.named)
        .bind(EXPIRED_PER_TURN)
        .fetch_all(&mut *self.tx)
        .await?;
        rows.into_iter()
            .map(|(id, token, attempts)| Ok((Lease { id, token }, u32::try_from(attempts)?)))
            .collect()
    }

    async fn due(&mut self, take: usize) -> Result<Vec<i64>, BoxError> {
        Ok(sqlx::query_scalar(
            "SELECT id FROM ptolemy_inbox
             WHERE state = 'waiting' AND waits_for IS NULL AND run_at <= now()
             ORDER BY run_at, id LIMIT $1 FOR UPDATE SKIP LOCKED",
        )
        .persistent(self.named)
        .bind(i64::try_from(take)?)
        .fetch_all(&mut *self.tx)
        .await?)
    }

    /// One worker at a time may choose in order: another would not see what this one is about to
    /// take. Those that choose as due keep it out and not each other, in case the order has just
    /// changed. The lock is not waited for, since what was settled and renewed must not wait either.
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

    async fn busy(&mut self) -> Result<Vec<Resource>, BoxError> {
        Ok(sqlx::query_as(
            "SELECT resource, resource_id FROM ptolemy_inbox
             WHERE state <> 'done' AND state = 'running' AND resource_id IS NOT NULL",
        )
        .persistent(self.named)
        .fetch_all(&mut *self.tx)
        .await?)
    }

    async fn page(
        &mut self,
        after: Option<(OffsetDateTime, i64)>,
        rows: i64,
    ) -> Result<Vec<Due<OffsetDateTime>>, BoxError> {
        let (run_at, id) = after.unwrap_or((OffsetDateTime::UNIX_EPOCH, 0));
        Ok(sqlx::query_as(
            "SELECT run_at, id, resource, resource_id,
                    (SELECT max(e.id) FROM ptolemy_inbox AS e
                     WHERE e.resource = r.resource AND e.resource_id = r.resource_id AND e.id < r.id
                       AND e.finished_at IS NULL AND e.resource_id IS NOT NULL)
             FROM ptolemy_inbox AS r
             WHERE state = 'waiting' AND waits_for IS NULL AND run_at <= now()
               AND (run_at, id) > ($1, $2)
             ORDER BY run_at, id LIMIT $3",
        )
        .persistent(self.named)
        .bind(run_at)
        .bind(id)
        .bind(rows)
        .fetch_all(&mut *self.tx)
        .await?)
    }

    async fn mark(&mut self, waiting: &[(i64, i64)]) -> Result<(), BoxError> {
        // A transaction that is about to end one of these has its row, and it is passed over this
        // time; one that comes later waits for this transaction, and then sees the marks.
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

    async fn claim(&mut self, ids: &[i64], lease: Duration) -> Result<Vec<Claim>, BoxError> {
        let mut claims = sqlx::query(
            "WITH free AS MATERIALIZED (
                 SELECT id FROM ptolemy_inbox
                 WHERE id = ANY($1)
                   -- Not by an index of states: it has far more rows, which the planner may not know.
                   AND state || '' = 'waiting' AND waits_for IS NULL AND run_at <= now()
                 FOR UPDATE SKIP LOCKED)
             UPDATE ptolemy_inbox AS inbox
             SET state = 'running', attempts = attempts + 1, started_at = clock_timestamp(),
                 renewed_at = clock_timestamp(),
                 lease_until = clock_timestamp() + make_interval(secs => $2),
                 lease_token = lease_token + 1
             FROM free WHERE inbox.id = free.id
             RETURNING inbox.id, lease_token, dedup_key, attempts, received_at, started_at, body,
                       event_type, source",
        ).persistent(self.named)
        .bind(ids)
        .bind(lease.as_secs_f64())
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
    /// Lets those go on that wait for one of these.
    async fn release(&mut self, ended: Vec<i64>) -> Result<(), BoxError> {
        if !ended.is_empty() {
            // A statement by itself: it must see what waits for these rows since they were locked.
            sqlx::query("UPDATE ptolemy_inbox SET waits_for = NULL WHERE waits_for = ANY($1)")
                .persistent(self.named)
                .bind(ended)
                .execute(&mut *self.tx)
                .await?;
        }
        Ok(())
    }

    /// Those that a handler's own transaction has ended, and whose tasks are about to end. A
    /// statement by itself: the one before may have waited for that transaction.
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

fn claim_of(row: &PgRow) -> Result<Claim, BoxError> {
    let (id, token) = (row.try_get(0)?, row.try_get(1)?);
    Ok(Claim {
        lease: Lease { id, token },
        key: row.try_get(2)?,
        attempts: u32::try_from(row.try_get::<i32, _>(3)?)?,
        received_at: row.try_get(4)?,
        started_at: row.try_get(5)?,
        body: row.try_get::<Vec<u8>, _>(6)?.into(),
        event_type: row.try_get(7)?,
        source: row.try_get(8)?,
    })
}
