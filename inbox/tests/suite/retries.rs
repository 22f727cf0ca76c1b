//! Promise 5: retry and dead letters.

use std::future::{Ready, ready};
use std::time::Duration;

use ptolemy_webhooks::{Event, Payload};
use ptolemy_webhooks_inbox::{Attempt, Failure};
use time::OffsetDateTime;

use crate::database::{Database, on_both_engines};
use crate::delivery;
use crate::workers::{Log, Running, quick, until};

on_both_engines! {
    an_event_that_fails_is_tried_so_many_times_and_then_dead
    a_permanent_failure_is_dead_at_once_and_a_delay_is_kept
    the_delay_grows_up_to_the_longest
    a_body_that_is_no_event_is_dead_and_can_be_replayed
    an_event_with_malformed_data_is_dead_with_its_path_unless_it_is_accepted
    an_event_of_an_unknown_type_reaches_the_handler
    a_postponed_event_waits_and_its_attempts_do_not_count
    a_handler_that_takes_too_long_has_failed
    each_event_that_dies_is_counted
    dead_letters_are_listed_looked_at_replayed_and_discarded
    all_dead_letters_are_replayed_and_discarded
    an_attempt_tells_its_number_and_its_times
    an_error_is_kept_with_its_sources_and_cut
}

async fn an_event_that_fails_is_tried_so_many_times_and_then_dead(database: &Database) {
    let inbox = database.inbox().await;
    inbox.accept(&delivery::event("e")).await.unwrap();
    let log = Log::default();
    let handled = log.clone();
    let worker = Running::start(
        &inbox,
        |worker| worker.max_attempts(4),
        move |_, attempt| {
            handled.write(format!("{} {}", attempt.number(), attempt.is_last()));
            async move { Err(Failure::retry(format!("error {}", attempt.number()))) }
        },
    );
    until("dead", async || database.states().await == ["dead"]).await;
    worker.stop().await;
    assert_eq!(log.lines(), ["1 false", "2 false", "3 false", "4 true"]);
    let dead = inbox.dead_letters().page(None, 10).await.unwrap();
    assert_eq!(
        (dead[0].attempts, dead[0].last_error.as_str()),
        (4, "error 4")
    );
}

/// Returns how many seconds after its first attempt an event is due again.
async fn delay(database: &Database) -> f64 {
    let sql = match database {
        Database::Sqlite { .. } => {
            "SELECT CAST(86400000 * (julianday(run_at) - julianday(started_at)) AS INTEGER)
             FROM ptolemy_inbox"
        }
        Database::Postgres { .. } => {
            "SELECT (1000 * extract(epoch FROM run_at - started_at))::bigint FROM ptolemy_inbox"
        }
    };
    database.number(sql).await as f64 / 1000.0
}

async fn a_permanent_failure_is_dead_at_once_and_a_delay_is_kept(database: &Database) {
    let inbox = database.inbox().await;
    inbox.accept(&delivery::event("e")).await.unwrap();
    let worker = Running::start(
        &inbox,
        |worker| worker,
        |_, _| async { Err(Failure::retry_in(Duration::from_secs(600), "closed")) },
    );
    let failed = "SELECT count(*) FROM ptolemy_inbox WHERE last_error = 'closed'";
    until("failed", async || database.number(failed).await == 1).await;
    worker.stop().await;
    assert_eq!(database.states().await, ["waiting"]);
    assert_eq!(
        database.number("SELECT attempts FROM ptolemy_inbox").await,
        1
    );
    let waits = delay(database).await;
    assert!((600.0..610.0).contains(&waits), "{waits}");

    database
        .execute(&format!(
            "UPDATE ptolemy_inbox SET run_at = {}",
            database.time(-1)
        ))
        .await;
    let worker = Running::start(
        &inbox,
        |worker| worker,
        |_, _| async { Err(Failure::permanent("never")) },
    );
    until("dead", async || database.states().await == ["dead"]).await;
    worker.stop().await;
    assert_eq!(
        database.number("SELECT attempts FROM ptolemy_inbox").await,
        2
    );
}

