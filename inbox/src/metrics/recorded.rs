//! Records metrics, with the feature `metrics`, through the recorder that the program has
//! installed.
//!
//! All labels are texts of this crate. An event type is one of those that Ptolemy documents, or
//! `other`: a sender cannot add a series.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use metrics::{Unit, counter, gauge, histogram};
use ptolemy_webhooks::EventType;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, sleep, timeout};

use super::class::{CLASSES, CONNECTION, TIMEOUT, class_of};
use crate::accepted::Accepted;
use crate::error::{InboxError, InboxErrorKind};
use crate::failure::FailureKind;
use crate::guarded::Guarded;
use crate::inbox::CALL_TIMEOUT;
use crate::outcome::Outcome;
use crate::stats::Stats;
use crate::store::Store;
use crate::turn::Verdict;

const ACCEPTS: &str = "ptolemy_inbox_accepts_total";
const ACCEPT_TIME: &str = "ptolemy_inbox_accept_duration_seconds";
const COMMIT_SIZE: &str = "ptolemy_inbox_commit_deliveries";
const EVENTS: &str = "ptolemy_inbox_events";
const OLDEST_DUE: &str = "ptolemy_inbox_oldest_due_age_seconds";
const COUNTED_AT: &str = "ptolemy_inbox_stats_timestamp_seconds";
const ATTEMPTS: &str = "ptolemy_inbox_attempts_total";
const HANDLER_TIME: &str = "ptolemy_inbox_handler_duration_seconds";
const RETRIES: &str = "ptolemy_inbox_retries_total";
const DEATHS: &str = "ptolemy_inbox_deaths_total";
const DATABASE_ERRORS: &str = "ptolemy_inbox_database_errors_total";
const WORKERS: &str = "ptolemy_inbox_workers_running";

const BUCKETS: &[(&str, &[f64])] = &[
    (
        ACCEPT_TIME,
        &[0.001, 0.01, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0],
    ),
    (
        COMMIT_SIZE,
        &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0],
    ),
    (
        HANDLER_TIME,
        &[0.001, 0.01, 0.1, 1.0, 10.0, 30.0, 60.0, 300.0, 900.0],
    ),
];

/// How long a worker waits between two counts of the events that are not done: 99 times as long as
/// the last count took, within these bounds. So it spends at most a hundredth of its time on
/// counting if a count takes up to 0.7 s, and `docs/alerts.yml` may expect counts that are younger
/// than two minutes.
const MIN_PAUSE: Duration = Duration::from_secs(15);
const MAX_PAUSE: Duration = Duration::from_secs(70);

const CANCELLED: &str = "cancelled";

/// The outcomes of an accept.
const ACCEPTED: [&str; 6] = [
    "new",
    "duplicate",
    "unavailable",
    "timed_out",
    "invalid",
    CANCELLED,
];

static WORKERS_OF_PROCESS: Workers = Workers::new();

/// The workers of this process that run until the shutdown signal, of all its inboxes. A worker
/// that ends when nothing is due does not count: between two of its runs the gauge would be 0, and
/// the alert on that would fire.
struct Workers {
    running: AtomicU32,
    has_begun: AtomicBool,
}

impl Workers {
    const fn new() -> Self {
        Self {
            running: AtomicU32::new(0),
            has_begun: AtomicBool::new(false),
        }
    }

    fn began(&self) {
        self.running.fetch_add(1, Ordering::Relaxed);
        self.has_begun.store(true, Ordering::Relaxed);
    }

    fn ended(&self) {
        self.running.fetch_sub(1, Ordering::Relaxed);
    }

    /// The number that run; `None` before the first: an alert on 0 would always be on in a process
    /// that only accepts, or that only runs workers until nothing is due.
    fn running(&self) -> Option<u32> {
        let has_begun = self.has_begun.load(Ordering::Relaxed);
        has_begun.then(|| self.running.load(Ordering::Relaxed))
    }
}

