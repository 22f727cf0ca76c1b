//! The inbox in a SQLite file.

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::str::FromStr as _;
use std::time::Duration;

use bytes::Bytes;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqlitePool, SqlitePoolOptions, SqliteRow,
    SqliteSynchronous,
};
use sqlx::{Connection as _, QueryBuilder, Row as _, Sqlite, Transaction};
use time::OffsetDateTime;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, sleep};

use super::clock::{self, Clock};
use super::migrate;
use super::order::{Choice, Due};
use super::{
    Answer, Arrival, BoxFuture, Claim, EXPIRED, Handled, LEASE_EXPIRED, Lease, Look, Range,
    SMALL_BATCH, Store, Turn, Turned, VANISHED, Verdict, answers,
};
use crate::accepted::{Accepted, State};
use crate::dead::DeadLetter;
use crate::error::{BoxError, ConnectError, ConnectErrorKind};
use crate::failure::Failure;
use crate::stats::Stats;

const VERSIONS: &[&str] = &[include_str!("../../migrations/sqlite/1_inbox.sql")];

/// How long a statement waits for another process's lock.
const BUSY: Duration = Duration::from_secs(5);

/// SQLite has one writer; the other connections are for what only reads.
const CONNECTIONS: u32 = 4;

/// How many rows one statement inserts: with its columns, less than the 999 values that any SQLite takes.
const ROWS: usize = 100;

pub(crate) struct SqliteStore {
    pub(super) pool: SqlitePool,
    /// Lets this process's writers in one at a time and in order, which SQLite's own lock does not; and
    /// keeps their connection, with the pages that it has read, if the pool is nobody else's.
    writer: Mutex<Option<PoolConnection<Sqlite>>>,
    keep_writer: bool,
    clock: Clock,
}

/// The connection that may write: no other of this process does.
struct Writer<'a> {
    slot: MutexGuard<'a, Option<PoolConnection<Sqlite>>>,
    keep: bool,
}

impl Writer<'_> {
    /// Begins a transaction that holds the database's write lock.
    async fn begin(&mut self) -> Result<Transaction<'_, Sqlite>, sqlx::Error> {
        // A connection on which this fails is not kept.
        let keep = std::mem::replace(&mut self.keep, false);
        let connection = self.slot.as_mut().ok_or(sqlx::Error::PoolClosed)?;
        let tx = connection.begin_with("BEGIN IMMEDIATE").await?;
        self.keep = keep;
        Ok(tx)
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        if !self.keep {
            self.slot.take();
        }
    }
}

impl SqliteStore {
    pub(crate) async fn connect(url: &str) -> Result<Self, ConnectError> {
        let options = SqliteConnectOptions::from_str(url)
            .map_err(|error| ConnectError::with(ConnectErrorKind::MalformedUrl, error))?
            .busy_timeout(BUSY)
            .synchronous(SqliteSynchronous::Full)
            // Without it, macOS leaves what was synced in the disk's own memory.
            .pragma("fullfsync", "1");
        // What the URL says of creating the file counts; without a word, it is created.
        let says_how = url
            .split_once('?')
            .is_some_and(|(_, query)| query.contains("mode="));
        let options = if says_how {
            options
        } else {
            options.create_if_missing(true)
        };
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(BUSY)
            .connect_with(options)
            .await
            .map_err(unavailable)?;
        write_ahead(&pool).await?;
        let mut store = Self::open(pool).await?;
        store.keep_writer = true;
        Ok(store)
    }

    pub(crate) async fn open(pool: SqlitePool) -> Result<Self, ConnectError> {
        Self::open_with(pool, OffsetDateTime::now_utc).await
    }

    pub(super) async fn open_with(
        pool: SqlitePool,
        host: fn() -> OffsetDateTime,
    ) -> Result<Self, ConnectError> {
        must_be_durable(&pool).await?;
        let store = Self {
            pool,
            writer: Mutex::new(None),
            keep_writer: false,
            clock: Clock::new(host),
        };
        if !store.is_current().await.map_err(unavailable)? {
            let mut writer = store.writer().await.map_err(unavailable)?;
            let mut tx = writer.begin().await.map_err(unavailable)?;
            migrate::run(&migrate::migrator(VERSIONS), &mut *tx).await?;
            tx.commit().await.map_err(unavailable)?;
        }
        Ok(store)
    }

