//! Reads from the floors.

use std::env;
use std::time::Duration;

use bytes::Bytes;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

use super::super::PostgresStore;
use super::super::scratch::Scratch;
use super::super::steps::PostgresSteps;
use super::*;
use crate::arrival::{Arrival, Labels};
use crate::error::BoxError;
use crate::event_order::EventOrder;
use crate::outcome::Outcome;
use crate::retry::Retry;
use crate::store::Store;
use crate::store::steps::Steps as _;
use crate::turn::{Claim, Lease, Take, Turn, Verdict, WorkerId};

/// Rows in a table of this connection alone.
async fn rows(rows: &str) -> PgConnection {
    let url = env::var("PTOLEMY_INBOX_POSTGRES_URL").unwrap();
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let create = format!(
        "CREATE TEMPORARY TABLE ptolemy_inbox
             (id BIGINT, state TEXT DEFAULT 'waiting', queue TEXT DEFAULT 'first',
              run_at TIMESTAMPTZ DEFAULT now() - interval '1 hour', resource TEXT,
              resource_id TEXT, waits_for BIGINT, released_at TIMESTAMPTZ,
              started_at TIMESTAMPTZ, finished_at TIMESTAMPTZ);
         INSERT INTO ptolemy_inbox {rows}"
    );
    sqlx::raw_sql(AssertSqlSafe(create))
        .execute(&mut connection)
        .await
        .unwrap();
    connection
}

async fn time(connection: &mut PgConnection, sql: &'static str) -> OffsetDateTime {
    let time = sqlx::query_scalar(sql).fetch_one(connection);
    time.await.unwrap()
}

/// Reads a page in order; returns its ids.
async fn page(
    steps: &mut PostgresSteps<'_>,
    queue: Queue,
    after: Option<&Place>,
    rows: i64,
) -> Vec<i64> {
    let page = steps.page(queue, after, rows).await.unwrap();
    page.into_iter().map(|due| due.1).collect()
}

/// Among rows that are due from the same time too, and of both queues.
#[tokio::test]
#[ignore = "needs postgres"]
async fn a_queue_is_read_from_its_floor() {
    let mut connection = rows(
        "(id, queue) SELECT id, CASE WHEN id <= 5 THEN 'first' ELSE 'again' END
         FROM generate_series(1::bigint, 10) AS id",
    )
    .await;
    let run_at = time(&mut connection, "SELECT min(run_at) FROM ptolemy_inbox").await;
    let queues = [Queue::First, Queue::Again];
    let floors = Floors {
        first: (run_at, 4),
        again: (run_at, 9),
        ..Floors::NONE
    };
    for (floors, expected) in [
        (Floors::NONE, [vec![1, 2, 3, 4, 5], vec![6, 7, 8, 9, 10]]),
        (floors, [vec![4, 5], vec![9, 10]]),
    ] {
        let mut steps = PostgresSteps::new(&mut connection, true, floors, None);
        assert_eq!(steps.due(queues, 9).await.unwrap(), expected);
        for (queue, expected) in queues.into_iter().zip(expected) {
            let mut steps = PostgresSteps::new(&mut connection, true, floors, None);
            assert_eq!(page(&mut steps, queue, None, 9).await, expected);
            assert_eq!(steps.floors.of(queue), (run_at, expected[0]));
            let after = (run_at, expected[0]);
            let others = page(&mut steps, queue, Some(&after), 9).await;
            assert_eq!(others, expected[1..]);
            // A page after another does not say where the queue begins.
            assert_eq!(steps.floors.of(queue), after);
        }
    }
}

/// Those that were released are 2, 3 and 8; 2 before the last look, by which it was seen.
#[tokio::test]
#[ignore = "needs postgres"]
async fn an_event_that_was_released_before_the_front_is_read_in_its_place() {
    let mut connection = rows(
        "(id, run_at, released_at)
         SELECT id, now() - interval '1 hour' + id * interval '1 second',
                CASE WHEN id = 2 THEN now() - interval '50 min'
                     WHEN id IN (3, 8) THEN now() - interval '1 s' END
         FROM generate_series(1::bigint, 10) AS id",
    )
    .await;
    let released = "SELECT min(released_at) FROM ptolemy_inbox WHERE id = 3";
    let released = time(&mut connection, released).await;
    let fourth = "SELECT run_at FROM ptolemy_inbox WHERE id = 4";
    let fourth = (time(&mut connection, fourth).await, 4);
    let floors = Floors {
        first: fourth,
        released: released - time::Duration::SECOND,
        ..Floors::NONE
    };
    let mut steps = PostgresSteps::new(&mut connection, true, floors, None);
    assert_eq!(page(&mut steps, Queue::First, None, 3).await, [3, 4, 5]);
    assert_eq!(steps.floors.of(Queue::First), fourth);
    assert!(steps.floors.released() < released);
    // A page of released events alone says nothing of the front, and the next one begins after
    // them.
    assert_eq!(page(&mut steps, Queue::First, None, 1).await, [3]);
    assert_eq!(steps.floors.of(Queue::First), fourth);
    let third = (fourth.0 - time::Duration::SECOND, 3);
    let next = page(&mut steps, Queue::First, Some(&third), 2).await;
    assert_eq!(next, [4, 5]);
    // In the other queue there are none, and its front is now.
    assert_eq!(page(&mut steps, Queue::Again, None, 3).await, [0; 0]);
    assert!(steps.floors.of(Queue::Again) > fourth);
    // One that was released before the last look is found at the next upkeep.
    steps.floors = Floors::NONE;
    assert_eq!(page(&mut steps, Queue::First, None, 3).await, [1, 2, 3]);
    // And kept in sight until it is taken.
    let hour = time::Duration::HOUR;
    assert!(steps.floors.released() > BEGIN.0);
    assert!(steps.floors.released() < released - hour / 2);
}

