//! Promise 1: durable before 2xx.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use ptolemy_webhooks_inbox::sqlx::{
    self, Connection as _, Executor as _,
    postgres::PgPoolOptions,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use ptolemy_webhooks_inbox::{Accepted, ConnectErrorKind, EventOrder, Inbox, InboxErrorKind};

use crate::database::{Database, on_both_engines};
use crate::delivery;
use crate::workers::{Log, Running, until};

on_both_engines! {
    one_delivery_that_the_database_refuses_holds_no_other_up
    each_accept_has_the_limit_of_its_own_inbox
    a_limit_of_an_accept_may_be_as_long_as_a_duration_is
    what_was_accepted_is_there_for_whoever_opens_the_inbox_next
    an_accept_that_cannot_have_the_lock_fails_in_time_and_writes_nothing
    an_accept_that_cannot_have_a_connection_fails_in_time
    an_accept_fails_while_the_table_is_gone_and_works_again_afterwards
    any_body_is_kept_byte_for_byte
}

async fn a_limit_of_an_accept_may_be_as_long_as_a_duration_is(database: &Database) {
    let inbox = database.inbox().await.with_accept_timeout(Duration::MAX);
    let accepted = inbox.accept(&delivery::event("a")).await;
    assert_eq!(accepted.unwrap(), Accepted::New);
}

async fn what_was_accepted_is_there_for_whoever_opens_the_inbox_next(database: &Database) {
    let inbox = database.inbox().await;
    assert_eq!(
        inbox.accept(&delivery::event("e")).await.unwrap(),
        Accepted::New
    );
    // Nothing is closed in an orderly way.
    std::mem::forget(inbox);
    let log = Log::default();
    let worker = Running::start(&database.inbox().await, |worker| worker, log.writer());
    assert_eq!(log.until(1).await, ["e"]);
    worker.stop().await;
}

async fn an_accept_that_cannot_have_the_lock_fails_in_time_and_writes_nothing(database: &Database) {
    let inbox = database
        .inbox()
        .await
        .with_accept_timeout(Duration::from_millis(300));
    let delivery = delivery::event("e");
    let lock = Lock::take(database).await;
    let begin = Instant::now();
    let error = inbox.accept(&delivery).await.unwrap_err();
    assert!(
        begin.elapsed() < Duration::from_secs(3),
        "{:?}",
        begin.elapsed()
    );
    assert!(
        matches!(error.kind(), InboxErrorKind::TimedOut { .. }),
        "{error}"
    );
    assert_eq!(error.status(), 503);
    assert_eq!(database.states_under(&lock).await.len(), 0);
    lock.release().await;
    // Whether or not the first one came through, the repetition is the same event.
    inbox
        .with_accept_timeout(Duration::from_secs(10))
        .accept(&delivery)
        .await
        .unwrap();
    assert_eq!(database.states().await, ["waiting"]);
}

async fn an_accept_that_cannot_have_a_connection_fails_in_time(database: &Database) {
    let (inbox, held) = database.inbox_with_its_only_connection_taken().await;
    let inbox = inbox.with_accept_timeout(Duration::from_millis(300));
    let begin = Instant::now();
    let error = inbox.accept(&delivery::event("e")).await.unwrap_err();
    assert!(
        begin.elapsed() < Duration::from_secs(3),
        "{:?}",
        begin.elapsed()
    );
    assert_eq!(error.status(), 503);
    drop(held);
    let inbox = inbox.with_accept_timeout(Duration::from_secs(10));
    inbox.accept(&delivery::event("e")).await.unwrap();
    assert_eq!(database.states().await, ["waiting"]);
}

async fn an_accept_fails_while_the_table_is_gone_and_works_again_afterwards(database: &Database) {
    let inbox = database.inbox().await;
    database
        .execute("ALTER TABLE ptolemy_inbox RENAME TO elsewhere")
        .await;
    let error = inbox.accept(&delivery::event("e")).await.unwrap_err();
    assert_eq!(error.kind(), InboxErrorKind::Unavailable);
    assert_eq!(error.to_string(), "the inbox's database is not available");
    assert!(std::error::Error::source(&error).is_some());
    database
        .execute("ALTER TABLE elsewhere RENAME TO ptolemy_inbox")
        .await;
    assert_eq!(
        inbox.accept(&delivery::event("e")).await.unwrap(),
        Accepted::New
    );
}

