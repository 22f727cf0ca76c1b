//! The loop over a store in memory, on paused time: turns that fail, hang or lose their answers;
//! and how it renews, rests, stops and becomes idle.

use std::future::poll_fn;
use std::mem::ManuallyDrop;
use std::panic::resume_unwind;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep, timeout};

use super::rounds::{CUT_SHORT_TIMEOUT, Rounds};
use super::{Settings, Start, Until, Worker};
use crate::accepted::EventState;
use crate::asked::Asked;
use crate::engine::Engine;
use crate::failure::{Failure, FailureKind};
use crate::health::Record;
use crate::inbox::ACCEPT_TIMEOUT;
use crate::outcome::Outcome;
use crate::retry::{MAX_ATTEMPTS, Retry};
use crate::store::BoxFuture;
use crate::store::fake::{FakeStore, Fault, Row};
use crate::turn::WorkerId;

pub(super) const EVENT: &str = r#"{"event_type":"market.created","data":{"id":"m"}}"#;

/// Handlers that take this long and succeed.
pub(super) fn taking(time: Duration) -> Arc<Start> {
    Arc::new(move |_, _, begun| {
        Box::pin(async move {
            begun.note();
            sleep(time).await;
            Outcome::Done
        })
    })
}

pub(super) fn until_idle() -> Settings {
    Settings {
        until: Until::Idle,
        ..Settings::default()
    }
}

pub(super) fn rounds(store: &Arc<FakeStore>, settings: Settings, start: Arc<Start>) -> Rounds {
    let never = Box::pin(std::future::pending());
    rounds_until(store, settings, start, never)
}

pub(super) fn rounds_until(
    store: &Arc<FakeStore>,
    settings: Settings,
    start: Arc<Start>,
    shutdown: BoxFuture<'static, ()>,
) -> Rounds {
    let (asked, health) = (Asked::default(), Record::default());
    Rounds::new(store.clone(), settings, start, asked, health, shutdown)
}

/// Runs the loop; a loop that does not end fails the test.
pub(super) async fn run(mut rounds: Rounds, arrived: &Notify) -> Until {
    in_time(rounds.run(arrived)).await
}

/// Fails if the loop does not end, or spins. The limit is short, so that a loop that is always busy
/// fails soon.
async fn in_time<F: Future>(worker: F) -> F::Output {
    let ended = timeout(secs(1_000.0), watched(worker)).await;
    ended.expect("it ends within 1,000 s")
}

/// Fails if the loop spins, in which case no time passes.
pub(super) async fn watched<F: Future>(worker: F) -> F::Output {
    let mut worker = pin!(worker);
    let (mut since, mut polls) = (Instant::now(), 0);
    poll_fn(|context| {
        if since != Instant::now() {
            (since, polls) = (Instant::now(), 0);
        }
        polls += 1;
        assert!(polls < 100, "the loop spins");
        worker.as_mut().poll(context)
    })
    .await
}

