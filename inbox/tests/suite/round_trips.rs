//! The number of PostgreSQL round trips for each event, so that it cannot creep up again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ptolemy_webhooks_inbox::{BoxFuture, Failure, Inbox};

use crate::database::Database;
use crate::delivery;
use crate::proxy::Proxy;
use crate::workers::until;

const EVENTS: usize = 400;

/// The name of the inbox's connections at the server.
const APPLICATION: &str = "counted";

/// The maximum number of round trips of a turn, with the connections that it takes from the pool.
const TURN: i64 = 8;

/// A database with events, and its URL through a proxy that counts.
async fn filled() -> (Database, Proxy, String) {
    let database = Database::postgres().await;
    let (proxy, url) = Proxy::before(&database.url()).await;
    let url = format!("{url}?application_name={APPLICATION}");
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
    inbox.close().await;
    (database, proxy, url)
}

/// How many transactions were committed, once the server has counted those of the inbox: at the
/// latest when its connections end.
async fn commits(database: &Database) -> i64 {
    until("the connections of the inbox end", || async {
        let open = format!(
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND application_name = '{APPLICATION}'"
        );
        database.number(&open).await == 0
    })
    .await;
    // Before PostgreSQL 15 they are counted up to half a second later.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let commits = "SELECT pg_stat_get_db_xact_commit(oid) FROM pg_database WHERE datname = current_database()";
    database.number(commits).await
}

/// A turn has eight round trips, and takes as many events ahead as end meanwhile: each event costs
/// less than one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs postgres"]
async fn an_event_costs_less_than_one_round_trip() {
    let (_database, proxy, url) = filled().await;
    let inbox = Inbox::connect(&url).await.unwrap();
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

/// The begin with the check of the lease, and the end with the commit. All else are turns. How many
/// of them there are depends on how long they take, so they are counted, as commits; the most there
/// may be is tested on paused time. A loop written by hand has six round trips for each event: two
/// pings of the connection by the pool, the begin, the query for an event, the mark, and the
/// commit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs postgres"]
async fn an_event_in_a_transaction_costs_two_round_trips_and_a_part_of_a_turn() {
    let (database, proxy, url) = filled().await;
    let handled = cost_of_handling(&database, &proxy, &url).await;
    assert_eq!(
        database
            .number("SELECT count(*) FROM ptolemy_inbox WHERE state <> 'done'")
            .await,
        0
    );
    // The same without events.
    let idle = cost_of_handling(&database, &proxy, &url).await;
    let events = i64::try_from(EVENTS).unwrap();
    let round_trips = handled.round_trips - idle.round_trips;
    let turns = handled.commits - idle.commits - events;
    assert!(turns > 0, "{turns}");
    assert!(round_trips >= 2 * events, "{round_trips}");
    assert!(
        round_trips <= 2 * events + TURN * turns,
        "{round_trips} with {turns} turns"
    );
}

struct Cost {
    round_trips: i64,
    commits: i64,
}

/// What it costs to open the inbox, to handle what waits, and to close it.
async fn cost_of_handling(database: &Database, proxy: &Proxy, url: &str) -> Cost {
    let before = (proxy.round_trips(), commits(database).await);
    let inbox = Inbox::connect(url).await.unwrap();
    let worker = inbox.worker().concurrency(4);
    let run = worker.run_in_postgres_transaction_until_idle(|_, _, _| {
        let handled: BoxFuture<'_, Result<(), Failure>> = Box::pin(std::future::ready(Ok(())));
        handled
    });
    run.await.unwrap();
    inbox.close().await;
    let commits = commits(database).await - before.1;
    Cost {
        round_trips: i64::try_from(proxy.round_trips() - before.0).unwrap(),
        commits,
    }
}