async fn the_delay_grows_up_to_the_longest(database: &Database) {
    let inbox = database.inbox().await;
    inbox.accept(&delivery::event("e")).await.unwrap();
    let mut delays = Vec::new();
    for attempt in 1..=6 {
        let set = |worker: ptolemy_webhooks_inbox::Worker| {
            worker.backoff(Duration::from_secs(10), Duration::from_secs(120))
        };
        let worker = Running::start(&inbox, set, |_, _| async { Err(Failure::retry("no")) });
        let failed = format!(
            "SELECT count(*) FROM ptolemy_inbox WHERE attempts = {attempt} AND state = 'waiting'"
        );
        until("failed", async || database.number(&failed).await == 1).await;
        worker.stop().await;
        delays.push(delay(database).await);
        let due = database.time(-1);
        database
            .execute(&format!("UPDATE ptolemy_inbox SET run_at = {due}"))
            .await;
    }
    // The delay without jitter, and with the maximum of it; and a second for slow machines.
    let bounds = [
        (10, 20),
        (20, 40),
        (40, 80),
        (60, 120),
        (60, 120),
        (60, 120),
    ];
    for (delay, (least, most)) in delays.iter().zip(bounds) {
        assert!(
            (f64::from(least)..f64::from(most) + 5.0).contains(delay),
            "{delays:?}"
        );
    }
}

async fn a_body_that_is_no_event_is_dead_and_can_be_replayed(database: &Database) {
    let inbox = database.inbox().await;
    let body = r#"{"a":1}"#;
    inbox.accept(&delivery::of(body)).await.unwrap();
    let handler = |_: Event, _: Attempt| async { panic!("no event reaches the handler") };
    let worker = Running::start(&inbox, |worker| worker, handler);
    until("dead", async || database.states().await == ["dead"]).await;
    let dead = inbox.dead_letters().page(None, 10).await.unwrap().remove(0);
    let error = Event::from_trusted_json(body).unwrap_err();
    assert_eq!((dead.last_error, dead.attempts), (error.to_string(), 1));
    assert_eq!((dead.event_type, dead.event_id), (None, None));
    assert_eq!(
        inbox.dead_letters().body(dead.id).await.unwrap().unwrap(),
        body
    );

    assert!(inbox.dead_letters().replay(dead.id).await.unwrap());
    until("dead again", async || {
        database
            .texts("SELECT state || lease_token || attempts FROM ptolemy_inbox")
            .await
            == ["dead21"]
    })
    .await;
    worker.stop().await;
}

async fn an_event_of_an_unknown_type_reaches_the_handler(database: &Database) {
    let inbox = database.inbox().await;
    let body = r#"{"event_type":"star.born","data":{"name":7}}"#;
    inbox.accept(&delivery::of(body)).await.unwrap();
    let log = Log::default();
    let handled = log.clone();
    let handler = move |event: Event, _| {
        handled.write(format!("{}", event.payload == Ok(Payload::Unknown)));
        ready(Ok::<(), Failure>(()))
    };
    quick(&inbox).run_until_idle(handler).await;
    assert_eq!(log.lines(), ["true"]);
    assert_eq!(database.states().await, ["done"]);
}

