//! The metrics of accepts and workers, on paused time: those of the documentation, and no others.

// The suites compare the buckets.
#[allow(dead_code)]
#[path = "../../../tests/suite/metrics/table.rs"]
mod table;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use metrics_util::debugging::DebuggingRecorder;
use ptolemy_webhooks::{Delivery, Event, EventType, Secret, Signer, Verifier};
use tokio::sync::Notify;
use tokio::time::timeout;

use self::table::{Series, compare, rows, series};
use super::Start;
use super::paused::{EVENT, rounds, run, secs, taking, until_idle};
use crate::accept::Accept;
use crate::accepted::Accepted;
use crate::engine::Engine;
use crate::error::BoxError;
use crate::failure::Failure;
use crate::inbox::Inbox;
use crate::metrics::database_failed;
use crate::outcome::Outcome;
use crate::store::fake::{FakeStore, Fault};

/// Returns the metrics that are recorded while this runs.
async fn recorded(run: impl Future<Output = ()>) -> Series {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _local = metrics::set_default_local_recorder(&recorder);
    run.await;
    series(&snapshotter)
}

fn value(series: &Series, name: &str) -> f64 {
    series.get(name).map_or(0.0, |it| it.value)
}

fn delivery(id: &str, event_type: &str) -> Delivery {
    let body = format!(
        r#"{{"id":"{id}","event_type":"{event_type}","created_at":"2026-04-15T09:30:00Z","data":{{}}}}"#
    );
    let secret = Secret::new("whsec_sesame").unwrap();
    let header = Signer::new(&secret).sign(body.as_bytes());
    Verifier::new(secret).receive(header, body).unwrap()
}

fn inbox() -> (Arc<FakeStore>, Inbox) {
    let store = Arc::new(FakeStore::default());
    let inbox = Inbox::on(Engine::Fake(store.clone()));
    (store, inbox)
}

async fn fails_for_good(_: Event, _: crate::attempt::Attempt) -> Result<(), Failure> {
    Err(Failure::permanent("xyzzy in an error"))
}

/// An attempt that ends like this, after its handler was called if it was; a further one succeeds.
async fn attempt(body: &'static str, calls: bool, outcome: fn() -> Outcome) {
    let store = Arc::new(FakeStore::default());
    store.add(body);
    let attempts = AtomicU32::new(0);
    let start: Arc<Start> = Arc::new(move |_, _, begun| {
        let is_first = attempts.fetch_add(1, Ordering::Relaxed) == 0;
        Box::pin(async move {
            if calls || !is_first {
                begun.note();
            }
            if is_first { outcome() } else { Outcome::Done }
        })
    });
    let mut settings = until_idle();
    settings.retry.attempts = 1;
    // A lost lease is not settled, so the event stays taken.
    let arrived = Notify::new();
    let worker = run(rounds(&store, settings, start), &arrived);
    let _ = timeout(secs(5.0), worker).await;
}

async fn attempts_of_all_kinds() {
    attempt(EVENT, true, || Outcome::Done).await;
    attempt(EVENT, true, || Outcome::Committed).await;
    attempt(EVENT, true, || Outcome::failed(Failure::retry("e"))).await;
    attempt(EVENT, true, || {
        Outcome::failed(Failure::postpone(Duration::from_secs(60), "e"))
    })
    .await;
    attempt(EVENT, true, || Outcome::panicked("e")).await;
    attempt(EVENT, true, || Outcome::CutShort).await;
    attempt(EVENT, true, || Outcome::Lost).await;
    attempt(EVENT, false, || Outcome::NotBegun("e".to_owned())).await;
    attempt(EVENT, false, || Outcome::Cancelled).await;
    attempt("[]", false, || Outcome::Done).await;
}

async fn accepts_of_all_kinds() {
    let (store, inbox) = inbox();
    let one = delivery("one", "market.created");
    assert_eq!(inbox.accept(&one).await.unwrap(), Accepted::New);
    assert_ne!(inbox.accept(&one).await.unwrap(), Accepted::New);
    inbox
        .accept_with(&one, Accept::new().key(""))
        .await
        .unwrap_err();
    store.will(Fault::Fails);
    inbox.accept(&delivery("two", "a.b")).await.unwrap_err();
    store.will(Fault::Hangs);
    inbox.accept(&delivery("three", "a.b")).await.unwrap_err();
    let dropped = timeout(Duration::ZERO, async {
        inbox.accept(&delivery("four", "a.b")).await
    });
    assert!(dropped.await.is_err());
    // The batch of the one that hung ends after its caller.
    tokio::time::sleep(secs(1.0)).await;
}

