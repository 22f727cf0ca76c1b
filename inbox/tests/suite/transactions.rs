//! Promise 4: exactly once in your own database.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ptolemy_webhooks::Event;
use ptolemy_webhooks_inbox::{Attempt, BoxFuture, Failure, Inbox, Worker, WrongEngine, sqlx};

use crate::database::{Database, on_both_engines};
use crate::delivery;
use crate::workers::{quick, until};

on_both_engines! {
    a_transaction_that_ended_within_its_handler_is_a_failure
    an_attempt_that_could_not_begin_its_transaction_does_not_count
    what_the_handler_writes_and_done_are_one
    a_handler_in_a_transaction_has_its_attempt_and_its_limit
    what_a_failed_handler_wrote_is_undone
    what_a_handler_wrote_under_a_lost_lease_is_undone
    a_transaction_of_the_other_engine_is_an_error
    a_body_that_is_no_event_is_dead_without_a_transaction
}

/// An action besides recording the event.
type Also = fn(u32) -> BoxFuture<'static, Result<(), Failure>>;

/// Runs a handler that writes the event's id into `changes`, on the engine of the database.
async fn run(database: &Database, worker: Worker, also: Also) -> Result<(), WrongEngine> {
    let calls = Arc::new(AtomicU32::new(0));
    match database {
        Database::Sqlite { .. } => {
            worker
                .run_in_sqlite_transaction(move |event: Event, _, tx| {
                    let call = calls.fetch_add(1, Ordering::Relaxed) + 1;
                    Box::pin(async move {
                        sqlx::query("INSERT INTO changes VALUES (?)")
                            .bind(event.id)
                            .execute(tx)
                            .await?;
                        also(call).await
                    })
                })
                .await
        }
        Database::Postgres { .. } => {
            worker
                .run_in_postgres_transaction(move |event: Event, _, tx| {
                    let call = calls.fetch_add(1, Ordering::Relaxed) + 1;
                    Box::pin(async move {
                        sqlx::query("INSERT INTO changes VALUES ($1)")
                            .bind(event.id)
                            .execute(tx)
                            .await?;
                        also(call).await
                    })
                })
                .await
        }
    }
}

async fn inbox(database: &Database) -> Inbox {
    database.execute("CREATE TABLE changes (id TEXT)").await;
    database.inbox().await
}

async fn changes(database: &Database) -> Vec<String> {
    database.texts("SELECT id FROM changes ORDER BY id").await
}

/// Runs it until all is done or dead.
async fn run_to_the_end(database: &Database, worker: Worker, also: Also) {
    let open = "SELECT count(*) FROM ptolemy_inbox WHERE state IN ('waiting', 'running')";
    let ended = until("nothing is open", async || database.number(open).await == 0);
    tokio::select! {
        result = run(database, worker, also) => panic!("{result:?}"),
        () = ended => {}
    }
}

async fn what_the_handler_writes_and_done_are_one(database: &Database) {
    let inbox = inbox(database).await;
    for id in ["a", "b", "c"] {
        inbox.accept(&delivery::event(id)).await.unwrap();
    }
    run_to_the_end(database, quick(&inbox).concurrency(3), |_| {
        Box::pin(async { Ok(()) })
    })
    .await;
    assert_eq!(database.states().await, ["done", "done", "done"]);
    assert_eq!(changes(database).await, ["a", "b", "c"]);
}

/// Writes the number of the attempt and whether it is the last; the first attempt never ends.
async fn a_handler_in_a_transaction_has_its_attempt_and_its_limit(database: &Database) {
    fn line(attempt: &Attempt) -> String {
        let last = if attempt.is_last() {
            "last"
        } else {
            "not last"
        };
        format!("{} {last} {}", attempt.number(), attempt.dedup_key())
    }
    let inbox = inbox(database).await;
    let delivery = delivery::event("a");
    inbox.accept(&delivery).await.unwrap();
    // Idle after the first attempt, since the second is not due yet.
    for _ in 0..2 {
        let worker = quick(&inbox)
            .max_attempts(2)
            .backoff(Duration::from_secs(60), Duration::from_secs(60))
            .handler_timeout(Duration::from_millis(200));
        if database.is_sqlite() {
            let run = worker.run_in_sqlite_transaction_until_idle(|_, attempt, tx| {
                Box::pin(async move {
                    let insert = sqlx::query("INSERT INTO changes VALUES (?)");
                    insert.bind(line(&attempt)).execute(tx).await?;
                    if attempt.number() == 1 {
                        std::future::pending::<()>().await;
                    }
                    Ok(())
                })
            });
            run.await.unwrap();
        } else {
            let run = worker.run_in_postgres_transaction_until_idle(|_, attempt, tx| {
                Box::pin(async move {
                    let insert = sqlx::query("INSERT INTO changes VALUES ($1)");
                    insert.bind(line(&attempt)).execute(tx).await?;
                    if attempt.number() == 1 {
                        std::future::pending::<()>().await;
                    }
                    Ok(())
                })
            });
            run.await.unwrap();
        }
        let due = database.time(-1);
        database
            .execute(&format!("UPDATE ptolemy_inbox SET run_at = {due}"))
            .await;
    }
    let expected = format!("2 last {}", delivery.dedup_key());
    assert_eq!(changes(database).await, [expected]);
    assert_eq!(database.states().await, ["done"]);
}

