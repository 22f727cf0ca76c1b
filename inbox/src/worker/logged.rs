//! The log lines of a worker, on paused time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;
use tracing_subscriber::filter::LevelFilter;

use super::paused::{EVENT, run, secs, taking, until_idle, watched};
use super::rounds::Rounds;
use super::{Settings, Start};
use crate::asked::Asked;
use crate::event_order::EventOrder;
use crate::failure::Failure;
use crate::health::Record;
use crate::logged::Logged;
use crate::outcome::Outcome;
use crate::store::fake::{FakeStore, Fault};

const DEAD: &str = "ERROR an event is dead: look at its last_error, then replay or discard it \
                    id=0 event_type=\"-\" attempts=1 key=\"0\"";

fn one_event(body: &'static str) -> Arc<FakeStore> {
    let store = Arc::new(FakeStore::default());
    store.add(body);
    store
}

fn worker(store: &Arc<FakeStore>, settings: Settings, start: Arc<Start>, asked: &Asked) -> Rounds {
    let never = Box::pin(std::future::pending());
    let (asked, health) = (asked.clone(), Record::default());
    Rounds::new(store.clone(), settings, start, asked, health, never)
}

/// Returns the log of one event whose attempt ends like this.
async fn logged_of(body: &'static str, outcome: fn() -> Outcome) -> Vec<String> {
    let (logs, _guard) = Logged::take(LevelFilter::WARN);
    let start: Arc<Start> = Arc::new(move |_, _, _| Box::pin(async move { outcome() }));
    let worker = worker(&one_event(body), until_idle(), start, &Asked::default());
    run(worker, &Notify::new()).await;
    logs.lines()
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_fails_is_logged_with_its_delay_and_without_its_error() {
    let minute = Duration::from_secs(60);
    assert!(logged_of(EVENT, || Outcome::Done).await.is_empty());
    let postponed = || Outcome::failed(Failure::postpone(Duration::from_secs(60), "xyzzy"));
    assert!(logged_of(EVENT, postponed).await.is_empty());
    let again = || Outcome::failed(Failure::retry_in(Duration::from_secs(60), "xyzzy"));
    let line = format!("WARN an attempt failed id=0 attempt=1 again_in={minute:?}");
    assert_eq!(logged_of(EVENT, again).await, [line]);
    let dead = || Outcome::failed(Failure::permanent("xyzzy"));
    assert_eq!(logged_of(EVENT, dead).await, [DEAD]);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_cannot_be_read_is_logged_with_the_path() {
    let malformed = r#"{"event_type":"market.created","data":{"name":7}}"#;
    for (body, error) in [
        ("[]", "not an object at line 1, column 1"),
        (malformed, "data.name: expected a string, found a number"),
    ] {
        let lines = logged_of(body, || Outcome::Done).await;
        let [unread, dead] = &lines[..] else {
            panic!("{lines:?}");
        };
        let what = "WARN the event cannot be read; replay it after an upgrade id=0 error=";
        assert!(
            unread.starts_with(what) && unread.ends_with(error),
            "{unread}"
        );
        assert_eq!(dead, DEAD);
    }
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_could_not_begin_and_a_lost_lease_are_logged() {
    let lines = logged_of(EVENT, || Outcome::NotBegun("down".into())).await;
    let line = "WARN a handler's transaction could not begin; retrying id=0 error=\"down\"";
    assert_eq!(lines, [line]);

    let (logs, _guard) = Logged::take(LevelFilter::WARN);
    let store = one_event(EVENT);
    let start: Arc<Start> = Arc::new(|_, _, _| Box::pin(async { Outcome::Lost }));
    let settings = Settings {
        lease: secs(1e5),
        ..Settings::default()
    };
    let mut worker = worker(&store, settings, start, &Asked::default());
    let _ = tokio::time::timeout(secs(5.0), watched(worker.run(&Notify::new()))).await;
    let lost = "WARN lease lost: another worker has this event; the result of this attempt is \
                ignored id=0";
    assert_eq!(logs.lines(), [lost]);
}

/// Another worker takes the event while its handler runs.
#[tokio::test(start_paused = true)]
async fn a_lease_that_a_turn_finds_lost_is_logged_once() {
    let (logs, _guard) = Logged::take(LevelFilter::WARN);
    let store = one_event(EVENT);
    let settings = until_idle();
    let renewal = settings.lease / 3;
    let mut worker = worker(&store, settings, taking(secs(3_600.0)), &Asked::default());
    let expires = async {
        sleep(renewal / 2).await;
        store.take_over(0);
    };
    let arrived = Notify::new();
    let _ = tokio::join!(
        tokio::time::timeout(renewal * 2, watched(worker.run(&arrived))),
        expires
    );
    let lines = logs.lines();
    let lost = lines.iter().filter(|line| line.contains("lease lost"));
    assert_eq!(lost.count(), 1, "{lines:?}");
}

/// After a turn without an answer, this worker may itself have settled the event.
#[tokio::test(start_paused = true)]
async fn a_result_for_a_lost_lease_is_logged_unless_it_may_have_been_written_before() {
    let unreachable =
        "WARN the worker cannot reach the database; retrying cause=its answer is lost";
    let lost = |id| {
        format!(
            "WARN lease lost: another worker has this event; the result of this attempt is \
             ignored id={id}"
        )
    };
    for (forgets, expected) in [
        (false, vec![lost(0), lost(1)]),
        (true, vec![unreachable.to_owned(), lost(1)]),
    ] {
        let (logs, _guard) = Logged::take(LevelFilter::WARN);
        let store = one_event(EVENT);
        store.add(EVENT);
        // The second is renewed with the turn that settles the first.
        let start: Arc<Start> = Arc::new(|_, claim, _| {
            let time = if claim.lease.id == 0 { 1.0 } else { 1e6 };
            Box::pin(async move {
                sleep(secs(time)).await;
                Outcome::Done
            })
        });
        let settings = Settings {
            concurrency: 2,
            lease: secs(3.0),
            ..Settings::default()
        };
        let mut worker = worker(&store, settings, start, &Asked::default());
        let faults = async {
            sleep(secs(0.5)).await;
            if forgets {
                store.will(Fault::Forgets);
                sleep(secs(0.7)).await;
            } else {
                store.take_over(0);
            }
            store.take_over(1);
        };
        let arrived = Notify::new();
        let _ = tokio::join!(
            tokio::time::timeout(secs(2.0), watched(worker.run(&arrived))),
            faults
        );
        assert_eq!(logs.lines(), expected);
    }
}

/// The limit is enforced within the task, unless the handler blocks its thread.
#[tokio::test(start_paused = true)]
async fn a_handler_that_exceeds_its_limit_is_logged_once() {
    for (limit, expected) in [
        (None, &[][..]),
        (
            Some(secs(60.0)),
            &[
                "WARN a handler has exceeded its limit of 60s and still runs: it blocks its thread id=0",
            ],
        ),
    ] {
        let (logs, _guard) = Logged::take(LevelFilter::WARN);
        let store = one_event(EVENT);
        let settings = Settings {
            handler_timeout: limit,
            ..Settings::default()
        };
        let mut worker = worker(&store, settings, taking(secs(1e6)), &Asked::default());
        let arrived = Notify::new();
        let run = watched(worker.run(&arrived));
        let _ = tokio::time::timeout(secs(100.0), run).await;
        assert_eq!(logs.lines(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_database_that_fails_is_logged() {
    let (logs, _guard) = Logged::take(LevelFilter::WARN);
    let store = one_event(EVENT);
    store.will(Fault::Fails);
    let worker = worker(&store, until_idle(), taking(secs(1.0)), &Asked::default());
    run(worker, &Notify::new()).await;
    let line = "WARN the worker cannot reach the database; retrying cause=it fails";
    assert_eq!(logs.lines(), [line]);
}

#[tokio::test(start_paused = true)]
async fn an_order_that_this_process_did_not_ask_for_is_logged_once() {
    let (logs, _guard) = Logged::take(LevelFilter::WARN);
    let store = one_event(EVENT);
    let asked = Asked::default();
    asked.set(EventOrder::ByResource);
    let mut worker = worker(&store, Settings::default(), taking(secs(1.0)), &asked);
    let changes = async {
        sleep(secs(10.0)).await;
        store.write_order(EventOrder::ByResource);
        sleep(secs(10.0)).await;
        store.write_order(EventOrder::AsDue);
    };
    let arrived = Notify::new();
    let _ = tokio::join!(
        tokio::time::timeout(secs(30.0), watched(worker.run(&arrived))),
        changes
    );
    let line = "WARN another process has set another order than this one asked for; it is obeyed \
                asked=by_resource order=as_due";
    assert_eq!(logs.lines(), [line, line]);
}
