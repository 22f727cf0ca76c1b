//! Promise 3: at least once, and no stale worker.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ptolemy_webhooks_inbox::sqlx::{self, Connection as _, Executor as _, PgConnection};
use ptolemy_webhooks_inbox::{EventOrder, Failure};
use tokio::sync::Notify;

use crate::database::{Database, on_both_engines};
use crate::delivery;
use crate::workers::{Log, Running, quick, until};

on_both_engines! {
    what_is_accepted_here_is_seen_at_once
    a_worker_that_runs_until_idle_ends_when_nothing_is_due
    any_concurrency_works
    an_error_a_panic_and_a_crash_all_come_back
    an_event_that_kills_its_worker_ends_up_dead
    a_worker_that_wakes_late_marks_nothing
    a_handler_that_has_lost_its_lease_is_cut_short
    a_lease_is_renewed_while_the_handler_runs
    two_workers_never_have_one_event_at_the_same_time
}

async fn an_error_a_panic_and_a_crash_all_come_back(database: &Database) {
    let inbox = database.inbox().await;
    inbox.accept(&delivery::event("e")).await.unwrap();
    let log = Log::default();
    let handled = log.clone();
    let handler = move |_, attempt: ptolemy_webhooks_inbox::Attempt| {
        let number = attempt.number();
        handled.write(number.to_string());
        async move {
            match number {
                1 => Err(Failure::retry("an error")),
                2 => panic!("a panic"),
                3 => std::future::pending().await,
                _ => Ok(()),
            }
        }
    };
    let worker = Running::start(&inbox, |worker| worker, handler.clone());
    log.until(3).await;
    worker.crash().await;
    assert_eq!(database.states().await, ["running"]);

    let worker = Running::start(&database.inbox().await, |worker| worker, handler);
    until("done", async || database.states().await == ["done"]).await;
    worker.stop().await;
    assert_eq!(log.lines(), ["1", "2", "3", "4"]);
}

async fn an_event_that_kills_its_worker_ends_up_dead(database: &Database) {
    let inbox = database.inbox().await;
    inbox.accept(&delivery::event("e")).await.unwrap();
    let log = Log::default();
    for crash in 1..=3 {
        let begun = log.clone();
        let worker = Running::start(
            &inbox,
            |worker| worker.max_attempts(3),
            move |_, attempt| {
                begun.write(format!("{} {}", attempt.number(), attempt.is_last()));
                std::future::pending()
            },
        );
        log.until(crash).await;
        worker.crash().await;
    }
    assert_eq!(log.lines(), ["1 false", "2 false", "3 true"]);
    let worker = Running::start(
        &inbox,
        |worker| worker.max_attempts(3),
        |_, _| async { panic!("it must not run a fourth time") },
    );
    until("dead", async || database.states().await == ["dead"]).await;
    worker.stop().await;
    let dead = inbox.dead_letters().page(None, 10).await.unwrap();
    assert_eq!((dead.len(), dead[0].attempts), (1, 3));
    assert!(
        dead[0].last_error.starts_with("the lease expired"),
        "{}",
        dead[0].last_error
    );
}

/// Makes all leases look expired, as after a long pause of their process.
async fn expire(database: &Database) {
    let past = database.time(-10);
    database
        .execute(&format!(
            "UPDATE ptolemy_inbox SET lease_until = {past} WHERE state = 'running'"
        ))
        .await;
}

async fn a_worker_that_wakes_late_marks_nothing(database: &Database) {
    let inbox = database.inbox().await;
    inbox.accept(&delivery::event("e")).await.unwrap();
    let (log, wake, finish) = (
        Log::default(),
        Arc::new(Notify::new()),
        Arc::new(Notify::new()),
    );

    // The renewal of this one is far away.
    let (begun, late) = (log.clone(), wake.clone());
    let sleeper = Running::start(
        &inbox,
        |worker| {
            worker
                .lease(Duration::from_secs(3_600))
                .poll_interval(Duration::from_secs(3_600))
        },
        move |_, _| {
            let (begun, late) = (begun.clone(), late.clone());
            async move {
                begun.write("sleeper");
                late.notified().await;
                Ok(())
            }
        },
    );
    log.until(1).await;
    expire(database).await;
    let (begun, gate) = (log.clone(), finish.clone());
    let other = Running::start(
        &database.inbox().await,
        |worker| worker,
        move |_, attempt| {
            let (begun, gate) = (begun.clone(), gate.clone());
            async move {
                begun.write(format!("other {}", attempt.number()));
                gate.notified().await;
                Err(Failure::permanent("for the record"))
            }
        },
    );
    assert_eq!(log.until(2).await, ["sleeper", "other 2"]);

    wake.notify_one();
    sleeper.stop().await;
    assert_eq!(database.states().await, ["running"]);
    finish.notify_one();
    until("dead", async || database.states().await == ["dead"]).await;
    other.stop().await;
}