    /// Whether the tables are at the newest version, so that nothing needs to be written.
    async fn is_current(&self) -> Result<bool, sqlx::Error> {
        let recorded: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'ptolemy_inbox_migrations')",
        )
        .fetch_one(&self.pool)
        .await?;
        if !recorded {
            return Ok(false);
        }
        let version: Option<i64> =
            sqlx::query_scalar("SELECT max(version) FROM ptolemy_inbox_migrations")
                .fetch_one(&self.pool)
                .await?;
        Ok(migrate::is_newest(version, VERSIONS))
    }

    async fn writer(&self) -> Result<Writer<'_>, sqlx::Error> {
        let mut slot = self.writer.lock().await;
        loop {
            let mut connection = match slot.take() {
                Some(connection) => connection,
                None => self.pool.acquire().await?,
            };
            if is_sound(&mut connection).await {
                *slot = Some(connection);
                return Ok(Writer {
                    slot,
                    keep: self.keep_writer,
                });
            }
            connection.close_on_drop();
        }
    }

    /// Handles an event, and marks it as done, in one transaction.
    pub(crate) async fn handle<F>(&self, lease: Lease, handler: F) -> Handled
    where
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<(), Failure>>,
    {
        let mut writer = match self.writer().await {
            Ok(writer) => writer,
            Err(error) => return Handled::NotCalled(error.into()),
        };
        let mut tx = match begin_held(&mut writer, lease).await {
            Ok(Some(tx)) => tx,
            Ok(None) => return Handled::Lost,
            Err(error) => return Handled::NotCalled(error),
        };
        let handled = async {
            handler(&mut tx).await?;
            // It fails if the handler's transaction is no more: SQLite may have ended it by itself.
            sqlx::query("RELEASE ptolemy_inbox")
                .execute(&mut *tx)
                .await?;
            let now = self.now(&mut tx).await.map_err(Failure::retry)?;
            let settled = settle(&mut tx, now, lease, &Verdict::Done).await;
            if !settled.map_err(Failure::retry)? {
                return Ok(Handled::Lost);
            }
            tx.commit().await?;
            Ok(Handled::Committed)
        };
        handled.await.unwrap_or_else(Handled::Failed)
    }

    fn change_dead(&self, range: Range, sql: &'static str) -> Answer<'_, Vec<i64>> {
        Box::pin(async move {
            let mut writer = self.writer().await?;
            let mut tx = writer.begin().await?;
            let now = self.now(&mut tx).await?;
            let ids = sqlx::query_scalar(sql)
                .bind(clock::text(now))
                .bind(range.0)
                .bind(range.1)
                .bind(SMALL_BATCH)
                .fetch_all(&mut *tx)
                .await?;
            tx.commit().await?;
            Ok(ids)
        })
    }

    /// The time, which is not before the latest in the table.
    async fn now(&self, connection: &mut SqliteConnection) -> Result<OffsetDateTime, BoxError> {
        let latest: Option<String> = sqlx::query_scalar(
            "SELECT max(time) FROM (
                 SELECT * FROM (SELECT received_at AS time FROM ptolemy_inbox ORDER BY id DESC LIMIT 1)
                 UNION ALL
                 SELECT * FROM (SELECT finished_at FROM ptolemy_inbox WHERE state = 'done'
                                ORDER BY finished_at DESC LIMIT 1)
                 UNION ALL
                 SELECT max(renewed_at) FROM ptolemy_inbox
                 WHERE state <> 'done' AND state = 'running')",
        )
        .fetch_one(connection)
        .await?;
        Ok(match latest {
            Some(latest) => self.clock.at_least(clock::parse(&latest)?),
            None => self.clock.now(),
        })
    }
}

impl Drop for SqliteStore {
    /// Closes the kept connection without its pool, which could do so in a Tokio runtime alone.
    fn drop(&mut self) {
        if let Some(connection) = self.writer.get_mut().take() {
            drop(connection.detach());
        }
    }
}

