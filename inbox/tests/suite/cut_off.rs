//! Connections that are cut at the end of a handler's transaction, whose outcome is then unknown.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ptolemy_webhooks_inbox::Inbox;
use tokio::time::{Instant, sleep};

use crate::database::Database;
use crate::delivery;
use crate::logged::Logged;
use crate::proxy::{Proxy, Then};
use crate::workers::quick;

const DONE: &str = "SELECT count(*) FROM ptolemy_inbox WHERE state = 'done' AND attempts = 1";

/// The end and the commit are two messages there, and the end locks the event's row, for which the
/// next turn waits.
#[tokio::test]
#[ignore = "needs postgres"]
async fn behind_a_pooler_a_handler_that_is_cut_off_before_its_commit_holds_others_up_for_15_s() {
    let database = Database::postgres().await;
    let (proxy, url) = Proxy::before(&database.url()).await;
    let url = format!("{url}?statement-cache-capacity=0");
    let inbox = Inbox::connect(&url).await.unwrap();
    inbox.accept(&delivery::event("first")).await.unwrap();
    proxy.cut_after("ptolemy_inbox_end", Then::Forgotten);
    let worker = quick(&inbox).run_in_postgres_transaction(|_, _, _| Box::pin(async { Ok(()) }));
    let worker = tokio::spawn(worker);
    while !proxy.has_cut() {
        sleep(Duration::from_millis(10)).await;
    }
    let begin = Instant::now();
    for id in ["second", "third"] {
        inbox.accept(&delivery::event(id)).await.unwrap();
    }
    let done = "SELECT count(*) FROM ptolemy_inbox WHERE state = 'done'";
    while database.number(done).await < 3 {
        assert!(begin.elapsed() < Duration::from_secs(150));
        sleep(Duration::from_millis(100)).await;
    }
    worker.abort();
}

#[tokio::test]
#[ignore = "needs postgres"]
async fn a_commit_whose_answer_is_lost_is_found_and_the_attempt_has_succeeded() {
    let database = Database::postgres().await;
    let (proxy, url) = Proxy::before(&database.url()).await;
    let inbox = Inbox::connect(&url).await.unwrap();
    inbox.accept(&delivery::event("first")).await.unwrap();
    proxy.cut_after("COMMIT AND CHAIN", Then::Closed);
    let calls = Arc::new(AtomicU32::new(0));
    let called = calls.clone();
    let (logged, _guard) = Logged::start();
    let run = quick(&inbox).run_in_postgres_transaction_until_idle(move |_, _, _| {
        called.fetch_add(1, Ordering::Relaxed);
        Box::pin(async { Ok(()) })
    });
    run.await.unwrap();
    assert!(proxy.has_cut());
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    assert_eq!(database.number(DONE).await, 1);
    for line in ["an attempt failed", "lease lost"] {
        assert_eq!(logged.lines(line), [""; 0]);
    }
}
