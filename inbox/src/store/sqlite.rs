//! The inbox in a SQLite file.
//!
//! Statements name their index, and the order of their joins (`CROSS JOIN`): after `ANALYZE`, which
//! a user or a tool may run at any time, SQLite would read whole tables if most rows had the wanted
//! state when it was run. A test reads the plan of every statement.

#[cfg(feature = "catch-up")]
mod catch_up;
mod clock;
mod file;
mod handle;
mod insert;
mod letters;
mod open;
mod steps;
mod upkeep;
mod watch;

use std::error::Error;
use std::sync::PoisonError;
use std::time::Duration;

use bytes::Bytes;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteConnection, SqlitePool};
use sqlx::{Connection as _, Sqlite, Transaction};
use time::OffsetDateTime;
use tokio::sync::{Mutex, MutexGuard};

use self::clock::{Clock, Seen};
use self::steps::SqliteSteps;
use self::watch::{Lost, Watch};
use super::choice::Rotation;
use super::gate::Gate;
use super::steps::take_turn;
use super::{Answer, Ids, Pruning, Store};
use crate::accepted::Accepted;
use crate::arrival::Arrival;
use crate::dead::DeadLetter;
use crate::error::BoxError;
use crate::event_order::EventOrder;
use crate::metrics;
use crate::stats::Stats;
use crate::turn::{Turn, Turned};

pub(crate) struct SqliteStore {
    pub(super) pool: SqlitePool,
    /// Admits this process's writers one at a time and in order, which SQLite's own lock does not
    /// do; and keeps their connection, with its page cache, if the pool belongs to the inbox.
    writer: Mutex<Option<PoolConnection<Sqlite>>>,
    owns_pool: bool,
    gate: Gate,
    clock: Clock,
    watch: Watch,
    /// Where the next look beside the pages begins.
    rotation: std::sync::Mutex<Rotation>,
}

/// The only connection of this process that writes.
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
                    keep: self.owns_pool,
                });
            }
            connection.close_on_drop();
        }
    }

    /// Closes the connections that belong to the inbox. The last one that closes the file writes
    /// the log into it and removes the log; a look at the files would report that, so nothing may
    /// run any more.
    pub(crate) async fn close(&self) {
        self.gate.close().await;
        // What was committed is on disk, whether or not a connection can be closed in order.
        if let Some(writer) = self.writer.lock().await.take() {
            let _ = writer.close().await;
        }
        self.watch.close().await;
        if self.owns_pool {
            self.pool.close().await;
        }
    }

    /// Same as `on_files_that_are_open`, and counts errors.
    async fn on_known_files<T>(
        &self,
        answer: impl Future<Output = Result<T, BoxError>>,
    ) -> Result<T, BoxError> {
        let _running = self.gate.enter()?;
        let answer = self.on_files_that_are_open(answer).await;
        answer.inspect_err(|error| metrics::database_failed(&**error, |error| error.is::<Lost>()))
    }

    /// Returns an answer only if the files are those that are open, before and after the operation:
    /// otherwise it may concern data that nobody else will ever see.
    async fn on_files_that_are_open<T>(
        &self,
        answer: impl Future<Output = Result<T, BoxError>>,
    ) -> Result<T, BoxError> {
        self.watch.check()?;
        let answer = answer.await?;
        self.watch.check()?;
        Ok(answer)
    }

    /// Returns the time, which is not before the latest one in the table.
    async fn now(&self, connection: &mut SqliteConnection) -> Result<OffsetDateTime, BoxError> {
        let limit = clock::text(self.clock.limit());
        let (latest, believed) = sqlx::query_as(LATEST_TIMES)
            .bind(&limit)
            .bind(&limit)
            .fetch_one(connection)
            .await?;
        Ok(self.clock.now(seen(latest, believed)))
    }

    async fn turn(&self, turn: Turn<'_>) -> Result<Turned, BoxError> {
        let mut writer = self.writer().await?;
        let mut tx = writer.begin().await?;
        let now = self.now(&mut tx).await?;
        let rotation = self.rotation.lock();
        let rotation = rotation.unwrap_or_else(PoisonError::into_inner).clone();
        let mut steps = SqliteSteps::new(&mut tx, now, rotation);
        let turned = take_turn(&mut steps, &turn).await?;
        let rotation = steps.rotation;
        tx.commit().await?;
        *self.rotation.lock().unwrap_or_else(PoisonError::into_inner) = rotation;
        Ok(turned)
    }
}

