//! Handlers, errors and panics that misbehave.

use std::error::Error;
use std::fmt;
use std::future::pending;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use ptolemy_webhooks_inbox::{Failure, Inbox, sqlx};
use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

use crate::database::{Database, on_both_engines};
use crate::delivery;
use crate::workers::{Log, Running, quick, until};

on_both_engines! {
    a_poisoned_error_or_panic_is_the_end_of_its_attempt_alone
    a_poisoned_error_or_panic_in_a_transaction_is_the_end_of_its_attempt_alone
    a_hook_of_the_pool_that_panics_does_not_end_the_worker
    no_numbers_or_times_of_a_row_stop_a_turn
}

fn panic_quietly(payload: impl std::any::Any + Send) -> ! {
    // As a panic does, without its message on the terminal.
    resume_unwind(Box::new(payload))
}

/// Panics when it is dropped, with another one.
struct PanicsOnDrop;

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        panic_quietly(PanicsOnDrop);
    }
}

/// An error that misbehaves as its name says.
enum Poisoned {
    Display,
    FailingDisplay,
    EndlessDisplay,
    Source,
    Cycle,
    Drop,
}

impl fmt::Debug for Poisoned {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic_quietly("in Debug")
    }
}

impl fmt::Display for Poisoned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Display => panic_quietly(PanicsOnDrop),
            Self::FailingDisplay => Err(fmt::Error),
            Self::EndlessDisplay => loop {
                f.write_str("on and ")?;
            },
            Self::Source => f.write_str("a source that panics"),
            Self::Cycle => f.write_str("a cycle"),
            Self::Drop => f.write_str("a drop that panics"),
        }
    }
}

impl Error for Poisoned {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Source => panic_quietly("in source"),
            Self::Cycle => Some(self),
            _ => None,
        }
    }
}

impl Drop for Poisoned {
    fn drop(&mut self) {
        if let Self::Drop = self {
            panic_quietly(PanicsOnDrop);
        }
    }
}

/// The behaviour of the handler for each event, by its id; and the error that is kept.
fn events() -> Vec<(&'static str, String)> {
    let unreadable = "an error whose Display or source failed";
    vec![
        ("display", unreadable.to_owned()),
        ("failing display", unreadable.to_owned()),
        ("endless display", "on and ".repeat(286)[..2_000].to_owned()),
        ("source", format!("a source that panics: {unreadable}")),
        ("cycle", "a cycle".to_owned()),
        ("drop", "a drop that panics".to_owned()),
        ("payload", "the handler panicked: -".to_owned()),
        ("future", "the handler panicked: -".to_owned()),
        ("slow", "the handler panicked: -".to_owned()),
        ("good", String::new()),
    ]
}

async fn handle(id: Option<String>) -> Result<(), Failure> {
    let poisoned = match id.as_deref().unwrap() {
        "display" => Poisoned::Display,
        "failing display" => Poisoned::FailingDisplay,
        "endless display" => Poisoned::EndlessDisplay,
        "source" => Poisoned::Source,
        "cycle" => Poisoned::Cycle,
        "drop" => Poisoned::Drop,
        "payload" => panic_quietly(PanicsOnDrop),
        "future" => {
            let _panics = PanicsOnDrop;
            return Ok(());
        }
        "slow" => {
            let _panics = PanicsOnDrop;
            pending().await
        }
        _ => return Ok(()),
    };
    Err(Failure::permanent(poisoned))
}

async fn accept_all(inbox: &Inbox) {
    for (id, _) in events() {
        inbox.accept(&delivery::event(id)).await.unwrap();
    }
}

fn worker(inbox: &Inbox) -> ptolemy_webhooks_inbox::Worker {
    quick(inbox)
        .max_attempts(1)
        .handler_timeout(Duration::from_millis(50))
}

async fn all_but_the_good_one_are_dead(database: &Database) {
    let rows = "SELECT state || coalesce(' ' || last_error, '') FROM ptolemy_inbox ORDER BY id";
    let expected = events().into_iter().map(|(id, error)| match id {
        "good" => "done".to_owned(),
        _ => format!("dead {error}"),
    });
    assert_eq!(database.texts(rows).await, expected.collect::<Vec<_>>());
}

