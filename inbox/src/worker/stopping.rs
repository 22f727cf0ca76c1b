//! How the loop stops, on paused time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use super::paused::{EVENT, rounds_until, run, secs, taking};
use super::{Settings, Start, Until};
use crate::accepted::EventState;
use crate::outcome::Outcome;
use crate::store::fake::{FakeStore, Fault};

/// A worker that is stopped after this many seconds, on a store with one event.
struct Stopped {
    store: Arc<FakeStore>,
    after: f64,
    shutdown_timeout: f64,
}

impl Stopped {
    fn new(after: f64, shutdown_timeout: f64) -> Self {
        let store = Arc::new(FakeStore::default());
        store.add(EVENT);
        Self {
            store,
            after,
            shutdown_timeout,
        }
    }

    /// Runs it; returns how long it took, in tenths of a second.
    async fn run(&self, start: Arc<Start>) -> f64 {
        let settings = Settings {
            poll: secs(3_600.0),
            shutdown_timeout: secs(self.shutdown_timeout),
            ..Settings::default()
        };
        let shutdown = Box::pin(sleep(secs(self.after)));
        let rounds = rounds_until(&self.store, settings, start, shutdown);
        let began = Instant::now();
        assert_eq!(run(rounds, &Notify::new()).await, Until::Stopped);
        (began.elapsed().as_secs_f64() * 10.0).round()
    }

    fn row(&self) -> (EventState, u32) {
        let row = self.store.rows().remove(0);
        (row.state, row.attempts)
    }
}

const RETURNED: (EventState, u32) = (EventState::Waiting, 0);