/// Describes the metrics of this crate, and those of `ptolemy-webhooks`, to the recorder that is
/// installed, with their units.
///
/// Call it once, after the program has installed its recorder and before it starts workers: without
/// it the metrics have neither help texts nor units, and a counter is missing until it counts for
/// the first time. It sets the counters whose labels are known in advance to zero, except those by
/// event type. The gauge of workers is missing until the first worker that runs until the shutdown
/// signal starts.
///
/// # Examples
///
/// ```
/// // First install a recorder, for example that of `metrics-exporter-prometheus`.
/// ptolemy_webhooks_inbox::describe_metrics();
/// ```
pub fn describe_metrics() {
    ptolemy_webhooks::describe_metrics();
    for (name, text) in [
        (ACCEPTS, "Calls of `Inbox::accept`, by how they ended."),
        (
            ATTEMPTS,
            "Attempts at events that ended in this process, by event type and outcome.",
        ),
        (RETRIES, "Attempts that failed and will be retried."),
        (DEATHS, "Events that became dead letters, by event type."),
        (DATABASE_ERRORS, "Errors of the inbox's database, by class."),
    ] {
        metrics::describe_counter!(name, Unit::Count, text);
    }
    for (name, unit, text) in [
        (EVENTS, Unit::Count, "Events that are not done, by state."),
        (
            OLDEST_DUE,
            Unit::Seconds,
            "For how long the first of the due events has been due; 0 if none is.",
        ),
        (
            COUNTED_AT,
            Unit::Seconds,
            "When the events were last counted, as Unix time.",
        ),
        (
            WORKERS,
            Unit::Count,
            "Workers of this process that run until the shutdown signal.",
        ),
    ] {
        metrics::describe_gauge!(name, unit, text);
    }
    for (name, unit, text) in [
        (ACCEPT_TIME, Unit::Seconds, "Time that an accept took."),
        (
            COMMIT_SIZE,
            Unit::Count,
            "Deliveries that were sent to the database together.",
        ),
        (
            HANDLER_TIME,
            Unit::Seconds,
            "Time from the call of a handler to its end.",
        ),
    ] {
        metrics::describe_histogram!(name, unit, text);
    }
    for outcome in ACCEPTED {
        counter!(ACCEPTS, "outcome" => outcome).increment(0);
    }
    for class in CLASSES {
        counter!(DATABASE_ERRORS, "class" => class).increment(0);
    }
    counter!(RETRIES).increment(0);
    show_workers();
}

/// Returns the name of each histogram of this crate, and of `ptolemy-webhooks`, with the upper
/// bounds of its recommended buckets, in ascending order and in the unit of the histogram.
///
/// Set them in your recorder before you install it: without buckets, Prometheus's exporter renders
/// a histogram as a summary, which cannot be added up over processes.
///
/// If [`Worker::handler_timeout`](crate::Worker::handler_timeout) is above 900 s, set longer
/// buckets for `ptolemy_inbox_handler_duration_seconds`.
///
/// # Examples
///
/// ```
/// use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
/// use ptolemy_webhooks_inbox::histogram_buckets;
///
/// let mut recorder = PrometheusBuilder::new();
/// for (name, buckets) in histogram_buckets() {
///     recorder = recorder.set_buckets_for_metric(Matcher::Full(name.to_owned()), buckets)?;
/// }
/// # Ok::<(), metrics_exporter_prometheus::BuildError>(())
/// ```
pub fn histogram_buckets() -> impl Iterator<Item = (&'static str, &'static [f64])> {
    ptolemy_webhooks::histogram_buckets().chain(BUCKETS.iter().copied())
}

/// One of the event types that Ptolemy documents, or `other`.
fn bounded(event_type: Option<&str>) -> &'static str {
    let mut documented = EventType::DOCUMENTED.iter();
    let found = documented.find(|&&documented| Some(documented) == event_type);
    found.copied().unwrap_or("other")
}

/// An accept; if this is dropped before the accept has ended, it was cancelled.
struct Accepting {
    began: Instant,
    outcome: &'static str,
}

impl Drop for Accepting {
    fn drop(&mut self) {
        counter!(ACCEPTS, "outcome" => self.outcome).increment(1);
        histogram!(ACCEPT_TIME, "outcome" => self.outcome).record(self.began.elapsed());
    }
}

/// Counts an accept and measures its duration.
pub(crate) async fn accepting(
    accept: impl Future<Output = Result<Accepted, InboxError>>,
) -> Result<Accepted, InboxError> {
    let mut accepting = Accepting {
        began: Instant::now(),
        outcome: CANCELLED,
    };
    let accepted = accept.await;
    accepting.outcome = match &accepted {
        Ok(Accepted::New) => "new",
        Ok(Accepted::Duplicate { .. }) => "duplicate",
        Err(error) => match error.kind() {
            InboxErrorKind::Unavailable => "unavailable",
            InboxErrorKind::TimedOut { .. } => "timed_out",
            InboxErrorKind::InvalidKey | InboxErrorKind::InvalidSource => "invalid",
        },
    };
    accepted
}

/// Counts a timeout of the database.
pub(crate) async fn timed<T>(
    answer: impl Future<Output = Result<T, Elapsed>>,
) -> Result<T, Elapsed> {
    answer
        .await
        .inspect_err(|_| counter!(DATABASE_ERRORS, "class" => TIMEOUT).increment(1))
}

/// Records how many deliveries are sent to the database together.
pub(crate) fn committing(deliveries: usize) {
    // Exact: there are at most 256.
    histogram!(COMMIT_SIZE).record(deliveries as f64);
}