pub(super) fn secs(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// The times of the turns since the first, in seconds.
pub(super) fn times(store: &FakeStore) -> Vec<f64> {
    let turns = store.turns();
    let first = turns[0].at;
    turns
        .iter()
        .map(|turn| (turn.at - first).as_secs_f64())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn what_ended_is_settled_after_turns_that_fail_and_rests_between_them() {
    let store = Arc::new(FakeStore::default());
    store.add(EVENT);
    let rounds = rounds(&store, until_idle(), taking(secs(2.0)));
    let faults = async {
        sleep(secs(1.0)).await;
        store.will(Fault::Fails);
        store.will(Fault::Fails);
    };
    let arrived = Notify::new();
    let (ended, ()) = tokio::join!(run(rounds, &arrived), faults);
    assert_eq!(ended, Until::Idle);
    assert_eq!(store.rows()[0].state, EventState::Done);
    assert_eq!(store.rows()[0].attempts, 1);
    let times: Vec<_> = times(&store).iter().map(|at| (at * 10.0).round()).collect();
    assert_eq!(times, [0.0, 20.0, 25.0, 30.0]);
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_panics_is_taken_again() {
    let store = Arc::new(FakeStore::default());
    store.add(EVENT);
    store.will(Fault::Panics);
    let rounds = rounds(&store, until_idle(), taking(Duration::ZERO));
    run(rounds, &Notify::new()).await;
    assert_eq!(store.rows()[0].state, EventState::Done);
    let second = times(&store)[1];
    assert!((0.5..0.6).contains(&second), "{second}");
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_hangs_is_given_up_and_taken_again() {
    let store = Arc::new(FakeStore::default());
    store.add(EVENT);
    store.will(Fault::Hangs);
    let rounds = rounds(&store, until_idle(), taking(Duration::ZERO));
    run(rounds, &Notify::new()).await;
    assert_eq!(store.rows()[0].state, EventState::Done);
    let second = times(&store)[1];
    assert!((10.5..10.6).contains(&second), "{second}");
}

/// Its handler never began, so it is returned, and no attempt counts; the worker does not wait for
/// the lease, which is its own.
#[tokio::test(start_paused = true)]
async fn an_event_that_was_taken_without_an_answer_is_returned_before_its_lease_has_expired() {
    let store = Arc::new(FakeStore::default());
    store.add(EVENT);
    store.will(Fault::Forgets);
    let settings = Settings::default();
    let (begin, half) = (Instant::now(), settings.lease / 2);
    let rounds = rounds(&store, settings, taking(Duration::ZERO));
    let done = async {
        while store.rows()[0].state != EventState::Done {
            sleep(secs(0.1)).await;
        }
    };
    let arrived = Notify::new();
    tokio::select! {
        _ = run(rounds, &arrived) => panic!("it was not to stop"),
        () = done => {}
    }
    assert_eq!(store.rows()[0].attempts, 1);
    // It is seen after the rest, and counts as silent half of its lease later, at the next upkeep.
    let took = begin.elapsed();
    assert!(took < half + secs(1.0), "{took:?}");
}

/// The event is done in the table, so settling it again finds the lease gone, and changes nothing.
#[tokio::test(start_paused = true)]
async fn a_result_that_was_written_without_an_answer_is_written_once() {
    let store = Arc::new(FakeStore::default());
    store.add(EVENT);
    let rounds = rounds(&store, until_idle(), taking(secs(1.0)));
    let fault = async {
        sleep(secs(0.5)).await;
        store.will(Fault::Forgets);
    };
    let arrived = Notify::new();
    let _ = tokio::join!(run(rounds, &arrived), fault);
    assert_eq!(store.rows()[0].state, EventState::Done);
    assert_eq!(store.rows()[0].attempts, 1);
}

#[tokio::test(start_paused = true)]
async fn leases_are_renewed_every_third_of_their_time() {
    let store = Arc::new(FakeStore::default());
    store.add(EVENT);
    let settings = until_idle();
    let third = settings.lease / 3;
    let rounds = rounds(&store, settings, taking(third * 10));
    run(rounds, &Notify::new()).await;
    let renewals = store.turns().into_iter().filter(|turn| turn.renew > 0);
    let renewals: Vec<_> = renewals.map(|turn| turn.at).collect();
    assert!(renewals.len() >= 9, "{renewals:?}");
    for pair in renewals.windows(2) {
        let apart = pair[1] - pair[0];
        assert!(apart <= third + secs(0.01), "{apart:?}");
    }
    assert_eq!(store.rows()[0].attempts, 1);
    assert_eq!(store.rows()[0].state, EventState::Done);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_fails_is_repeated_and_one_that_is_slow_delays_no_other() {
    let store = Arc::new(FakeStore::default());
    store.add(EVENT);
    let faults = async {
        sleep(secs(5.0)).await;
        store.will(Fault::Fails);
        store.will(Fault::Takes(secs(2.0)));
    };
    let rounds = rounds(&store, until_idle(), taking(secs(35.0)));
    let arrived = Notify::new();
    tokio::join!(run(rounds, &arrived), faults);
    let (times, turns) = (times(&store), store.turns());
    let renewals = times.iter().zip(&turns).filter(|(_, turn)| turn.renew > 0);
    let renewals: Vec<_> = renewals.map(|(at, _)| (at * 10.0).round()).collect();
    assert_eq!(renewals, [100.0, 105.0, 205.0, 305.0]);
}

#[tokio::test(start_paused = true)]
async fn no_more_handlers_run_than_the_concurrency_and_a_stop_takes_nothing_more() {
    let store = Arc::new(FakeStore::default());
    for _ in 0..10 {
        store.add(EVENT);
    }
    let (stop, stopped) = oneshot::channel::<()>();
    let settings = Settings {
        concurrency: 3,
        ..Settings::default()
    };
    let shutdown = Box::pin(async {
        let _ = stopped.await;
    });
    let start = taking(secs(5.0));
    let rounds = rounds_until(&store, settings, start, shutdown);
    let count = |state| store.rows().iter().filter(|row| row.state == state).count();
    let watch = async {
        for _ in 0..7 {
            sleep(secs(1.0)).await;
            assert_eq!(count(EventState::Running), 3);
        }
        drop(stop);
    };
    let arrived = Notify::new();
    let (ended, ()) = tokio::join!(run(rounds, &arrived), watch);
    assert_eq!(ended, Until::Stopped);
    assert_eq!(count(EventState::Done), 6);
    assert_eq!(count(EventState::Waiting), 4);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_future_that_panics_stops_the_worker_as_the_signal_does() {
    let store = Arc::new(FakeStore::default());
    store.add(EVENT);
    let shutdown = Box::pin(async {
        sleep(secs(1.0)).await;
        resume_unwind(Box::new("no signals here"))
    });
    let (settings, start) = (Settings::default(), taking(secs(5.0)));
    let rounds = rounds_until(&store, settings, start, shutdown);
    assert_eq!(run(rounds, &Notify::new()).await, Until::Stopped);
    assert_eq!(store.rows()[0].state, EventState::Done);
}

fn worker(store: &Arc<FakeStore>, health: &Record) -> Worker {
    let (arrived, engine) = (Arc::default(), Engine::Fake(store.clone()));
    let keep_done = None;
    Worker::new(engine, arrived, Asked::default(), keep_done, health.clone())
}

/// Panics when it is dropped, with another one.
struct PanicsOnDrop;

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        resume_unwind(Box::new(Self));
    }
}

/// The user's values in a worker are dropped when it ends.
#[tokio::test(start_paused = true)]
async fn a_handler_and_a_shutdown_future_that_panic_when_dropped_do_not_end_the_worker_before_its_end()
 {
    let (store, health) = (Arc::new(FakeStore::default()), Record::default());
    store.add(EVENT);
    let captured = PanicsOnDrop;
    let handler = move |_, _| {
        let _captured = &captured;
        async { Ok::<(), Failure>(()) }
    };
    let captured = PanicsOnDrop;
    let signal = async move {
        let _captured = captured;
        std::future::pending().await
    };
    let worker = worker(&store, &health).graceful_shutdown(signal);
    // If it does not end, it is leaked: a second panic would abort the tests.
    let mut worker = ManuallyDrop::new(Box::pin(worker.run_until_idle(handler)));
    in_time(worker.as_mut()).await;
    drop(ManuallyDrop::into_inner(worker));
    assert_eq!(store.rows()[0].state, EventState::Done);
    assert!(health.read().is_healthy());
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_aborted_has_failed_and_one_that_was_told_to_has_stopped() {
    let (store, health) = (Arc::new(FakeStore::default()), Record::default());
    let handler = |_, _| async { Ok::<(), Failure>(()) };
    let aborted = tokio::spawn(worker(&store, &health).run(handler));
    sleep(secs(1.0)).await;
    assert_eq!(health.read().workers_running, 1);
    aborted.abort();
    assert!(aborted.await.is_err());
    assert_eq!(health.read().workers_failed, 1);

    let stopped = worker(&store, &health).graceful_shutdown(sleep(secs(1.0)));
    let stopped = tokio::spawn(stopped.run(handler));
    sleep(secs(0.5)).await;
    assert!(
        health.read().is_healthy(),
        "it takes the place of the first"
    );
    stopped.await.unwrap();
    let health = health.read();
    assert_eq!((health.workers_running, health.workers_stopped), (0, 1));
}

/// A failure, the longest delay, and the most calls in 3 s.
type Failing = (fn() -> Failure, Duration, usize);

/// A first delay of zero would never grow, and a delay of the handler's own may be zero by mistake.
#[tokio::test(start_paused = true)]
async fn no_event_is_tried_more_often_than_ten_times_a_second() {
    const ZERO: Duration = Duration::ZERO;
    let fails: [Failing; 4] = [
        (|| Failure::retry("it fails"), Duration::MAX, 6),
        (|| Failure::retry("it fails"), ZERO, 31),
        (|| Failure::retry_in(ZERO, "it fails"), ZERO, 31),
        (|| Failure::postpone(ZERO, "it waits"), ZERO, 31),
    ];
    for (number, (failure, longest, most)) in fails.into_iter().enumerate() {
        let (store, health) = (Arc::new(FakeStore::default()), Record::default());
        store.add(EVENT);
        let worker = worker(&store, &health)
            .poll_interval(ZERO)
            .max_attempts(u32::MAX)
            .backoff(ZERO, longest)
            .graceful_shutdown(sleep(secs(3.0)));
        assert_eq!(worker.settings.retry.attempts, MAX_ATTEMPTS);
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        let handler = move |_, _| {
            counted.fetch_add(1, Relaxed);
            std::future::ready(Err::<(), _>(failure()))
        };
        in_time(worker.run(handler)).await;
        let calls = calls.load(Relaxed);
        assert!((4..=most).contains(&calls), "{number}: {calls}");
    }
}

/// Also if the database did not answer, and if the lease expired in the last attempt.
#[tokio::test(start_paused = true)]
async fn each_event_that_dies_is_counted_once() {
    let (store, health) = (Arc::new(FakeStore::default()), Record::default());
    for _ in 0..3 {
        store.add(EVENT);
    }
    let worker = |lease| worker(&store, &health).max_attempts(1).lease(lease);
    let fails = |_, _| async {
        sleep(secs(1.0)).await;
        Err::<(), _>(Failure::retry("it fails"))
    };
    let fault = async {
        sleep(secs(0.5)).await;
        store.will(Fault::Forgets);
    };
    let run = in_time(worker(secs(30.0)).concurrency(3).run_until_idle(fails));
    tokio::join!(run, fault);
    let dead = |store: &FakeStore| {
        let rows = store.rows().into_iter();
        rows.filter(|row| row.state == EventState::Dead).count()
    };
    assert_eq!((dead(&store), health.read().events_died), (3, 3));

    // A worker dies in the only attempt, and the next one detects that.
    store.add(EVENT);
    let run = worker(secs(5.0)).run(|_, _| std::future::pending::<Result<(), Failure>>());
    assert!(timeout(secs(1.0), run).await.is_err());
    sleep(secs(10.0)).await;
    assert_eq!((dead(&store), health.read().events_died), (3, 3));
    let next = worker(secs(5.0)).graceful_shutdown(sleep(secs(20.0)));
    in_time(next.run(fails)).await;
    assert_eq!((dead(&store), health.read().events_died), (4, 4));
}

#[tokio::test(start_paused = true)]
async fn handlers_that_outlast_the_shutdown_timeout_are_cut_short_and_their_events_returned() {
    let row = stopped(Settings::default(), taking(secs(1e6))).await;
    assert_eq!((row.state, row.attempts), (EventState::Waiting, 1));
    let error = "the worker stopped before the handler had ended";
    assert_eq!(row.last_error.as_deref(), Some(error));

    let retry = Retry {
        attempts: 1,
        ..Retry::default()
    };
    let settings = Settings {
        retry,
        ..Settings::default()
    };
    let row = stopped(settings, taking(secs(1e6))).await;
    assert_eq!((row.state, row.attempts), (EventState::Dead, 1));
}

/// Of the 30 s that Kubernetes gives, at least 5 are left to the rest of the program.
const MAX_STOP: Duration = Duration::from_secs(25);

#[test]
fn the_defaults_of_a_stop_fit_in_25_seconds_together() {
    let worker = Settings::default().shutdown_timeout + 2 * CUT_SHORT_TIMEOUT;
    // A server that lets its requests finish before it stops its worker, as the example does.
    let all = ACCEPT_TIMEOUT + worker;
    assert!(all <= MAX_STOP, "{all:?}");
}

/// The handler never returns, and from the signal on, or before, the database does not answer.
#[tokio::test(start_paused = true)]
async fn a_stop_with_defaults_ends_in_time_whatever_hangs() {
    for hangs_from in [0.9, 1.5, 15.5] {
        let store = Arc::new(FakeStore::default());
        store.add(EVENT);
        let shutdown = Box::pin(sleep(secs(1.0)));
        let start = taking(secs(1e6));
        let rounds = rounds_until(&store, Settings::default(), start, shutdown);
        let hangs = async {
            sleep(secs(hangs_from)).await;
            for _ in 0..9 {
                store.will(Fault::Hangs);
            }
        };
        let begin = Instant::now();
        let arrived = Notify::new();
        let ended = async {
            run(rounds, &arrived).await;
            begin.elapsed() - secs(1.0)
        };
        let (took, ()) = tokio::join!(ended, hangs);
        assert!(took + ACCEPT_TIMEOUT <= MAX_STOP, "{hangs_from}: {took:?}");
        assert_eq!(store.rows()[0].state, EventState::Running);
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_job_that_prunes_at_its_end_stops_on_the_signal() {
    let store = Arc::new(FakeStore::default());
    let (health, keep_done) = (Record::default(), Some(Duration::ZERO));
    store.never_end_prunes();
    let (arrived, engine) = (Arc::default(), Engine::Fake(store.clone()));
    let worker = Worker::new(engine, arrived, Asked::default(), keep_done, health.clone())
        .graceful_shutdown(sleep(secs(1.0)));
    let begin = Instant::now();
    let handler = |_, _| async { Ok::<(), Failure>(()) };
    in_time(worker.run_until_idle(handler)).await;
    assert_eq!(begin.elapsed().as_secs(), 1);
}

/// As if it waited for a connection.
#[tokio::test(start_paused = true)]
async fn an_attempt_whose_handler_has_not_begun_at_the_end_of_a_stop_does_not_count() {
    let waits: Arc<Start> = Arc::new(|_, _, _| Box::pin(std::future::pending()));
    let row = stopped(Settings::default(), waits).await;
    assert_eq!((row.state, row.attempts), (EventState::Waiting, 0));
    assert_eq!(row.last_error, None);
}

/// The row of an event after a stop during its attempt.
async fn stopped(settings: Settings, start: Arc<Start>) -> Row {
    let store = Arc::new(FakeStore::default());
    store.add(EVENT);
    let limit = settings.shutdown_timeout;
    let shutdown = Box::pin(sleep(secs(1.0)));
    let rounds = rounds_until(&store, settings, start, shutdown);
    let begin = Instant::now();
    assert_eq!(run(rounds, &Notify::new()).await, Until::Stopped);
    let took = begin.elapsed();
    assert!(took < secs(1.0) + limit + secs(2.0), "{took:?}");
    store.rows().remove(0)
}

#[tokio::test(start_paused = true)]
async fn an_event_with_malformed_data_reaches_a_handler_that_accepts_it() {
    let malformed = r#"{"event_type":"market.created","data":{"name":7}}"#;
    for (accepts, state) in [(false, EventState::Dead), (true, EventState::Done)] {
        let store = Arc::new(FakeStore::default());
        store.add(malformed);
        let mut settings = until_idle();
        settings.accepts_malformed = accepts;
        let rounds = rounds(&store, settings, taking(Duration::ZERO));
        run(rounds, &Notify::new()).await;
        assert_eq!(store.rows()[0].state, state);
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_may_take_a_quarter_of_an_hour_unless_another_limit_is_set() {
    let begin = Instant::now();
    let limit = Settings::default().handler_timeout;
    let failure = super::in_time(limit, std::future::pending())
        .await
        .unwrap_err();
    assert_eq!(begin.elapsed().as_secs(), 15 * 60);
    assert_eq!(failure.kind(), FailureKind::Retry);

    let long = async {
        sleep(secs(1e6)).await;
        Ok(())
    };
    assert!(super::in_time(None, long).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_takes_no_event_from_a_worker_that_lives() {
    let store = Arc::new(FakeStore::default());
    store.add(EVENT);
    let process = |number| Settings {
        worker: WorkerId::of(number, 0),
        ..until_idle()
    };
    let start = taking(secs(120.0));
    let holder = rounds(&store, process(1), start.clone());
    let hours = async {
        for hour in [1, -2, 24, -24] {
            sleep(secs(25.0)).await;
            store.set_clock_by(hour * 3_600_000_000);
        }
    };
    let stays = Settings {
        until: Until::Stopped,
        ..process(2)
    };
    let shutdown = Box::pin(sleep(secs(150.0)));
    let other = rounds_until(&store, stays, start, shutdown);
    let arrived = [Notify::new(), Notify::new()];
    tokio::join!(run(holder, &arrived[0]), hours, run(other, &arrived[1]));
    let row = store.rows().remove(0);
    assert_eq!(
        (row.state, row.attempts, row.token),
        (EventState::Done, 1, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_batch_job_takes_over_what_a_killed_one_had() {
    let store = Arc::new(FakeStore::default());
    store.add(EVENT);
    let process = |number| Settings {
        worker: WorkerId::of(number, 0),
        ..until_idle()
    };
    let killed = rounds(&store, process(1), taking(secs(100.0)));
    let arrived = Notify::new();
    assert!(timeout(secs(5.0), run(killed, &arrived)).await.is_err());
    // While the lease lasts, the event belongs to the other worker.
    let early = rounds(&store, process(2), taking(secs(1.0)));
    assert_eq!(run(early, &arrived).await, Until::Idle);
    assert_eq!(store.rows()[0].state, EventState::Running);
    sleep(secs(3_600.0)).await;
    // It is seen to be silent, and then backs off.
    let late = rounds(&store, process(3), taking(secs(1.0)));
    assert_eq!(run(late, &arrived).await, Until::Idle);
    assert_eq!(store.rows()[0].state, EventState::Waiting);
    sleep(secs(3_600.0)).await;
    let later = rounds(&store, process(4), taking(secs(1.0)));
    assert_eq!(run(later, &arrived).await, Until::Idle);
    assert_eq!(store.rows()[0].state, EventState::Done);
}

/// Both workers are alive, but neither can reach the store for longer than a lease.
#[tokio::test(start_paused = true)]
async fn what_was_not_seen_during_an_outage_is_not_silent() {
    let store = Arc::new(FakeStore::default());
    store.add(EVENT);
    let process = |number, until| Settings {
        worker: WorkerId::of(number, 0),
        until,
        ..Settings::default()
    };
    let start = taking(secs(100.0));
    let holder = rounds(&store, process(1, Until::Idle), start.clone());
    let shutdown = Box::pin(sleep(secs(150.0)));
    let other = process(2, Until::Stopped);
    let (asked, health) = (Asked::default(), Record::default());
    let other = Rounds::new(store.clone(), other, start, asked, health, shutdown);
    let outage = async {
        sleep(secs(5.0)).await;
        store.cut_off(&[1, 2]);
        sleep(secs(60.0)).await;
        // The holder needs a moment longer.
        store.cut_off(&[1]);
        sleep(secs(2.0)).await;
        store.cut_off(&[]);
    };
    let arrived = [Notify::new(), Notify::new()];
    tokio::join!(run(holder, &arrived[0]), outage, run(other, &arrived[1]));
    let row = store.rows().remove(0);
    assert_eq!(
        (row.state, row.attempts, row.token),
        (EventState::Done, 1, 1)
    );
}