async fn a_handler_that_has_lost_its_lease_is_cut_short(database: &Database) {
    struct Dropped(Log);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.write("cut short");
        }
    }
    let inbox = database.inbox().await;
    inbox.accept(&delivery::event("e")).await.unwrap();
    let log = Log::default();
    let begun = log.clone();
    let worker = Running::start(
        &inbox,
        |worker| worker,
        move |_, _| {
            let begun = begun.clone();
            async move {
                begun.write("begun");
                let _dropped = Dropped(begun);
                std::future::pending().await
            }
        },
    );
    log.until(1).await;
    // This is what another worker does to an expired lease.
    database
        .execute("UPDATE ptolemy_inbox SET lease_token = lease_token + 1, attempts = attempts + 1")
        .await;
    assert_eq!(log.until(2).await, ["begun", "cut short"]);
    worker.stop().await;
    assert_eq!(database.states().await, ["running"]);
}

/// Returns whether a lease was renewed more than this many seconds after it was taken.
async fn renewed_after(database: &Database, seconds: u32) -> bool {
    let later = match database {
        Database::Sqlite { .. } => {
            format!("(julianday(renewed_at) - julianday(started_at)) * 86400 > {seconds}")
        }
        Database::Postgres { .. } => {
            format!("renewed_at - started_at > interval '{seconds} seconds'")
        }
    };
    let rows = format!("SELECT count(*) FROM ptolemy_inbox WHERE {later}");
    database.number(&rows).await == 1
}

async fn a_lease_is_renewed_while_the_handler_runs(database: &Database) {
    let inbox = database.inbox().await;
    inbox.accept(&delivery::event("e")).await.unwrap();
    let (log, proceed) = (Log::default(), Arc::new(Notify::new()));
    let handler = {
        let (log, proceed) = (log.clone(), proceed.clone());
        move |_, attempt: ptolemy_webhooks_inbox::Attempt| {
            let (log, proceed) = (log.clone(), proceed.clone());
            async move {
                log.write(format!("begun {}", attempt.number()));
                proceed.notified().await;
                Ok(())
            }
        }
    };
    let two_seconds = |worker: ptolemy_webhooks_inbox::Worker| worker.lease(Duration::from_secs(2));
    let one = Running::start(&inbox, two_seconds, handler.clone());
    let two = Running::start(&database.inbox().await, two_seconds, handler);
    // When it is renewed after that, its first lease is over.
    until("renewed", async || renewed_after(database, 2).await).await;
    proceed.notify_one();
    until("done", async || database.states().await == ["done"]).await;
    one.stop().await;
    two.stop().await;
    assert_eq!(log.lines(), ["begun 1"]);
}

async fn two_workers_never_have_one_event_at_the_same_time(database: &Database) {
    let inbox = database.inbox().await;
    let mut accepts = tokio::task::JoinSet::new();
    for number in 0..200 {
        let (inbox, delivery) = (inbox.clone(), delivery::event(&number.to_string()));
        accepts.spawn(async move { inbox.accept(&delivery).await.unwrap() });
    }
    accepts.join_all().await;
    let handled = Arc::new(AtomicU32::new(0));
    let inside = Arc::new(Mutex::new(HashSet::new()));
    let twice = Log::default();
    let workers: Vec<_> = [inbox, database.inbox().await, database.inbox().await]
        .iter()
        .map(|inbox| {
            let (handled, inside, twice) = (handled.clone(), inside.clone(), twice.clone());
            let handler = move |event: ptolemy_webhooks::Event, _| {
                let (handled, inside, twice) = (handled.clone(), inside.clone(), twice.clone());
                async move {
                    let id = event.id.unwrap();
                    // A panic would be a failed attempt, and the event would be handled once more.
                    if !inside.lock().unwrap().insert(id.clone()) {
                        twice.write(id.clone());
                    }
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    inside.lock().unwrap().remove(&id);
                    handled.fetch_add(1, Ordering::Relaxed);
                    Ok(())
                }
            };
            // Under load a turn may take longer than the lease of other tests, and then another
            // worker handles the event once more, as it should.
            let long = Duration::from_secs(600);
            let set = |worker: ptolemy_webhooks_inbox::Worker| worker.concurrency(5).lease(long);
            Running::start(inbox, set, handler)
        })
        .collect();
    let open = "SELECT count(*) FROM ptolemy_inbox WHERE state <> 'done'";
    until("all done", async || database.number(open).await == 0).await;
    for worker in workers {
        worker.stop().await;
    }
    assert_eq!(twice.lines(), [""; 0]);
    assert_eq!(handled.load(Ordering::Relaxed), 200);
}