/// An event that ran before this process looked last has entries in the index, which need not
/// be read: here the two that run stand for such entries.
#[tokio::test]
#[ignore = "needs postgres"]
async fn running_events_are_read_from_the_first_one_unless_the_clock_was_set_back() {
    let mut connection = rows(
        "(id, state, resource, resource_id, started_at)
         VALUES (1, 'waiting', 'market', 'a', NULL), (2, 'waiting', 'market', 'b', NULL),
                (3, 'running', 'market', 'a', now() - interval '1 min'),
                (4, 'running', 'market', 'b', NULL)",
    )
    .await;
    let began = "SELECT started_at FROM ptolemy_inbox WHERE id = 3";
    let began = time(&mut connection, began).await;
    let now = time(&mut connection, "SELECT now()").await;
    let second = time::Duration::SECOND;
    let since = |since, seen_at| RunningSince { since, seen_at };
    for (running, expected) in [
        (Floors::NONE.running, [true, true]),
        (since(began, began), [true, false]),
        (since(began + second, began), [false, false]),
        // The clock was set back since: all that run are read.
        (since(began + second, now + 60 * second), [true, true]),
    ] {
        let floors = Floors {
            running,
            ..Floors::NONE
        };
        let mut steps = PostgresSteps::new(&mut connection, true, floors, None);
        let page = steps.page(Queue::First, None, 9).await.unwrap();
        let later_runs: Vec<bool> = page.into_iter().map(|due| due.5).collect();
        assert_eq!(later_runs, expected, "{running:?}");
        let raised = steps.floors.running();
        let least = match expected {
            [_, true] => BEGIN.0,
            [true, _] => began,
            _ => raised.seen_at - MAX_STEP,
        };
        assert_eq!(raised.since, least, "{running:?}");
        assert!(raised.seen_at >= now && raised.seen_at < now + 60 * second);
        steps.floors.running = running;
        let aside = steps.aside(9).await.unwrap();
        let later_runs: Vec<bool> = aside.into_iter().map(|due| due.5).collect();
        assert_eq!(later_runs, expected, "{running:?}");
    }
}

async fn try_turn(
    store: &PostgresStore,
    settle: &[(Lease, Verdict)],
    rows: usize,
) -> Result<Vec<Claim>, BoxError> {
    let turn = Turn {
        worker: WorkerId::new(),
        settle,
        renew: &[],
        take: Take::Due {
            rows,
            begin: rows,
            prefer: Queue::First,
        },
        upkeep: None,
        lease: Duration::from_secs(60),
        retry: &Retry {
            attempts: 1,
            first: Duration::ZERO,
            longest: Duration::ZERO,
        },
    };
    Ok(Store::turn(store, turn).await?.claims)
}

async fn turn(store: &PostgresStore, settle: &[(Lease, Verdict)], rows: usize) -> Vec<Claim> {
    try_turn(store, settle, rows).await.unwrap()
}

/// Two processes with the same inbox, in order by resource.
async fn two(name: &str) -> ([PostgresStore; 2], Scratch) {
    let database = Scratch::create(name).await;
    let one = PostgresStore::connect(&database.url).await.unwrap();
    one.set_order(EventOrder::ByResource).await.unwrap();
    let other = PostgresStore::connect(&database.url).await.unwrap();
    ([one, other], database)
}

async fn remove(stores: [PostgresStore; 2], database: Scratch) {
    for store in stores {
        store.close().await;
    }
    database.remove().await;
}

/// Accepts an event of this market.
async fn accept(store: &PostgresStore, key: &str, market: &str) {
    let arrival = Arrival {
        key: key.to_owned(),
        source: None,
        labels: Labels {
            resource: Some(("market".to_owned(), market.to_owned())),
            ..Labels::default()
        },
        body: Bytes::from_static(b"{}"),
    };
    let _ = store.insert(&[arrival]).await.unwrap();
}

