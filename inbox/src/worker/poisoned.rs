//! Events that kill their process, over a store in memory, on paused time: only they end up dead.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use super::paused::watched;
use super::rounds::Rounds;
use super::{Settings, Start, Until};
use crate::accepted::EventState;
use crate::asked::Asked;
use crate::health::Record;
use crate::outcome::Outcome;
use crate::retry::Retry;
use crate::store::fake::{FakeStore, What};
use crate::turn::WorkerId;

const EVENT: &str = r#"{"event_type":"market.created","data":{"id":"m"}}"#;

const RESTART: Duration = Duration::from_secs(2);

/// How long one process may take to finish its events or to die.
const LIMIT: Duration = Duration::from_secs(600);

struct Trial {
    store: Arc<FakeStore>,
    settings: Settings,
    poisons: HashSet<String>,
    /// How long a handler runs before it kills its process.
    kills_after: Duration,
    /// How long the handlers of some others take; the rest take a second.
    takes: HashMap<String, Duration>,
    has_second_worker: bool,
    /// When each event was handled first.
    handled: Arc<Mutex<Vec<(String, Instant)>>>,
    crashes: u32,
}

impl Trial {
    fn new(events: usize, poisons: &[usize], concurrency: usize, attempts: u32) -> Self {
        let store = Arc::new(FakeStore::default());
        for _ in 0..events {
            store.add(EVENT);
        }
        let retry = Retry {
            attempts,
            first: Duration::from_secs(1),
            longest: Duration::from_secs(60),
        };
        let settings = Settings {
            concurrency,
            retry,
            ..Settings::default()
        };
        Self {
            store,
            settings,
            poisons: poisons.iter().map(ToString::to_string).collect(),
            kills_after: Duration::ZERO,
            takes: HashMap::new(),
            has_second_worker: false,
            handled: Arc::default(),
            crashes: 0,
        }
    }

    /// Runs a process until it dies or has been idle for a while; returns whether it died.
    async fn process(&mut self) -> bool {
        let death = Arc::new(Notify::new());
        let (dies, poisons) = (death.clone(), self.poisons.clone());
        let (handled, kills_after) = (self.handled.clone(), self.kills_after);
        let takes = self.takes.clone();
        let start: Arc<Start> = Arc::new(move |_, claim, _| {
            let (dies, handled) = (dies.clone(), handled.clone());
            let is_poison = poisons.contains(&claim.key);
            let takes = takes.get(&claim.key).copied();
            Box::pin(async move {
                if is_poison {
                    sleep(kills_after).await;
                    dies.notify_one();
                    std::future::pending::<()>().await;
                }
                sleep(takes.unwrap_or(Duration::from_secs(1))).await;
                handled.lock().unwrap().push((claim.key, Instant::now()));
                Outcome::Done
            })
        });
        let rounds = |worker| {
            let settings = Settings {
                worker: WorkerId::of(self.crashes + 1, worker),
                until: Until::Stopped,
                ..self.settings.clone()
            };
            Rounds::new(
                self.store.clone(),
                settings,
                start.clone(),
                Asked::default(),
                Record::default(),
                Box::pin(std::future::pending()),
            )
        };
        let (mut first, mut second) = (rounds(0), rounds(1));
        let (arrived, has_second) = (Notify::new(), self.has_second_worker);
        let begun = Instant::now();
        let ended = async {
            while !self.store.has_all_ended() {
                assert!(begun.elapsed() < LIMIT, "events are left");
                sleep(Duration::from_secs(1)).await;
            }
        };
        // A process that dies drops all of its tasks at one instant.
        tokio::select! {
            biased;
            () = death.notified() => {}
            _ = watched(first.run(&arrived)) => panic!("it was not to stop"),
            _ = watched(second.run(&arrived)), if has_second => panic!("it was not to stop"),
            () = ended => return false,
        }
        self.crashes += 1;
        true
    }

    /// Restarts the process whenever it dies, until all events have ended.
    async fn run(&mut self) {
        while self.process().await {
            assert!(self.crashes < 100, "it does not end");
            sleep(RESTART).await;
        }
    }