#[tokio::test(start_paused = true)]
async fn a_worker_stops_when_nothing_runs_any_more() {
    let it = Stopped::new(5.0, 20.0);
    assert_eq!(it.run(taking(secs(1.0))).await, 50.0);
    assert_eq!(it.row(), (EventState::Done, 1));

    let it = Stopped::new(1.0, 30.0);
    assert_eq!(it.run(taking(secs(25.0))).await, 250.0);
    assert_eq!(it.row(), (EventState::Done, 1));
    // Its lease is renewed until then, and upkeep is left to other workers.
    let turns = it.store.turns();
    assert_eq!(turns.iter().filter(|turn| turn.renew > 0).count(), 2);
    assert_eq!(turns.iter().filter(|turn| turn.upkeep).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_result_that_cannot_be_written_keeps_the_worker_until_its_deadline() {
    let it = Stopped::new(1.0, 20.0);
    let faults = async {
        sleep(secs(2.0)).await;
        it.store.will(Fault::Fails);
        it.store.will(Fault::Fails);
    };
    let (took, ()) = tokio::join!(it.run(taking(secs(5.0))), faults);
    assert_eq!(took, 60.0);
    assert_eq!(it.row(), (EventState::Done, 1));
}

#[tokio::test(start_paused = true)]
async fn events_that_are_taken_while_the_worker_stops_go_back() {
    let it = Stopped::new(1.0, 20.0);
    it.store.will(Fault::Takes(secs(3.0)));
    let start: Arc<Start> = Arc::new(|_, _, _| unreachable!("its handler is not called"));
    assert_eq!(it.run(start).await, 30.0);
    assert_eq!(it.row(), RETURNED);
}

/// An event that becomes due at the instant of the signal is not taken.
#[tokio::test(start_paused = true)]
async fn nothing_is_taken_once_the_signal_has_come() {
    // An event that arrives at the same instant.
    let it = Stopped::new(0.0, 20.0);
    let arrived = Notify::new();
    let signal = Arc::new(Notify::new());
    let settings = Settings {
        poll: secs(3_600.0),
        ..Settings::default()
    };
    let shutdown = Box::pin(signal.clone().notified_owned());
    let worker = rounds_until(&it.store, settings.clone(), taking(secs(1.0)), shutdown);
    let arrives = async {
        sleep(secs(5.0)).await;
        it.store.add(EVENT);
        arrived.notify_one();
        signal.notify_one();
    };
    tokio::join!(run(worker, &arrived), arrives);
    assert_eq!(it.store.rows()[0].state, EventState::Done);
    assert_eq!(it.store.rows()[1].token, 0);

    // Another event, when the one that runs ends at the same instant.
    let it = Stopped::new(0.0, 20.0);
    it.store.add(EVENT);
    let shutdown = Box::pin(signal.clone().notified_owned());
    let start: Arc<Start> = Arc::new(move |_, _, _| {
        let signal = signal.clone();
        Box::pin(async move {
            sleep(secs(5.0)).await;
            signal.notify_one();
            Outcome::Done
        })
    });
    let worker = rounds_until(&it.store, settings.clone(), start, shutdown);
    run(worker, &Notify::new()).await;
    assert_eq!(it.row(), (EventState::Done, 1));
    assert_eq!(it.store.rows()[1].token, 0);

    // A look that is due at the same instant.
    let store = Arc::new(FakeStore::default());
    let settings = Settings {
        poll: secs(5.0),
        ..settings
    };
    let shutdown = Box::pin(sleep(secs(5.0)));
    let worker = rounds_until(&store, settings, taking(secs(1.0)), shutdown);
    run(worker, &Notify::new()).await;
    assert_eq!(store.turns().len(), 1);

    // The handler of an event whose turn has its answer at the same instant.
    let it = Stopped::new(3.0, 20.0);
    it.store.will(Fault::Takes(secs(3.0)));
    let start: Arc<Start> = Arc::new(|_, _, _| unreachable!("its handler is not called"));
    assert_eq!(it.run(start).await, 30.0);
    assert_eq!(it.row(), RETURNED);
}

/// The events that such a turn has taken are known, and are given back.
#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_with_the_deadline_counts() {
    let it = Stopped::new(3.0, 0.0);
    it.store.will(Fault::Takes(secs(3.0)));
    let start: Arc<Start> = Arc::new(|_, _, _| unreachable!("its handler is not called"));
    assert_eq!(it.run(start).await, 30.0);
    assert_eq!(it.row(), RETURNED);
    assert_eq!(it.store.rows()[0].token, 1);
}

#[tokio::test(start_paused = true)]
async fn a_turn_without_an_answer_is_given_up_at_the_deadline() {
    let it = Stopped::new(1.0, 5.0);
    it.store.will(Fault::Hangs);
    assert_eq!(it.run(taking(Duration::ZERO)).await, 60.0);
    assert_eq!(it.row(), RETURNED);
    // With nothing to give back there is no other turn.
    assert_eq!(it.store.turns().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn events_are_given_back_within_a_second_of_the_deadline_or_not_at_all() {
    for (fault, took, row) in [
        // The attempt counts: its handler had begun.
        (Fault::Takes(secs(0.8)), 68.0, (EventState::Waiting, 1)),
        (Fault::Hangs, 70.0, (EventState::Running, 1)),
    ] {
        let it = Stopped::new(1.0, 5.0);
        let faults = async {
            sleep(secs(2.0)).await;
            it.store.will(fault);
        };
        let (time, ()) = tokio::join!(it.run(taking(secs(1e6))), faults);
        assert_eq!((time, it.row()), (took, row), "{fault:?}");
    }
}

/// The thread of a handler that blocks is not free before the handler ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_blocks_its_thread_does_not_keep_the_worker_from_stopping() {
    let it = Stopped::new(0.1, 0.0);
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = Arc::new(std::sync::Mutex::new(released));
    let start: Arc<Start> = Arc::new(move |_, _, _| {
        let released = released.clone();
        Box::pin(async move {
            let _ = released.lock().unwrap().recv();
            Outcome::Done
        })
    });
    let stopped = timeout(secs(8.0), it.run(start)).await;
    drop(release);
    assert!(stopped.is_ok(), "it waits for its handler");
    assert_eq!(it.row(), (EventState::Running, 1));
}
