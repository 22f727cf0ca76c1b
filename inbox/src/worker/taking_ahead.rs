//! How many events the loop takes ahead, and what happens to them, on paused time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::{sleep, timeout};

use super::paused::{EVENT, rounds, rounds_until, run, secs, taking, until_idle, watched};
use super::{Settings, Start, Until};
use crate::accepted::EventState;
use crate::outcome::Outcome;
use crate::store::fake::{FakeStore, Fault};

const TURN: Duration = Duration::from_millis(10);

/// A store with events, and with turns that take some time.
fn store_of(events: usize) -> Arc<FakeStore> {
    let store = Arc::new(FakeStore::default());
    for _ in 0..events {
        store.add(EVENT);
        store.will(Fault::Takes(TURN));
    }
    store
}

fn count(store: &FakeStore, state: EventState) -> usize {
    let rows = store.rows();
    rows.iter().filter(|row| row.state == state).count()
}

fn settings(concurrency: usize, until: Until) -> Settings {
    Settings {
        concurrency,
        until,
        ..until_idle()
    }
}

/// Handlers that take this long for the first events, and forever for all others; and how many have
/// begun.
fn stalling(first: usize, time: Duration) -> (Arc<Start>, Arc<AtomicUsize>) {
    let begun = Arc::new(AtomicUsize::new(0));
    let counted = begun.clone();
    let start: Arc<Start> = Arc::new(move |_, _, begun| {
        begun.note();
        let stalls = counted.fetch_add(1, Relaxed) >= first;
        Box::pin(async move {
            sleep(if stalls { secs(1e6) } else { time }).await;
            Outcome::Done
        })
    });
    (start, begun)
}

#[tokio::test(start_paused = true)]
async fn handlers_that_end_sooner_than_a_turn_do_not_wait_for_one_each_time() {
    let store = store_of(400);
    let rounds = rounds(&store, settings(4, Until::Idle), taking(TURN / 10));
    run(rounds, &Notify::new()).await;
    assert_eq!(count(&store, EventState::Done), 400);
    let turns = store.turns();
    // Four in each turn would be 100 turns, and more.
    assert!(turns.len() < 40, "{}", turns.len());
    assert!(turns.iter().all(|turn| turn.take <= 4 + 64));
    assert!(store.rows().iter().all(|row| row.attempts == 1));
}

#[tokio::test(start_paused = true)]
async fn no_more_handlers_run_at_a_time_because_of_it() {
    let store = store_of(200);
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = most.clone();
    let start: Arc<Start> = Arc::new(move |_, _, begun| {
        begun.note();
        let (running, seen) = (running.clone(), seen.clone());
        Box::pin(async move {
            seen.fetch_max(running.fetch_add(1, Relaxed) + 1, Relaxed);
            sleep(TURN / 10).await;
            running.fetch_sub(1, Relaxed);
            Outcome::Done
        })
    });
    run(
        rounds(&store, settings(3, Until::Idle), start),
        &Notify::new(),
    )
    .await;
    assert_eq!(most.load(Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_taken_ahead_of_handlers_that_take_much_longer_than_a_turn() {
    let store = store_of(40);
    let rounds = rounds(&store, settings(4, Until::Idle), taking(secs(10.0)));
    run(rounds, &Notify::new()).await;
    assert!(store.turns().iter().all(|turn| turn.take <= 4));
}

#[tokio::test(start_paused = true)]
async fn what_was_taken_ahead_of_handlers_that_stall_is_given_back_within_a_second() {
    let store = store_of(400);
    let (start, begun) = stalling(220, TURN / 10);
    let mut rounds = rounds(&store, settings(4, Until::Stopped), start);
    let stalled = async {
        while begun.load(Relaxed) < 224 {
            sleep(TURN).await;
        }
        // Some were taken ahead.
        assert!(count(&store, EventState::Running) > 4);
        sleep(secs(1.2)).await;
        assert_eq!(count(&store, EventState::Running), 4);
        let waiting = store.rows();
        let waiting = waiting
            .iter()
            .filter(|row| row.state == EventState::Waiting);
        let attempts: Vec<_> = waiting.map(|row| row.attempts).collect();
        assert_eq!(attempts, [0; 176]);
        // And nothing is taken ahead again.
        sleep(secs(60.0)).await;
        assert_eq!(count(&store, EventState::Running), 4);
        assert_eq!(begun.load(Relaxed), 224);
    };
    let arrived = Notify::new();
    let worker = timeout(secs(3_600.0), watched(rounds.run(&arrived)));
    tokio::select! {
        _ = worker => unreachable!("it was not to stop"),
        () = stalled => {}
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_gives_back_what_was_taken_ahead_and_waits_for_what_runs() {
    let store = store_of(400);
    let (stop, stopped) = oneshot::channel::<()>();
    let (start, begun) = stalling(usize::MAX, TURN / 10);
    let signal = Box::pin(async { drop(stopped.await) });
    let rounds = rounds_until(&store, settings(4, Until::Stopped), start, signal);
    let signals = async {
        while begun.load(Relaxed) < 200 {
            sleep(TURN / 10).await;
        }
        let running = count(&store, EventState::Running);
        assert!(running > 4, "{running}");
        drop(stop);
        begun.load(Relaxed)
    };
    let arrived = Notify::new();
    let (ended, at_stop) = tokio::join!(run(rounds, &arrived), signals);
    assert_eq!(ended, Until::Stopped);
    assert_eq!(count(&store, EventState::Running), 0);
    let begun = begun.load(Relaxed);
    assert_eq!(count(&store, EventState::Done), begun);
    assert!(begun <= at_stop + 4, "{begun} of {at_stop}");
    let rows = store.rows();
    let waiting = rows.iter().filter(|row| row.state == EventState::Waiting);
    assert!(
        waiting
            .map(|row| row.attempts)
            .all(|attempts| attempts == 0)
    );
}
