//! The inbox in a PostgreSQL database.

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::str::FromStr as _;
use std::time::Duration;

use bytes::Bytes;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions, PgRow};
use sqlx::{Connection as _, Postgres, Row as _, Transaction};
use time::OffsetDateTime;
use tokio::time::timeout;

use super::migrate;
use super::order::{Choice, Due};
use super::{
    Answer, Arrival, BoxFuture, Claim, EXPIRED, Handled, LEASE_EXPIRED, Lease, Look, PATIENCE,
    Range, SMALL_BATCH, Store, Turn, Turned, VANISHED, Verdict, answers,
};
use crate::accepted::{Accepted, State};
use crate::dead::DeadLetter;
use crate::error::{BoxError, ConnectError, ConnectErrorKind};
use crate::failure::Failure;
use crate::stats::Stats;

const VERSIONS: &[&str] = &[include_str!("../../migrations/postgres/1_inbox.sql")];

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);

/// Every transaction sees what was committed before each of its statements, whatever the database's
/// default is: stricter levels fail where two receivers take the same delivery.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

/// As `BEGIN`. A commit is waited for where the database's or the role's setting says otherwise; and whoever
/// is frozen in mid-transaction, or cut off, does not keep its locks for long.
const BEGIN_SHORT: &str = "BEGIN ISOLATION LEVEL READ COMMITTED;
     SET LOCAL idle_in_transaction_session_timeout = '15s';
     SELECT set_config('synchronous_commit', 'on', true)
     WHERE current_setting('synchronous_commit') = 'off'";

/// Nothing in the table is older, and PostgreSQL can subtract it from the time.
const CENTURY: Duration = Duration::from_secs(100 * 366 * 24 * 60 * 60);

/// The number of the lock under which the tables change; any number that others do not use.
const MIGRATION_LOCK: i64 = 0x0070_746f_6c65_6d79;

/// The number of the lock under which events are taken in order.
const ORDER_LOCK: i64 = MIGRATION_LOCK + 1;

pub(crate) struct PostgresStore {
    pub(super) pool: PgPool,
}

impl PostgresStore {
    pub(crate) async fn connect(url: &str) -> Result<Self, ConnectError> {
        let options = PgConnectOptions::from_str(url)
            .map_err(|error| ConnectError::with(ConnectErrorKind::MalformedUrl, error))?;
        // A pool would try until its time is over, and not tell what was in the way.
        match timeout(CONNECT, PgConnection::connect_with(&options)).await {
            Ok(connection) => connection.map_err(unavailable)?.close().await,
            Err(elapsed) => return Err(ConnectError::with(ConnectErrorKind::Unavailable, elapsed)),
        }
        .map_err(unavailable)?;
        let pool = PgPoolOptions::new()
            .acquire_timeout(CONNECT)
            .connect_lazy_with(options);
        Self::open(pool).await
    }

    pub(crate) async fn open(pool: PgPool) -> Result<Self, ConnectError> {
        must_be_fit(&pool).await?;
        if !is_current(&pool).await.map_err(unavailable)? {
            let mut tx = pool.begin_with(BEGIN).await.map_err(unavailable)?;
            sqlx::query("SELECT pg_advisory_xact_lock($1)")
                .bind(MIGRATION_LOCK)
                .execute(&mut *tx)
                .await
                .map_err(unavailable)?;
            migrate::run(&migrate::migrator(VERSIONS), &mut *tx).await?;
            tx.commit().await.map_err(unavailable)?;
        }
        Ok(Self { pool })
    }

    /// Handles an event, and marks it as done, in one transaction.
    pub(crate) async fn handle<F>(&self, lease: Lease, handler: F) -> Handled
    where
        F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<(), Failure>>,
    {
        let mut tx = match timeout(PATIENCE, self.begin_held(lease)).await {
            Ok(Ok(Some(tx))) => tx,
            Ok(Ok(None)) => return Handled::Lost,
            Ok(Err(error)) => return Handled::NotCalled(error),
            Err(elapsed) => return Handled::NotCalled(elapsed.into()),
        };
        if let Err(failure) = handler(&mut tx).await {
            return Handled::Failed(failure);
        }
        let finish = async {
            // It fails if the handler's transaction is no more, or has failed.
            sqlx::query("RELEASE SAVEPOINT ptolemy_inbox")
                .execute(&mut *tx)
                .await?;
            let settled = settle(&[(lease, Verdict::Done)], &mut tx).await;
            if settled.map_err(Failure::retry)?.is_empty() {
                return Ok(Handled::Lost);
            }
            tx.commit().await?;
            Ok(Handled::Committed)
        };
        match timeout(PATIENCE, finish).await {
            Ok(finished) => finished.unwrap_or_else(Handled::Failed),
            Err(elapsed) => Handled::Failed(elapsed.into()),
        }
    }

