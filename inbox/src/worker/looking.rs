//! When the loop looks for events and how many it takes, on paused time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::paused::{EVENT, rounds, run, secs, taking, times, until_idle, watched};
use super::{Settings, Start, Until};
use crate::accepted::EventState;
use crate::outcome::Outcome;
use crate::store::fake::{FakeStore, Fault};
use crate::turn::WorkerId;

fn store_of(events: usize) -> Arc<FakeStore> {
    let store = Arc::new(FakeStore::default());
    for _ in 0..events {
        store.add(EVENT);
    }
    store
}

fn count(store: &FakeStore, state: EventState) -> usize {
    let rows = store.rows();
    rows.iter().filter(|row| row.state == state).count()
}

/// Lets a worker with these settings run for this long.
async fn run_for(
    time: Duration,
    store: &Arc<FakeStore>,
    settings: Settings,
    start: Arc<Start>,
    arrived: &Notify,
) {
    let mut rounds = rounds(store, settings, start);
    let ended = timeout(time, watched(rounds.run(arrived))).await;
    assert!(ended.is_err(), "it was not to stop");
}

/// Whether a worker of the process would be woken now.
async fn wakes(arrived: &Notify) -> bool {
    timeout(secs(0.1), arrived.notified()).await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn a_turn_takes_256_events_at_most_and_the_next_one_follows_at_once() {
    let store = store_of(600);
    let settings = Settings {
        concurrency: 1_000,
        ..Settings::default()
    };
    let start = taking(secs(1e6));
    run_for(secs(0.5), &store, settings, start, &Notify::new()).await;
    assert_eq!(count(&store, EventState::Running), 600);
    let takes: Vec<_> = store.turns().iter().map(|turn| turn.take).collect();
    assert_eq!(takes, [256, 256, 256]);
    assert!(times(&store).iter().all(|at| *at < 0.1));
}

#[tokio::test(start_paused = true)]
async fn an_idle_worker_looks_at_every_interval_and_at_once_for_what_arrives() {
    let store = store_of(0);
    // The duration of the first look does not delay the next one.
    store.will(Fault::Takes(secs(3.0)));
    let settings = Settings {
        concurrency: 2,
        poll: secs(10.0),
        ..Settings::default()
    };
    let arrived = Notify::new();
    let arrives = async {
        sleep(secs(15.0)).await;
        store.add(EVENT);
        arrived.notify_one();
        sleep(secs(0.1)).await;
        assert_eq!(count(&store, EventState::Done), 1);
    };
    let start = taking(Duration::ZERO);
    let worker = run_for(secs(40.0), &store, settings, start, &arrived);
    tokio::join!(worker, arrives);
    let (times, turns) = (times(&store), store.turns());
    let looks = times.iter().zip(&turns).filter(|(_, turn)| turn.take > 0);
    let looks: Vec<_> = looks.map(|(at, _)| at.round()).collect();
    // At 15 s it takes the event, and settles it with the next look.
    assert_eq!(looks, [0.0, 10.0, 15.0, 15.0, 25.0, 35.0]);
}

#[tokio::test(start_paused = true)]
async fn a_worker_without_room_leaves_what_arrives_to_another_of_its_process() {
    let store = store_of(2);
    let settings = Settings {
        poll: secs(3_600.0),
        ..Settings::default()
    };
    let arrived = Notify::new();
    let start = taking(secs(1e6));
    let worker = run_for(secs(60.0), &store, settings, start, &arrived);
    let other = async {
        // There may be more than it has taken.
        assert!(wakes(&arrived).await);
        assert!(!wakes(&arrived).await);
        arrived.notify_one();
        sleep(secs(1.0)).await;
        assert!(wakes(&arrived).await);
    };
    tokio::join!(worker, other);
    assert_eq!(count(&store, EventState::Running), 1);
}

#[tokio::test(start_paused = true)]
async fn a_worker_with_room_for_all_wakes_no_other() {
    let store = store_of(2);
    let settings = Settings {
        concurrency: 3,
        ..Settings::default()
    };
    let arrived = Notify::new();
    let start = taking(secs(1e6));
    run_for(secs(2.0), &store, settings, start, &arrived).await;
    assert!(!wakes(&arrived).await);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_another_one_keeps_out_looks_again_in_50_ms_or_at_its_interval() {
    for (poll, expected) in [(1_000, [0, 50, 1_050]), (20, [0, 20, 40])] {
        let store = store_of(0);
        store.will(Fault::KeepsOut);
        let settings = Settings {
            poll: Duration::from_millis(poll),
            ..Settings::default()
        };
        let start = taking(Duration::ZERO);
        run_for(secs(1.5), &store, settings, start, &Notify::new()).await;
        let times = times(&store);
        for (at, expected) in times.iter().zip(expected) {
            let late = at * 1_000.0 - f64::from(expected);
            assert!((0.0..5.0).contains(&late), "{times:?}");
        }
        assert!(times.len() >= expected.len());
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_kept_out_is_not_idle() {
    let store = store_of(1);
    store.will(Fault::KeepsOut);
    let rounds = rounds(&store, until_idle(), taking(secs(1.0)));
    assert_eq!(run(rounds, &Notify::new()).await, Until::Idle);
    assert_eq!(count(&store, EventState::Done), 1);
}

/// Turns that take longer than a third of a lease follow each other, and the loop never waits.
#[tokio::test(start_paused = true)]
async fn what_ends_during_a_turn_is_settled_with_the_next_one() {
    let store = store_of(2);
    let settings = Settings {
        concurrency: 2,
        lease: secs(3.0),
        ..Settings::default()
    };
    let start: Arc<Start> = Arc::new(|_, claim, _| {
        let time = if claim.lease.id == 0 { 0.1 } else { 1e6 };
        Box::pin(async move {
            sleep(secs(time)).await;
            Outcome::Done
        })
    });
    for _ in 0..9 {
        store.will(Fault::Takes(secs(1.5)));
    }
    // It takes them at 1.5 s, renews the second until 3 s, and settles the first until 4.5 s.
    run_for(secs(5.0), &store, settings, start, &Notify::new()).await;
    assert_eq!(count(&store, EventState::Done), 1);
}

/// Another worker may have them by then.
#[tokio::test(start_paused = true)]
async fn events_whose_leases_may_have_ended_before_the_answer_do_not_begin() {
    for (takes, begins) in [(1.9, 1), (2.0, 2)] {
        let store = store_of(2);
        store.will(Fault::Takes(secs(takes)));
        let settings = Settings {
            concurrency: 2,
            lease: secs(2.0),
            ..until_idle()
        };
        let tokens = Arc::new(Mutex::new(Vec::new()));
        let begun = tokens.clone();
        let start: Arc<Start> = Arc::new(move |_, claim, _| {
            begun.lock().unwrap().push(claim.lease.token);
            Box::pin(async { Outcome::Done })
        });
        let rounds = rounds(&store, settings, start);
        assert_eq!(run(rounds, &Notify::new()).await, Until::Idle);
        assert_eq!(*tokens.lock().unwrap(), [begins; 2], "{takes}");
        assert!(store.rows().iter().all(|row| row.attempts == 1), "{takes}");
    }
}

/// Upkeep reads all running events, so it is not part of each look.
#[tokio::test(start_paused = true)]
async fn a_worker_has_upkeep_every_third_of_a_lease() {
    let store = store_of(1);
    // A lease that was not renewed for half of its length does not matter before it expires.
    let settings = Settings {
        worker: WorkerId::of(1, 0),
        lease: secs(61.0),
        ..Settings::default()
    };
    let start = taking(secs(1e6));
    run_for(secs(1.0), &store, settings, start, &Notify::new()).await;

    let others = store.turns().len();
    let settings = Settings::default();
    let third = settings.lease / 3;
    let start = taking(Duration::ZERO);
    run_for(third * 9 / 2, &store, settings, start, &Notify::new()).await;
    let turns = store.turns().split_off(others);
    let times = turns.iter().map(|turn| turn.at - turns[0].at);
    let upkeep = times.zip(&turns).filter(|(_, turn)| turn.upkeep);
    let upkeep: Vec<_> = upkeep.map(|(at, _)| at.as_secs_f64().round()).collect();
    assert_eq!(upkeep, [0.0, 10.0, 20.0, 30.0, 40.0]);
    assert!(turns.len() > 40);
    assert!(turns.iter().all(|turn| turn.mends == turn.upkeep));
}

/// Each look of a worker that may be idle has upkeep, since an event may be due only after it.
#[tokio::test(start_paused = true)]
async fn times_are_mended_every_third_of_a_lease_even_if_each_look_has_upkeep() {
    let store = store_of(0);
    for _ in 0..40 {
        store.will(Fault::KeepsOut);
    }
    let settings = Settings {
        poll: secs(0.05),
        ..until_idle()
    };
    let rounds = rounds(&store, settings, taking(Duration::ZERO));
    run(rounds, &Notify::new()).await;
    // It ends within 3 s.
    let turns = store.turns();
    assert!(turns.len() == 41 && turns.iter().all(|turn| turn.upkeep));
    assert!(turns[0].mends && !turns[1..].iter().any(|turn| turn.mends));
}

/// The event that ended may be one that another waited for.
#[tokio::test(start_paused = true)]
async fn a_worker_looks_again_when_an_event_has_ended() {
    // It ends while the loop waits, or during the turn that renews its lease at 10 s.
    for (ends, during_a_turn) in [(8.0, false), (10.5, true)] {
        let store = store_of(1);
        let settings = Settings {
            concurrency: 2,
            poll: secs(3_600.0),
            ..Settings::default()
        };
        let adds = async {
            sleep(secs(1.0)).await;
            store.add(EVENT);
            if during_a_turn {
                store.will(Fault::Takes(secs(1.0)));
            }
        };
        let arrived = Notify::new();
        let start = taking(secs(ends));
        let worker = run_for(secs(12.0), &store, settings, start, &arrived);
        tokio::join!(worker, adds);
        assert_eq!(count(&store, EventState::Done), 1, "{ends}");
        assert_eq!(count(&store, EventState::Waiting), 0, "{ends}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_with_room_is_not_idle_while_a_handler_runs() {
    let store = store_of(1);
    let mut settings = until_idle();
    settings.concurrency = 2;
    let rounds = rounds(&store, settings, taking(secs(30.0)));
    assert_eq!(run(rounds, &Notify::new()).await, Until::Idle);
    assert_eq!(count(&store, EventState::Done), 1);
}

/// The lease of an event that is taken after a long rest is as long as any.
#[tokio::test(start_paused = true)]
async fn a_lease_is_first_renewed_a_third_of_its_time_after_it_was_taken() {
    let store = store_of(0);
    let settings = Settings::default();
    let third = settings.lease / 3;
    let adds = async {
        sleep(secs(100.5)).await;
        store.add(EVENT);
    };
    let arrived = Notify::new();
    let start = taking(secs(1e6));
    let worker = run_for(secs(115.0), &store, settings, start, &arrived);
    tokio::join!(worker, adds);
    let turns = store.turns();
    let renewed: Vec<_> = turns.iter().filter(|turn| turn.renew > 0).collect();
    assert_eq!(renewed.len(), 1);
    let took = store.changes()[0].at;
    assert_eq!((renewed[0].at - took).as_secs(), third.as_secs());
}
