//! `Inbox::close`.

use std::error::Error as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ptolemy_webhooks_inbox::sqlx::postgres::PgPoolOptions;
use ptolemy_webhooks_inbox::{Accepted, Failure, Inbox, InboxError, InboxErrorKind};
use tokio::sync::Notify;

use crate::database::{Database, on_both_engines};
use crate::delivery;
use crate::workers::{Running, quick, until};

on_both_engines! {
    after_a_close_each_call_of_the_inbox_and_its_clones_fails
    a_close_waits_for_a_handler_in_a_transaction_and_lets_no_other_begin
    a_worker_that_runs_when_the_inbox_is_closed_handles_nothing_and_can_be_stopped
    an_existing_inbox_that_was_opened_is_closed_too
    a_users_pool_stays_open
}

fn must_be_closed(error: &InboxError) {
    assert_eq!(error.kind(), InboxErrorKind::Unavailable);
    let cause = error.source().unwrap().to_string();
    assert_eq!(cause, "the inbox is closed");
}

/// How many connections the database's server has beside those of the test's own pool; `None` on
/// SQLite, whose file is looked at.
async fn connections(database: &Database) -> Option<i64> {
    if database.is_sqlite() {
        return None;
    }
    let count = "SELECT count(*) FROM pg_stat_activity
                 WHERE datname = current_database() AND application_name = 'closed'";
    Some(database.number(count).await)
}

/// The URL, with a name for the connections.
fn url(database: &Database) -> String {
    let name = match database.is_sqlite() {
        true => "",
        false if database.url().contains('?') => "&application_name=closed",
        false => "?application_name=closed",
    };
    database.url() + name
}

async fn after_a_close_each_call_of_the_inbox_and_its_clones_fails(database: &Database) {
    let inbox = Inbox::connect(&url(database)).await.unwrap();
    let clone = inbox.clone();
    inbox.accept(&delivery::event("a")).await.unwrap();
    assert_ne!(connections(database).await, Some(0));
    inbox.close().await;
    until("no connection is left", async || {
        connections(database).await.unwrap_or(0) == 0
    })
    .await;
    for inbox in [&inbox, &clone] {
        let accepted = inbox.accept(&delivery::event("b")).await;
        must_be_closed(&accepted.unwrap_err());
        must_be_closed(&inbox.ready().await.unwrap_err());
        must_be_closed(&inbox.stats().await.unwrap_err());
        must_be_closed(&inbox.prune(Duration::ZERO).await.unwrap_err());
    }
    // Again, also through a clone.
    clone.close().await;
    inbox.close().await;
    let other = database.inbox().await;
    let accepted = other.accept(&delivery::event("a")).await.unwrap();
    assert!(matches!(accepted, Accepted::Duplicate { .. }));
    assert_eq!(other.stats().await.unwrap().waiting(), 1);
}

/// On PostgreSQL another handler waits for its turn when the inbox is closed; for SQLite a test of
/// the store lets one wait.
async fn a_close_waits_for_a_handler_in_a_transaction_and_lets_no_other_begin(database: &Database) {
    let inbox = match database {
        Database::Sqlite { .. } => database.inbox().await,
        Database::Postgres { url, .. } => {
            // Two are reserved.
            let pool = PgPoolOptions::new().max_connections(3).connect(url);
            let pool = pool.await.unwrap();
            Inbox::from_postgres_pool(pool).await.unwrap()
        }
    };
    for id in ["a", "b"] {
        inbox.accept(&delivery::event(id)).await.unwrap();
    }
    let (begun, proceed) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
    let stop = Arc::new(tokio::sync::Semaphore::new(0));
    let worker = || {
        let stopped = stop.clone();
        quick(&inbox).concurrency(1).graceful_shutdown(async move {
            // It is closed.
            let _ = stopped.acquire().await;
        })
    };
    let (count, wait) = (begun.clone(), proceed.clone());
    let handled = move || {
        let (count, wait) = (count.clone(), wait.clone());
        Box::pin(async move {
            count.fetch_add(1, Ordering::Relaxed);
            wait.notified().await;
            Ok::<(), Failure>(())
        })
    };
    let workers: Vec<_> = match database.is_sqlite() {
        true => vec![tokio::spawn(
            worker().run_in_sqlite_transaction(move |_, _, _| handled()),
        )],
        false => [worker(), worker()]
            .map(|worker| {
                let handled = handled.clone();
                tokio::spawn(worker.run_in_postgres_transaction(move |_, _, _| handled()))
            })
            .into(),
    };
    let running = "SELECT count(*) FROM ptolemy_inbox WHERE state = 'running'";
    let taken = i64::try_from(workers.len()).unwrap();
    until("each worker has an event, and a handler runs", async || {
        begun.load(Ordering::Relaxed) == 1 && database.number(running).await == taken
    })
    .await;
    let closing = tokio::spawn({
        let inbox = inbox.clone();
        async move { inbox.close().await }
    });
    until("it is closing", async || inbox.stats().await.is_err()).await;
    assert!(!closing.is_finished());
    proceed.notify_one();
    let closed = tokio::time::timeout(Duration::from_secs(30), closing).await;
    closed.expect("no other handler has begun").unwrap();
    stop.close();
    for worker in workers {
        worker.await.unwrap().unwrap();
    }
    assert_eq!(begun.load(Ordering::Relaxed), 1);
    let states = database.states().await;
    assert_eq!(states.iter().filter(|state| *state == "done").count(), 1);
}