/// Turns write-ahead logging on, which nothing may do while another connection is in the database.
async fn write_ahead(pool: &SqlitePool) -> Result<(), ConnectError> {
    let give_up = Instant::now() + BUSY;
    loop {
        match sqlx::query("PRAGMA journal_mode = WAL").execute(pool).await {
            // SQLITE_BUSY and SQLITE_LOCKED.
            Err(error)
                if code(&error).is_some_and(|code| matches!(code & 0xff, 5 | 6))
                    && Instant::now() < give_up =>
            {
                sleep(Duration::from_millis(20)).await;
            }
            result => return result.map(drop).map_err(unavailable),
        }
    }
}

/// SQLite's code of an error, with whatever it is extended by.
fn code(error: &(dyn Error + 'static)) -> Option<u32> {
    let error = error.downcast_ref::<sqlx::Error>()?.as_database_error()?;
    error.code()?.parse().ok()
}

async fn must_be_durable(pool: &SqlitePool) -> Result<(), ConnectError> {
    let refuse = |setting, value: String, wanted| {
        Err(ConnectError::new(ConnectErrorKind::NotDurable {
            setting,
            value,
            wanted,
        }))
    };
    let mut connection = pool.acquire().await.map_err(unavailable)?;
    let journal: String = sqlx::query_scalar("PRAGMA journal_mode")
        .fetch_one(&mut *connection)
        .await
        .map_err(unavailable)?;
    if journal != "wal" {
        return refuse("journal_mode", journal, "`wal`");
    }
    let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous")
        .fetch_one(&mut *connection)
        .await
        .map_err(unavailable)?;
    if synchronous < 2 {
        let value = if synchronous == 1 { "normal" } else { "off" };
        return refuse("synchronous", value.to_owned(), "`full` or `extra`");
    }
    Ok(())
}

fn unavailable(error: sqlx::Error) -> ConnectError {
    ConnectError::with(ConnectErrorKind::Unavailable, error)
}

impl Store for SqliteStore {
    fn insert<'a>(&'a self, arrivals: &'a [Arrival]) -> Answer<'a, Vec<Accepted>> {
        Box::pin(async move {
            let mut writer = self.writer().await?;
            let mut tx = writer.begin().await?;
            let now = clock::text(self.now(&mut tx).await?);
            let mut states = HashMap::new();
            for arrivals in arrivals.chunks(ROWS) {
                states.extend(states_of(arrivals, &mut tx).await?);
            }
            // Nothing else writes until this is committed.
            let mut added = HashSet::new();
            let missing: Vec<_> = arrivals
                .iter()
                .filter(|Arrival { key, .. }| {
                    !states.contains_key(key) && added.insert(key.clone())
                })
                .collect();
            for arrivals in missing.chunks(ROWS) {
                insert(arrivals, &now).build().execute(&mut *tx).await?;
            }
            tx.commit().await?;
            answers(arrivals, &added, &states).ok_or_else(|| VANISHED.into())
        })
    }

    fn is_of_one(&self, error: &(dyn Error + 'static)) -> bool {
        // SQLITE_CONSTRAINT, such as that of a trigger of the user's.
        code(error).is_some_and(|code| code & 0xff == 19)
    }

    fn turn<'a>(&'a self, turn: Turn<'a>) -> Answer<'a, Turned> {
        Box::pin(async move {
            let mut writer = self.writer().await?;
            let mut tx = writer.begin().await?;
            let now = self.now(&mut tx).await?;
            let mut turned = Turned::default();
            for (lease, verdict) in turn.settle {
                if !settle(&mut tx, now, *lease, verdict).await? {
                    turned.lost.push(*lease);
                }
            }
            let until = clock::text(clock::after(now, turn.lease));
            for lease in turn.renew {
                let renewed = sqlx::query(
                    "UPDATE ptolemy_inbox SET renewed_at = ?, lease_until = ?
                     WHERE id = ? AND lease_token = ? AND state = 'running'",
                )
                .bind(clock::text(now))
                .bind(&until)
                .bind(lease.id)
                .bind(lease.token)
                .execute(&mut *tx)
                .await?;
                if renewed.rows_affected() == 0 && !is_done(&mut tx, *lease).await? {
                    turned.lost.push(*lease);
                }
            }
            for (lease, attempts) in expired(&mut tx, now).await? {
                let verdict = Verdict::after(turn.retry.after(attempts), LEASE_EXPIRED.to_owned());
                settle(&mut tx, now, lease, &verdict).await?;
            }
            let taken = if turn.take == 0 {
                Vec::new()
            } else if turn.in_order {
                let choice = next_in_order(&mut tx, now, turn.take).await?;
                turned.next = choice.next();
                choice.taken
            } else {
                let taken = next(&mut tx, now, turn.take).await?;
                turned.next = Look::at_once(taken.len() == turn.take);
                taken
            };
            for id in taken {
                turned.claims.push(claim(&mut tx, now, &until, id).await?);
            }
            tx.commit().await?;
            Ok(turned)
        })
    }

    fn stats(&self) -> Answer<'_, Stats> {
        Box::pin(async move {
            let mut connection = self.pool.acquire().await?;
            let now = self.now(&mut connection).await?;
            let counts: Vec<(String, i64)> = sqlx::query_as(
                "SELECT state, count(*) FROM ptolemy_inbox WHERE state <> 'done' GROUP BY state",
            )
            .fetch_all(&mut *connection)
            .await?;
            let oldest: Option<String> = sqlx::query_scalar(
                "SELECT received_at FROM ptolemy_inbox WHERE state <> 'done' AND state = 'waiting'
                 ORDER BY id LIMIT 1",
            )
            .fetch_optional(&mut *connection)
            .await?;
            let oldest = oldest.map(|oldest| clock::parse(&oldest)).transpose()?;
            Stats::new(&counts, oldest.map(|oldest| now - oldest))
        })
    }

    fn dead(&self, range: Range, limit: u32) -> Answer<'_, Vec<DeadLetter>> {
        Box::pin(async move {
            sqlx::query(
                "SELECT id, dedup_key, event_type, event_id, received_at, finished_at, attempts,
                        last_error
                 FROM ptolemy_inbox WHERE state <> 'done' AND state = 'dead' AND id > ? AND id <= ?
                 ORDER BY id LIMIT ?",
            )
            .bind(range.0)
            .bind(range.1)
            .bind(limit)
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
                "SELECT body FROM ptolemy_inbox WHERE id = ? AND state = 'dead'",
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
             SET state = 'waiting', run_at = ?1, attempts = 0, finished_at = NULL
             WHERE id IN (SELECT id FROM ptolemy_inbox
                          WHERE state <> 'done' AND state = 'dead' AND id > ?2 AND id <= ?3
                          ORDER BY id LIMIT ?4)
             RETURNING id",
        )
    }

    fn discard(&self, range: Range) -> Answer<'_, Vec<i64>> {
        self.change_dead(
            range,
            "UPDATE ptolemy_inbox
             SET state = 'done', finished_at = ?1, last_error = 'discarded: ' || last_error
             WHERE id IN (SELECT id FROM ptolemy_inbox
                          WHERE state <> 'done' AND state = 'dead' AND id > ?2 AND id <= ?3
                          ORDER BY id LIMIT ?4)
             RETURNING id",
        )
    }

    fn prune(&self, older_than: Duration) -> Answer<'_, u64> {
        Box::pin(async move {
            let mut writer = self.writer().await?;
            let mut tx = writer.begin().await?;
            let before = clock::before(self.now(&mut tx).await?, older_than);
            let pruned = sqlx::query(
                "DELETE FROM ptolemy_inbox
                 WHERE id IN (SELECT id FROM ptolemy_inbox
                              WHERE state = 'done' AND finished_at < ? ORDER BY finished_at LIMIT ?)",
            )
            .bind(clock::text(before))
            .bind(SMALL_BATCH)
            .execute(&mut *tx)
            .await?;
            tx.commit().await?;
            Ok(pruned.rows_affected())
        })
    }
}

