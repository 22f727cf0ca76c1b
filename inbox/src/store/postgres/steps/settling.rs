//! Ends the leases of events whose attempts have ended.

use std::collections::HashSet;

use sqlx::AssertSqlSafe;

use super::super::column;
use super::{DONE, PostgresSteps, RELEASED};
use crate::error::BoxError;
use crate::turn::{Lease, Queue, Verdict};

impl PostgresSteps<'_> {
    pub(super) async fn settle_all(
        &mut self,
        verdicts: &[(Lease, Verdict)],
    ) -> Result<Vec<Lease>, BoxError> {
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

    /// Ends the leases of events that are done; returns the ids of those that were not lost before.
    async fn settle_done(&mut self, done: &[&(Lease, Verdict)]) -> Result<Vec<i64>, BoxError> {
        // By the primary key, here and below: entries of events that ran stay in the index of
        // what runs until a vacuum.
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
            let release = format!("UPDATE ptolemy_inbox SET {RELEASED} WHERE waits_for = ANY($1)");
            sqlx::query(AssertSqlSafe(release))
                .persistent(self.named)
                .bind(ended)
                .execute(&mut *self.tx)
                .await?;
        }
        Ok(())
    }
}
