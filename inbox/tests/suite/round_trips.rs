//! The number of PostgreSQL round trips for each event, so that it cannot creep up again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ptolemy_webhooks_inbox::{BoxFuture, Failure, Inbox};

use crate::database::Database;
use crate::delivery;
use crate::proxy::Proxy;

const EVENTS: usize = 400;

/// An inbox with events, through a proxy that counts.
async fn inbox() -> (Database, Proxy, Inbox) {
    let database = Database::postgres().await;
    let (proxy, url) = Proxy::before(&database.url()).await;
    let inbox = Inbox::connect(&url).await.unwrap();
    let mut accepts = tokio::task::JoinSet::new();
    for number in 0..EVENTS {
        let inbox = inbox.clone();
        accepts.spawn(async move {
            let delivery = delivery::event(&number.to_string());
            inbox.accept(&delivery).await.unwrap();
        });
    }
    accepts.join_all().await;
    (database, proxy, inbox)
}

/// A turn has eight round trips, and takes as many events ahead as end meanwhile: each event costs
/// less than one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs postgres"]
async fn an_event_costs_less_than_one_round_trip() {
    let (_database, proxy, inbox) = inbox().await;
    let before = proxy.round_trips();
    let handled = Arc::new(AtomicUsize::new(0));
    let count = handled.clone();
    let handler = move |_, _| {
        count.fetch_add(1, Ordering::Relaxed);
        std::future::ready(Ok::<(), Failure>(()))
    };
    inbox.worker().concurrency(8).run_until_idle(handler).await;
    let round_trips = proxy.round_trips() - before;
    assert_eq!(handled.load(Ordering::Relaxed), EVENTS);
    assert!(round_trips < EVENTS, "{round_trips}");
}

/// The begin with the check of the lease, and the end with the commit; and a part of a turn. A loop
/// written by hand has six: two pings of the connection by the pool, the begin, the query for an
/// event, the mark, and the commit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs postgres"]
async fn an_event_in_a_transaction_costs_three_round_trips_at_most() {
    let (_database, proxy, inbox) = inbox().await;
    let before = proxy.round_trips();
    let worker = inbox.worker().concurrency(4);
    let run = worker.run_in_postgres_transaction_until_idle(|_, _, _| {
        let handled: BoxFuture<'_, Result<(), Failure>> = Box::pin(std::future::ready(Ok(())));
        handled
    });
    run.await.unwrap();
    let round_trips = proxy.round_trips() - before;
    assert_eq!(inbox.stats().await.unwrap().waiting(), 0);
    assert!(round_trips >= 2 * EVENTS, "{round_trips}");
    assert!(round_trips <= 3 * EVENTS, "{round_trips}");
}