/// The time limit for all of it: an error that is read forever would hang.
const LIMIT: Duration = Duration::from_secs(15);

async fn a_poisoned_error_or_panic_is_the_end_of_its_attempt_alone(database: &Database) {
    let inbox = database.inbox().await;
    accept_all(&inbox).await;
    let run = worker(&inbox)
        .concurrency(3)
        .run_until_idle(|event, _| handle(event.id));
    let run = tokio::spawn(tokio::time::timeout(LIMIT, run));
    run.await.unwrap().unwrap();
    all_but_the_good_one_are_dead(database).await;
}

async fn a_poisoned_error_or_panic_in_a_transaction_is_the_end_of_its_attempt_alone(
    database: &Database,
) {
    database.execute("CREATE TABLE changes (id TEXT)").await;
    let inbox = database.inbox().await;
    accept_all(&inbox).await;
    let worker = worker(&inbox);
    let run = async {
        if database.is_sqlite() {
            let run = worker.run_in_sqlite_transaction_until_idle(|event, _, tx| {
                Box::pin(async move {
                    let insert = sqlx::query("INSERT INTO changes VALUES (?)");
                    insert.bind(&event.id).execute(tx).await?;
                    handle(event.id).await
                })
            });
            run.await.unwrap();
        } else {
            let run = worker.run_in_postgres_transaction_until_idle(|event, _, tx| {
                Box::pin(async move {
                    let insert = sqlx::query("INSERT INTO changes VALUES ($1)");
                    insert.bind(&event.id).execute(tx).await?;
                    handle(event.id).await
                })
            });
            run.await.unwrap();
        }
    };
    tokio::time::timeout(LIMIT, run).await.unwrap();
    all_but_the_good_one_are_dead(database).await;
    assert_eq!(database.texts("SELECT id FROM changes").await, ["good"]);
}

/// A hook that panics while it is armed, and otherwise accepts the connection.
#[derive(Clone, Default)]
struct Hook {
    panics: Arc<AtomicBool>,
    panicked: Arc<AtomicU32>,
}

impl Hook {
    fn call(&self) -> Result<bool, sqlx::Error> {
        if !self.panics.load(Relaxed) {
            return Ok(true);
        }
        if self.panicked.fetch_add(1, Relaxed) == 0 {
            panic_quietly(PanicsOnDrop);
        }
        Err(sqlx::Error::Configuration(Box::new(Poisoned::Display)))
    }

    async fn inbox(&self, database: &Database) -> Inbox {
        let hook = self.clone();
        match database {
            Database::Sqlite { file, .. } => {
                let pool = SqlitePoolOptions::new().before_acquire(move |_, _| {
                    let hook = hook.clone();
                    Box::pin(async move { hook.call() })
                });
                let file = SqliteConnectOptions::new().filename(file);
                let file = file.create_if_missing(true);
                let file = file.journal_mode(sqlx::sqlite::SqliteJournalMode::Wal);
                let file = file.synchronous(sqlx::sqlite::SqliteSynchronous::Full);
                let pool = pool.connect_with(file).await.unwrap();
                Inbox::from_sqlite_pool(pool).await.unwrap()
            }
            Database::Postgres { url, .. } => {
                let pool = PgPoolOptions::new().before_acquire(move |_, _| {
                    let hook = hook.clone();
                    Box::pin(async move { hook.call() })
                });
                let pool = pool.connect(url).await.unwrap();
                Inbox::from_postgres_pool(pool).await.unwrap()
            }
        }
    }
}

async fn a_hook_of_the_pool_that_panics_does_not_end_the_worker(database: &Database) {
    let hook = Hook::default();
    let inbox = hook.inbox(database).await;
    let log = Log::default();
    let worker = Running::start(&inbox, |worker| worker, log.writer());
    inbox.accept(&delivery::event("a")).await.unwrap();
    log.until(1).await;
    hook.panics.store(true, Relaxed);
    until("panics", async || hook.panicked.load(Relaxed) > 2).await;
    hook.panics.store(false, Relaxed);
    inbox.accept(&delivery::event("b")).await.unwrap();
    assert_eq!(log.until(2).await, ["a", "b"]);
    assert!(inbox.health().is_healthy());
    worker.stop().await;
    assert_eq!(inbox.health().workers_stopped, 1);
}