    /// Begins the transaction of a handler, if its lease was not lost.
    async fn begin_held(
        &self,
        Lease { id, token }: Lease,
    ) -> Result<Option<Transaction<'static, Postgres>>, BoxError> {
        let mut tx = self.pool.begin_with(BEGIN).await?;
        // Without a lock, so that the lease can be renewed while the handler runs.
        let held: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM ptolemy_inbox
                            WHERE id = $1 AND lease_token = $2 AND state = 'running')",
        )
        .bind(id)
        .bind(token)
        .fetch_one(&mut *tx)
        .await?;
        sqlx::query("SAVEPOINT ptolemy_inbox")
            .execute(&mut *tx)
            .await?;
        Ok(held.then_some(tx))
    }

    /// Begins a transaction that waits for nobody but the database.
    async fn begin(&self) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
        self.pool.begin_with(BEGIN_SHORT).await
    }

    fn change_dead(&self, range: Range, sql: &'static str) -> Answer<'_, Vec<i64>> {
        Box::pin(async move {
            let mut tx = self.begin().await?;
            let ids = sqlx::query_scalar(sql)
                .bind(range.0)
                .bind(range.1)
                .bind(SMALL_BATCH)
                .fetch_all(&mut *tx)
                .await?;
            tx.commit().await?;
            Ok(ids)
        })
    }
}

async fn must_be_fit(pool: &PgPool) -> Result<(), ConnectError> {
    let (fsync, encoding): (String, String) =
        sqlx::query_as("SELECT current_setting('fsync'), current_setting('server_encoding')")
            .fetch_one(pool)
            .await
            .map_err(unavailable)?;
    if fsync != "on" {
        return Err(ConnectError::new(ConnectErrorKind::NotDurable {
            setting: "fsync",
            value: fsync,
            wanted: "`on`",
        }));
    }
    if encoding != "UTF8" {
        return Err(ConnectError::new(ConnectErrorKind::Encoding { encoding }));
    }
    Ok(())
}

/// Whether the tables are at the newest version, so that a role that may not create any can use them.
async fn is_current(pool: &PgPool) -> Result<bool, sqlx::Error> {
    let recorded: bool =
        sqlx::query_scalar("SELECT to_regclass('ptolemy_inbox_migrations') IS NOT NULL")
            .fetch_one(pool)
            .await?;
    if !recorded {
        return Ok(false);
    }
    let version: Option<i64> =
        sqlx::query_scalar("SELECT max(version) FROM ptolemy_inbox_migrations")
            .fetch_one(pool)
            .await?;
    Ok(migrate::is_newest(version, VERSIONS))
}

fn unavailable(error: sqlx::Error) -> ConnectError {
    ConnectError::with(ConnectErrorKind::Unavailable, error)
}

impl Store for PostgresStore {
    fn insert<'a>(&'a self, arrivals: &'a [Arrival]) -> Answer<'a, Vec<Accepted>> {
        Box::pin(async move {
            // Once more where a duplicate was pruned between the two statements: now it is new.
            for _ in 0..2 {
                let mut tx = self.begin().await?;
                let added = insert(arrivals, &mut tx).await?;
                let states = if added.len() < arrivals.len() {
                    states_of(arrivals, &mut tx).await?
                } else {
                    HashMap::new()
                };
                if let Some(answers) = answers(arrivals, &added, &states) {
                    tx.commit().await?;
                    return Ok(answers);
                }
                tx.rollback().await?;
            }
            Err(VANISHED.into())
        })
    }