async fn an_event_with_malformed_data_is_dead_with_its_path_unless_it_is_accepted(
    database: &Database,
) {
    let inbox = database.inbox().await;
    let body = r#"{"event_type":"instrument.created","data":{"name":7}}"#;
    inbox.accept(&delivery::of(body)).await.unwrap();
    let never = |_: Event, _: Attempt| -> Ready<Result<(), Failure>> {
        panic!("no handler sees malformed data")
    };
    quick(&inbox).run_until_idle(never).await;
    let letters = inbox.dead_letters();
    let dead = letters.page(None, 10).await.unwrap().remove(0);
    assert_eq!(
        (dead.last_error.as_str(), dead.attempts, dead.malformed),
        ("data.name: expected a string, found a number", 1, true)
    );
    let stats = inbox.stats().await.unwrap();
    assert_eq!((stats.dead, stats.malformed), (1, 1));

    // After the upgrade, or in a worker that accepts it.
    assert!(letters.replay(dead.id).await.unwrap());
    assert_eq!(inbox.stats().await.unwrap().malformed, 0);
    let log = Log::default();
    let handled = log.clone();
    let handler = move |event: Event, _| {
        handled.write(event.payload.unwrap_err().path());
        ready(Ok::<(), Failure>(()))
    };
    let worker = quick(&inbox).accept_malformed();
    worker.run_until_idle(handler).await;
    assert_eq!(log.lines(), ["data.name"]);
    assert_eq!(database.states().await, ["done"]);
}

async fn a_postponed_event_waits_and_its_attempts_do_not_count(database: &Database) {
    let inbox = database.inbox().await;
    inbox.accept(&delivery::event("e")).await.unwrap();
    let hour = Duration::from_secs(3_600);
    // More often than there are attempts.
    for _ in 0..3 {
        let closed = move |_, attempt: Attempt| {
            assert_eq!(attempt.number(), 1);
            ready(Err(Failure::postpone(hour, "closed")))
        };
        let worker = quick(&inbox).max_attempts(2);
        worker.run_until_idle(closed).await;
        let told = "SELECT state || attempts || last_error FROM ptolemy_inbox";
        assert_eq!(database.texts(told).await, ["waiting0closed"]);
        let waits = delay(database).await;
        assert!((3_600.0..3_610.0).contains(&waits), "{waits}");
        let due = database.time(-1);
        database
            .execute(&format!("UPDATE ptolemy_inbox SET run_at = {due}"))
            .await;
    }
    let open = |_, _| ready(Ok::<(), Failure>(()));
    quick(&inbox).run_until_idle(open).await;
    let told = "SELECT state || attempts || coalesce(last_error, '') FROM ptolemy_inbox";
    assert_eq!(database.texts(told).await, ["done1"]);
}

async fn a_handler_that_takes_too_long_has_failed(database: &Database) {
    let inbox = database.inbox().await;
    inbox.accept(&delivery::event("e")).await.unwrap();
    let worker = quick(&inbox)
        .max_attempts(1)
        .handler_timeout(Duration::from_millis(50));
    let stuck = |_, _| std::future::pending::<Result<(), Failure>>();
    worker.run_until_idle(stuck).await;
    let told = "SELECT state || attempts || last_error FROM ptolemy_inbox";
    let expected = "dead1the handler took longer than its limit of 50ms";
    assert_eq!(database.texts(told).await, [expected]);

    inbox.dead_letters().replay_all().await.unwrap();
    let slow = |_, _| async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        Ok::<(), Failure>(())
    };
    let worker = quick(&inbox).handler_timeout(None);
    worker.run_until_idle(slow).await;
    assert_eq!(database.states().await, ["done"]);
}

async fn each_event_that_dies_is_counted(database: &Database) {
    let inbox = database.inbox().await;
    for id in ["fails", "fails for good", "crashes"] {
        inbox.accept(&delivery::event(id)).await.unwrap();
    }
    inbox.accept(&delivery::of("[]")).await.unwrap();
    // A worker died in the last attempt.
    let expired = database.time(-1);
    database
        .execute(&format!(
            "UPDATE ptolemy_inbox SET state = 'running', attempts = 2, lease_until = {expired}
             WHERE event_id = 'crashes'"
        ))
        .await;
    let fails = |event: Event, _: Attempt| {
        ready(Err(match event.id.as_deref() {
            Some("fails") => Failure::retry("once more"),
            _ => Failure::permanent("never"),
        }))
    };
    let worker = Running::start(&inbox, |worker| worker.max_attempts(2), fails);
    let open = "SELECT count(*) FROM ptolemy_inbox WHERE state <> 'dead'";
    until("all dead", async || database.number(open).await == 0).await;
    until("counted", async || inbox.health().events_died >= 4).await;
    assert_eq!(inbox.health().events_died, 4);
    inbox.dead_letters().replay_all().await.unwrap();
    until("all dead again", async || inbox.health().events_died >= 8).await;
    worker.stop().await;
    assert_eq!(inbox.health().events_died, 8);
    assert_eq!(inbox.stats().await.unwrap().dead, 4);
}

