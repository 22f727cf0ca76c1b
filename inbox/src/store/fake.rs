//! A store in memory, on Tokio's time, for tests of the batcher and the loop and for the
//! simulation: it can fail and hang.
//!
//! It takes the steps of a turn in their real order, on a copy of its rows that replaces them at
//! the end, so a turn is atomic and happens at one instant. Its clock can be set. A pruned row is
//! marked and kept for the checks.

mod letters;
mod steps;
mod upkeep;

use std::collections::{HashMap, HashSet, VecDeque};
use std::error::Error;
use std::future::pending;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use self::steps::Transaction;
use super::steps::take_turn;
use super::{Answer, Ids, Pruning, Store, answers};
use crate::accepted::{Accepted, EventState};
use crate::arrival::{Arrival, Labels};
use crate::dead::DeadLetter;
use crate::error::BoxError;
use crate::event_order::EventOrder;
use crate::stats::Stats;
use crate::turn::{Lease, Queue, Turn, Turned, Verdict, WorkerId};

/// A key that the store rejects, regardless of the rest of the batch.
pub(crate) const REJECTED_KEY: &str = "rejected";

/// How many turns one loop can need at one instant; in a loop that spins, no time passes.
const MAX_TURNS_AT_ONCE: usize = 100;

const REJECTED: &str = "a key is rejected";

/// What goes wrong with a turn, an insert or a pruning.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    Fails,
    Panics,
    Hangs,
    /// It is committed, and its answer is lost.
    Forgets,
    /// It takes this long.
    Takes(Duration),
    /// Another worker is choosing.
    KeepsOut,
    /// An insert has no answer for its last delivery.
    Omits,
}

/// A turn, as it was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) at: Instant,
    pub(crate) renew: usize,
    pub(crate) take: usize,
    pub(crate) upkeep: bool,
    pub(crate) mends: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) arrival: Arc<Arrival>,
    pub(crate) state: EventState,
    pub(crate) attempts: u32,
    pub(crate) last_error: Option<String>,
    pub(crate) token: i64,
    /// In microseconds of the store's clock, like all times here.
    pub(crate) run_at: i64,
    written_at: i64,
    renewed_at: i64,
    pub(crate) lease_until: i64,
    pub(crate) queue: Queue,
    pub(crate) group: Option<u32>,
    pub(crate) worker: Option<WorkerId>,
    pub(crate) finished_at: Option<i64>,
    pub(crate) is_pruned: bool,
    waits_for: Option<i64>,
}

impl Row {
    pub(crate) fn is_ended(&self) -> bool {
        matches!(self.state, EventState::Done | EventState::Dead)
    }
}

/// A change of a row, as it was committed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Change {
    pub(crate) at: Instant,
    pub(crate) lease: Lease,
    pub(crate) what: What,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum What {
    /// Which attempt it is, and the order of the inbox.
    Claimed {
        attempt: u32,
        order: EventOrder,
    },
    Settled(Verdict),
    /// Settled, because its worker died or did not know that it held the event.
    Expired(Verdict),
    Replayed,
    Discarded,
    Pruned,
}

pub(crate) struct FakeStore {
    /// `None` until it is set.
    order: Mutex<Option<EventOrder>>,
    rows: Mutex<Vec<Row>>,
    /// Everything that was changed after it was inserted.
    changes: Mutex<Vec<Change>>,
    faults: Mutex<VecDeque<Fault>>,
    /// How long a count takes.
    counts_take: Mutex<Duration>,
    /// When counts began.
    counted: Mutex<Vec<Instant>>,
    /// The processes that do not reach the store.
    cut_off: Mutex<Vec<i64>>,
    turns: Mutex<Vec<Asked>>,
    /// How many deliveries each insert had.
    inserts: Mutex<Vec<usize>>,
    /// Before this no worker begins to prune; in microseconds of the store's clock.
    prune_at: Mutex<i64>,
    prunes_never_end: Mutex<bool>,
    began: Instant,
    /// The sum of all changes of the clock, in microseconds.
    set_by: Mutex<i64>,
}

impl Default for FakeStore {
    fn default() -> Self {
        Self::new(None)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap()
}

impl FakeStore {
    pub(crate) fn new(order: impl Into<Option<EventOrder>>) -> Self {
        Self {
            order: Mutex::new(order.into()),
            rows: Mutex::default(),
            changes: Mutex::default(),
            faults: Mutex::default(),
            counts_take: Mutex::default(),
            counted: Mutex::default(),
            cut_off: Mutex::default(),
            turns: Mutex::default(),
            inserts: Mutex::default(),
            prune_at: Mutex::default(),
            prunes_never_end: Mutex::default(),
            began: Instant::now(),
            set_by: Mutex::default(),
        }
    }