    fn is_of_one(&self, error: &(dyn Error + 'static)) -> bool {
        let error = error.downcast_ref::<sqlx::Error>();
        let code = error
            .and_then(sqlx::Error::as_database_error)
            .and_then(|error| error.code());
        // A value that is not taken; a constraint or a trigger of the user's; two transactions that wait for
        // each other.
        let classes = ["22", "23", "40", "P0"];
        code.is_some_and(|code| classes.iter().any(|class| code.starts_with(class)))
    }

    fn turn<'a>(&'a self, turn: Turn<'a>) -> Answer<'a, Turned> {
        Box::pin(async move {
            let mut tx = self.begin().await?;
            let mut turned = Turned::default();
            if !turn.settle.is_empty() {
                let settled = settle(turn.settle, &mut tx).await?;
                let lost = turn.settle.iter().map(|(lease, _)| *lease);
                turned
                    .lost
                    .extend(lost.filter(|lease| !settled.contains(&lease.id)));
            }
            if !turn.renew.is_empty() {
                let renewed = renew(turn.renew, turn.lease, &mut tx).await?;
                let lost = turn.renew.iter().copied();
                turned
                    .lost
                    .extend(lost.filter(|lease| !renewed.contains(&lease.id)));
            }
            let expired: Vec<_> = expired(&mut tx)
                .await?
                .into_iter()
                .map(|(lease, attempts)| {
                    let delay = turn.retry.after(attempts);
                    (lease, Verdict::after(delay, LEASE_EXPIRED.to_owned()))
                })
                .collect();
            if !expired.is_empty() {
                settle(&expired, &mut tx).await?;
            }
            if turn.take > 0 {
                if turn.in_order {
                    if let Some(choice) = next_in_order(turn.take, &mut tx).await? {
                        turned.next = choice.next();
                        turned.claims = claim(&choice.taken, turn.lease, &mut tx).await?;
                    } else {
                        turned.next = Look::Soon;
                    }
                } else {
                    turned.claims = claim_next(turn.take, turn.lease, &mut tx).await?;
                    turned.next = Look::at_once(turned.claims.len() == turn.take);
                }
            }
            tx.commit().await?;
            Ok(turned)
        })
    }

    fn stats(&self) -> Answer<'_, Stats> {
        Box::pin(async move {
            let counts: Vec<(String, i64)> = sqlx::query_as(
                // One by one, so that the index is used also before the table was analyzed.
                "SELECT state, (SELECT count(*) FROM ptolemy_inbox AS inbox
                                WHERE inbox.state <> 'done' AND inbox.state = counted.state)
                 FROM (VALUES ('waiting'), ('running'), ('dead')) AS counted (state)",
            )
            .fetch_all(&self.pool)
            .await?;
            let oldest: Option<f64> = sqlx::query_scalar(
                "SELECT extract(epoch FROM now() - received_at)::float8 FROM ptolemy_inbox
                 WHERE state <> 'done' AND state = 'waiting' ORDER BY id LIMIT 1",
            )
            .fetch_optional(&self.pool)
            .await?;
            Stats::new(&counts, oldest.map(time::Duration::seconds_f64))
        })
    }

    fn dead(&self, range: Range, limit: u32) -> Answer<'_, Vec<DeadLetter>> {
        Box::pin(async move {
            sqlx::query(
                "SELECT id, dedup_key, event_type, event_id, received_at, finished_at, attempts,
                        last_error
                 FROM ptolemy_inbox
                 WHERE state <> 'done' AND state = 'dead' AND id > $1 AND id <= $2
                 ORDER BY id LIMIT $3",
            )
            .bind(range.0)
            .bind(range.1)
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await?
            .iter()
            .map(dead_letter)
            .collect()
        })
    }

    fn dead_body(&self, id: i64) -> Answer<'_, Option<Bytes>> {
        Box::pin(async move {
            let body: Option<Vec<u8>> = sqlx::query_scalar(
                "SELECT body FROM ptolemy_inbox WHERE id = $1 AND state = 'dead'",
            )
            .bind(id)
            .fetch_optional(&self.pool)
            .await?;
            Ok(body.map(Bytes::from))
        })
    }

    fn replay(&self, range: Range) -> Answer<'_, Vec<i64>> {
        self.change_dead(
            range,
            "UPDATE ptolemy_inbox
             SET state = 'waiting', run_at = now(), attempts = 0, finished_at = NULL
             WHERE id IN (SELECT id FROM ptolemy_inbox
                          WHERE state <> 'done' AND state = 'dead' AND id > $1 AND id <= $2
                          ORDER BY id LIMIT $3 FOR UPDATE SKIP LOCKED)
             RETURNING id",
        )
    }

    fn discard(&self, range: Range) -> Answer<'_, Vec<i64>> {
        self.change_dead(
            range,
            "UPDATE ptolemy_inbox
             SET state = 'done', finished_at = now(), last_error = 'discarded: ' || last_error
             WHERE id IN (SELECT id FROM ptolemy_inbox
                          WHERE state <> 'done' AND state = 'dead' AND id > $1 AND id <= $2
                          ORDER BY id LIMIT $3 FOR UPDATE SKIP LOCKED)
             RETURNING id",
        )
    }

    fn prune(&self, older_than: Duration) -> Answer<'_, u64> {
        Box::pin(async move {
            let mut tx = self.begin().await?;
            let pruned = sqlx::query(
                "DELETE FROM ptolemy_inbox
                 WHERE id IN (SELECT id FROM ptolemy_inbox
                              WHERE state = 'done' AND finished_at < now() - make_interval(secs => $1)
                              ORDER BY finished_at LIMIT $2 FOR UPDATE SKIP LOCKED)",
            )
            .bind(older_than.min(CENTURY).as_secs_f64())
            .bind(SMALL_BATCH)
            .execute(&mut *tx)
            .await?;
            tx.commit().await?;
            Ok(pruned.rows_affected())
        })
    }
}