fn keys(claims: &[Claim]) -> Vec<&str> {
    claims.iter().map(|claim| claim.key.as_str()).collect()
}

/// One process has looked at the queue after the place of the event was before the front. Another
/// ends the event that it waits for, in a turn and in a handler's transaction. The first one need
/// not wait for its upkeep.
#[tokio::test]
#[ignore = "needs postgres"]
async fn an_event_that_another_process_releases_is_taken() {
    let (stores, database) = two("floors").await;
    let [one, other] = &stores;
    for (key, market) in [("a1", "a"), ("b1", "b"), ("a2", "a"), ("b2", "b")] {
        accept(one, key, market).await;
    }
    let taken = turn(other, &[], 4).await;
    assert_eq!(keys(&taken), ["a1", "b1"]);
    tokio::time::sleep(MAX_LATE + Duration::from_millis(100)).await;
    accept(one, "c1", "c").await;
    assert_eq!(keys(&turn(one, &[], 4).await), ["c1"]);
    let floor = one.floors.lock().unwrap().of(Queue::First);
    let places = "SELECT count(*) FROM ptolemy_inbox WHERE (run_at, id) >= ($1, $2)";
    let places = sqlx::query_scalar(places).bind(floor.0).bind(floor.1);
    let at_the_floor: i64 = places.fetch_one(&one.pool).await.unwrap();
    assert_eq!(at_the_floor, 1);
    turn(other, &[(taken[0].lease, Verdict::Done)], 0).await;
    let released = turn(one, &[], 4).await;
    assert_eq!(keys(&released), ["a2"]);
    let ended = other.handle(taken[1].lease, |_| Box::pin(async { Ok(()) }));
    assert!(matches!(ended.await, Outcome::Committed));
    assert_eq!(keys(&turn(one, &[], 4).await), ["b2"]);
    let taken = "SELECT count(*) FROM ptolemy_inbox WHERE released_at IS NOT NULL";
    let taken: i64 = sqlx::query_scalar(taken)
        .fetch_one(&one.pool)
        .await
        .unwrap();
    assert_eq!(taken, 0);
    remove(stores, database).await;
}

/// What happened to a connection may have happened to the server, whose clock may be another one
/// now.
#[tokio::test]
#[ignore = "needs postgres"]
async fn a_turn_that_fails_leaves_no_floors() {
    let (stores, database) = two("no_floors").await;
    let store = &stores[0];
    turn(store, &[], 1).await;
    let floors = *store.floors.lock().unwrap();
    assert!(floors.of(Queue::First) > BEGIN);
    assert_ne!(floors.running(), Floors::NONE.running());
    let broken = "ALTER TABLE ptolemy_inbox RENAME COLUMN released_at TO other";
    store.pool.execute(broken).await.unwrap();
    assert!(try_turn(store, &[], 1).await.is_err());
    let floors = *store.floors.lock().unwrap();
    assert_eq!(floors.of(Queue::First), BEGIN);
    assert_eq!(floors.running(), Floors::NONE.running());
    remove(stores, database).await;
}

/// Those that waited return to their places, which are before the front, when the order ends.
#[tokio::test]
#[ignore = "needs postgres"]
async fn another_order_is_seen_at_once() {
    let (stores, database) = two("other_order").await;
    let [one, other] = &stores;
    for key in ["a1", "a2"] {
        accept(one, key, "a").await;
    }
    assert_eq!(keys(&turn(other, &[], 4).await), ["a1"]);
    tokio::time::sleep(MAX_LATE + Duration::from_millis(100)).await;
    assert_eq!(keys(&turn(one, &[], 4).await), [""; 0]);
    other.set_order(EventOrder::AsDue).await.unwrap();
    assert_eq!(keys(&turn(one, &[], 4).await), ["a2"]);
    remove(stores, database).await;
}

/// The driver cannot read some times.
#[tokio::test]
#[ignore = "needs postgres"]
async fn a_look_aside_reads_no_time_that_a_person_wrote() {
    let mut connection = rows(
        "(id, resource, resource_id, run_at)
         VALUES (1, 'market', 'a', 'infinity'), (2, 'market', 'b', '20000-01-01'),
                (3, 'market', 'c', '-infinity'), (4, 'market', 'd', now()), (5, NULL, NULL, now()),
                (6, NULL, NULL, '-infinity'), (7, NULL, NULL, '0001-01-01 BC')",
    )
    .await;
    let mut steps = PostgresSteps::new(&mut connection, true, Floors::NONE, None);
    let aside = steps.aside(9).await.unwrap();
    let ids: Vec<i64> = aside.into_iter().map(|due| due.1).collect();
    assert_eq!(ids, [3, 4, 5]);
}