impl Drop for SqliteStore {
    /// Closes the kept connection without its pool, which could only do so in a Tokio runtime.
    fn drop(&mut self) {
        if let Some(connection) = self.writer.get_mut().take() {
            drop(connection.detach());
        }
    }
}

/// The latest time in the table, and the latest one up to a limit, which is bound twice.
const LATEST_TIMES: &str = "SELECT max(time), max(time) FILTER (WHERE time <= ?) FROM (
         SELECT * FROM (SELECT received_at AS time FROM ptolemy_inbox ORDER BY id DESC LIMIT 1)
         UNION ALL
         SELECT * FROM (SELECT finished_at FROM ptolemy_inbox INDEXED BY ptolemy_inbox_done
             WHERE state = 'done'
                        ORDER BY finished_at DESC LIMIT 1)
         UNION ALL
         SELECT * FROM (SELECT finished_at FROM ptolemy_inbox INDEXED BY ptolemy_inbox_done
             WHERE state = 'done' AND finished_at <= ?
                        ORDER BY finished_at DESC LIMIT 1)
         UNION ALL
         SELECT renewed_at FROM ptolemy_inbox INDEXED BY ptolemy_inbox_running
             WHERE state = 'running')";

/// A text that is not a time must not make other operations fail.
fn seen(latest: Option<String>, believed: Option<String>) -> Seen {
    let parse = |time: Option<String>| time.and_then(|time| clock::parse(&time).ok());
    Seen {
        latest: parse(latest),
        believed: parse(believed),
    }
}

/// Whether a transaction can begin on a connection.
///
/// SQLite ends a transaction by itself if, for example, the disk is full. sqlx does not notice, and
/// cannot begin another one.
async fn is_sound(connection: &mut SqliteConnection) -> bool {
    // A transaction that was dropped may not be rolled back yet; a ping is handled after that.
    !connection.is_in_transaction()
        || connection.ping().await.is_ok() && !connection.is_in_transaction()
}

