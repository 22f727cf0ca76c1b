//! The loop over a store in memory, on paused time: what it does when turns fail, hang and are
//! forgotten, and when it renews, rests, stops and is idle.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep, timeout};

use super::rounds::Rounds;
use super::{Settings, Start, Until};
use crate::accepted::EventState;
use crate::asked::Asked;
use crate::failure::FailureKind;
use crate::outcome::Outcome;
use crate::store::fake::{FakeStore, Fault};
use crate::turn::WorkerId;

pub(super) const EVENT: &str = r#"{"event_type":"market.created","data":{"id":"m"}}"#;

/// Handlers that take so long, and succeed.
pub(super) fn taking(time: Duration) -> Arc<Start> {
    Arc::new(move |_, _| {
        Box::pin(async move {
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
    Rounds::new(store.clone(), settings, start, Asked::default(), never)
}

/// Runs the loop; a loop that does not end fails the test.
pub(super) async fn run(rounds: Rounds, arrived: &Notify) -> Until {
    let ended = timeout(secs(3_600.0), watched(rounds.run(arrived))).await;
    ended.expect("it ends within an hour")
}

/// Fails if the loop spins: then no time passes.
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
    let (begin, lease) = (Instant::now(), settings.lease);
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
    assert!(begin.elapsed() < lease, "{:?}", begin.elapsed());
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
    let rounds = Rounds::new(store.clone(), settings, start, Asked::default(), shutdown);
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
async fn handlers_that_outlast_the_shutdown_timeout_are_cut_short_and_their_events_returned() {
    let store = Arc::new(FakeStore::default());
    store.add(EVENT);
    let settings = Settings::default();
    let limit = settings.shutdown_timeout;
    let shutdown = Box::pin(sleep(secs(1.0)));
    let start = taking(secs(1e6));
    let rounds = Rounds::new(store.clone(), settings, start, Asked::default(), shutdown);
    let begin = Instant::now();
    assert_eq!(run(rounds, &Notify::new()).await, Until::Stopped);
    let took = begin.elapsed();
    assert!(took < secs(1.0) + limit + secs(2.0), "{took:?}");
    let row = store.rows().remove(0);
    assert_eq!((row.state, row.attempts), (EventState::Waiting, 0));
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
    let other = Rounds::new(store.clone(), stays, start, Asked::default(), shutdown);
    let arrived = [Notify::new(), Notify::new()];
    tokio::join!(run(holder, &arrived[0]), hours, run(other, &arrived[1]));
    let row = store.rows().remove(0);
    assert_eq!(
        (row.state, row.attempts, row.token),
        (EventState::Done, 1, 1)
    );
}