async fn insert(
    arrivals: &[Arrival],
    connection: &mut PgConnection,
) -> Result<HashSet<String>, BoxError> {
    let labels = || arrivals.iter().map(|arrival| &arrival.labels);
    let resources = || labels().map(|labels| labels.resource.as_ref());
    let added: Vec<String> = sqlx::query_scalar(
        "INSERT INTO ptolemy_inbox
             (dedup_key, event_type, event_id, resource, resource_id, body, received_at, run_at)
         SELECT dedup_key, event_type, event_id, resource, resource_id, body,
                clock_timestamp(), clock_timestamp()
         FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bytea[])
              WITH ORDINALITY
              AS arrival (dedup_key, event_type, event_id, resource, resource_id, body, position)
         ORDER BY position
         ON CONFLICT (dedup_key) DO NOTHING
         RETURNING dedup_key",
    )
    .bind(
        arrivals
            .iter()
            .map(|arrival| arrival.key.as_str())
            .collect::<Vec<_>>(),
    )
    .bind(
        labels()
            .map(|labels| labels.event_type.as_deref())
            .collect::<Vec<_>>(),
    )
    .bind(
        labels()
            .map(|labels| labels.event_id.as_deref())
            .collect::<Vec<_>>(),
    )
    .bind(
        resources()
            .map(|resource| Some(resource?.0.as_str()))
            .collect::<Vec<_>>(),
    )
    .bind(
        resources()
            .map(|resource| Some(resource?.1.as_str()))
            .collect::<Vec<_>>(),
    )
    .bind(
        arrivals
            .iter()
            .map(|arrival| &*arrival.body)
            .collect::<Vec<_>>(),
    )
    .fetch_all(connection)
    .await?;
    Ok(added.into_iter().collect())
}

async fn states_of(
    arrivals: &[Arrival],
    connection: &mut PgConnection,
) -> Result<HashMap<String, State>, BoxError> {
    let rows: Vec<(String, String)> =
        sqlx::query_as("SELECT dedup_key, state FROM ptolemy_inbox WHERE dedup_key = ANY($1)")
            .bind(
                arrivals
                    .iter()
                    .map(|arrival| arrival.key.as_str())
                    .collect::<Vec<_>>(),
            )
            .fetch_all(connection)
            .await?;
    rows.into_iter()
        .map(|(key, state)| Ok((key, State::read(&state)?)))
        .collect()
}