/// SQLite's extended code of an error.
fn code(error: &(dyn Error + 'static)) -> Option<u32> {
    let error = error.downcast_ref::<sqlx::Error>()?.as_database_error()?;
    error.code()?.parse().ok()
}

impl Store for SqliteStore {
    fn insert<'a>(&'a self, arrivals: &'a [Arrival]) -> Answer<'a, Vec<Accepted>> {
        Box::pin(self.on_known_files(self.add(arrivals)))
    }

    fn may_be_of_one(&self, error: &(dyn Error + 'static)) -> bool {
        // Not SQLITE_BUSY, LOCKED, NOMEM, READONLY, INTERRUPT, IOERR, CORRUPT, CANTOPEN and NOTADB,
        // with which any other statement fails too.
        let of_all = [5, 6, 7, 8, 9, 10, 11, 14, 26];
        code(error).is_some_and(|code| !of_all.contains(&(code & 0xff)))
    }

    fn ready(&self) -> Answer<'_, ()> {
        Box::pin(self.on_known_files(self.try_insert()))
    }

    fn turn<'a>(&'a self, turn: Turn<'a>) -> Answer<'a, Turned> {
        Box::pin(self.on_known_files(self.turn(turn)))
    }

    fn stats(&self) -> Answer<'_, Stats> {
        Box::pin(self.on_known_files(self.count()))
    }

    fn dead(&self, ids: Ids, limit: u32) -> Answer<'_, Vec<DeadLetter>> {
        Box::pin(self.on_known_files(self.list_dead(ids, limit)))
    }

    fn dead_body(&self, id: i64) -> Answer<'_, Option<Bytes>> {
        Box::pin(self.on_known_files(self.read_dead_body(id)))
    }

    fn replay(&self, ids: Ids) -> Answer<'_, Vec<i64>> {
        Box::pin(self.on_known_files(self.replay_some(ids)))
    }

    fn discard(&self, ids: Ids) -> Answer<'_, Vec<i64>> {
        Box::pin(self.on_known_files(self.discard_some(ids)))
    }

    fn prune(&self, older_than: Duration) -> Answer<'_, u64> {
        Box::pin(self.on_known_files(self.prune_some(older_than)))
    }

    fn prune_as_one(&self, older_than: Duration, turn: Pruning) -> Answer<'_, Option<u64>> {
        Box::pin(self.on_known_files(self.prune_as_one(older_than, turn)))
    }

    fn order(&self) -> Answer<'_, EventOrder> {
        Box::pin(self.on_known_files(self.read_order()))
    }

    fn set_order(&self, order: EventOrder) -> Answer<'_, Option<EventOrder>> {
        Box::pin(self.on_known_files(self.write_order(order)))
    }
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::future::poll_fn;
    use std::path::PathBuf;
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
    use std::task::Poll;

    use tokio::sync::{Notify, Semaphore};
    use tokio::time::sleep;

    use super::*;
    use crate::arrival::Labels;
    use crate::outcome::Outcome;
    use crate::retry::Retry;
    use crate::store::SETTINGS_GONE;
    use crate::turn::{Claim, Lease, Queue, Stamped, Suspects, Take, Upkeep, WorkerId};

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
        for _ in 0..open::MAX_CONNECTIONS {
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

    /// A host's clock for one test.
    macro_rules! host {
        () => {{
            static HOST: AtomicI64 = AtomicI64::new(1_776_245_400);
            fn host() -> OffsetDateTime {
                OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(HOST.load(Ordering::Relaxed))
            }
            (&HOST, host as fn() -> OffsetDateTime)
        }};
    }

    fn arrival(key: &str) -> Arrival {
        Arrival {
            key: key.to_owned(),
            source: None,
            labels: Labels::default(),
            body: Bytes::from_static(b"{}"),
        }
    }

    async fn open(file: &File, host: fn() -> OffsetDateTime) -> SqliteStore {
        let pool = SqlitePool::connect(&file.url()).await.unwrap();
        SqliteStore::open_with(pool, host).await.unwrap()
    }

    /// The first handler has the write lock.
    #[tokio::test]
    async fn a_handler_that_waits_when_the_store_is_closed_does_not_begin() {
        let file = File::new("closed");
        let store = SqliteStore::connect(&file.url()).await.unwrap();
        let _ = store.insert(&[arrival("a"), arrival("b")]).await.unwrap();
        let mut leases = Vec::new();
        while leases.len() < 2 {
            leases.extend(claims(&store).await.iter().map(|claim| claim.lease));
        }
        let (begun, proceed) = (Semaphore::new(0), Arc::new(Notify::new()));
        let proceeds = proceed.clone();
        let runs = store.handle(leases[0], |_| {
            begun.add_permits(2);
            Box::pin(async move {
                proceeds.notified().await;
                Ok(())
            })
        });
        let waits = async {
            begun.acquire().await.unwrap().forget();
            let handled = store.handle(leases[1], |_| Box::pin(async { panic!("it begins") }));
            handled.await
        };
        let closes = async {
            begun.acquire().await.unwrap().forget();
            // The second one waits by now.
            sleep(Duration::from_millis(100)).await;
            let mut close = pin!(store.close());
            let pending = poll_fn(|cx| Poll::Ready(close.as_mut().poll(cx).is_pending()));
            assert!(pending.await);
            proceed.notify_one();
            close.await;
        };
        let (runs, waits, ()) = tokio::join!(runs, waits, closes);
        assert!(matches!(runs, Outcome::Committed), "{runs:?}");
        assert!(matches!(waits, Outcome::NotBegun(_)), "{waits:?}");
    }

    const YEAR: i64 = 365 * 24 * 60 * 60;
    const MONTH: Duration = Duration::from_secs(30 * 24 * 60 * 60);

    #[tokio::test]
    async fn pruning_fails_without_the_settings_and_not_if_it_is_not_due() {
        let file = File::new("unsettled");
        let store = SqliteStore::connect(&file.url()).await.unwrap();
        let prune = async || Store::prune_as_one(&store, MONTH, Pruning::Begins).await;
        assert_eq!(prune().await.unwrap(), Some(0));
        assert_eq!(prune().await.unwrap(), None);
        sqlx::query("DELETE FROM ptolemy_inbox_settings")
            .execute(&store.pool)
            .await
            .unwrap();
        assert_eq!(prune().await.unwrap_err().to_string(), SETTINGS_GONE);
    }

    #[tokio::test]
    async fn one_time_far_ahead_moves_no_other_and_prunes_nothing() {
        let file = File::new("ahead");
        drop(SqliteStore::connect(&file.url()).await.unwrap());
        let (set, host) = host!();
        let store = open(&file, host).await;
        let right = clock::text(host());
        for key in ["a", "b"] {
            let _ = store.insert(&[arrival(key)]).await.unwrap();
        }
        sqlx::query("UPDATE ptolemy_inbox SET state = 'done', finished_at = received_at")
            .execute(&store.pool)
            .await
            .unwrap();
        set.fetch_add(10 * YEAR, Ordering::Relaxed);
        let _ = store.insert(&[arrival("c")]).await.unwrap();
        assert_eq!(
            Store::prune(&store, MONTH).await.unwrap(),
            0,
            "while it is wrong"
        );
        let one = Pruning::Begins;
        let pruned = Store::prune_as_one(&store, MONTH, one).await.unwrap();
        assert_eq!(pruned, Some(0), "by a worker");
        sqlx::query(
            "UPDATE ptolemy_inbox SET state = 'done', finished_at = received_at
             WHERE dedup_key = 'c'",
        )
        .execute(&store.pool)
        .await
        .unwrap();
        set.fetch_sub(10 * YEAR, Ordering::Relaxed);
        for store in [store, open(&file, host).await] {
            let key = format!("{:p}", &store);
            let _ = store.insert(&[arrival(&key)]).await.unwrap();
            let received: String = sqlx::query_scalar(
                "SELECT received_at FROM ptolemy_inbox ORDER BY id DESC LIMIT 1",
            )
            .fetch_one(&store.pool)
            .await
            .unwrap();
            assert_eq!(received[..16], right[..16]);
            assert_eq!(Store::prune(&store, MONTH).await.unwrap(), 0);
            // The time of the next pruning was written under the wrong clock too.
            let pruned = Store::prune_as_one(&store, MONTH, one).await.unwrap();
            assert_eq!(pruned, Some(0));
            sqlx::query("UPDATE ptolemy_inbox_settings SET prune_at = '2036-01-01T00:00:00.000Z'")
                .execute(&store.pool)
                .await
                .unwrap();
        }
    }

    async fn claims(store: &SqliteStore) -> Vec<Claim> {
        turn(store, &[]).await
    }

    /// Takes an event as a worker of a new process that has seen silence for long enough.
    async fn turn(store: &SqliteStore, renew: &[Lease]) -> Vec<Claim> {
        let retry = Retry {
            attempts: 9,
            first: Duration::ZERO,
            longest: Duration::ZERO,
        };
        static PROCESSES: AtomicU32 = AtomicU32::new(1);
        let worker = WorkerId::of(PROCESSES.fetch_add(1, Ordering::Relaxed), 0);
        let turn = async |renew, silent: &[Stamped], take| {
            let turn = Turn {
                worker,
                settle: &[],
                renew,
                take,
                upkeep: Some(Upkeep {
                    held: &[],
                    silent,
                    mends: true,
                }),
                // Longer than a few turns take under load.
                lease: Duration::from_secs(1),
                retry: &retry,
            };
            Store::turn(store, turn).await.unwrap()
        };
        let running = turn(renew, &[], Take::Nothing).await.running;
        let silent: Vec<_> = running.iter().map(|running| running.stamped).collect();
        let take = if turn(&[], &silent, Take::Nothing).await.suspects == Suspects::Due {
            let (rows, cleared) = (1, 0);
            Take::Suspects { rows, cleared }
        } else {
            let (rows, prefer) = (1, Queue::First);
            let begin = rows;
            Take::Due {
                rows,
                begin,
                prefer,
            }
        };
        turn(&[], &[], take).await.claims
    }

    /// Waits until the lease has expired.
    async fn next_claim(store: &SqliteStore) -> Claim {
        for _ in 0..1_000 {
            if let Some(claim) = claims(store).await.pop() {
                return claim;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("the lease has not expired within 10 s");
    }

    #[tokio::test]
    async fn a_lease_runs_out_if_the_hosts_clock_is_set_back() {
        let file = File::new("clock");
        drop(SqliteStore::connect(&file.url()).await.unwrap());
        let (set, host) = host!();
        let store = open(&file, host).await;
        let _ = store.insert(&[arrival("k")]).await.unwrap();
        assert_eq!(claims(&store).await.len(), 1);
        assert_eq!(claims(&store).await.len(), 0);

        set.fetch_sub(3_600, Ordering::Relaxed);
        let claim = next_claim(&store).await;
        assert_eq!(claim.attempts, 2);

        // The process that held it died, and the clock of the next one is behind.
        drop(store);
        let store = open(&file, host).await;
        assert_eq!(claims(&store).await.len(), 0);
        let later = next_claim(&store).await;
        assert_eq!(later.attempts, 3);
        assert!(later.started_at > claim.started_at);
        assert_eq!(later.received_at, claim.received_at);

        // The same if the lease was renewed since it was taken.
        set.fetch_add(7_200, Ordering::Relaxed);
        assert_eq!(turn(&store, &[later.lease]).await.len(), 0);
        set.fetch_sub(7_200, Ordering::Relaxed);
        drop(store);
        let store = open(&file, host).await;
        assert_eq!(claims(&store).await.len(), 0);
        assert_eq!(next_claim(&store).await.attempts, 4);
    }
}