    pub(crate) fn add(&self, body: &'static str) {
        let key = lock(&self.rows).len().to_string();
        let arrival = Arrival {
            key,
            source: None,
            labels: Labels::default(),
            body: Bytes::from_static(body.as_bytes()),
        };
        self.insert_all(&[arrival]).unwrap();
    }

    /// Cuts these processes off, and no others.
    pub(crate) fn cut_off(&self, processes: &[i64]) {
        *lock(&self.cut_off) = processes.to_vec();
    }

    /// Makes each count take this long.
    #[cfg(feature = "metrics")]
    pub(crate) fn counts_take(&self, time: Duration) {
        *lock(&self.counts_take) = time;
    }

    /// Returns when counts began.
    #[cfg(feature = "metrics")]
    pub(crate) fn counted(&self) -> Vec<Instant> {
        lock(&self.counted).clone()
    }

    /// Makes the next turn, insert or pruning go wrong.
    pub(crate) fn will(&self, fault: Fault) {
        lock(&self.faults).push_back(fault);
    }

    pub(crate) fn rows(&self) -> Vec<Row> {
        lock(&self.rows).clone()
    }

    pub(crate) fn changes(&self) -> Vec<Change> {
        lock(&self.changes).clone()
    }

    pub(crate) fn turns(&self) -> Vec<Asked> {
        lock(&self.turns).clone()
    }

    pub(crate) fn inserts(&self) -> Vec<usize> {
        lock(&self.inserts).clone()
    }

    /// The time on the store's clock, in microseconds.
    pub(crate) fn now(&self) -> i64 {
        micros(self.began.elapsed()) + *lock(&self.set_by)
    }

    /// Sets the clock forward, or back.
    pub(crate) fn set_clock_by(&self, micros: i64) {
        *lock(&self.set_by) += micros;
    }

    /// Makes every pruning by a worker hang from now on.
    pub(crate) fn never_end_prunes(&self) {
        *lock(&self.prunes_never_end) = true;
    }

    /// Gives an event that runs to another worker, at this instant.
    pub(crate) fn take_over(&self, id: usize) {
        lock(&self.rows)[id].token += 1;
    }

    /// Adds the deliveries that are not there yet, at this instant.
    pub(crate) fn insert_all(&self, arrivals: &[Arrival]) -> Result<Vec<Accepted>, BoxError> {
        if arrivals.iter().any(|arrival| arrival.key == REJECTED_KEY) {
            return Err(REJECTED.into());
        }
        let now = self.now();
        let mut rows = lock(&self.rows);
        let there = rows
            .iter()
            .filter(|row| !row.is_pruned)
            .map(|row| (row.arrival.key.clone(), row.state));
        let states: HashMap<_, _> = there.collect();
        let mut added = HashSet::new();
        for arrival in arrivals {
            if !states.contains_key(&arrival.key) && added.insert(arrival.key.clone()) {
                rows.push(Row {
                    arrival: Arc::new(arrival.clone()),
                    state: EventState::Waiting,
                    attempts: 0,
                    last_error: None,
                    token: 0,
                    run_at: now,
                    written_at: now,
                    renewed_at: now,
                    lease_until: now,
                    queue: Queue::First,
                    group: None,
                    worker: None,
                    finished_at: None,
                    is_pruned: false,
                    waits_for: None,
                });
            }
        }
        Ok(answers(arrivals, &added, &states).unwrap())
    }

    pub(crate) fn has_all_ended(&self) -> bool {
        lock(&self.rows).iter().all(Row::is_ended)
    }

    /// Takes a turn at this instant; it chooses nothing if another worker keeps it out.
    pub(crate) fn take(&self, turn: &Turn<'_>, kept_out: bool) -> Result<Turned, BoxError> {
        let mut steps = Transaction {
            order: (!kept_out).then(|| self.order()),
            at: Instant::now(),
            now: self.now(),
            rows: self.rows(),
            gone: Vec::new(),
            changes: Vec::new(),
        };
        let turned = {
            let turn = std::pin::pin!(take_turn(&mut steps, turn));
            match turn.poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(turned) => turned?,
                Poll::Pending => unreachable!("no step waits"),
            }
        };
        *lock(&self.rows) = steps.rows;
        lock(&self.changes).append(&mut steps.changes);
        Ok(turned)
    }
}