/// Regardless of the values in its columns, a row is handled or dies, and those beside it are
/// handled.
async fn no_numbers_or_times_of_a_row_stop_a_turn(database: &Database) {
    let inbox = database.inbox().await;
    let mut odd = vec![
        "attempts = 2147483647",
        "attempts = 2147483646",
        "attempts = -2147483647 - 1",
        "lease_token = 9223372036854775807",
        "lease_token = -9223372036854775807",
    ];
    odd.extend(match database {
        Database::Sqlite { .. } => [
            "attempts = 9223372036854775807",
            "received_at = 'zzz'",
            "received_at = ''",
            "run_at = ''",
            "run_at = '2026-01-01 10:00:00'",
        ],
        Database::Postgres { .. } => [
            "received_at = 'infinity'",
            "received_at = '-infinity'",
            "received_at = '294276-01-01'",
            "run_at = '-infinity'",
            "run_at = '1950-06-01'",
        ],
    });
    // Far in the future, written while the clock was ahead.
    odd.extend(match database {
        Database::Sqlite { .. } => [
            "state = 'running', renewed_at = 'zzz', lease_until = '1970'",
            "state = 'running', renewed_at = '', crash_group = -1",
            "queue = 'suspect', crash_group = 9223372036854775807",
        ],
        Database::Postgres { .. } => [
            "state = 'running', renewed_at = 'infinity', lease_until = 'infinity'",
            "state = 'running', renewed_at = '4713-01-01 BC', lease_until = '-infinity'",
            "state = 'running', renewed_at = '5000-01-01', lease_until = '294276-01-01'",
        ],
    });
    let expired = format!(
        "state = 'running', lease_until = {}, attempts",
        database.time(-1)
    );
    let expired = [
        format!("{expired} = 2147483647"),
        format!("{expired} = -2147483647"),
    ];
    let odd: Vec<_> = odd.into_iter().map(str::to_owned).chain(expired).collect();
    for number in 0..odd.len() {
        let id = format!("odd-{number}");
        inbox.accept(&delivery::event(&id)).await.unwrap();
    }
    for id in ["good", "also-good"] {
        inbox.accept(&delivery::event(id)).await.unwrap();
    }
    let known = "SELECT count(*) FROM ptolemy_inbox WHERE event_id LIKE 'odd-%'";
    assert_eq!(database.number(known).await, odd.len() as i64);
    for (number, set) in odd.iter().enumerate() {
        let sql = format!("UPDATE ptolemy_inbox SET {set} WHERE event_id = 'odd-{number}'");
        database.execute(&sql).await;
    }
    assert!(inbox.stats().await.unwrap().oldest_due.is_some());
    // Once in each way in which an attempt ends.
    for round in 0..3 {
        let handler = move |event: ptolemy_webhooks::Event, _| async move {
            match (round, event.id.as_deref()) {
                (_, Some("good")) => Ok(()),
                (0, _) => Err(Failure::postpone(Duration::ZERO, "not now")),
                (1, _) => Err(Failure::permanent("dead")),
                _ => Ok(()),
            }
        };
        let worker = Running::start(&inbox, |worker| worker.concurrency(4), handler);
        let good = "SELECT count(*) FROM ptolemy_inbox WHERE event_id = 'good' AND state = 'done'";
        until("good", async || database.number(good).await == 1).await;
        if round > 0 {
            let open = "SELECT count(*) FROM ptolemy_inbox WHERE state IN ('waiting', 'running')";
            until("ended", async || database.number(open).await == 0).await;
        }
        worker.stop().await;
        if round == 1 {
            let dead = inbox.dead_letters().page(None, 100).await.unwrap();
            assert_eq!(dead.len(), odd.len() + 1);
            inbox.dead_letters().replay_all().await.unwrap();
        }
    }
    let states = database.states().await;
    assert!(states.iter().all(|state| state == "done"), "{states:?}");
}