/// One event of each documented type and one of another, which all die; the first after a retry.
async fn deaths_of_all_types() {
    let (_, inbox) = inbox();
    for event_type in EventType::DOCUMENTED.iter().chain(&["a.b"]) {
        inbox
            .accept(&delivery(event_type, event_type))
            .await
            .unwrap();
    }
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let worker = inbox.worker().concurrency(64).graceful_shutdown(async {
        let _ = stopped.await;
    });
    let worker = tokio::spawn(worker.run(fails_for_good));
    tokio::time::sleep(secs(5.0)).await;
    stop.send(()).unwrap();
    worker.await.unwrap();
    let retried = inbox.accept(&delivery("again", "market.created")).await;
    assert_eq!(retried.unwrap(), Accepted::New);
    let fails = |_, _| async { Err(Failure::retry_in(secs(60.0), "e")) };
    inbox.worker().run_until_idle(fails).await;
}

/// An error of a database with this code.
#[derive(Debug)]
struct Coded(&'static str);

impl std::fmt::Display for Coded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a database's error")
    }
}

impl std::error::Error for Coded {}

impl sqlx::error::DatabaseError for Coded {
    fn message(&self) -> &str {
        "a database's error"
    }

    fn code(&self) -> Option<std::borrow::Cow<'_, str>> {
        Some(self.0.into())
    }

    fn as_error(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
        self
    }

    fn as_error_mut(&mut self) -> &mut (dyn std::error::Error + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> Box<dyn std::error::Error + Send + Sync + 'static> {
        self
    }

    fn kind(&self) -> sqlx::error::ErrorKind {
        sqlx::error::ErrorKind::Other
    }
}