/// Events that died.
async fn bury(database: &Database, ids: impl IntoIterator<Item = String>) {
    let inbox = database.inbox().await;
    for id in ids {
        inbox.accept(&delivery::event(&id)).await.unwrap();
    }
    let worker = Running::start(
        &inbox,
        |worker| worker.concurrency(8),
        |event, _| async move { Err(Failure::permanent(format!("no {}", event.id.unwrap()))) },
    );
    let open = "SELECT count(*) FROM ptolemy_inbox WHERE state IN ('waiting', 'running')";
    until("all dead", async || database.number(open).await == 0).await;
    worker.stop().await;
}

async fn dead_letters_are_listed_looked_at_replayed_and_discarded(database: &Database) {
    bury(database, ["a", "b", "c", "d"].map(str::to_owned)).await;
    let inbox = database.inbox().await;
    let page = inbox.dead_letters().page(None, 3).await.unwrap();
    let told: Vec<_> = page
        .iter()
        .map(|dead| (dead.event_id.as_deref().unwrap(), dead.last_error.as_str()))
        .collect();
    assert_eq!(told, [("a", "no a"), ("b", "no b"), ("c", "no c")]);
    assert_eq!(page[0].event_type.as_deref(), Some("instrument.updated"));
    assert_eq!(page[0].dedup_key, delivery::event("a").dedup_key());
    assert!(page[0].died_at >= page[0].received_at);
    let rest = inbox.dead_letters().page(page[2].id, 3).await.unwrap();
    assert_eq!(rest.len(), 1);

    let (a, b) = (page[0].id, page[1].id);
    assert_eq!(inbox.dead_letters().get(a).await.unwrap().unwrap(), page[0]);
    assert_eq!(
        inbox.dead_letters().body(a).await.unwrap().unwrap(),
        delivery::event("a").body()
    );
    assert!(inbox.dead_letters().discard(a).await.unwrap());
    assert!(!inbox.dead_letters().discard(a).await.unwrap());
    assert!(!inbox.dead_letters().replay(a).await.unwrap());
    assert_eq!(inbox.dead_letters().get(a).await.unwrap(), None);
    assert_eq!(inbox.dead_letters().body(a).await.unwrap(), None);
    let reason = "SELECT last_error FROM ptolemy_inbox WHERE state = 'done'";
    assert_eq!(database.texts(reason).await, ["discarded: no a"]);

    assert!(inbox.dead_letters().replay(b).await.unwrap());
    assert!(!inbox.dead_letters().replay(b).await.unwrap());
    assert_eq!(database.states().await, ["done", "waiting", "dead", "dead"]);
    let log = Log::default();
    let handled = log.clone();
    let worker = Running::start(
        &inbox,
        |worker| worker,
        move |event, attempt| {
            handled.write(format!("{} {}", event.id.unwrap(), attempt.number()));
            async { Ok(()) }
        },
    );
    until("done", async || {
        database.states().await == ["done", "done", "dead", "dead"]
    })
    .await;
    worker.stop().await;
    assert_eq!(log.lines(), ["b 1"]);
    for id in [0, -1, i64::MIN, i64::MAX] {
        let id = id.to_string().parse().unwrap();
        assert!(!inbox.dead_letters().replay(id).await.unwrap());
        assert!(!inbox.dead_letters().discard(id).await.unwrap());
        assert_eq!(inbox.dead_letters().get(id).await.unwrap(), None);
    }
}