/// Whether a transaction can begin on a connection.
///
/// SQLite ends a transaction by itself where the disk is full, for one. sqlx does not notice, and begins no
/// other.
async fn is_sound(connection: &mut SqliteConnection) -> bool {
    // What was dropped in mid-transaction may be about to be rolled back; a ping comes after that.
    !connection.is_in_transaction()
        || connection.ping().await.is_ok() && !connection.is_in_transaction()
}

/// Begins the transaction of a handler, if its lease was not lost.
async fn begin_held<'a>(
    writer: &'a mut Writer<'_>,
    Lease { id, token }: Lease,
) -> Result<Option<Transaction<'a, Sqlite>>, BoxError> {
    let mut tx = writer.begin().await?;
    let held: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM ptolemy_inbox
                        WHERE id = ? AND lease_token = ? AND state = 'running')",
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

fn insert(arrivals: &[&Arrival], now: &str) -> QueryBuilder<Sqlite> {
    let mut query = QueryBuilder::new(
        // FAIL, since for the usual ABORT each statement keeps a journal, in a file if it is long; here
        // whatever fails ends the transaction.
        "INSERT OR FAIL INTO ptolemy_inbox
             (dedup_key, event_type, event_id, resource, resource_id, received_at, run_at, body) ",
    );
    query.push_values(arrivals, |mut row, Arrival { key, labels, body }| {
        let (resource, resource_id) = labels.resource.clone().unzip();
        row.push_bind(key.clone())
            .push_bind(labels.event_type.clone())
            .push_bind(labels.event_id.clone())
            .push_bind(resource)
            .push_bind(resource_id)
            .push_bind(now.to_owned())
            .push_bind(now.to_owned())
            .push_bind(body.to_vec());
    });
    query
}