    fn check(&self) {
        for (number, row) in self.store.rows().iter().enumerate() {
            let is_poison = self.poisons.contains(&number.to_string());
            if is_poison {
                assert_eq!(row.state, EventState::Dead, "{number}");
                assert_eq!(row.attempts, self.settings.retry.attempts);
            } else {
                assert_eq!(row.state, EventState::Done, "{number}");
                // A crash that it only happened to be part of does not count as an attempt.
                assert_eq!(row.attempts, 1, "{number}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn events_that_kill_their_process_end_up_dead_and_no_other_one_does() {
    for poisons in [&[0][..], &[63], &[5, 40], &[1, 2, 3, 4], &[0, 30, 60, 99]] {
        for attempts in [1, 3] {
            let mut trial = Trial::new(100, poisons, 64, attempts);
            trial.run().await;
            trial.check();
            // Halvings from 64 to 1 for each poison, and its attempts.
            let poisons = u32::try_from(poisons.len()).unwrap();
            let bound = poisons * (7 + attempts);
            assert!(trial.crashes <= bound, "{} crashes", trial.crashes);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_set_of_innocents_clears_within_a_lease() {
    let mut trial = Trial::new(64, &[], 64, 3);
    // It is killed repeatedly for another reason, until each would run alone.
    let lease = trial.settings.lease;
    for _ in 0..8 {
        let killed = timeout(lease * 2, async {
            // Ends before the handlers do.
            let process = trial.process();
            timeout(Duration::from_millis(900), process).await
        });
        assert!(killed.await.unwrap().is_err());
        trial.crashes += 1;
        sleep(lease * 2).await;
    }
    let handled = trial.handled.clone();
    assert!(!trial.process().await);
    let times = handled.lock().unwrap().clone();
    let first = times.iter().map(|(_, at)| *at).min().unwrap();
    let last = times.iter().map(|(_, at)| *at).max().unwrap();
    assert_eq!(times.len(), 64);
    assert!(last - first < lease, "{:?}", last - first);
    trial.check();
}

#[tokio::test(start_paused = true)]
async fn fresh_events_wait_for_suspects_for_a_lease_and_a_half_at_most() {
    let mut trial = Trial::new(70, &[10], 64, 3);
    let store = trial.store.clone();
    let handled = trial.handled.clone();
    let lease = trial.settings.lease;
    let fresh = async move {
        let mut number = store.rows().len();
        loop {
            sleep(Duration::from_secs(7)).await;
            store.add(EVENT);
            let (added, key) = (Instant::now(), number.to_string());
            number += 1;
            // Until it was handled, or until its process died.
            while !handled.lock().unwrap().iter().any(|(of, _)| *of == key) {
                sleep(Duration::from_millis(100)).await;
                let waited = added.elapsed();
                let rows = store.rows();
                let row = rows.iter().find(|row| row.arrival.key == key).unwrap();
                if row.state != EventState::Waiting || row.token > 0 {
                    break;
                }
                assert!(waited < lease * 3 / 2 + RESTART, "{waited:?}");
            }
        }
    };
    let watch = tokio::spawn(fresh);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(1_800) {
        let limit = Duration::from_secs(300);
        match timeout(limit, trial.process()).await {
            Ok(true) => sleep(RESTART).await,
            Ok(false) => sleep(Duration::from_secs(1)).await,
            Err(_) => break,
        }
        if watch.is_finished() {
            break;
        }
    }
    assert!(!watch.is_finished(), "{:?}", watch.await);
    watch.abort();
    assert!(trial.crashes >= 9, "{}", trial.crashes);
    let rows = trial.store.rows();
    let dead: Vec<_> = rows
        .iter()
        .filter(|row| row.state == EventState::Dead)
        .collect();
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].arrival.key, "10");
}

/// One event was taken after the others were renewed, so its lease ends last.
#[tokio::test(start_paused = true)]
async fn an_event_whose_lease_ends_last_was_not_alone() {
    let mut trial = Trial::new(3, &[], 8, 1);
    trial.settings.lease = Duration::from_secs(3);
    trial.settings.poll = Duration::from_millis(50);
    let store = trial.store.clone();
    let adds = async move {
        sleep(Duration::from_millis(500)).await;
        store.add(EVENT);
    };
    // The handlers take a second.
    let process = timeout(Duration::from_millis(990), trial.process());
    let (died, ()) = tokio::join!(process, adds);
    assert!(died.is_err());
    trial.crashes += 1;
    assert!(!trial.process().await);
    trial.check();
}

#[tokio::test(start_paused = true)]
async fn nothing_is_taken_beside_suspects() {
    let mut trial = Trial::new(3, &[], 8, 3);
    let process = timeout(Duration::from_millis(900), trial.process());
    assert!(process.await.is_err(), "all three run when it dies");
    trial.crashes += 1;
    let store = trial.store.clone();
    let adds = async move {
        // One that is there before the leases expire, and one that arrives while suspects run.
        store.add(EVENT);
        while store.rows()[0].token < 2 {
            sleep(Duration::from_millis(10)).await;
        }
        store.add(EVENT);
    };
    let (died, ()) = tokio::join!(trial.process(), adds);
    assert!(!died);
    let claims = trial
        .store
        .changes()
        .into_iter()
        .filter_map(|change| match change.what {
            What::Claimed { .. } => Some((change.lease.id, change.lease.token)),
            _ => None,
        });
    // The suspects follow one by one, since the half of three is one; the last one waits for them.
    let order = [
        (0, 1),
        (1, 1),
        (2, 1),
        (3, 1),
        (0, 2),
        (1, 2),
        (2, 2),
        (4, 1),
    ];
    assert_eq!(claims.collect::<Vec<_>>(), order);
}

/// A handler that kills its process after a probe has ended, and one that takes longer than it.
#[tokio::test(start_paused = true)]
async fn a_slow_event_that_kills_its_process_ends_up_dead_and_a_slower_one_beside_it_does_not() {
    for (poison, other) in [(0, 1), (1, 0)] {
        let mut trial = Trial::new(2, &[poison], 8, 3);
        trial.kills_after = Duration::from_secs(60);
        let slower = Duration::from_secs(150);
        trial.takes.insert(other.to_string(), slower);
        trial.run().await;
        trial.check();
        assert!(trial.crashes <= 5, "{} crashes", trial.crashes);
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_kills_its_process_ends_up_dead_while_others_arrive() {
    let seconds = Duration::from_secs_f64;
    for (has_second_worker, kills_after, bound) in [
        (false, seconds(0.3), 7),
        (false, seconds(60.0), 8),
        (true, seconds(0.3), 14),
        (true, seconds(2.0), 14),
        (true, seconds(60.0), 14),
    ] {
        let mut trial = Trial::new(8, &[3], 8, 3);
        (trial.has_second_worker, trial.kills_after) = (has_second_worker, kills_after);
        let store = trial.store.clone();
        let arrivals = tokio::spawn(async move {
            while store.rows()[3].state != EventState::Dead {
                store.add(EVENT);
                sleep(Duration::from_millis(700)).await;
            }
        });
        trial.run().await;
        arrivals.await.unwrap();
        trial.run().await;
        trial.check();
        let crashes = trial.crashes;
        assert!(crashes <= bound, "{kills_after:?}: {crashes}");
    }
}