async fn what_a_failed_handler_wrote_is_undone(database: &Database) {
    let inbox = inbox(database).await;
    inbox.accept(&delivery::event("a")).await.unwrap();
    let also: Also = |call| {
        Box::pin(async move {
            match call {
                1 => Err(Failure::retry("an error")),
                2 => panic!("a panic"),
                _ => Ok(()),
            }
        })
    };
    run_to_the_end(database, quick(&inbox), also).await;
    assert_eq!(database.states().await, ["done"]);
    assert_eq!(
        database.number("SELECT attempts FROM ptolemy_inbox").await,
        3
    );
    assert_eq!(changes(database).await, ["a"]);

    inbox.accept(&delivery::event("b")).await.unwrap();
    let also: Also = |_| Box::pin(async { Err(Failure::permanent("never")) });
    run_to_the_end(database, quick(&inbox), also).await;
    assert_eq!(database.states().await, ["done", "dead"]);
    assert_eq!(changes(database).await, ["a"]);
}

/// On PostgreSQL another worker can take over while the handler runs; on SQLite the write lock
/// keeps it out until then, so the lease is lost between the claim and the transaction.
async fn what_a_handler_wrote_under_a_lost_lease_is_undone(database: &Database) {
    static CALLED_ON_SQLITE: AtomicU32 = AtomicU32::new(0);
    let inbox = inbox(database).await;
    inbox.accept(&delivery::event("a")).await.unwrap();
    match database {
        Database::Sqlite { .. } => {
            database
                .execute(
                    "CREATE TRIGGER lose AFTER UPDATE OF lease_token ON ptolemy_inbox
                     WHEN NEW.attempts = 1
                     BEGIN UPDATE ptolemy_inbox SET lease_token = NEW.lease_token + 1,
                                                    attempts = 2; END",
                )
                .await;
        }
        Database::Postgres { .. } => {
            database
                .execute(
                    "CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS
                         $$BEGIN UPDATE ptolemy_inbox SET lease_token = lease_token + 1, attempts = 2;
                                 RETURN NULL; END$$;
                     CREATE TRIGGER lose AFTER INSERT ON changes FOR EACH ROW
                         WHEN (NEW.id = 'a') EXECUTE FUNCTION lose()",
                )
                .await;
        }
    }
    let worker = quick(&inbox)
        .lease(Duration::from_secs(3_600))
        .graceful_shutdown(async {
            tokio::time::sleep(Duration::from_millis(500)).await;
        });
    let also: Also = if database.is_sqlite() {
        |_| {
            CALLED_ON_SQLITE.fetch_add(1, Ordering::Relaxed);
            Box::pin(async { Ok(()) })
        }
    } else {
        |_| Box::pin(async { Ok(()) })
    };
    run(database, worker, also).await.unwrap();
    assert_eq!(changes(database).await.len(), 0);
    assert_eq!(database.states().await, ["running"]);
    assert_eq!(CALLED_ON_SQLITE.load(Ordering::Relaxed), 0);
}