async fn states_of(
    arrivals: &[Arrival],
    connection: &mut SqliteConnection,
) -> Result<Vec<(String, State)>, BoxError> {
    let mut query =
        QueryBuilder::new("SELECT dedup_key, state FROM ptolemy_inbox WHERE dedup_key IN (");
    let mut keys = query.separated(", ");
    for arrival in arrivals {
        keys.push_bind(arrival.key.clone());
    }
    query.push(")");
    let rows: Vec<(String, String)> = query.build_query_as().fetch_all(connection).await?;
    rows.into_iter()
        .map(|(key, state)| Ok((key, State::read(&state)?)))
        .collect()
}

/// Ends a lease; `false` if it was lost before.
async fn settle(
    connection: &mut SqliteConnection,
    now: OffsetDateTime,
    Lease { id, token }: Lease,
    verdict: &Verdict,
) -> Result<bool, BoxError> {
    let settled = sqlx::query(
        "UPDATE ptolemy_inbox
         SET state = ?1, run_at = coalesce(?2, run_at), finished_at = ?3, lease_until = NULL,
             last_error = CASE WHEN ?4 THEN last_error ELSE ?5 END,
             attempts = attempts - ?4
         WHERE id = ?6 AND lease_token = ?7 AND state = 'running'",
    )
    .bind(verdict.state().as_str())
    .bind(
        verdict
            .delay()
            .map(|delay| clock::text(clock::after(now, delay))),
    )
    .bind(verdict.is_end().then(|| clock::text(now)))
    .bind(verdict.is_returned())
    .bind(verdict.error())
    .bind(id)
    .bind(token)
    .execute(&mut *connection)
    .await?;
    if settled.rows_affected() == 0 {
        return Ok(false);
    }
    if verdict.is_end() {
        release(connection, id).await?;
    }
    Ok(true)
}

/// Whether a handler's own transaction has ended this lease, and its task is about to.
async fn is_done(
    connection: &mut SqliteConnection,
    Lease { id, token }: Lease,
) -> Result<bool, BoxError> {
    Ok(sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM ptolemy_inbox
                        WHERE id = ? AND lease_token = ? AND state = 'done')",
    )
    .bind(id)
    .bind(token)
    .fetch_one(connection)
    .await?)
}

/// Lets those go on that wait for this one.
async fn release(connection: &mut SqliteConnection, id: i64) -> Result<(), BoxError> {
    sqlx::query("UPDATE ptolemy_inbox SET waits_for = NULL WHERE waits_for = ?")
        .bind(id)
        .execute(connection)
        .await?;
    Ok(())
}