async fn any_body_is_kept_byte_for_byte(database: &Database) {
    let inbox = database.inbox().await;
    let long = "x".repeat(900_000);
    let bodies = [
        String::new(),
        "\0".to_owned(),
        "no JSON at all".to_owned(),
        r#"{"id":"a\u0000b","event_type":"a\u0000.b","data":{"id":"c\u0000d"}}"#.to_owned(),
        r#"{"id":"\ud800","event_type":"a.b"}"#.to_owned(),
        format!(r#"{{"id":"{long}","event_type":"{long}.{long}","data":{{"id":"{long}"}}}}"#),
        r#"{"event_type":"a.b","data":{"id":12345678901234567890123}}"#.to_owned(),
        r#"{"event_type":"a.b","data":{"id":{"id":1}}}"#.to_owned(),
        "{\"event_type\":\"a\\n\u{1b}[31m.\u{2028}\"}".to_owned(),
    ];
    for body in &bodies {
        assert_eq!(
            inbox.accept(&delivery::of(body)).await.unwrap(),
            Accepted::New
        );
    }
    let kept = database.bodies().await;
    assert_eq!(kept, bodies.map(String::into_bytes));
    let labels = "SELECT event_type FROM ptolemy_inbox WHERE event_type IS NOT NULL
                  UNION ALL SELECT event_id FROM ptolemy_inbox WHERE event_id IS NOT NULL
                  UNION ALL SELECT resource || ' ' || resource_id FROM ptolemy_inbox
                  WHERE resource_id IS NOT NULL";
    for label in database.texts(labels).await {
        assert!(
            label.len() <= 600 && !label.contains(char::is_control),
            "{label:?}"
        );
    }
    let numbers = "SELECT resource_id FROM ptolemy_inbox WHERE resource_id LIKE '123%'";
    assert_eq!(database.texts(numbers).await, ["12345678901234567890123"]);
}

/// A user's trigger simulates any reason for which a database rejects a row.
async fn one_delivery_that_the_database_refuses_holds_no_other_up(database: &Database) {
    let inbox = database.inbox().await;
    match database {
        Database::Sqlite { .. } => {
            database
                .execute(
                    "CREATE TRIGGER refuse BEFORE INSERT ON ptolemy_inbox WHEN NEW.event_id = '25'
                     BEGIN SELECT RAISE(ABORT, 'no'); END",
                )
                .await;
        }
        Database::Postgres { .. } => {
            database
                .execute(
                    "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
                         $$BEGIN RAISE EXCEPTION 'no'; END$$;
                     CREATE TRIGGER refuse BEFORE INSERT ON ptolemy_inbox FOR EACH ROW
                         WHEN (NEW.event_id = '25') EXECUTE FUNCTION refuse()",
                )
                .await;
        }
    }
    let mut accepts = tokio::task::JoinSet::new();
    for number in 0..50 {
        let (inbox, delivery) = (inbox.clone(), delivery::event(&number.to_string()));
        accepts.spawn(async move { inbox.accept(&delivery).await });
    }
    let accepted = accepts.join_all().await;
    let new = accepted
        .iter()
        .filter(|one| matches!(one, Ok(Accepted::New)));
    assert_eq!(new.count(), 49);
    assert_eq!(database.states().await.len(), 49);
}

async fn each_accept_has_the_limit_of_its_own_inbox(database: &Database) {
    let inbox = database.inbox().await;
    let hasty = inbox
        .clone()
        .with_accept_timeout(Duration::from_millis(100));
    let lock = Lock::take(database).await;
    let patient = tokio::spawn(async move { inbox.accept(&delivery::event("a")).await });
    let mut accepts = tokio::task::JoinSet::new();
    for number in 0..10 {
        let (hasty, delivery) = (hasty.clone(), delivery::event(&number.to_string()));
        accepts.spawn(async move { hasty.accept(&delivery).await });
    }
    for result in accepts.join_all().await {
        assert!(matches!(
            result.unwrap_err().kind(),
            InboxErrorKind::TimedOut { limit, .. } if limit == Duration::from_millis(100)
        ));
    }
    lock.release().await;
    assert_eq!(patient.await.unwrap().unwrap(), Accepted::New);
}

/// Prevents all other writes, as another process may.
pub(crate) enum Lock {
    Sqlite(sqlx::SqliteConnection),
    Postgres(sqlx::PgConnection),
}

impl Lock {
    pub(crate) async fn take(database: &Database) -> Self {
        match database {
            Database::Sqlite { .. } => {
                let mut connection = sqlx::SqliteConnection::connect(&database.url())
                    .await
                    .unwrap();
                connection.execute("BEGIN IMMEDIATE").await.unwrap();
                Self::Sqlite(connection)
            }
            Database::Postgres { url, .. } => {
                let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
                connection
                    .execute("BEGIN; LOCK TABLE ptolemy_inbox IN SHARE MODE")
                    .await
                    .unwrap();
                Self::Postgres(connection)
            }
        }
    }

    pub(crate) async fn release(self) {
        match self {
            Self::Sqlite(mut connection) => drop(connection.execute("ROLLBACK").await.unwrap()),
            Self::Postgres(mut connection) => drop(connection.execute("ROLLBACK").await.unwrap()),
        }
    }
}

#[tokio::test]
async fn a_pool_of_sqlite_that_would_lose_commits_is_refused() {
    for (journal, synchronous, setting, value) in [
        (
            SqliteJournalMode::Wal,
            SqliteSynchronous::Normal,
            "synchronous",
            "normal",
        ),
        (
            SqliteJournalMode::Wal,
            SqliteSynchronous::Off,
            "synchronous",
            "off",
        ),
        (
            SqliteJournalMode::Delete,
            SqliteSynchronous::Full,
            "journal_mode",
            "delete",
        ),
        (
            SqliteJournalMode::Memory,
            SqliteSynchronous::Full,
            "journal_mode",
            "memory",
        ),
    ] {
        let database = Database::sqlite().await;
        database
            .execute(&format!("PRAGMA journal_mode = {journal:?}"))
            .await;
        let Database::Sqlite { file, .. } = &database else {
            unreachable!()
        };
        let options = SqliteConnectOptions::new()
            .filename(file)
            .journal_mode(journal)
            .synchronous(synchronous);
        let pool = SqlitePoolOptions::new()
            .connect_with(options)
            .await
            .unwrap();
        let error = Inbox::from_sqlite_pool(pool).await.unwrap_err();
        let ConnectErrorKind::NotDurable {
            setting: told,
            value: told_value,
            ..
        } = error.kind()
        else {
            panic!("{error}");
        };
        assert_eq!((*told, told_value.as_str()), (setting, value));
    }
}

#[tokio::test]
async fn sqlite_in_memory_is_refused() {
    for url in [
        "sqlite::memory:",
        "sqlite://:memory:",
        "sqlite://x?mode=memory",
    ] {
        let error = Inbox::connect(url).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the inbox would not survive a crash: `journal_mode` is `memory`, and must be `wal`",
            "{url}"
        );
    }
}