/// Records that the database has returned an error. The store recognises its own errors of an
/// unreachable database.
#[cfg_attr(not(any(feature = "postgres", feature = "sqlite")), allow(dead_code))]
pub(crate) fn database_failed(
    error: &(dyn Error + 'static),
    is_unreachable: impl Fn(&(dyn Error + 'static)) -> bool,
) {
    let class = match is_unreachable(error) {
        true => CONNECTION,
        false => class_of(error),
    };
    counter!(DATABASE_ERRORS, "class" => class).increment(1);
}

/// Records that an attempt at an event has ended; `begun` is when its handler was called, if it
/// was.
pub(crate) fn attempted(event_type: Option<&str>, begun: Option<Instant>, outcome: &Outcome) {
    let outcome = match outcome {
        Outcome::Done | Outcome::Committed => "succeeded",
        Outcome::Failed(FailureKind::Postpone { .. }, _) => "postponed",
        Outcome::Failed(..) => "failed",
        Outcome::Panicked(_) => "panicked",
        Outcome::CutShort => "cut_short",
        Outcome::Lost => "lost",
        Outcome::Undecodable(_) | Outcome::Malformed(_) => "unreadable",
        Outcome::NotBegun(_) | Outcome::Cancelled => "not_begun",
    };
    let event_type = bounded(event_type);
    counter!(ATTEMPTS, "event_type" => event_type, "outcome" => outcome).increment(1);
    if let Some(begun) = begun {
        histogram!(HANDLER_TIME, "outcome" => outcome).record(begun.elapsed());
    }
}

/// Records what becomes of an event after an attempt.
pub(crate) fn settling(verdict: &Verdict) {
    if let Verdict::Again { .. } = verdict {
        counter!(RETRIES).increment(1);
    }
}

/// Records that an event is dead in the table.
pub(crate) fn died(event_type: &str) {
    counter!(DEATHS, "event_type" => bounded(Some(event_type))).increment(1);
}

pub(crate) fn worker_began() {
    WORKERS_OF_PROCESS.began();
    show_workers();
}

pub(crate) fn worker_ended() {
    WORKERS_OF_PROCESS.ended();
    show_workers();
}

fn show_workers() {
    if let Some(running) = WORKERS_OF_PROCESS.running() {
        gauge!(WORKERS).set(running);
    }
}

/// Counts the events now and again after a pause, for as long as it is polled.
pub(crate) async fn keep_recording(store: Arc<dyn Store>) {
    loop {
        let began = Instant::now();
        // A pool of the user may call the user's code, and so may its errors.
        let counted = Guarded::new(async { timed(timeout(CALL_TIMEOUT, store.stats())).await });
        if let Ok(Ok(Ok(stats))) = counted.await {
            show(&stats);
        }
        sleep((99 * began.elapsed()).clamp(MIN_PAUSE, MAX_PAUSE)).await;
    }
}

/// Records the counts, and the number of workers again: the recorder may have been installed after
/// they started.
pub(crate) fn show(stats: &Stats) {
    for (state, events) in [
        ("due", stats.due),
        ("retrying", stats.retrying),
        ("postponed", stats.postponed),
        ("blocked", stats.blocked),
        ("running", stats.running),
        ("dead", stats.dead),
    ] {
        // A float counts exactly up to 2^53.
        gauge!(EVENTS, "state" => state).set(events as f64);
    }
    gauge!(OLDEST_DUE).set(stats.oldest_due.unwrap_or_default());
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    gauge!(COUNTED_AT).set(now.unwrap_or_default());
    show_workers();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fake::FakeStore;

    #[tokio::test(start_paused = true)]
    async fn a_count_that_takes_long_is_repeated_less_often() {
        let secs = Duration::from_secs_f64;
        for (takes, period) in [
            (secs(0.0), secs(15.0)),
            (secs(0.1), secs(15.1)),
            // A hundredth of the time.
            (secs(0.5), secs(50.0)),
            (secs(5.0), secs(75.0)),
            // It is cancelled after 30 s, as its statements are on the server.
            (secs(60.0), secs(100.0)),
        ] {
            let store = Arc::new(FakeStore::default());
            store.counts_take(takes);
            let begin = Instant::now();
            let recording = keep_recording(store.clone());
            assert!(timeout(2 * period + secs(1.0), recording).await.is_err());
            let counted = store.counted().into_iter().map(|at| at - begin);
            let expected = [Duration::ZERO, period, 2 * period];
            // Timers are exact to a millisecond.
            for (at, expected) in counted.clone().zip(expected) {
                let late = at.checked_sub(expected).unwrap();
                assert!(late <= secs(0.01), "{at:?} instead of {expected:?}");
            }
            assert_eq!(counted.count(), expected.len(), "{takes:?}");
        }
    }

    #[test]
    fn workers_are_not_shown_before_the_first_has_begun() {
        let workers = Workers::new();
        assert_eq!(workers.running(), None);
        workers.began();
        assert_eq!(workers.running(), Some(1));
        workers.ended();
        assert_eq!(workers.running(), Some(0));
    }
}
