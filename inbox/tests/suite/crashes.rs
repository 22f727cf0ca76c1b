//! Events whose worker died, and events that fail, beside others.

use std::sync::Arc;

use ptolemy_webhooks_inbox::Failure;
use tokio::sync::Notify;

use crate::database::{Database, on_both_engines};
use crate::delivery;
use crate::workers::{Log, Running, until};

on_both_engines! {
    an_event_that_kills_its_worker_takes_no_other_one_with_it
    a_fresh_event_runs_beside_many_that_fail
}

/// Four run together when the worker dies, then two, then the one that kills it.
async fn an_event_that_kills_its_worker_takes_no_other_one_with_it(database: &Database) {
    let inbox = database.inbox().await;
    for id in ["a", "b", "poison", "d"] {
        inbox.accept(&delivery::event(id)).await.unwrap();
    }
    let (log, begun) = (Log::default(), Arc::new(Notify::new()));
    let handler = {
        let (log, begun) = (log.clone(), begun.clone());
        move |event: ptolemy_webhooks::Event, _| {
            let (log, begun) = (log.clone(), begun.clone());
            async move {
                let id = event.id.unwrap();
                if id == "poison" {
                    log.write(id.as_str());
                    begun.notify_one();
                    std::future::pending().await
                }
                // The process dies before these have ended.
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                log.write(id);
                Ok(())
            }
        }
    };
    for _ in 0..3 {
        let inbox = database.inbox().await;
        let set = |worker: ptolemy_webhooks_inbox::Worker| worker.concurrency(4).max_attempts(1);
        let worker = Running::start(&inbox, set, handler.clone());
        begun.notified().await;
        worker.crash().await;
    }
    let set = |worker: ptolemy_webhooks_inbox::Worker| worker.concurrency(4).max_attempts(1);
    let worker = Running::start(&inbox, set, handler.clone());
    let expected = ["done", "done", "dead", "done"];
    until("all ended", async || database.states().await == expected).await;
    worker.stop().await;
    let mut lines = log.lines();
    lines.sort_unstable();
    assert_eq!(lines, ["a", "b", "d", "poison", "poison", "poison"]);
    let attempts = "SELECT count(*) FROM ptolemy_inbox WHERE attempts = 1";
    assert_eq!(database.number(attempts).await, 4);
}

async fn a_fresh_event_runs_beside_many_that_fail(database: &Database) {
    let inbox = database.inbox().await;
    inbox.accept(&delivery::event("fails")).await.unwrap();
    let columns = "dedup_key, state, received_at, run_at, written_at, queue, body";
    database
        .execute(&format!(
            "UPDATE ptolemy_inbox SET queue = 'again';
             WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 5000)
             INSERT INTO ptolemy_inbox ({columns})
             SELECT 'copy ' || n, state, received_at, run_at, written_at, queue, body
             FROM ptolemy_inbox, n"
        ))
        .await;
    inbox.accept(&delivery::event("fresh")).await.unwrap();
    let log = Log::default();
    let handler = {
        let log = log.clone();
        move |event: ptolemy_webhooks::Event, _| {
            let id = event.id.unwrap();
            log.write(id.clone());
            async move {
                if id == "fresh" {
                    Ok(())
                } else {
                    Err(Failure::retry("no"))
                }
            }
        }
    };
    let worker = Running::start(&inbox, |worker| worker.concurrency(4), handler);
    let handled = async || log.lines().iter().any(|line| line == "fresh");
    until("the fresh one is handled", handled).await;
    worker.stop().await;
    let before = log.lines().iter().position(|line| line == "fresh").unwrap();
    assert!(before < 10, "{before} came before it");
}