#[tokio::test]
async fn a_full_disk_is_an_error_and_leaves_no_half_of_a_row() {
    let database = Database::sqlite().await;
    drop(database.inbox().await);
    let Database::Sqlite { file, .. } = &database else {
        unreachable!()
    };
    let pages = database
        .number("SELECT page_count FROM pragma_page_count")
        .await
        + 20;
    let options = SqliteConnectOptions::new()
        .filename(file)
        .pragma("max_page_count", pages.to_string());
    let pool = SqlitePoolOptions::new()
        .connect_with(options)
        .await
        .unwrap();
    let inbox = Inbox::from_sqlite_pool(pool).await.unwrap();

    let mut accepted = 0;
    let error = loop {
        let filler = "x".repeat(5_000);
        let body = format!(r#"{{"id":"{accepted}","event_type":"a.b","data":{{"f":"{filler}"}}}}"#);
        match inbox.accept(&delivery::of(&body)).await {
            Ok(_) => accepted += 1,
            Err(error) => break error,
        }
        assert!(accepted < 100, "the disk does not fill");
    };
    assert!(accepted > 0);
    assert_eq!(error.kind(), InboxErrorKind::Unavailable);
    assert_eq!(database.states().await.len(), accepted);
    assert_eq!(database.texts("PRAGMA integrity_check").await, ["ok"]);
    assert_eq!(
        database
            .inbox()
            .await
            .accept(&delivery::event("e"))
            .await
            .unwrap(),
        Accepted::New
    );
}

#[tokio::test]
async fn a_file_that_may_only_be_read_is_an_error() {
    let database = Database::sqlite().await;
    let error = Inbox::connect(&format!("{}?mode=ro", database.url()))
        .await
        .unwrap_err();
    let ConnectErrorKind::File { reason, .. } = error.kind() else {
        panic!("{error}");
    };
    assert_eq!(*reason, "cannot be written");

    drop(database.inbox().await);
    let Database::Sqlite { file, .. } = &database else {
        unreachable!()
    };
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .connect_with(SqliteConnectOptions::new().filename(file))
        .await
        .unwrap();
    let inbox = Inbox::from_sqlite_pool(pool.clone()).await.unwrap();
    pool.execute("PRAGMA query_only = ON").await.unwrap();
    let error = inbox.accept(&delivery::event("e")).await.unwrap_err();
    assert_eq!(error.status(), 503);
    assert_eq!(database.states().await.len(), 0);
}

/// The trigger sees the setting under which each row is committed.
#[tokio::test]
#[ignore = "needs postgres"]
async fn a_commit_is_waited_for_where_the_database_would_not() {
    let database = Database::postgres().await;
    let inbox = database.inbox().await;
    let name = database.url().rsplit_once('/').unwrap().1.to_owned();
    drop(inbox);
    database
        .execute(
            "CREATE TABLE seen (setting TEXT);
             CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS
                 $$BEGIN INSERT INTO seen VALUES (current_setting('synchronous_commit')); RETURN NULL; END$$;
             CREATE TRIGGER see AFTER INSERT ON ptolemy_inbox EXECUTE FUNCTION see()",
        )
        .await;
    for (number, (set, wanted)) in [
        ("off", "on"),
        // It would not wait for standbys.
        ("local", "on"),
        ("remote_apply", "remote_apply"),
    ]
    .into_iter()
    .enumerate()
    {
        let set = format!("ALTER DATABASE {name} SET synchronous_commit = {set}");
        database.execute(&set).await;
        let inbox = database.inbox().await;
        let delivery = delivery::event(&number.to_string());
        assert_eq!(inbox.accept(&delivery).await.unwrap(), Accepted::New);
        let seen = database.texts("SELECT setting FROM seen").await;
        assert_eq!(seen.last().unwrap(), wanted);
        database.execute("DELETE FROM seen").await;
    }
}

#[tokio::test]
#[ignore = "needs postgres"]
async fn a_connection_that_is_cut_is_an_error_at_most_once() {
    let database = Database::postgres().await;
    let inbox = database.inbox().await;
    let log = Log::default();
    let worker = Running::start(&inbox, |worker| worker.concurrency(4), log.writer());
    let mut acknowledged = Vec::new();
    for number in 0..200 {
        if number % 20 == 10 {
            database
                .execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                     WHERE datname = current_database() AND pid <> pg_backend_pid()
                       AND query LIKE '%ptolemy_inbox%'",
                )
                .await;
        }
        let id = number.to_string();
        let delivery = delivery::event(&id);
        // As Ptolemy does, until it is accepted.
        until("accepted", async || inbox.accept(&delivery).await.is_ok()).await;
        acknowledged.push(id);
    }
    until("all handled", async || {
        let handled = log.lines();
        acknowledged.iter().all(|id| handled.contains(id))
    })
    .await;
    worker.stop().await;
    let left = "SELECT count(*) FROM ptolemy_inbox WHERE state <> 'done'";
    assert_eq!(database.number(left).await, 0);
}

