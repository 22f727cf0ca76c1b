//! State that all processes of a run share: the store, the dice, and the records for the checks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use fastrand::Rng;
use ptolemy_webhooks::{Secret, Signer, Verifier};
use tokio::time::Instant;

use crate::event_order::EventOrder;
use crate::store::fake::FakeStore;
use crate::turn::Lease;

/// The settings of a run, the same for both processes.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    /// The order at the start.
    pub(super) order: EventOrder,
    pub(super) concurrency: usize,
    pub(super) lease: Duration,
    pub(super) poll: Duration,
    pub(super) max_attempts: u32,
    pub(super) backoff: (Duration, Duration),
    pub(super) handler_timeout: Duration,
    pub(super) shutdown_timeout: Duration,
    pub(super) accept_limit: Duration,
    pub(super) keep_done: Option<Duration>,
    pub(super) events: usize,
    /// How long things go wrong.
    pub(super) trouble: Duration,
}

impl Setup {
    fn draw(rng: &mut Rng) -> Self {
        let order = [EventOrder::AsDue, EventOrder::ByResource];
        Self {
            order: order[rng.usize(..order.len())],
            concurrency: rng.usize(1..=4),
            lease: millis(rng, 1_000..=10_000),
            poll: millis(rng, 200..=1_000),
            max_attempts: rng.u32(1..=6),
            backoff: (millis(rng, 0..=1_000), millis(rng, 1..=5_000)),
            handler_timeout: millis(rng, 3_000..=15_000),
            shutdown_timeout: millis(rng, 0..=5_000),
            accept_limit: millis(rng, 500..=5_000),
            keep_done: rng.bool().then(|| millis(rng, 0..=20_000)),
            events: rng.usize(4..=12),
            trouble: millis(rng, 5_000..=40_000),
        }
    }
}

/// How the handler of an event behaves, each time or this many times before it succeeds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Plan {
    Succeeds,
    Fails(u32),
    Panics(u32),
    /// It fails with an error or a panic whose value panics when it is read or dropped.
    Poisons(u32),
    Postpones(u32),
    AsksForADelay(u32),
    Hangs(u32),
    FailsForGood,
    /// Its body is not an event, or its data is malformed: it never reaches a handler.
    Unreadable,
}

impl Plan {
    fn draw(rng: &mut Rng) -> Self {
        let times = if rng.bool() { rng.u32(1..=3) } else { u32::MAX };
        match rng.u32(..18) {
            0..=5 => Self::Succeeds,
            6..=7 => Self::Fails(times),
            8..=9 => Self::Panics(times),
            10..=11 => Self::Postpones(rng.u32(1..=3)),
            12 => Self::AsksForADelay(times),
            13 => Self::Hangs(times),
            14 => Self::FailsForGood,
            15..=16 => Self::Poisons(times),
            _ => Self::Unreadable,
        }
    }
}

/// How a handler ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Succeeded,
    Failed,
    Panicked,
    Postponed,
    FailedForGood,
}

/// A call of a handler.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Call {
    pub(super) process: usize,
    pub(super) key: String,
    /// The lease under which the event was taken.
    pub(super) lease: Option<Lease>,
    pub(super) attempt: u32,
    pub(super) began: Instant,
    /// When it ended or was dropped.
    pub(super) over: Option<Instant>,
    /// `None` if it was dropped.
    pub(super) ended: Option<Ended>,
}

/// What happened to the line between a process and the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// A request went wrong.
    Fault,
    /// A turn was requested, and its answer arrived.
    Turned { asked: Instant },
    /// The process received the signal to stop.
    Stopped,
    /// The process died.
    Cut,
}

pub(super) struct World {
    pub(super) setup: Setup,
    pub(super) store: FakeStore,
    pub(super) signer: Signer,
    pub(super) verifier: Verifier,
    rng: Mutex<Rng>,
    plans: Mutex<BTreeMap<String, Plan>>,
    pub(super) calls: Mutex<Vec<Call>>,
    pub(super) marks: Mutex<Vec<(Instant, usize, Mark)>>,
    /// The keys of the acknowledged events, and how often each was acknowledged as new.
    pub(super) acknowledged: Mutex<BTreeMap<String, usize>>,
    /// Since when nothing goes wrong.
    pub(super) quiet: Mutex<Option<Instant>>,
    wrong: Mutex<Option<String>>,
    began: Instant,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

fn millis(rng: &mut Rng, range: std::ops::RangeInclusive<u64>) -> Duration {
    Duration::from_millis(rng.u64(range))
}

impl World {
    pub(super) fn new(seed: u64) -> Arc<Self> {
        let mut rng = Rng::with_seed(seed);
        // The jitter of the delays between attempts comes from this thread's own generator.
        fastrand::seed(rng.u64(..));
        let setup = Setup::draw(&mut rng);
        let secret = Secret::new("whsec_test_secret").unwrap();
        Arc::new(Self {
            signer: Signer::new(&secret),
            verifier: Verifier::new(secret),
            store: FakeStore::new(setup.order),
            setup,
            rng: Mutex::new(rng),
            plans: Mutex::default(),
            calls: Mutex::default(),
            marks: Mutex::default(),
            acknowledged: Mutex::default(),
            quiet: Mutex::default(),
            wrong: Mutex::default(),
            began: Instant::now(),
        })
    }

    /// Rolls the dice.
    pub(super) fn draw<T>(&self, from: impl FnOnce(&mut Rng) -> T) -> T {
        from(&mut lock(&self.rng))
    }

    pub(super) fn millis(&self, range: std::ops::RangeInclusive<u64>) -> Duration {
        self.draw(|rng| millis(rng, range))
    }

    /// Returns true in this many of a hundred cases.
    pub(super) fn chance(&self, percent: u32) -> bool {
        self.draw(|rng| rng.u32(..100) < percent)
    }

    pub(super) fn plan(&self, key: &str) -> Plan {
        let drawn = self.draw(Plan::draw);
        *lock(&self.plans).entry(key.to_owned()).or_insert(drawn)
    }

    /// Returns how often a handler was called for an event.
    pub(super) fn calls_of(&self, key: &str) -> usize {
        let calls = lock(&self.calls);
        calls.iter().filter(|call| call.key == key).count()
    }

    pub(super) fn mark(&self, process: usize, mark: Mark) {
        lock(&self.marks).push((Instant::now(), process, mark));
    }

    pub(super) fn is_quiet(&self) -> bool {
        lock(&self.quiet).is_some()
    }

    /// Records the first violation.
    pub(super) fn wrong(&self, what: impl Into<String>) {
        let at = self.began.elapsed();
        let mut wrong = lock(&self.wrong);
        wrong.get_or_insert_with(|| format!("at {at:?}: {}", what.into()));
    }

    pub(super) fn found_wrong(&self) -> Option<String> {
        lock(&self.wrong).clone()
    }

    pub(super) fn start(&self) -> Instant {
        self.began
    }

    pub(super) fn since_start(&self, at: Instant) -> Duration {
        at - self.began
    }
}