async fn all_dead_letters_are_replayed_and_discarded(database: &Database) {
    // More than one batch.
    bury(database, ["a".to_owned()]).await;
    let columns =
        "dedup_key, state, received_at, run_at, written_at, finished_at, last_error, body";
    database
        .execute(&format!(
            "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 1200)
             INSERT INTO ptolemy_inbox ({columns})
             SELECT 'copy ' || n, state, received_at, run_at, written_at, finished_at, last_error,
                    body
             FROM ptolemy_inbox, numbers"
        ))
        .await;
    let inbox = database.inbox().await;
    assert_eq!(inbox.stats().await.unwrap().dead, 1_201);
    assert_eq!(inbox.dead_letters().replay_all().await.unwrap(), 1_201);
    let stats = inbox.stats().await.unwrap();
    assert_eq!((stats.due, stats.dead), (1_201, 0));
    database
        .execute("UPDATE ptolemy_inbox SET state = 'dead', finished_at = received_at")
        .await;
    assert_eq!(inbox.dead_letters().discard_all().await.unwrap(), 1_201);
    assert_eq!(inbox.stats().await.unwrap().dead, 0);
    assert_eq!(
        (
            inbox.dead_letters().replay_all().await.unwrap(),
            inbox.dead_letters().discard_all().await.unwrap()
        ),
        (0, 0)
    );
}

async fn an_attempt_tells_its_number_and_its_times(database: &Database) {
    let inbox = database.inbox().await;
    let delivery = delivery::event("e");
    let before = OffsetDateTime::now_utc() - Duration::from_millis(2);
    inbox.accept(&delivery).await.unwrap();
    let (sender, mut attempts) = tokio::sync::mpsc::unbounded_channel();
    let worker = Running::start(
        &inbox,
        |worker| worker,
        move |_, attempt| {
            sender.send(attempt.clone()).unwrap();
            async move {
                if attempt.number() == 1 {
                    return Err(Failure::retry("once more"));
                }
                Ok(())
            }
        },
    );
    let (first, second) = (
        attempts.recv().await.unwrap(),
        attempts.recv().await.unwrap(),
    );
    worker.stop().await;
    let after = OffsetDateTime::now_utc() + Duration::from_millis(2);
    assert_eq!((first.number(), second.number()), (1, 2));
    assert_eq!(first.dedup_key(), delivery.dedup_key());
    assert_eq!(first.received_at(), second.received_at());
    assert!(before <= first.received_at() && first.received_at() <= first.started_at());
    assert!(first.started_at() < second.started_at() && second.started_at() <= after);
}

async fn an_error_is_kept_with_its_sources_and_cut(database: &Database) {
    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] std::io::Error);

    let inbox = database.inbox().await;
    for id in ["chain", "nul", "long", "panic"] {
        inbox.accept(&delivery::event(id)).await.unwrap();
    }
    let worker = Running::start(
        &inbox,
        |worker| worker.max_attempts(1),
        |event, _| async move {
            match event.id.as_deref() {
                Some("chain") => Err(Outer(std::io::Error::other("inner")).into()),
                Some("nul") => Err(Failure::retry("a\0b")),
                Some("long") => Err(Failure::retry("é".repeat(5_000))),
                _ => panic!("with {}", "a reason"),
            }
        },
    );
    until("all dead", async || database.states().await == ["dead"; 4]).await;
    worker.stop().await;
    let errors = database
        .texts("SELECT last_error FROM ptolemy_inbox ORDER BY id")
        .await;
    assert_eq!(errors[0], "outer: inner");
    assert_eq!(errors[1], "ab");
    assert_eq!(errors[2], "é".repeat(2_000));
    assert_eq!(errors[3], "the handler panicked: with a reason");
}
