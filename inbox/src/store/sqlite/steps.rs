//! The steps of a turn: one statement for each row, since SQLite runs in this process and has no
//! arrays, and without locks, since it has one writer.

use std::time::Duration;

use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;
use time::OffsetDateTime;

use super::clock;
use super::upkeep::stored_order;
use crate::error::BoxError;
use crate::event_order::EventOrder;
use crate::store::attempts;
use crate::store::choice::{Due, Resource};
use crate::store::steps::{EXPIRED_PER_TURN, Steps};
use crate::turn::{Claim, Expired, Lease, Verdict};

pub(super) struct SqliteSteps<'t> {
    tx: &'t mut SqliteConnection,
    /// SQLite has no clock that never goes back, so a transaction has one time.
    now: OffsetDateTime,
}

impl<'t> SqliteSteps<'t> {
    pub(super) fn new(tx: &'t mut SqliteConnection, now: OffsetDateTime) -> Self {
        Self { tx, now }
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

    async fn expired(&mut self) -> Result<Vec<Expired>, BoxError> {
        let rows: Vec<(i64, i64, i64, String, Option<String>)> = sqlx::query_as(
            "SELECT id, lease_token, attempts, dedup_key, event_type FROM ptolemy_inbox
             WHERE state <> 'done' AND state = 'running' AND lease_until < ? LIMIT ?",
        )
        .bind(clock::text(self.now))
        .bind(EXPIRED_PER_TURN)
        .fetch_all(&mut *self.tx)
        .await?;
        Ok(rows
            .into_iter()
            .map(|(id, token, count, key, event_type)| Expired {
                lease: Lease { id, token },
                key,
                event_type,
                attempts: attempts(count),
            })
            .collect())
    }

    async fn due(&mut self, take: usize) -> Result<Vec<i64>, BoxError> {
        Ok(sqlx::query_scalar(
            "SELECT id FROM ptolemy_inbox
             WHERE state = 'waiting' AND waits_for IS NULL AND run_at <= ?
             ORDER BY run_at, id LIMIT ?",
        )
        .bind(clock::text(self.now))
        .bind(i64::try_from(take)?)
        .fetch_all(&mut *self.tx)
        .await?)
    }

    /// Always an answer: another worker that chooses would have the write lock.
    async fn order(&mut self) -> Result<Option<EventOrder>, BoxError> {
        Ok(Some(stored_order(self.tx).await?.unwrap_or_default()))
    }

    async fn busy(&mut self) -> Result<Vec<Resource>, BoxError> {
        Ok(sqlx::query_as(
            "SELECT resource, resource_id FROM ptolemy_inbox
             WHERE state <> 'done' AND state = 'running' AND resource_id IS NOT NULL",
        )
        .fetch_all(&mut *self.tx)
        .await?)
    }

    async fn page(
        &mut self,
        after: Option<(String, i64)>,
        rows: i64,
    ) -> Result<Vec<Due<String>>, BoxError> {
        let (run_at, id) = after.unwrap_or_default();
        Ok(sqlx::query_as(
            "SELECT run_at, id, resource, resource_id,
                    (SELECT max(e.id) FROM ptolemy_inbox AS e
                     WHERE e.resource = r.resource AND e.resource_id = r.resource_id AND e.id < r.id
                       AND e.finished_at IS NULL AND e.resource_id IS NOT NULL)
             FROM ptolemy_inbox AS r
             WHERE state = 'waiting' AND waits_for IS NULL AND run_at <= ?1
               AND (run_at, id) > (?2, ?3)
             ORDER BY run_at, id LIMIT ?4",
        )
        .bind(clock::text(self.now))
        .bind(run_at)
        .bind(id)
        .bind(rows)
        .fetch_all(&mut *self.tx)
        .await?)
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

    async fn claim(&mut self, ids: &[i64], lease: Duration) -> Result<Vec<Claim>, BoxError> {
        let until = clock::text(clock::after(self.now, lease));
        let mut claims = Vec::new();
        for id in ids {
            claims.push(self.claim_one(*id, &until).await?);
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
        let delay = verdict.delay();
        let run_at = delay.map(|delay| clock::text(clock::after(self.now, delay)));
        let settled = sqlx::query(
            "UPDATE ptolemy_inbox
             SET state = ?1, run_at = coalesce(?2, run_at), finished_at = ?3, lease_until = NULL,
                 last_error = CASE WHEN ?1 = 'done' THEN NULL ELSE coalesce(?4, last_error) END,
                 malformed = ?5,
                 attempts = CASE WHEN ?6 THEN attempts ELSE max(attempts, 1) - 1 END
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
        .execute(&mut *self.tx)
        .await?;
        if settled.rows_affected() == 0 {
            return Ok(false);
        }
        if verdict.is_end() {
            sqlx::query("UPDATE ptolemy_inbox SET waits_for = NULL WHERE waits_for = ?")
                .bind(id)
                .execute(&mut *self.tx)
                .await?;
        }
        Ok(true)
    }

    /// Whether a handler's own transaction has ended this lease, and its task is about to end.
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

    async fn claim_one(&mut self, id: i64, until: &str) -> Result<Claim, BoxError> {
        let row = sqlx::query(
            "UPDATE ptolemy_inbox
             SET state = 'running', started_at = ?1, renewed_at = ?1, lease_until = ?2,
                 -- Whatever the row holds, it must not fail the turn, which is for all rows.
                 attempts = min(max(attempts, 0), 2147483646) + 1,
                 lease_token = CASE lease_token WHEN 9223372036854775807 THEN 1
                                                ELSE lease_token + 1 END
             WHERE id = ?3
             RETURNING lease_token, dedup_key, attempts, received_at, body, event_type, source",
        )
        .bind(clock::text(self.now))
        .bind(until)
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