/// Either the handler ends it, or a statement whose error the handler ignores. Its writes are lost,
/// so the event must not be done.
async fn a_transaction_that_ended_within_its_handler_is_a_failure(database: &Database) {
    let inbox = inbox(database).await;
    inbox.accept(&delivery::event("a")).await.unwrap();
    let worker = quick(&inbox).max_attempts(2);
    let open = "SELECT count(*) FROM ptolemy_inbox WHERE state IN ('waiting', 'running')";
    let ended = until("nothing is open", async || database.number(open).await == 0);
    match database {
        Database::Sqlite { .. } => {
            database
                .execute("CREATE UNIQUE INDEX one ON changes (id)")
                .await;
            database
                .execute("INSERT INTO changes VALUES ('taken')")
                .await;
            let run = worker.run_in_sqlite_transaction(|event, _, tx| {
                Box::pin(async move {
                    let insert = "INSERT OR ROLLBACK INTO changes VALUES (?)";
                    sqlx::query(insert).bind(event.id).execute(&mut *tx).await?;
                    let ended = sqlx::query(insert).bind("taken").execute(&mut *tx).await;
                    assert!(ended.is_err());
                    Ok(())
                })
            });
            tokio::select! { result = run => panic!("{result:?}"), () = ended => {} }
            assert_eq!(changes(database).await, ["taken"]);
        }
        Database::Postgres { .. } => {
            let run = worker.run_in_postgres_transaction(|event, _, tx| {
                Box::pin(async move {
                    let insert = "INSERT INTO changes VALUES ($1)";
                    sqlx::query(insert).bind(event.id).execute(&mut *tx).await?;
                    sqlx::query("ROLLBACK").execute(&mut *tx).await?;
                    Ok(())
                })
            });
            tokio::select! { result = run => panic!("{result:?}"), () = ended => {} }
            assert_eq!(changes(database).await.len(), 0);
        }
    }
    assert_eq!(database.states().await, ["dead"]);

    // Nor does the connection on which it happened stay as it was left.
    for number in 0..20 {
        inbox
            .accept(&delivery::event(&number.to_string()))
            .await
            .unwrap();
    }
}

async fn an_attempt_that_could_not_begin_its_transaction_does_not_count(database: &Database) {
    let (inbox, pool) = database.inbox_on_one_connection().await;
    database.execute("CREATE TABLE changes (id TEXT)").await;
    let worker = quick(&inbox).max_attempts(1);
    let running = "SELECT count(*) FROM ptolemy_inbox WHERE state = 'running'";
    let open = "SELECT count(*) FROM ptolemy_inbox WHERE state <> 'done'";
    let script = async {
        // From the moment the event is claimed, another task has the only connection.
        let mut events = 0;
        let held = loop {
            let held = pool.take().await;
            if database.number(running).await == 1 {
                break held;
            }
            drop(held);
            // The first, or one more where the worker was faster.
            if database.number(open).await == 0 {
                events += 1;
                inbox
                    .accept(&delivery::event(&events.to_string()))
                    .await
                    .unwrap();
            }
            tokio::task::yield_now().await;
        };
        tokio::time::sleep(Duration::from_millis(400)).await;
        drop(held);
        until("done", async || database.number(open).await == 0).await;
    };
    tokio::select! {
        result = run(database, worker, |_| Box::pin(async { Ok(()) })) => panic!("{result:?}"),
        () = script => {}
    }
    assert_eq!(
        database
            .number("SELECT max(attempts) FROM ptolemy_inbox")
            .await,
        1
    );
}

/// The pool of an inbox, from which the only connection can be taken.
enum OnePool {
    Sqlite(sqlx::SqlitePool),
    Postgres(sqlx::PgPool),
}

impl OnePool {
    async fn take(&self) -> Box<dyn std::any::Any> {
        match self {
            Self::Sqlite(pool) => Box::new(pool.acquire().await.unwrap()),
            Self::Postgres(pool) => Box::new(pool.acquire().await.unwrap()),
        }
    }
}

impl Database {
    /// It waits for its connection for 200 ms.
    async fn inbox_on_one_connection(&self) -> (Inbox, OnePool) {
        let wait = Duration::from_millis(200);
        match self {
            Self::Sqlite { .. } => {
                let options = sqlx::sqlite::SqlitePoolOptions::new().acquire_timeout(wait);
                let pool = options
                    .max_connections(1)
                    .connect(&self.url())
                    .await
                    .unwrap();
                let inbox = Inbox::from_sqlite_pool(pool.clone()).await.unwrap();
                (inbox, OnePool::Sqlite(pool))
            }
            Self::Postgres { url, .. } => {
                let options = sqlx::postgres::PgPoolOptions::new().acquire_timeout(wait);
                let pool = options.max_connections(1).connect(url).await.unwrap();
                let inbox = Inbox::from_postgres_pool(pool.clone()).await.unwrap();
                (inbox, OnePool::Postgres(pool))
            }
        }
    }
}