async fn what_is_accepted_here_is_seen_at_once(database: &Database) {
    let inbox = database.inbox().await;
    let log = Log::default();
    let hour = Duration::from_secs(3_600);
    let worker = Running::start(&inbox, |worker| worker.poll_interval(hour), log.writer());
    for number in 1..=5 {
        // It may be idle by then, and its next look is an hour away.
        tokio::time::sleep(Duration::from_millis(10)).await;
        inbox
            .accept(&delivery::event(&number.to_string()))
            .await
            .unwrap();
        log.until(number).await;
    }
    worker.stop().await;
}

/// More events than it has room for, several of one resource, and one that backs off.
async fn a_worker_that_runs_until_idle_ends_when_nothing_is_due(database: &Database) {
    let inbox = database.inbox().await;
    let none = |_, _| async { Err(Failure::permanent("there is none")) };
    quick(&inbox).run_until_idle(none).await;
    inbox.set_order(EventOrder::ByResource).await.unwrap();
    for number in 0..7 {
        let delivery = delivery::change(&number.to_string(), "same");
        inbox.accept(&delivery).await.unwrap();
    }
    let handler = |event: ptolemy_webhooks::Event, _| async move {
        if event.id.as_deref() == Some("6") {
            return Err(Failure::retry_in(Duration::from_secs(60), "later"));
        }
        Ok(())
    };
    let worker = quick(&inbox).concurrency(2);
    worker.run_until_idle(handler).await;
    let mut expected = ["done"; 7];
    expected[6] = "waiting";
    assert_eq!(database.states().await, expected);
}

async fn any_concurrency_works(database: &Database) {
    let inbox = database.inbox().await;
    for (number, concurrency) in [0, 1, 300, usize::MAX].into_iter().enumerate() {
        inbox
            .accept(&delivery::event(&number.to_string()))
            .await
            .unwrap();
        let set = |worker: ptolemy_webhooks_inbox::Worker| {
            worker
                .concurrency(concurrency)
                .poll_interval(Duration::ZERO)
                .lease(Duration::MAX)
                .shutdown_timeout(Duration::MAX)
        };
        let worker = Running::start(&inbox, set, |_, _| async { Ok(()) });
        let done = "SELECT count(*) FROM ptolemy_inbox WHERE state = 'done'";
        until("done", async || {
            database.number(done).await == number as i64 + 1
        })
        .await;
        worker.stop().await;
    }
}