/// Deadlocks in a batch: two inboxes take the same deliveries, each in the other's reverse order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs postgres"]
async fn batches_of_two_processes_that_cross_are_no_error() {
    let database = Database::postgres().await;
    let inboxes = [database.inbox().await, database.inbox().await];
    for round in 0..20 {
        let deliveries: Vec<_> = (0..60)
            .map(|n| delivery::event(&format!("{round} {n}")))
            .collect();
        let mut accepts = tokio::task::JoinSet::new();
        for (number, inbox) in inboxes.iter().enumerate() {
            let mut deliveries = deliveries.clone();
            if number == 1 {
                deliveries.reverse();
            }
            for delivery in deliveries {
                let inbox = inbox.clone();
                accepts.spawn(async move { inbox.accept(&delivery).await.unwrap() });
            }
        }
        let accepted = accepts.join_all().await;
        let new = accepted
            .iter()
            .filter(|accepted| **accepted == Accepted::New)
            .count();
        assert_eq!((new, accepted.len()), (60, 120));
    }
}

impl Database {
    async fn bodies(&self) -> Vec<Vec<u8>> {
        let sql = "SELECT body FROM ptolemy_inbox ORDER BY id";
        match self {
            Self::Sqlite { pool, .. } => sqlx::query_scalar(sql).fetch_all(pool).await.unwrap(),
            Self::Postgres { pool, .. } => sqlx::query_scalar(sql).fetch_all(pool).await.unwrap(),
        }
    }