/// Ends leases; returns the ids of those that were not lost before.
async fn settle(
    verdicts: &[(Lease, Verdict)],
    connection: &mut PgConnection,
) -> Result<HashSet<i64>, BoxError> {
    let verdict = || verdicts.iter().map(|(_, verdict)| verdict);
    let settled: HashSet<i64> = sqlx::query_scalar(
        "UPDATE ptolemy_inbox AS inbox
         SET state = settled.state,
             run_at = coalesce(now() + make_interval(secs => settled.delay), run_at),
             finished_at = CASE WHEN settled.is_end THEN clock_timestamp() END,
             lease_until = NULL,
             last_error = CASE WHEN settled.returned THEN last_error ELSE settled.error END,
             attempts = attempts - settled.returned::int
         FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::float8[], $5::bool[], $6::bool[],
                     $7::text[])
              AS settled (id, token, state, delay, is_end, returned, error)
         WHERE inbox.id = settled.id AND inbox.lease_token = settled.token
           AND inbox.state = 'running'
         RETURNING inbox.id",
    )
    .bind(
        verdicts
            .iter()
            .map(|(lease, _)| lease.id)
            .collect::<Vec<_>>(),
    )
    .bind(
        verdicts
            .iter()
            .map(|(lease, _)| lease.token)
            .collect::<Vec<_>>(),
    )
    .bind(
        verdict()
            .map(|verdict| verdict.state().as_str())
            .collect::<Vec<_>>(),
    )
    .bind(
        verdict()
            .map(|verdict| Some(verdict.delay()?.as_secs_f64()))
            .collect::<Vec<_>>(),
    )
    .bind(verdict().map(Verdict::is_end).collect::<Vec<_>>())
    .bind(verdict().map(Verdict::is_returned).collect::<Vec<_>>())
    .bind(verdict().map(Verdict::error).collect::<Vec<_>>())
    .fetch_all(&mut *connection)
    .await?
    .into_iter()
    .collect();
    let ended: Vec<i64> = verdicts
        .iter()
        .filter(|(lease, verdict)| verdict.is_end() && settled.contains(&lease.id))
        .map(|(lease, _)| lease.id)
        .collect();
    if !ended.is_empty() {
        // A statement of its own: it must see what waits for these rows since they were locked.
        sqlx::query("UPDATE ptolemy_inbox SET waits_for = NULL WHERE waits_for = ANY($1)")
            .bind(ended)
            .execute(connection)
            .await?;
    }
    Ok(settled)
}

/// Renews leases; returns the ids of those that were not lost.
async fn renew(
    leases: &[Lease],
    lease: Duration,
    connection: &mut PgConnection,
) -> Result<HashSet<i64>, BoxError> {
    let renewed: Vec<i64> = sqlx::query_scalar(
        "UPDATE ptolemy_inbox AS inbox
         SET renewed_at = clock_timestamp(),
             lease_until = clock_timestamp() + make_interval(secs => $3)
         FROM unnest($1::bigint[], $2::bigint[]) AS held (id, token)
         WHERE inbox.id = held.id AND inbox.lease_token = held.token AND inbox.state = 'running'
         RETURNING inbox.id",
    )
    .bind(leases.iter().map(|lease| lease.id).collect::<Vec<_>>())
    .bind(leases.iter().map(|lease| lease.token).collect::<Vec<_>>())
    .bind(lease.as_secs_f64())
    .fetch_all(&mut *connection)
    .await?;
    let mut held: HashSet<i64> = renewed.into_iter().collect();
    if held.len() < leases.len() {
        // Those that a handler's own transaction has ended, and whose tasks are about to. A statement
        // of its own: the first may have waited for that transaction.
        let done: Vec<i64> = sqlx::query_scalar(
            "SELECT inbox.id FROM ptolemy_inbox AS inbox
             JOIN unnest($1::bigint[], $2::bigint[]) AS held (id, token)
               ON inbox.id = held.id AND inbox.lease_token = held.token
             WHERE inbox.state = 'done'",
        )
        .bind(leases.iter().map(|lease| lease.id).collect::<Vec<_>>())
        .bind(leases.iter().map(|lease| lease.token).collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
        held.extend(done);
    }
    Ok(held)
}

async fn expired(connection: &mut PgConnection) -> Result<Vec<(Lease, u32)>, BoxError> {
    let rows: Vec<(i64, i64, i32)> = sqlx::query_as(
        "SELECT id, lease_token, attempts FROM ptolemy_inbox
         WHERE state <> 'done' AND state = 'running' AND lease_until < now()
         ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED",
    )
    .bind(EXPIRED)
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|(id, token, attempts)| Ok((Lease { id, token }, u32::try_from(attempts)?)))
        .collect()
}

async fn claim_next(
    take: usize,
    lease: Duration,
    connection: &mut PgConnection,
) -> Result<Vec<Claim>, BoxError> {
    let ids: Vec<i64> = sqlx::query_scalar(
        "SELECT id FROM ptolemy_inbox
         WHERE state = 'waiting' AND waits_for IS NULL AND run_at <= now()
         ORDER BY run_at, id LIMIT $1 FOR UPDATE SKIP LOCKED",
    )
    .bind(i64::try_from(take)?)
    .fetch_all(&mut *connection)
    .await?;
    claim(&ids, lease, connection).await
}