/// Locks as those of a worker that is frozen in mid-transaction: rows, and the choice of what comes
/// next in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs postgres"]
async fn what_a_frozen_worker_has_locked_holds_nothing_else_up() {
    for order in [EventOrder::AsDue, EventOrder::ByResource] {
        let database = Database::postgres().await;
        let inbox = database.inbox().await;
        inbox.set_order(order).await.unwrap();
        for (id, instrument) in [("expired", "x"), ("first", "y"), ("second", "y")] {
            inbox
                .accept(&delivery::change(id, instrument))
                .await
                .unwrap();
        }
        let past = database.time(-10);
        database
            .execute(&format!(
                "UPDATE ptolemy_inbox SET state = 'running', lease_until = {past}
                 WHERE event_id = 'expired'"
            ))
            .await;
        let mut frozen = PgConnection::connect(&database.url()).await.unwrap();
        frozen.execute("BEGIN").await.unwrap();
        frozen
            .execute("SELECT * FROM ptolemy_inbox FOR UPDATE")
            .await
            .unwrap();

        inbox.accept(&delivery::event("free")).await.unwrap();
        let log = Log::default();
        let worker = Running::start(&inbox, |worker| worker.concurrency(4), log.writer());
        let begin = std::time::Instant::now();
        assert_eq!(log.until(1).await, ["free"]);
        let done = "SELECT count(*) FROM ptolemy_inbox WHERE state = 'done'";
        until("done", async || database.number(done).await == 1).await;
        assert!(
            begin.elapsed() < Duration::from_secs(5),
            "{:?}",
            begin.elapsed()
        );
        frozen.execute("ROLLBACK").await.unwrap();
        until("all done", async || database.number(done).await == 4).await;
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs postgres"]
async fn whoever_chooses_in_order_and_is_frozen_keeps_no_one_from_ending_events() {
    let database = Database::postgres().await;
    let inbox = database.inbox().await;
    inbox.set_order(EventOrder::ByResource).await.unwrap();
    inbox.accept(&delivery::event("e")).await.unwrap();
    let (log, proceed) = (Log::default(), Arc::new(Notify::new()));
    let worker = Running::start(&inbox, |worker| worker, log.writer_behind(&proceed));
    log.until(1).await;
    let mut frozen = PgConnection::connect(&database.url()).await.unwrap();
    frozen.execute("BEGIN").await.unwrap();
    let lock = 0x0070_746f_6c65_6d79_i64 + 1;
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(lock)
        .execute(&mut frozen)
        .await
        .unwrap();
    // Its lease is renewed meanwhile, and it can end.
    until("renewed", async || renewed_after(&database, 1).await).await;
    proceed.notify_one();
    let begin = std::time::Instant::now();
    until("done", async || database.states().await == ["done"]).await;
    assert!(
        begin.elapsed() < Duration::from_secs(5),
        "{:?}",
        begin.elapsed()
    );
    // The next event waits, since another worker may be taking it.
    inbox.accept(&delivery::event("next")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(log.lines(), ["e"]);
    frozen.execute("ROLLBACK").await.unwrap();
    log.until(2).await;
    proceed.notify_one();
    worker.stop().await;
    assert_eq!(
        database
            .number("SELECT max(attempts) FROM ptolemy_inbox")
            .await,
        1
    );
}

/// A schema in front of the built-in one says that it is tomorrow.
#[tokio::test]
#[ignore = "needs postgres"]
async fn the_times_are_those_of_the_databases_clock() {
    let database = Database::postgres().await;
    database
        .execute(
            "CREATE SCHEMA tomorrow;
             CREATE FUNCTION tomorrow.now() RETURNS timestamptz STABLE LANGUAGE sql AS
                 $$SELECT pg_catalog.now() + interval '1 day'$$;
             CREATE FUNCTION tomorrow.clock_timestamp() RETURNS timestamptz VOLATILE LANGUAGE sql AS
                 $$SELECT pg_catalog.clock_timestamp() + interval '1 day'$$",
        )
        .await;
    let url = format!(
        "{}?options[search_path]=tomorrow,pg_catalog,public",
        database.url()
    );
    let inbox = ptolemy_webhooks_inbox::Inbox::connect(&url).await.unwrap();
    inbox.accept(&delivery::event("e")).await.unwrap();
    let log = Log::default();
    let handled = log.clone();
    let worker = Running::start(
        &inbox,
        |worker| worker,
        move |_, attempt| {
            handled.write(attempt.number().to_string());
            async move {
                match attempt.number() {
                    1 => Err(Failure::retry("once more")),
                    2 => std::future::pending().await,
                    _ => Ok(()),
                }
            }
        },
    );
    log.until(2).await;
    worker.crash().await;
    let table = "tomorrow.ptolemy_inbox";
    let ahead = format!(
        "SELECT count(*) FROM {table} WHERE least(received_at, run_at, started_at, lease_until)
             BETWEEN now() + interval '23 hours' AND now() + interval '25 hours'"
    );
    assert_eq!(database.number(&ahead).await, 1);
    let worker = Running::start(&inbox, |worker| worker, move |_, _| async { Ok(()) });
    let done = format!("SELECT count(*) FROM {table} WHERE state = 'done'");
    until("done", async || database.number(&done).await == 1).await;
    worker.stop().await;
}
