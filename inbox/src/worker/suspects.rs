//! When the loop takes suspects and when it does not, on paused time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use super::paused::{EVENT, rounds, rounds_until, run, secs, taking};
use super::{Settings, Until};
use crate::accepted::EventState;
use crate::arrival::{Arrival, Labels};
use crate::event_order::EventOrder;
use crate::store::fake::{FakeStore, Fault, What};
use crate::turn::{Queue, WorkerId};

/// A store with events that a worker had when its process died, a minute ago.
async fn store_after_a_crash(events: usize) -> Arc<FakeStore> {
    let store = Arc::new(FakeStore::default());
    for _ in 0..events {
        store.add(EVENT);
    }
    let settings = Settings {
        worker: WorkerId::of(1, 0),
        concurrency: events,
        ..Settings::default()
    };
    let mut dies = rounds(&store, settings, taking(secs(1e6)));
    assert!(timeout(secs(1.0), dies.run(&Notify::new())).await.is_err());
    sleep(secs(60.0)).await;
    store
}

/// The settings of a worker of another process, with room for 8 events.
fn settings() -> Settings {
    Settings {
        worker: WorkerId::of(2, 0),
        concurrency: 8,
        shutdown_timeout: secs(300.0),
        ..Settings::default()
    }
}

/// Runs a worker that is stopped after this many seconds; returns how long it took, in seconds.
async fn run_until(after: f64, store: &Arc<FakeStore>, handlers_take: f64) -> f64 {
    let shutdown = Box::pin(sleep(secs(after)));
    let start = taking(secs(handlers_take));
    let rounds = rounds_until(store, settings(), start, shutdown);
    let began = Instant::now();
    assert_eq!(run(rounds, &Notify::new()).await, Until::Stopped);
    began.elapsed().as_secs_f64().round()
}

fn states(store: &FakeStore) -> Vec<(EventState, Queue, u32)> {
    let rows = store.rows();
    let states = rows.iter().map(|row| (row.state, row.queue, row.attempts));
    states.collect()
}

/// How often the event was taken.
fn claims(store: &FakeStore, id: i64) -> usize {
    let changes = store.changes();
    let of = changes.iter().filter(|change| change.lease.id == id);
    of.filter(|change| matches!(change.what, What::Claimed { .. }))
        .count()
}

/// When the events were taken after the first changes, in milliseconds since then.
fn claimed_at(store: &FakeStore, first: usize, since: Instant) -> Vec<u128> {
    let changes = store.changes().split_off(first);
    let claims = changes
        .iter()
        .filter(|change| matches!(change.what, What::Claimed { .. }));
    claims
        .map(|change| (change.at - since).as_millis())
        .collect()
}

const SUSPECT: (EventState, Queue, u32) = (EventState::Waiting, Queue::Suspect, 0);

/// The leases have been silent for long enough after 15 s.
#[tokio::test(start_paused = true)]
async fn suspects_are_taken_before_the_signal_to_stop_and_not_after_it() {
    // Nothing else runs: it takes the first at 15 s, or has stopped before.
    for (stops, took, claimed) in [(10.0, 10.0, 1), (14.0, 14.0, 1), (16.0, 21.0, 2)] {
        let store = store_after_a_crash(2).await;
        assert_eq!(run_until(stops, &store, 6.0).await, took);
        assert_eq!((claims(&store, 0), claims(&store, 1)), (claimed, 1));
    }
    // A handler runs meanwhile. The worker waits for it until 30 s, and the signal comes before
    // that.
    let store = store_after_a_crash(2).await;
    store.add(EVENT);
    assert_eq!(run_until(20.0, &store, 100.0).await, 100.0);
    assert_eq!(states(&store)[..2], [SUSPECT, SUSPECT]);
    assert_eq!(states(&store)[2].0, EventState::Done);
    // The same until the handler ends.
    let store = store_after_a_crash(2).await;
    store.add(EVENT);
    assert_eq!(run_until(20.0, &store, 25.0).await, 25.0);
    assert_eq!(states(&store)[..2], [SUSPECT, SUSPECT]);
}

#[tokio::test(start_paused = true)]
async fn suspects_that_are_taken_while_the_worker_stops_go_back() {
    let store = store_after_a_crash(2).await;
    let faults = async {
        // The turn at 15 s makes them suspects, and the next one takes the first.
        sleep(secs(14.5)).await;
        store.will(Fault::Takes(Duration::ZERO));
        store.will(Fault::Takes(secs(3.0)));
    };
    let (took, ()) = tokio::join!(run_until(16.0, &store, 100.0), faults);
    assert_eq!(took, 18.0);
    assert_eq!(claims(&store, 0), 2);
    assert_eq!(states(&store), [SUSPECT, SUSPECT]);
}

#[tokio::test(start_paused = true)]
async fn a_turn_for_suspects_that_found_another_worker_or_failed_is_taken_again_after_a_rest() {
    for (fault, expected) in [
        (Fault::KeepsOut, [15_100, 15_600]),
        (Fault::Fails, [16_000, 16_500]),
    ] {
        let store = store_after_a_crash(2).await;
        let faults = async {
            // The turn at 15 s makes them suspects.
            sleep(secs(14.5)).await;
            store.will(Fault::Takes(Duration::ZERO));
            store.will(fault);
            store.will(fault);
        };
        let before = store.changes().len();
        let began = Instant::now();
        tokio::join!(run_until(20.0, &store, 0.5), faults);
        let times = claimed_at(&store, before, began);
        assert_eq!(times, expected, "{fault:?}");
    }
}