    /// What readers see while the lock is held.
    async fn states_under(&self, _lock: &Lock) -> Vec<String> {
        self.states().await
    }

    /// An inbox on a pool whose only connection is in use.
    async fn inbox_with_its_only_connection_taken(&self) -> (Inbox, Box<dyn std::any::Any>) {
        match self {
            Self::Sqlite { file, .. } => {
                let options = SqliteConnectOptions::new().filename(file);
                let pool = SqlitePoolOptions::new()
                    .max_connections(1)
                    .connect_with(options)
                    .await
                    .unwrap();
                let inbox = Inbox::from_sqlite_pool(pool.clone()).await.unwrap();
                (inbox, Box::new(pool.acquire().await.unwrap()))
            }
            Self::Postgres { url, .. } => {
                let pool = PgPoolOptions::new()
                    .max_connections(1)
                    .connect(url)
                    .await
                    .unwrap();
                let inbox = Inbox::from_postgres_pool(pool.clone()).await.unwrap();
                (inbox, Box::new(pool.acquire().await.unwrap()))
            }
        }
    }
}

#[tokio::test]
#[ignore = "needs postgres"]
async fn a_database_that_cannot_hold_every_character_is_refused() {
    let database = Database::postgres().await;
    let name = format!("{}_latin1", database.url().rsplit_once('/').unwrap().1);
    database
        .execute(&format!(
            "CREATE DATABASE {name} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        ))
        .await;
    let error = Inbox::connect(&format!("{}_latin1", database.url()))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the inbox's database has the encoding LATIN1, and must have UTF8"
    );
}

/// A default level that fails if two receivers accept the same delivery.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs postgres"]
async fn a_database_that_is_serializable_by_default_is_no_obstacle() {
    let database = Database::postgres().await;
    let name = database.url().rsplit_once('/').unwrap().1.to_owned();
    let set = "SET default_transaction_isolation = 'serializable'";
    database
        .execute(&format!("ALTER DATABASE {name} {set}"))
        .await;
    let inboxes = [database.inbox().await, database.inbox().await];
    let mut accepts = tokio::task::JoinSet::new();
    for number in 0..200 {
        let inbox = inboxes[number % 2].clone();
        let delivery = delivery::event(&(number / 4).to_string());
        accepts.spawn(async move { inbox.accept(&delivery).await.unwrap() });
    }
    accepts.join_all().await;
    let workers = inboxes.map(|inbox| {
        Running::start(
            &inbox,
            |worker| worker.concurrency(4),
            |_, _| async { Ok(()) },
        )
    });
    let open = "SELECT count(*) FROM ptolemy_inbox WHERE state <> 'done'";
    until("all done", async || database.number(open).await == 0).await;
    for worker in workers {
        worker.stop().await;
    }
    assert_eq!(
        database
            .number("SELECT max(attempts) FROM ptolemy_inbox")
            .await,
        1
    );
}

/// A separate server, which is stopped at once, as by a crash, and started again.
struct Server(std::path::PathBuf);

impl Server {
    fn new() -> Self {
        let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
        Self(std::env::temp_dir().join(format!("ptolemy-server-{}", since.as_nanos())))
    }

    fn run(&self, action: &str) -> String {
        let output =
            std::process::Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/postgres"))
                .arg(action)
                .arg(&self.0)
                .stderr(std::process::Stdio::inherit())
                .output()
                .unwrap();
        assert!(output.status.success(), "{action}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.run("stop");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs postgres"]
async fn a_server_that_restarts_in_mid_flight_loses_nothing() {
    let server = Arc::new(Server::new());
    let database = Database::on_server(&server.run("start")).await;
    let inbox = database.inbox().await;
    let log = Log::default();
    let worker = Running::start(&inbox, |worker| worker.concurrency(4), log.writer());
    let restarts = Arc::new(AtomicU32::new(0));
    let restarting = {
        let (server, restarts) = (server.clone(), restarts.clone());
        tokio::task::spawn_blocking(move || {
            for _ in 0..3 {
                std::thread::sleep(Duration::from_millis(500));
                server.run("restart");
                restarts.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    let mut acknowledged = Vec::new();
    // Most accepts wait for the server; the limit of one may be over before.
    let mut interrupted = 0;
    while restarts.load(Ordering::Relaxed) < 3 || acknowledged.len() < 100 {
        let id = acknowledged.len().to_string();
        let delivery = delivery::event(&id);
        let begin = Instant::now();
        while let Err(error) = inbox.accept(&delivery).await {
            assert_eq!(error.status(), 503);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        interrupted += u32::from(begin.elapsed() > Duration::from_millis(100));
        acknowledged.push(id);
    }
    restarting.await.unwrap();
    assert!(interrupted > 0, "nothing was in flight");
    until("all handled", async || {
        let handled: HashSet<_> = log.lines().into_iter().collect();
        acknowledged.iter().all(|id| handled.contains(id))
    })
    .await;
    worker.stop().await;
    assert_eq!(database.states().await.len(), acknowledged.len());
}

/// The first may be in the file without a sync: its writer was killed between the two. A commit
/// that writes is synced, together with everything in the file.
#[tokio::test]
async fn a_repetition_on_sqlite_is_a_commit_that_is_synced() {
    let database = Database::sqlite().await;
    let inbox = database.inbox().await;
    inbox.accept(&delivery::event("e")).await.unwrap();
    inbox.set_order(EventOrder::ByResource).await.unwrap();
    let mut observer = sqlx::SqliteConnection::connect(&database.url())
        .await
        .unwrap();
    let mut commits = async || -> i64 {
        sqlx::query_scalar("PRAGMA data_version")
            .fetch_one(&mut observer)
            .await
            .unwrap()
    };
    let mut seen = commits().await;
    for _ in 0..3 {
        let again = inbox.accept(&delivery::event("e")).await.unwrap();
        assert!(matches!(again, Accepted::Duplicate { .. }));
        let now = commits().await;
        assert_ne!(now, seen, "nothing was written");
        seen = now;
    }
    inbox.set_order(EventOrder::ByResource).await.unwrap();
    assert_ne!(commits().await, seen, "nothing was written");
}

/// The server waits for a standby that is not there. After the restart it shows what it had written
/// without the standby's answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs postgres"]
async fn a_repetition_on_postgres_is_not_acknowledged_before_the_standby_has_the_first() {
    let server = Server::new();
    let database = Database::on_server(&server.run("start")).await;
    let inbox = database.inbox().await;
    inbox.set_order(EventOrder::ByResource).await.unwrap();
    drop(inbox);
    let standby = |names: &str| format!("ALTER SYSTEM SET synchronous_standby_names = '{names}'");
    database.execute(&standby("nobody")).await;
    server.run("restart");
    let limit = Duration::from_millis(200);
    let inbox = Inbox::open_existing(&database.url()).await.unwrap();
    let hasty = inbox.with_accept_timeout(limit);
    let delivery = delivery::event("e");
    assert_eq!(hasty.accept(&delivery).await.unwrap_err().status(), 503);
    server.run("restart");
    let pool = PgPoolOptions::new().connect(&database.url()).await.unwrap();
    let there = "SELECT count(*) FROM ptolemy_inbox";
    let rows: i64 = sqlx::query_scalar(there).fetch_one(&pool).await.unwrap();
    assert_eq!(rows, 1);

    let inbox = Inbox::open_existing(&database.url()).await.unwrap();
    let hasty = inbox.clone().with_accept_timeout(limit);
    for _ in 0..3 {
        let answer = hasty.accept(&delivery).await;
        assert_eq!(answer.unwrap_err().status(), 503);
    }
    let set = inbox.set_order(EventOrder::ByResource);
    assert!(tokio::time::timeout(limit, set).await.is_err());
    let sql = standby("");
    pool.execute(sqlx::AssertSqlSafe(sql)).await.unwrap();
    pool.execute("SELECT pg_reload_conf()").await.unwrap();
    let again = inbox.accept(&delivery).await.unwrap();
    assert!(matches!(again, Accepted::Duplicate { .. }));
}