async fn a_worker_that_runs_when_the_inbox_is_closed_handles_nothing_and_can_be_stopped(
    database: &Database,
) {
    let inbox = Inbox::connect(&url(database)).await.unwrap();
    let handled = Arc::new(AtomicU32::new(0));
    let count = handled.clone();
    let worker = Running::start(
        &inbox,
        |worker| worker,
        move |_, _| {
            count.fetch_add(1, Ordering::Relaxed);
            async { Ok(()) }
        },
    );
    inbox.accept(&delivery::event("a")).await.unwrap();
    until("it works", async || handled.load(Ordering::Relaxed) == 1).await;
    inbox.close().await;
    let other = database.inbox().await;
    other.accept(&delivery::event("b")).await.unwrap();
    worker.stop().await;
    assert_eq!(handled.load(Ordering::Relaxed), 1);
    other
        .worker()
        .run_until_idle(|_, _| async { Ok::<(), Failure>(()) })
        .await;
    assert_eq!(database.states().await, ["done", "done"]);
}

async fn an_existing_inbox_that_was_opened_is_closed_too(database: &Database) {
    drop(database.inbox().await);
    let inbox = Inbox::open_existing(&url(database)).await.unwrap();
    inbox.stats().await.unwrap();
    assert_ne!(connections(database).await, Some(0));
    inbox.close().await;
    must_be_closed(&inbox.stats().await.unwrap_err());
    until("no connection is left", async || {
        connections(database).await.unwrap_or(0) == 0
    })
    .await;
}

async fn a_users_pool_stays_open(database: &Database) {
    let inbox = match database {
        Database::Sqlite { pool, .. } => Inbox::from_sqlite_pool(pool.clone()).await,
        Database::Postgres { pool, .. } => Inbox::from_postgres_pool(pool.clone()).await,
    };
    let inbox = inbox.unwrap();
    inbox.accept(&delivery::event("a")).await.unwrap();
    inbox.close().await;
    let accepted = inbox.accept(&delivery::event("b")).await;
    must_be_closed(&accepted.unwrap_err());
    // Through the pool.
    assert_eq!(database.states().await, ["waiting"]);
}

/// A database in its own folder.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("ptolemy-close-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn file(&self) -> PathBuf {
        self.0.join("inbox.db")
    }

    fn url(&self) -> String {
        format!("sqlite://{}", self.file().display())
    }

    fn names(&self) -> Vec<String> {
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        let entries = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> = entries.map(|entry| name(&entry.unwrap().path())).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn the_last_close_leaves_everything_in_the_file_and_no_other_file() {
    let folder = Folder::new("last");
    let (first, last) = (
        Inbox::connect(&folder.url()).await.unwrap(),
        Inbox::connect(&folder.url()).await.unwrap(),
    );
    for id in ["a", "b"] {
        first.accept(&delivery::event(id)).await.unwrap();
    }
    let _ = first.stats().await.unwrap();
    first.close().await;
    assert_eq!(folder.names(), ["inbox.db", "inbox.db-shm", "inbox.db-wal"]);
    last.accept(&delivery::event("c")).await.unwrap();
    last.close().await;
    assert_eq!(folder.names(), ["inbox.db"]);
    let copy = Folder::new("copy");
    fs::copy(folder.file(), copy.file()).unwrap();
    let inbox = Inbox::open_existing(&copy.url()).await.unwrap();
    assert_eq!(inbox.stats().await.unwrap().waiting(), 3);
}

/// Without the close of the inbox the log would stay: the inbox has a connection beside the pool.
#[tokio::test]
async fn a_users_pool_that_is_closed_after_the_inbox_leaves_no_other_file() {
    let folder = Folder::new("pool");
    Inbox::connect(&folder.url()).await.unwrap().close().await;
    let pool = ptolemy_webhooks_inbox::sqlx::SqlitePool::connect(&folder.url()).await;
    let pool = pool.unwrap();
    let inbox = Inbox::from_sqlite_pool(pool.clone()).await.unwrap();
    inbox.accept(&delivery::event("a")).await.unwrap();
    inbox.close().await;
    pool.close().await;
    assert_eq!(folder.names(), ["inbox.db"]);
}

#[tokio::test]
#[cfg(unix)]
async fn a_close_saves_what_is_in_a_log_that_was_removed() {
    for end in ["-wal", "-shm"] {
        let folder = Folder::new(&format!("removed{end}"));
        let inbox = Inbox::connect(&folder.url()).await.unwrap();
        inbox.accept(&delivery::event("a")).await.unwrap();
        fs::remove_file(folder.0.join(format!("inbox.db{end}"))).unwrap();
        inbox.close().await;
        let inbox = Inbox::connect(&folder.url()).await.unwrap();
        assert_eq!(inbox.stats().await.unwrap().waiting(), 1, "{end}");
    }
}