async fn a_transaction_of_the_other_engine_is_an_error(database: &Database) {
    let inbox = database.inbox().await;
    let worker = inbox.worker();
    let error = match database {
        Database::Sqlite { .. } => {
            worker
                .run_in_postgres_transaction(|_, _, _| Box::pin(async { Ok(()) }))
                .await
        }
        Database::Postgres { .. } => {
            worker
                .run_in_sqlite_transaction(|_, _, _| Box::pin(async { Ok(()) }))
                .await
        }
    }
    .unwrap_err();
    let engine = if database.is_sqlite() {
        "SQLite"
    } else {
        "PostgreSQL"
    };
    assert_eq!(error.engine(), engine);
    assert_eq!(inbox.health().workers_failed, 1);
    let other = if database.is_sqlite() {
        "PostgreSQL"
    } else {
        "SQLite"
    };
    assert_eq!(
        error.to_string(),
        format!("the inbox is on {engine}, so its handlers cannot run in a transaction of {other}")
    );
}

async fn a_body_that_is_no_event_is_dead_without_a_transaction(database: &Database) {
    let inbox = inbox(database).await;
    inbox.accept(&delivery::of("[]")).await.unwrap();
    run_to_the_end(database, quick(&inbox), |_| Box::pin(async { Ok(()) })).await;
    assert_eq!(database.states().await, ["dead"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handlers_in_a_transaction_of_sqlite_run_one_at_a_time() {
    static RUNNING: AtomicU32 = AtomicU32::new(0);
    let database = Database::sqlite().await;
    let inbox = inbox(&database).await;
    for id in 0..6 {
        inbox
            .accept(&delivery::event(&id.to_string()))
            .await
            .unwrap();
    }
    let also: Also = |_| {
        Box::pin(async {
            assert_eq!(RUNNING.fetch_add(1, Ordering::SeqCst), 0);
            tokio::time::sleep(Duration::from_millis(10)).await;
            RUNNING.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        })
    };
    run_to_the_end(&database, quick(&inbox).concurrency(6), also).await;
    assert_eq!(changes(&database).await.len(), 6);
    assert_eq!(
        database
            .number("SELECT max(attempts) FROM ptolemy_inbox")
            .await,
        1
    );
}

/// Accepts wait for the write lock, but only up to their limit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accepts_wait_while_a_handler_has_sqlites_write_lock() {
    let database = Database::sqlite().await;
    let inbox = inbox(&database).await;
    inbox.accept(&delivery::event("a")).await.unwrap();
    let also: Also = |_| {
        Box::pin(async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(())
        })
    };
    let running = "SELECT count(*) FROM ptolemy_inbox WHERE state = 'running'";
    let accepts = async {
        until("running", async || database.number(running).await == 1).await;
        let short = inbox
            .clone()
            .with_accept_timeout(Duration::from_millis(100));
        let error = short.accept(&delivery::event("b")).await.unwrap_err();
        assert_eq!(error.status(), 503);
        inbox.accept(&delivery::event("c")).await.unwrap();
        until("done", async || {
            let open = "SELECT count(*) FROM ptolemy_inbox WHERE state <> 'done'";
            database.number(open).await == 0
        })
        .await;
    };
    tokio::select! {
        result = run(&database, quick(&inbox), also) => panic!("{result:?}"),
        () = accepts => {}
    }
    assert!(changes(&database).await.contains(&"c".to_owned()));
}

/// More handlers than connections, all of which wait for something else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs postgres"]
async fn handlers_in_a_transaction_of_postgres_leave_connections_to_accepts() {
    let database = Database::postgres().await;
    let options = sqlx::postgres::PgPoolOptions::new()
        .max_connections(4)
        .acquire_timeout(Duration::from_millis(500));
    let pool = options.connect(&database.url()).await.unwrap();
    let inbox = Inbox::from_postgres_pool(pool).await.unwrap();
    for number in 0..16 {
        let delivery = delivery::event(&number.to_string());
        inbox.accept(&delivery).await.unwrap();
    }
    let running = Arc::new(AtomicU32::new(0));
    let runs = running.clone();
    let workers: Vec<_> = (0..2)
        .map(|_| {
            let (worker, runs) = (quick(&inbox).concurrency(16), runs.clone());
            tokio::spawn(worker.run_in_postgres_transaction(move |_, _, _| {
                runs.fetch_add(1, Ordering::SeqCst);
                Box::pin(std::future::pending())
            }))
        })
        .collect();
    until("two run", async || running.load(Ordering::SeqCst) >= 2).await;
    for number in 100..130 {
        let delivery = delivery::event(&number.to_string());
        inbox.accept(&delivery).await.unwrap();
    }
    assert_eq!(running.load(Ordering::SeqCst), 2);
    for worker in workers {
        worker.abort();
    }
}