fn errors_of_all_classes() {
    let coded = |code| sqlx::Error::Database(Box::new(Coded(code)));
    let broken = sqlx::Error::Io(io::ErrorKind::BrokenPipe.into());
    for error in [
        broken,
        coded("5"),
        coded("53100"),
        coded("8"),
        coded("42P01"),
    ] {
        let error: BoxError = error.into();
        database_failed(&*error, |_| false);
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_emits_each_row_of_the_table_and_nothing_else() {
    let series = recorded(async {
        crate::describe_metrics();
        accepts_of_all_kinds().await;
        attempts_of_all_kinds().await;
        deaths_of_all_types().await;
        errors_of_all_classes();
    })
    .await;
    let rows = rows("ptolemy_inbox_");
    assert_eq!(rows.len(), 12);
    let inbox = series
        .iter()
        .filter(|(name, _)| !name.starts_with("ptolemy_webhooks_"));
    compare(&rows, inbox);
}

#[tokio::test(start_paused = true)]
async fn each_end_of_an_accept_is_counted_once() {
    let series = recorded(accepts_of_all_kinds()).await;
    for outcome in [
        "new",
        "duplicate",
        "invalid",
        "unavailable",
        "timed_out",
        "cancelled",
    ] {
        for metric in ["accepts_total", "accept_duration_seconds"] {
            let name = format!("ptolemy_inbox_{metric}{{outcome={outcome}}}");
            assert_eq!(value(&series, &name), 1.0, "{name}");
        }
    }
    // The one that was dropped was not sent, and neither was the one whose key is invalid.
    assert_eq!(value(&series, "ptolemy_inbox_commit_deliveries{}"), 4.0);
    let class = "ptolemy_inbox_database_errors_total{class=timeout}";
    assert_eq!(value(&series, class), 1.0);
}

#[tokio::test(start_paused = true)]
async fn attempts_retries_and_deaths_are_counted_once_each() {
    let series = recorded(attempts_of_all_kinds()).await;
    let attempts = |outcome: &str| {
        let labels = format!("{{event_type=other,outcome={outcome}}}");
        value(&series, &format!("ptolemy_inbox_attempts_total{labels}"))
    };
    // One after it had not begun; the other one waits before the database is asked again.
    assert_eq!(attempts("succeeded"), 3.0);
    assert_eq!(attempts("not_begun"), 2.0);
    for outcome in [
        "failed",
        "panicked",
        "cut_short",
        "unreadable",
        "postponed",
        "lost",
    ] {
        assert_eq!(attempts(outcome), 1.0, "{outcome}");
    }
    let deaths = "ptolemy_inbox_deaths_total{event_type=other}";
    // Of those that failed, panicked, were aborted, and could not be read: there was one attempt.
    assert_eq!(value(&series, deaths), 4.0);
    assert_eq!(value(&series, "ptolemy_inbox_retries_total{}"), 0.0);

    let series = recorded(deaths_of_all_types()).await;
    assert_eq!(value(&series, "ptolemy_inbox_retries_total{}"), 1.0);
    for event_type in EventType::DOCUMENTED.iter().chain(&["other"]) {
        let deaths = format!("ptolemy_inbox_deaths_total{{event_type={event_type}}}");
        assert_eq!(value(&series, &deaths), 1.0, "{event_type}");
    }
}

/// The handler is aborted, and its lease is known to be lost before it ends.
#[tokio::test(start_paused = true)]
async fn a_handler_whose_lease_a_turn_finds_lost_is_counted_once() {
    let series = recorded(async {
        let store = Arc::new(FakeStore::default());
        store.add(EVENT);
        let settings = until_idle();
        let renewal = settings.lease / 3;
        let mut worker = rounds(&store, settings, taking(secs(3_600.0)));
        let arrived = Notify::new();
        let _ = tokio::join!(timeout(renewal * 2, worker.run(&arrived)), async {
            tokio::time::sleep(renewal / 2).await;
            store.take_over(0);
        });
    })
    .await;
    let lost = "ptolemy_inbox_attempts_total{event_type=other,outcome=lost}";
    assert_eq!(value(&series, lost), 1.0);
    let time = "ptolemy_inbox_handler_duration_seconds{outcome=lost}";
    assert_eq!(value(&series, time), 1.0);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_event_types_are_one_label_and_hostile_ones_none() {
    let series = recorded(async {
        let (_, inbox) = inbox();
        for number in 0..1_000 {
            let event_type = format!("plugh{number}.\\nmarket.created\\\"");
            let delivery = delivery(&number.to_string(), &event_type);
            inbox.accept(&delivery).await.unwrap();
        }
        for event_type in [
            "market.Created",
            "market.created ",
            "market.createdx",
            "membership.created",
            "MARKET.CREATED",
        ] {
            inbox
                .accept(&delivery(event_type, event_type))
                .await
                .unwrap();
        }
        inbox
            .worker()
            .concurrency(64)
            .run_until_idle(fails_for_good)
            .await;
    })
    .await;
    let deaths = "ptolemy_inbox_deaths_total{event_type=other}";
    assert_eq!(value(&series, deaths), 1_005.0);
    assert!(series.len() < 30, "{}", series.len());
    for name in series.keys() {
        for text in [
            "plugh",
            "xyzzy",
            "sesame",
            "whsec",
            "membership",
            "\n",
            "MARKET",
        ] {
            assert!(!name.contains(text), "{name}");
        }
    }
}

/// The count is of this process, so other tests may change it meanwhile: at least one worker.
#[tokio::test(start_paused = true)]
async fn a_worker_counts_the_events_at_once_and_every_15_s() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _local = metrics::set_default_local_recorder(&recorder);
    let (_, inbox) = inbox();
    let worker = tokio::spawn(inbox.worker().run(fails_for_good));
    let counted = "ptolemy_inbox_stats_timestamp_seconds{}";
    for _ in 0..3 {
        tokio::time::sleep(secs(1.0)).await;
        let first = series(&snapshotter);
        assert!(value(&first, counted) > 0.0);
        assert!(value(&first, "ptolemy_inbox_workers_running{}") >= 1.0);
        // A snapshot sets what it has read to zero.
        tokio::time::sleep(secs(13.0)).await;
        assert_eq!(value(&series(&snapshotter), counted), 0.0);
        tokio::time::sleep(secs(1.0)).await;
    }
    worker.abort();
    let _ = worker.await;
    tokio::time::sleep(secs(60.0)).await;
    let after = series(&snapshotter);
    assert_eq!(value(&after, counted), 0.0);
}

#[tokio::test(start_paused = true)]
async fn a_worker_until_idle_is_not_in_the_gauge_whose_alert_would_fire_between_two_runs() {
    let (store, inbox) = inbox();
    store.add(EVENT);
    let health = inbox.clone();
    let series = recorded(async {
        let handler = move |_, _| {
            let running = health.health().workers_running;
            async move {
                assert_eq!(running, 1);
                Ok::<_, Failure>(())
            }
        };
        inbox.worker().run_until_idle(handler).await;
    })
    .await;
    let succeeded: f64 = series
        .iter()
        .filter(|(name, _)| name.contains("outcome=succeeded"))
        .map(|(_, it)| it.value)
        .sum();
    // The attempt and the time of its handler.
    assert_eq!(succeeded, 2.0, "{series:?}");
    let gauge = series.get("ptolemy_inbox_workers_running{}");
    assert!(gauge.is_none(), "{gauge:?}");
}