/// As `claim_next`, without what must wait for an earlier event of its resource.
/// `None` while another worker chooses.
async fn next_in_order(
    take: usize,
    connection: &mut PgConnection,
) -> Result<Option<Choice>, BoxError> {
    // One worker at a time: another would not see what this one is about to take. It is not waited for,
    // since what was settled and renewed must not wait either.
    let alone: bool = sqlx::query_scalar("SELECT pg_try_advisory_xact_lock($1)")
        .bind(ORDER_LOCK)
        .fetch_one(&mut *connection)
        .await?;
    if !alone {
        return Ok(None);
    }
    let busy: Vec<(String, String)> = sqlx::query_as(
        "SELECT resource, resource_id FROM ptolemy_inbox
         WHERE state <> 'done' AND state = 'running' AND resource_id IS NOT NULL",
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut choice = Choice::new(take, busy);
    let mut after = (OffsetDateTime::UNIX_EPOCH, 0);
    while choice.goes_on() {
        let page: Vec<Due<OffsetDateTime>> = sqlx::query_as(
            "SELECT run_at, id, resource, resource_id,
                        (SELECT max(e.id) FROM ptolemy_inbox AS e
                         WHERE e.resource = r.resource AND e.resource_id = r.resource_id
                           AND e.id < r.id
                           AND e.finished_at IS NULL AND e.resource_id IS NOT NULL)
                 FROM ptolemy_inbox AS r
                 WHERE state = 'waiting' AND waits_for IS NULL AND run_at <= now()
                   AND (run_at, id) > ($1, $2)
                 ORDER BY run_at, id LIMIT $3",
        )
        .bind(after.0)
        .bind(after.1)
        .bind(choice.page_size())
        .fetch_all(&mut *connection)
        .await?;
        choice.page(page.len());
        for due in page {
            after = (due.0, due.1);
            choice.consider(due);
        }
    }
    if !choice.waiting.is_empty() {
        mark(&choice.waiting, connection).await?;
    }
    Ok(Some(choice))
}

/// Takes events out of the queue until the earlier ones that they wait for have ended.
async fn mark(waiting: &[(i64, i64)], connection: &mut PgConnection) -> Result<(), BoxError> {
    let earlier: Vec<i64> = waiting.iter().map(|(_, earlier)| *earlier).collect();
    // Whoever is about to end one of these holds its row, and it is passed over this time; whoever
    // comes later waits for this transaction, and then sees the marks.
    let held: HashSet<i64> = sqlx::query_scalar(
        "SELECT id FROM ptolemy_inbox WHERE id = ANY($1) AND state || '' IN ('waiting', 'running')
         FOR SHARE SKIP LOCKED",
    )
    .bind(earlier)
    .fetch_all(&mut *connection)
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
    .bind(ids)
    .bind(earlier)
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes waiting events: from here on the attempt counts.
async fn claim(
    ids: &[i64],
    lease: Duration,
    connection: &mut PgConnection,
) -> Result<Vec<Claim>, BoxError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
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
                   event_type",
    )
    .bind(ids)
    .bind(lease.as_secs_f64())
    .fetch_all(connection)
    .await?
    .iter()
    .map(|row| {
        Ok(Claim {
            lease: Lease {
                id: row.try_get(0)?,
                token: row.try_get(1)?,
            },
            key: row.try_get(2)?,
            attempts: u32::try_from(row.try_get::<i32, _>(3)?)?,
            received_at: row.try_get(4)?,
            started_at: row.try_get(5)?,
            body: row.try_get::<Vec<u8>, _>(6)?.into(),
            event_type: row.try_get(7)?,
        })
    })
    .collect::<Result<Vec<_>, BoxError>>()?;
    claims.sort_by_key(|claim| claim.lease.id);
    Ok(claims)
}

fn dead_letter(row: &PgRow) -> Result<DeadLetter, BoxError> {
    Ok(DeadLetter {
        id: row.try_get(0)?,
        dedup_key: row.try_get(1)?,
        event_type: row.try_get(2)?,
        event_id: row.try_get(3)?,
        received_at: row.try_get(4)?,
        died_at: row.try_get(5)?,
        attempts: u32::try_from(row.try_get::<i32, _>(6)?)?,
        last_error: row.try_get(7)?,
    })
}