/// The worker waits for it until half a lease after the leases of the dead workers became silent.
#[tokio::test(start_paused = true)]
async fn suspects_run_beside_a_handler_that_takes_long() {
    let store = store_after_a_crash(2).await;
    let (before, began) = (store.changes().len(), Instant::now());
    // It is taken with the next look, so that no lease is renewed at 30 s.
    let adds = async {
        sleep(secs(1.5)).await;
        store.add(EVENT);
    };
    tokio::join!(run_until(35.0, &store, 100.0), adds);
    assert_eq!(claimed_at(&store, before, began), [2_000, 30_000]);
}

/// It is of a resource whose later event another worker has.
#[tokio::test(start_paused = true)]
async fn a_suspect_that_must_wait_is_looked_for_every_50_ms() {
    let store = Arc::new(FakeStore::default());
    let add = |key: &str, resource: &str| {
        let arrival = Arrival {
            key: key.to_owned(),
            source: None,
            labels: Labels {
                resource: Some(("market".to_owned(), resource.to_owned())),
                ..Labels::default()
            },
            body: Bytes::from_static(EVENT.as_bytes()),
        };
        store.insert_all(&[arrival]).unwrap();
    };
    add("0", "m");
    add("1", "n");
    let arrived = Notify::new();
    let worker = |process, concurrency, handlers_take| {
        let settings = Settings {
            worker: WorkerId::of(process, 0),
            concurrency,
            ..Settings::default()
        };
        rounds(&store, settings, taking(secs(handlers_take)))
    };
    let mut dies = worker(1, 2, 1e6);
    assert!(timeout(secs(1.0), dies.run(&arrived)).await.is_err());
    add("2", "m");
    let mut other = worker(3, 1, 100.0);
    let waits = async {
        // After its lease has expired.
        sleep(secs(40.0)).await;
        store.write_order(EventOrder::ByResource);
        let settings = Settings {
            until: Until::Idle,
            ..settings()
        };
        run(rounds(&store, settings, taking(secs(1.0))), &arrived).await
    };
    let other = timeout(secs(250.0), other.run(&arrived));
    let (until, _) = tokio::join!(waits, other);
    assert_eq!(until, Until::Idle);
    assert!(store.has_all_ended());
}

/// They wait until the group that another worker of the process has taken has ended.
#[tokio::test(start_paused = true)]
async fn a_worker_is_not_idle_while_suspects_wait_for_another_of_its_process() {
    let store = store_after_a_crash(2).await;
    let arrived = Notify::new();
    let mut other = rounds(&store, settings(), taking(secs(40.0)));
    let idle = Settings {
        worker: WorkerId::of(2, 1),
        until: Until::Idle,
        ..settings()
    };
    let begins_later = async {
        sleep(secs(0.5)).await;
        run(rounds(&store, idle, taking(secs(1.0))), &arrived).await
    };
    tokio::select! {
        ended = begins_later => assert_eq!(ended, Until::Idle),
        _ = other.run(&arrived) => panic!("it was not to stop"),
    }
    let waiting = states(&store)
        .into_iter()
        .filter(|(state, ..)| *state == EventState::Waiting);
    assert_eq!(waiting.count(), 0);
    assert_eq!((claims(&store, 0), claims(&store, 1)), (2, 2));
}

/// Others have a turn after a lease and a half, and then suspects again.
#[tokio::test(start_paused = true)]
async fn a_worker_is_not_idle_while_suspects_wait() {
    for (events, handlers_take) in [(2, 1.0), (5, 1.0), (5, 40.0)] {
        let store = store_after_a_crash(events).await;
        let settings = Settings {
            until: Until::Idle,
            ..settings()
        };
        let rounds = rounds(&store, settings, taking(secs(handlers_take)));
        assert_eq!(run(rounds, &Notify::new()).await, Until::Idle);
        assert!(store.has_all_ended(), "{events} {handlers_take}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_without_room_takes_no_turns_for_suspects() {
    let store = store_after_a_crash(2).await;
    store.add(EVENT);
    let settings = Settings {
        concurrency: 1,
        until: Until::Idle,
        ..settings()
    };
    let (before, began) = (store.turns().len(), Instant::now());
    // It ends shortly after its lease was renewed.
    let rounds = rounds(&store, settings, taking(secs(40.01)));
    assert_eq!(run(rounds, &Notify::new()).await, Until::Idle);
    assert!(store.has_all_ended());
    // Three handlers run one after the other, and their leases are renewed every 10 s.
    let turns = store.turns().len() - before;
    assert!(turns < 40, "{turns}");
    let changes = store.changes();
    let done = changes.iter().rfind(|change| change.lease.id == 2);
    let done = done.unwrap().at - began;
    assert!(done < secs(40.03), "its end is settled at once: {done:?}");
}
