//! Redelivered events are handled exactly once in the user's own tables, by a worker with handlers
//! in transactions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ptolemy_webhooks::Event;
use ptolemy_webhooks_inbox::{CatchUpErrorKind, Failure, sqlx};

use super::scene::{Mode, Scene};
use crate::database::{Database, on_both_engines};
use crate::workers::{quick, until};

on_both_engines! {
    every_reachable_event_is_handled_exactly_once_in_transactions
}

/// Every fifth attempt fails after it has written.
fn result_of(call: u32) -> Result<(), Failure> {
    match call % 5 {
        0 => Err(Failure::retry("an error")),
        _ => Ok(()),
    }
}

/// Handles events forever, in transactions that write the events' ids into `changes`.
async fn handle(scene: &Scene<'_>) {
    let calls = Arc::new(AtomicU32::new(0));
    let worker = quick(&scene.inbox).concurrency(3);
    let ended = match scene.database {
        Database::Sqlite { .. } => {
            worker
                .run_in_sqlite_transaction(move |event: Event, _, tx| {
                    let call = calls.fetch_add(1, Ordering::Relaxed);
                    Box::pin(async move {
                        let insert = sqlx::query("INSERT INTO changes VALUES (?)");
                        insert.bind(event.id).execute(tx).await?;
                        result_of(call)
                    })
                })
                .await
        }
        Database::Postgres { .. } => {
            worker
                .run_in_postgres_transaction(move |event: Event, _, tx| {
                    let call = calls.fetch_add(1, Ordering::Relaxed);
                    Box::pin(async move {
                        let insert = sqlx::query("INSERT INTO changes VALUES ($1)");
                        insert.bind(event.id).execute(tx).await?;
                        result_of(call)
                    })
                })
                .await
        }
    };
    panic!("the worker ended: {ended:?}");
}

/// New events, while the receiver goes down and comes back.
async fn traffic(scene: &Scene<'_>) {
    for number in 0..120 {
        let mode = if number / 10 % 3 == 1 {
            Mode::Down
        } else {
            Mode::Up
        };
        scene.set(mode);
        scene.emit(&format!("live-{number}")).await;
    }
    scene.set(Mode::Up);
}

/// Repeats runs until one is complete; returns how many stopped because nothing arrived.
async fn catch_up(scene: &Scene<'_>) -> u32 {
    let mut stopped = 0;
    for _ in 0..100 {
        let catch_up = scene.since_an_hour().retry_missing();
        let catch_up = catch_up.arrival_timeout(Duration::from_millis(200));
        match catch_up.plan().await.unwrap().run().await {
            Ok(report) if report.is_complete() => return stopped,
            Ok(_) => {}
            Err(error) => {
                let kind = error.kind();
                let is_expected = matches!(kind, CatchUpErrorKind::NothingArrives { .. });
                assert!(is_expected, "{error:?}");
                stopped += 1;
            }
        }
    }
    panic!("no run of 100 was complete");
}

async fn every_reachable_event_is_handled_exactly_once_in_transactions(database: &Database) {
    database.execute("CREATE TABLE changes (id TEXT)").await;
    let scene = Scene::new(database).await;
    scene.outage(20, 60).await;
    let work = async {
        // Runs beside the traffic end before some of its events, so another follows.
        let (stopped, ()) = tokio::join!(catch_up(&scene), traffic(&scene));
        println!("{stopped} runs stopped meanwhile");
        catch_up(&scene).await;
        until("all are handled", async || {
            let open = "SELECT count(*) FROM ptolemy_inbox WHERE state <> 'done'";
            database.number(open).await == 0
        })
        .await;
    };
    tokio::select! {
        () = handle(&scene) => {}
        () = work => {}
    }
    let count = async |what: &str| {
        database
            .number(&format!("SELECT {what} FROM changes"))
            .await
    };
    assert_eq!(count("count(*)").await, 200);
    assert_eq!(count("count(DISTINCT id)").await, 200);
    assert_eq!((scene.events().await, scene.repeated().await), (200, 0));
}
