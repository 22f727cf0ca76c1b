//! The leases in force: renews, reads and locks them.

use std::collections::HashSet;
use std::time::Duration;

use sqlx::Row as _;
use sqlx::postgres::PgRow;

use super::super::column;
use super::PostgresSteps;
use crate::error::BoxError;
use crate::store::attempts;
use crate::store::steps::RUNNING_PER_TURN;
use crate::turn::{Lease, Running, Stamped, WorkerId};

impl PostgresSteps<'_> {
    pub(super) async fn renew_all(
        &mut self,
        leases: &[Lease],
        lease: Duration,
    ) -> Result<Vec<Lease>, BoxError> {
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

    pub(super) async fn read_running(&mut self) -> Result<Vec<Running>, BoxError> {
        sqlx::query(
            "SELECT id, lease_token, least(greatest(renewed_at, 'epoch'), '9999-12-31'),
                    -- No worker writes a longer one.
                    CASE WHEN isfinite(lease_until) AND isfinite(renewed_at)
                         THEN CASE WHEN lease_until - renewed_at <= interval '366 d'
                                   THEN extract(epoch FROM lease_until - renewed_at) ELSE 0 END
                         ELSE 0 END::float8,
                    lease_worker, attempts, crash_group, coalesce(lease_until < now(), TRUE),
                    dedup_key, event_type
             FROM ptolemy_inbox WHERE state = 'running'
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
    pub(super) async fn hold_all(
        &mut self,
        leases: &[Lease],
        expired: bool,
    ) -> Result<Vec<Lease>, BoxError> {
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
        is_expired: row.try_get(7)?,
        key: row.try_get(8)?,
        event_type: row.try_get(9)?,
    })
}