/// Carries an operation out, unless it is to go wrong.
async fn with<T>(
    fault: Option<Fault>,
    carry_out: impl FnOnce() -> Result<T, BoxError>,
) -> Result<T, BoxError> {
    match fault {
        None | Some(Fault::KeepsOut | Fault::Omits) => carry_out(),
        Some(Fault::Fails) => Err("it fails".into()),
        Some(Fault::Panics) => resume_unwind(Box::new("it panics")),
        Some(Fault::Hangs) => pending().await,
        Some(Fault::Takes(time)) => {
            sleep(time).await;
            carry_out()
        }
        Some(Fault::Forgets) => {
            carry_out()?;
            Err("its answer is lost".into())
        }
    }
}

impl Store for FakeStore {
    fn turn<'a>(&'a self, turn: Turn<'a>) -> Answer<'a, Turned> {
        let (at, mut turns) = (Instant::now(), lock(&self.turns));
        let spins = turns.iter().rev().nth(MAX_TURNS_AT_ONCE);
        assert!(spins.is_none_or(|turn| turn.at < at), "the loop spins");
        turns.push(Asked {
            at,
            renew: turn.renew.len(),
            take: turn.take.rows(),
            upkeep: turn.upkeep.is_some(),
            mends: turn.upkeep.as_ref().is_some_and(|upkeep| upkeep.mends),
        });
        drop(turns);
        let fault = if lock(&self.cut_off).contains(&turn.worker.process()) {
            Some(Fault::Fails)
        } else {
            lock(&self.faults).pop_front()
        };
        let kept_out = matches!(fault, Some(Fault::KeepsOut));
        Box::pin(with(fault, move || self.take(&turn, kept_out)))
    }

    fn insert<'a>(&'a self, arrivals: &'a [Arrival]) -> Answer<'a, Vec<Accepted>> {
        lock(&self.inserts).push(arrivals.len());
        let fault = lock(&self.faults).pop_front();
        let omits = matches!(fault, Some(Fault::Omits));
        Box::pin(with(fault, move || {
            let mut accepted = self.insert_all(arrivals)?;
            accepted.truncate(arrivals.len() - usize::from(omits));
            Ok(accepted)
        }))
    }

    fn may_be_of_one(&self, error: &(dyn Error + 'static)) -> bool {
        error.to_string() == REJECTED
    }

    fn ready(&self) -> Answer<'_, ()> {
        Box::pin(with(None, || Ok(())))
    }

    fn stats(&self) -> Answer<'_, Stats> {
        lock(&self.counted).push(Instant::now());
        let takes = *lock(&self.counts_take);
        let fault = (!takes.is_zero()).then_some(Fault::Takes(takes));
        // Nobody reads the counts.
        Box::pin(with(fault, || Ok(Stats::default())))
    }

    fn dead(&self, ids: Ids, limit: u32) -> Answer<'_, Vec<DeadLetter>> {
        Box::pin(async move { Ok(self.list_dead(ids, limit)) })
    }

    fn dead_body(&self, _: i64) -> Answer<'_, Option<Bytes>> {
        unreachable!("nobody reads the body of a dead letter")
    }

    fn replay(&self, ids: Ids) -> Answer<'_, Vec<i64>> {
        Box::pin(async move { Ok(self.replay_some(ids)) })
    }

    fn discard(&self, ids: Ids) -> Answer<'_, Vec<i64>> {
        Box::pin(async move { Ok(self.discard_some(ids)) })
    }

    fn prune(&self, older_than: Duration) -> Answer<'_, u64> {
        Box::pin(async move { Ok(self.prune_some(older_than)) })
    }

    fn prune_as_one(&self, older_than: Duration, turn: Pruning) -> Answer<'_, Option<u64>> {
        if *lock(&self.prunes_never_end) {
            return Box::pin(pending());
        }
        let fault = lock(&self.faults).pop_front();
        Box::pin(with(fault, move || Ok(self.prune_if_due(older_than, turn))))
    }

    fn order(&self) -> Answer<'_, EventOrder> {
        Box::pin(async move { Ok(self.order()) })
    }

    fn set_order(&self, order: EventOrder) -> Answer<'_, Option<EventOrder>> {
        Box::pin(async move { Ok(self.write_order(order)) })
    }
}