async fn expired(
    connection: &mut SqliteConnection,
    now: OffsetDateTime,
) -> Result<Vec<(Lease, u32)>, BoxError> {
    let rows: Vec<(i64, i64, u32)> = sqlx::query_as(
        "SELECT id, lease_token, attempts FROM ptolemy_inbox
         WHERE state <> 'done' AND state = 'running' AND lease_until < ? LIMIT ?",
    )
    .bind(clock::text(now))
    .bind(EXPIRED)
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(id, token, attempts)| (Lease { id, token }, attempts))
        .collect())
}

async fn next(
    connection: &mut SqliteConnection,
    now: OffsetDateTime,
    take: usize,
) -> Result<Vec<i64>, BoxError> {
    Ok(sqlx::query_scalar(
        "SELECT id FROM ptolemy_inbox WHERE state = 'waiting' AND waits_for IS NULL AND run_at <= ?
         ORDER BY run_at, id LIMIT ?",
    )
    .bind(clock::text(now))
    .bind(i64::try_from(take)?)
    .fetch_all(connection)
    .await?)
}

/// As `next`, without what must wait for an earlier event of its resource.
async fn next_in_order(
    connection: &mut SqliteConnection,
    now: OffsetDateTime,
    take: usize,
) -> Result<Choice, BoxError> {
    let busy: Vec<(String, String)> = sqlx::query_as(
        "SELECT resource, resource_id FROM ptolemy_inbox
         WHERE state <> 'done' AND state = 'running' AND resource_id IS NOT NULL",
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut choice = Choice::new(take, busy);
    let mut after = (String::new(), 0);
    while choice.goes_on() {
        let page: Vec<Due<String>> = sqlx::query_as(
            "SELECT run_at, id, resource, resource_id,
                    (SELECT max(e.id) FROM ptolemy_inbox AS e
                     WHERE e.resource = r.resource AND e.resource_id = r.resource_id AND e.id < r.id
                       AND e.finished_at IS NULL AND e.resource_id IS NOT NULL)
             FROM ptolemy_inbox AS r
             WHERE state = 'waiting' AND waits_for IS NULL AND run_at <= ?1 AND (run_at, id) > (?2, ?3)
             ORDER BY run_at, id LIMIT ?4",
        )
        .bind(clock::text(now))
        .bind(&after.0)
        .bind(after.1)
        .bind(choice.page_size())
        .fetch_all(&mut *connection)
        .await?;
        choice.page(page.len());
        for due in page {
            after = (due.0.clone(), due.1);
            choice.consider(due);
        }
    }
    for (id, earlier) in &choice.waiting {
        sqlx::query("UPDATE ptolemy_inbox SET waits_for = ? WHERE id = ?")
            .bind(earlier)
            .bind(id)
            .execute(&mut *connection)
            .await?;
    }
    Ok(choice)
}

/// Takes a waiting event: from here on the attempt counts.
async fn claim(
    connection: &mut SqliteConnection,
    now: OffsetDateTime,
    until: &str,
    id: i64,
) -> Result<Claim, BoxError> {
    let row = sqlx::query(
        "UPDATE ptolemy_inbox
         SET state = 'running', attempts = attempts + 1, started_at = ?1, renewed_at = ?1,
             lease_until = ?2, lease_token = lease_token + 1
         WHERE id = ?3
         RETURNING lease_token, dedup_key, attempts, received_at, body, event_type",
    )
    .bind(clock::text(now))
    .bind(until)
    .bind(id)
    .fetch_one(connection)
    .await?;
    Ok(Claim {
        lease: Lease {
            id,
            token: row.try_get(0)?,
        },
        key: row.try_get(1)?,
        attempts: row.try_get(2)?,
        received_at: clock::parse(row.try_get(3)?)?,
        started_at: now,
        body: row.try_get::<Vec<u8>, _>(4)?.into(),
        event_type: row.try_get(5)?,
    })
}

fn dead_letter(row: &SqliteRow) -> Result<DeadLetter, BoxError> {
    Ok(DeadLetter {
        id: row.try_get(0)?,
        dedup_key: row.try_get(1)?,
        event_type: row.try_get(2)?,
        event_id: row.try_get(3)?,
        received_at: clock::parse(row.try_get(4)?)?,
        died_at: clock::parse(row.try_get(5)?)?,
        attempts: row.try_get(6)?,
        last_error: row.try_get(7)?,
    })
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;
    use crate::key::Labels;
    use crate::retry::Retry;

    struct File(PathBuf);

    impl File {
        fn new(name: &str) -> Self {
            let name = format!("ptolemy-store-{}-{name}.db", std::process::id());
            Self(env::temp_dir().join(name))
        }

        fn url(&self) -> String {
            format!("sqlite://{}", self.0.display())
        }
    }

    impl Drop for File {
        fn drop(&mut self) {
            for end in ["", "-wal", "-shm"] {
                let _ = std::fs::remove_file(format!("{}{end}", self.0.display()));
            }
        }
    }

    #[tokio::test]
    async fn each_connection_syncs_each_commit() {
        let file = File::new("sync");
        let store = SqliteStore::connect(&file.url()).await.unwrap();
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            connections.push(store.pool.acquire().await.unwrap());
        }
        for connection in &mut connections {
            for (pragma, value) in [("journal_mode", "wal"), ("synchronous", "2")] {
                let sql = format!("SELECT CAST({pragma} AS TEXT) FROM pragma_{pragma}");
                let found: String = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
                    .fetch_one(&mut **connection)
                    .await
                    .unwrap();
                assert_eq!(found, value, "{pragma}");
            }
        }
    }

    static HOST: AtomicI64 = AtomicI64::new(1_776_245_400);

    fn host() -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(HOST.load(Ordering::Relaxed))
    }

    async fn claims(store: &SqliteStore) -> Vec<Claim> {
        turn(store, &[]).await
    }

    async fn turn(store: &SqliteStore, renew: &[Lease]) -> Vec<Claim> {
        let turn = Turn {
            settle: &[],
            renew,
            take: 1,
            in_order: false,
            lease: Duration::from_millis(100),
            retry: &Retry {
                attempts: 9,
                first: Duration::ZERO,
                longest: Duration::ZERO,
            },
        };
        store.turn(turn).await.unwrap().claims
    }

    #[tokio::test]
    async fn a_lease_runs_out_where_the_hosts_clock_is_set_back() {
        let file = File::new("clock");
        drop(SqliteStore::connect(&file.url()).await.unwrap());
        let open = || async {
            let pool = SqlitePool::connect(&file.url()).await.unwrap();
            SqliteStore::open_with(pool, host).await.unwrap()
        };
        let arrival = Arrival {
            key: "k".to_owned(),
            labels: Labels::default(),
            body: Bytes::from_static(b"{}"),
        };
        let store = open().await;
        let _ = store.insert(&[arrival]).await.unwrap();
        assert_eq!(claims(&store).await.len(), 1);
        assert_eq!(claims(&store).await.len(), 0);

        HOST.fetch_sub(3_600, Ordering::Relaxed);
        sleep(Duration::from_millis(150)).await;
        let claim = claims(&store).await.remove(0);
        assert_eq!(claim.attempts, 2);

        // The process that had it is gone, and the clock of the next one is behind.
        drop(store);
        let store = open().await;
        assert_eq!(claims(&store).await.len(), 0);
        sleep(Duration::from_millis(150)).await;
        let later = claims(&store).await.remove(0);
        assert_eq!(later.attempts, 3);
        assert!(later.started_at > claim.started_at);
        assert_eq!(later.received_at, claim.received_at);

        // The same where the lease was renewed since it was taken.
        HOST.fetch_add(7_200, Ordering::Relaxed);
        assert_eq!(turn(&store, &[later.lease]).await.len(), 0);
        HOST.fetch_sub(7_200, Ordering::Relaxed);
        drop(store);
        let store = open().await;
        assert_eq!(claims(&store).await.len(), 0);
        sleep(Duration::from_millis(150)).await;
        assert_eq!(claims(&store).await.remove(0).attempts, 4);
    }
}
