//! Promise 8: clean stop.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ptolemy_webhooks_inbox::{Attempt, Failure};
use tokio::sync::Notify;

use crate::database::{Database, on_both_engines};
use crate::delivery;
use crate::durable::Lock;
use crate::workers::{Log, Running, quick, until};

on_both_engines! {
    what_is_taken_while_the_worker_stops_goes_back
    a_stop_lets_what_runs_finish_and_takes_nothing_more
    a_stop_gives_back_what_does_not_finish_in_time
    an_event_whose_handler_never_ends_dies_after_so_many_stops
    a_stop_keeps_its_deadline_while_the_database_is_stuck
    an_idle_worker_stops_at_once
}

async fn a_stop_lets_what_runs_finish_and_takes_nothing_more(database: &Database) {
    let inbox = database.inbox().await;
    for id in ["a", "b", "c"] {
        inbox.accept(&delivery::event(id)).await.unwrap();
    }
    let (log, proceed) = (Log::default(), Arc::new(Notify::new()));
    let mut worker = Running::start(
        &inbox,
        |worker| worker.concurrency(2),
        log.writer_behind(&proceed),
    );
    log.until(2).await;
    worker.signal();
    let stop = tokio::spawn(worker.stop());
    until("stopped", async || {
        proceed.notify_waiters();
        stop.is_finished()
    })
    .await;
    stop.await.unwrap();
    assert_eq!(database.states().await, ["done", "done", "waiting"]);
    assert_eq!(log.lines().len(), 2);
}

async fn a_stop_gives_back_what_does_not_finish_in_time(database: &Database) {
    let inbox = database.inbox().await;
    inbox.accept(&delivery::event("e")).await.unwrap();
    let log = Log::default();
    let begun = log.clone();
    let worker = Running::start(
        &inbox,
        |worker| worker.shutdown_timeout(Duration::from_millis(100)),
        move |_, attempt| {
            begun.write(attempt.number().to_string());
            std::future::pending()
        },
    );
    log.until(1).await;
    worker.stop().await;
    assert_eq!(database.states().await, ["waiting"]);
    assert_eq!(
        database.number("SELECT attempts FROM ptolemy_inbox").await,
        1
    );

    // At once, without a wait for the lease to expire; and the attempt counts.
    let begun = log.clone();
    let worker = Running::start(
        &inbox,
        |worker| worker,
        move |_, attempt| {
            begun.write(attempt.number().to_string());
            async { Ok(()) }
        },
    );
    assert_eq!(log.until(2).await, ["1", "2"]);
    worker.stop().await;
}

async fn an_event_whose_handler_never_ends_dies_after_so_many_stops(database: &Database) {
    let inbox = database.inbox().await;
    inbox.accept(&delivery::event("e")).await.unwrap();
    let log = Log::default();
    for attempt in 1..=3 {
        let begun = log.clone();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let worker = quick(&inbox)
            .max_attempts(3)
            .shutdown_timeout(Duration::from_millis(50))
            .graceful_shutdown(async {
                let _ = stopped.await;
            });
        // In a separate transaction the second time.
        let worker = match attempt {
            2 if database.is_sqlite() => {
                tokio::spawn(worker.run_in_sqlite_transaction(move |_, attempt, _| {
                    begun.write(attempt.number().to_string());
                    Box::pin(std::future::pending())
                }))
            }
            2 => tokio::spawn(worker.run_in_postgres_transaction(move |_, attempt, _| {
                begun.write(attempt.number().to_string());
                Box::pin(std::future::pending())
            })),
            _ => tokio::spawn(async move {
                let run = worker.run(move |_, attempt: Attempt| {
                    begun.write(attempt.number().to_string());
                    std::future::pending::<Result<(), Failure>>()
                });
                run.await;
                Ok(())
            }),
        };
        log.until(attempt).await;
        drop(stop);
        worker.await.unwrap().unwrap();
    }
    assert_eq!(log.lines(), ["1", "2", "3"]);
    let told = "SELECT state || attempts || last_error FROM ptolemy_inbox";
    let expected = "dead3the worker stopped before the handler had ended";
    assert_eq!(database.texts(told).await, [expected]);
}

async fn a_stop_keeps_its_deadline_while_the_database_is_stuck(database: &Database) {
    let inbox = database.inbox().await;
    inbox.accept(&delivery::event("e")).await.unwrap();
    let log = Log::default();
    let begun = log.clone();
    let worker = Running::start(
        &inbox,
        |worker| worker.shutdown_timeout(Duration::from_millis(200)),
        move |_, _| {
            begun.write("begun");
            std::future::pending()
        },
    );
    log.until(1).await;
    let lock = Lock::take(database).await;
    let begin = Instant::now();
    worker.stop().await;
    assert!(
        begin.elapsed() < Duration::from_secs(6),
        "{:?}",
        begin.elapsed()
    );
    lock.release().await;
}

/// The signal comes while the database is returning events.
async fn what_is_taken_while_the_worker_stops_goes_back(database: &Database) {
    let inbox = database.inbox().await;
    inbox.accept(&delivery::event("e")).await.unwrap();
    let lock = Lock::take(database).await;
    let log = Log::default();
    let handled = log.clone();
    let mut worker = Running::start(
        &inbox,
        |worker| worker,
        move |_, _| {
            handled.write("handled");
            async { Ok(()) }
        },
    );
    // Its first turn waits for the lock.
    tokio::time::sleep(Duration::from_millis(100)).await;
    worker.signal();
    lock.release().await;
    worker.stop().await;
    assert_eq!(database.states().await, ["waiting"]);
    assert_eq!(
        database.number("SELECT attempts FROM ptolemy_inbox").await,
        0
    );
    assert!(log.lines().is_empty());
}

async fn an_idle_worker_stops_at_once(database: &Database) {
    let inbox = database.inbox().await;
    inbox.accept(&delivery::event("e")).await.unwrap();
    let worker = Running::start(
        &inbox,
        |worker| worker.poll_interval(Duration::from_secs(3_600)),
        |_, _| async { Ok(()) },
    );
    until("done", async || database.states().await == ["done"]).await;
    let begin = Instant::now();
    worker.stop().await;
    assert!(begin.elapsed() < Duration::from_secs(5));
}
