//! A store in memory, on Tokio's time, for tests of the loop and for the simulation: it can fail
//! and hang.
//!
//! It takes the steps of a turn in their real order, on a copy of its rows that replaces them at
//! the end, so a turn happens at one instant and wholly or not at all. Its clock can be set.

use std::collections::{HashMap, HashSet, VecDeque};
use std::error::Error;
use std::future::pending;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use time::OffsetDateTime;
use tokio::time::Instant;

use super::choice::{Due, Resource};
use super::steps::{MAX_AHEAD, Steps, Terms, take_turn};
use super::{Answer, Ids, Pruning, Store, answers};
use crate::accepted::{Accepted, EventState};
use crate::arrival::{Arrival, Labels};
use crate::dead::DeadLetter;
use crate::error::BoxError;
use crate::event_order::EventOrder;
use crate::stats::Stats;
use crate::turn::{Claim, Lease, Queue, Running, Stamped, Turn, Turned, Verdict, WorkerId};

/// A key that the store rejects, whatever else it does with the batch.
pub(crate) const REJECTED_KEY: &str = "rejected";

const REJECTED: &str = "a key is rejected";

/// What goes wrong in a turn.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    Fails,
    Panics,
    Hangs,
    /// It is committed, and its answer is lost.
    Forgets,
}

#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) arrival: Arc<Arrival>,
    pub(crate) state: EventState,
    pub(crate) attempts: u32,
    pub(crate) last_error: Option<String>,
    pub(crate) token: i64,
    /// In microseconds of the store's clock, as all times here.
    pub(crate) run_at: i64,
    written_at: i64,
    renewed_at: i64,
    pub(crate) lease_until: i64,
    pub(crate) queue: Queue,
    pub(crate) group: Option<u32>,
    worker: Option<WorkerId>,
    waits_for: Option<i64>,
}

impl Row {
    pub(crate) fn is_ended(&self) -> bool {
        matches!(self.state, EventState::Done | EventState::Dead)
    }
}

/// A change of a row by a turn, as it was committed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Change {
    pub(crate) at: Instant,
    pub(crate) lease: Lease,
    pub(crate) what: What,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum What {
    /// Which attempt it is.
    Claimed(u32),
    Settled(Verdict),
    /// Settled, because its worker was gone, or did not know that it had it.
    Expired(Verdict),
}

pub(crate) struct FakeStore {
    order: EventOrder,
    rows: Mutex<Vec<Row>>,
    /// Everything that turns have changed.
    changes: Mutex<Vec<Change>>,
    faults: Mutex<VecDeque<Fault>>,
    /// When a turn was asked for, and how many leases it was to renew.
    turns: Mutex<Vec<(Instant, usize)>>,
    /// How often something was to be inserted.
    inserts: Mutex<usize>,
    began: Instant,
    /// By how much the clock was set, in microseconds.
    set_by: Mutex<i64>,
}

impl Default for FakeStore {
    fn default() -> Self {
        Self::new(EventOrder::AsDue)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap()
}

impl FakeStore {
    pub(crate) fn new(order: EventOrder) -> Self {
        Self {
            order,
            rows: Mutex::default(),
            changes: Mutex::default(),
            faults: Mutex::default(),
            turns: Mutex::default(),
            inserts: Mutex::default(),
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

    /// Lets the next turn go wrong.
    pub(crate) fn will(&self, fault: Fault) {
        lock(&self.faults).push_back(fault);
    }

    pub(crate) fn rows(&self) -> Vec<Row> {
        lock(&self.rows).clone()
    }

    pub(crate) fn changes(&self) -> Vec<Change> {
        lock(&self.changes).clone()
    }

    pub(crate) fn inserts(&self) -> usize {
        *lock(&self.inserts)
    }

    pub(crate) fn turns(&self) -> Vec<(Instant, usize)> {
        lock(&self.turns).clone()
    }

    /// The time on the store's clock, in microseconds.
    pub(crate) fn now(&self) -> i64 {
        micros(self.began.elapsed()) + *lock(&self.set_by)
    }

    /// Sets the clock forward, or back.
    pub(crate) fn set_clock_by(&self, micros: i64) {
        *lock(&self.set_by) += micros;
    }

    /// Adds what is not there, at this instant.
    pub(crate) fn insert_all(&self, arrivals: &[Arrival]) -> Result<Vec<Accepted>, BoxError> {
        *lock(&self.inserts) += 1;
        if arrivals.iter().any(|arrival| arrival.key == REJECTED_KEY) {
            return Err(REJECTED.into());
        }
        let now = self.now();
        let mut rows = lock(&self.rows);
        let there = rows.iter().map(|row| (row.arrival.key.clone(), row.state));
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
            order: (!kept_out).then_some(self.order),
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

struct Transaction {
    /// `None` while another worker chooses.
    order: Option<EventOrder>,
    at: Instant,
    now: i64,
    rows: Vec<Row>,
    /// The leases whose workers are gone.
    gone: Vec<Lease>,
    changes: Vec<Change>,
}

impl Transaction {
    fn row(&mut self, id: i64) -> &mut Row {
        &mut self.rows[usize::try_from(id).unwrap()]
    }

    /// The rows with their ids.
    fn all(&self) -> impl Iterator<Item = (i64, &Row)> {
        (0..).zip(&self.rows)
    }

    fn held(&mut self, lease: Lease) -> Option<&mut Row> {
        let row = self.row(lease.id);
        (row.state == EventState::Running && row.token == lease.token).then_some(row)
    }

    fn change(&mut self, lease: Lease, what: What) {
        let at = self.at;
        self.changes.push(Change { at, lease, what });
    }

    /// The events that are due, the longest due first.
    fn queue(&self, queue: Queue) -> Vec<(i64, i64)> {
        let mut due: Vec<_> = self
            .all()
            .filter(|(_, row)| row.state == EventState::Waiting && row.waits_for.is_none())
            .filter(|(_, row)| row.queue == queue)
            .map(|(id, row)| (row.run_at, id))
            .filter(|(run_at, _)| *run_at <= self.now)
            .collect();
        due.sort_unstable();
        due
    }

    /// The last unfinished event of the resource before this one.
    fn earlier(&self, id: i64, resource: &Resource) -> Option<i64> {
        let same = |row: &Row| row.arrival.labels.resource.as_ref() == Some(resource);
        let earlier = self.all().filter(|(other, _)| *other < id);
        let unfinished = earlier.filter(|(_, row)| same(row) && !row.is_ended());
        unfinished.map(|(other, _)| other).last()
    }

    fn later_runs(&self, id: i64, resource: &Resource) -> bool {
        let mut later = self.all().filter(|(other, _)| *other > id);
        later.any(|(_, row)| {
            let same = row.arrival.labels.resource.as_ref() == Some(resource);
            same && row.state == EventState::Running
        })
    }
}

impl Steps for Transaction {
    type Time = i64;

    async fn settle(&mut self, verdicts: &[(Lease, Verdict)]) -> Result<Vec<Lease>, BoxError> {
        let (now, mut lost) = (self.now, Vec::new());
        for (lease, verdict) in verdicts {
            let Some(row) = self.held(*lease) else {
                lost.push(*lease);
                continue;
            };
            row.state = verdict.state();
            row.run_at = now + micros(verdict.delay().unwrap_or_default());
            row.written_at = now;
            row.attempts -= u32::from(!verdict.counts());
            if let Some(queue) = verdict.queue() {
                row.queue = queue;
                row.group = verdict.group();
            }
            let error = verdict.error().map(str::to_owned);
            match row.state {
                EventState::Done => row.last_error = None,
                _ => row.last_error = error.or(row.last_error.take()),
            }
            if verdict.is_end() {
                for row in &mut self.rows {
                    row.waits_for = row.waits_for.filter(|earlier| *earlier != lease.id);
                }
            }
            let what = if self.gone.contains(lease) {
                What::Expired(verdict.clone())
            } else {
                What::Settled(verdict.clone())
            };
            self.change(*lease, what);
        }
        Ok(lost)
    }

    async fn renew(&mut self, leases: &[Lease], lease: Duration) -> Result<Vec<Lease>, BoxError> {
        let (now, mut lost) = (self.now, Vec::new());
        for one in leases {
            match self.held(*one) {
                Some(row) => (row.renewed_at, row.lease_until) = (now, now + micros(lease)),
                None => lost.push(*one),
            }
        }
        Ok(lost)
    }

    async fn mend_times(&mut self) -> Result<u64, BoxError> {
        let (now, limit) = (self.now, self.now + micros(MAX_AHEAD));
        for row in &mut self.rows {
            if row.state == EventState::Waiting && row.run_at > now && row.written_at > limit {
                (row.run_at, row.written_at) = (now, now);
            }
            if row.state == EventState::Running && row.renewed_at > limit {
                row.lease_until = now + (row.lease_until - row.renewed_at);
                row.renewed_at = now;
            }
        }
        Ok(0)
    }

    async fn running(&mut self) -> Result<Vec<Running>, BoxError> {
        let now = self.now;
        let running = self
            .all()
            .filter(|(_, row)| row.state == EventState::Running);
        Ok(running.map(|(id, row)| running_of(id, row, now)).collect())
    }

    async fn hold(&mut self, leases: &[Lease], expired: bool) -> Result<Vec<Lease>, BoxError> {
        let now = self.now;
        let mut held = leases.to_vec();
        held.retain(|lease| {
            let row = self.held(*lease);
            row.is_some_and(|row| !expired || row.lease_until < now)
        });
        self.gone.extend_from_slice(&held);
        Ok(held)
    }

    async fn suspects(&mut self, rows: usize) -> Result<Vec<u32>, BoxError> {
        let due = self.queue(Queue::Suspect).into_iter().take(rows);
        let groups = due.map(|(_, id)| self.rows[usize::try_from(id).unwrap()].group);
        Ok(groups.map(|group| group.unwrap_or(1)).collect())
    }

    async fn due(&mut self, queues: [Queue; 2], rows: usize) -> Result<[Vec<i64>; 2], BoxError> {
        let due = |queue| {
            let due = self.queue(queue).into_iter().take(rows);
            due.map(|(_, id)| id).collect()
        };
        let [first, second] = queues;
        let others = if first == second {
            Vec::new()
        } else {
            due(second)
        };
        Ok([due(first), others])
    }

    async fn order(&mut self) -> Result<Option<EventOrder>, BoxError> {
        Ok(self.order)
    }

    async fn page(
        &mut self,
        queue: Queue,
        after: Option<&(i64, i64)>,
        rows: i64,
    ) -> Result<Vec<Due<i64>>, BoxError> {
        let queue = self.queue(queue).into_iter();
        let left = queue.filter(|place| after.is_none_or(|after| place > after));
        let page = left.take(usize::try_from(rows).unwrap()).map(|(at, id)| {
            let resource = self.rows[usize::try_from(id).unwrap()]
                .arrival
                .labels
                .resource
                .clone();
            let earlier = resource.as_ref().and_then(|of| self.earlier(id, of));
            let later_runs = resource.as_ref().is_some_and(|of| self.later_runs(id, of));
            let (kind, name) = resource.unzip();
            (at, id, kind, name, earlier, later_runs)
        });
        Ok(page.collect())
    }

    async fn mark(&mut self, waiting: &[(i64, i64)]) -> Result<(), BoxError> {
        for (id, earlier) in waiting {
            self.row(*id).waits_for = Some(*earlier);
        }
        Ok(())
    }

    async fn claim(&mut self, ids: &[i64], terms: Terms) -> Result<Vec<Claim>, BoxError> {
        let (now, mut claims) = (self.now, Vec::new());
        for id in ids {
            let row = self.row(*id);
            row.state = EventState::Running;
            row.attempts += 1;
            row.token += 1;
            (row.renewed_at, row.lease_until) = (now, now + micros(terms.lease));
            (row.worker, row.group) = (Some(terms.worker), terms.group);
            let claim = claim(*id, row);
            self.change(claim.lease, What::Claimed(claim.attempts));
            claims.push(claim);
        }
        Ok(claims)
    }
}

fn running_of(id: i64, row: &Row, now: i64) -> Running {
    let length = u64::try_from(row.lease_until - row.renewed_at).unwrap();
    let renewed = i128::from(row.renewed_at) * 1_000;
    let renewed_at = OffsetDateTime::from_unix_timestamp_nanos(renewed).unwrap();
    let token = row.token;
    Running {
        stamped: Stamped {
            lease: Lease { id, token },
            renewed_at,
        },
        length: Duration::from_micros(length),
        worker: row.worker,
        attempts: row.attempts,
        group: row.group,
        is_expired: row.lease_until < now,
        key: row.arrival.key.clone(),
        event_type: None,
    }
}

fn claim(id: i64, row: &Row) -> Claim {
    Claim {
        lease: Lease {
            id,
            token: row.token,
        },
        key: row.arrival.key.clone(),
        source: None,
        attempts: row.attempts,
        received_at: OffsetDateTime::UNIX_EPOCH,
        started_at: OffsetDateTime::UNIX_EPOCH,
        event_type: None,
        body: row.arrival.body.clone(),
    }
}

impl Store for FakeStore {
    fn turn<'a>(&'a self, turn: Turn<'a>) -> Answer<'a, Turned> {
        lock(&self.turns).push((Instant::now(), turn.renew.len()));
        let fault = lock(&self.faults).pop_front();
        Box::pin(async move {
            match fault {
                None => self.take(&turn, false),
                Some(Fault::Fails) => Err("it fails".into()),
                Some(Fault::Panics) => resume_unwind(Box::new("it panics")),
                Some(Fault::Hangs) => pending().await,
                Some(Fault::Forgets) => {
                    self.take(&turn, false)?;
                    Err("its answer is lost".into())
                }
            }
        })
    }

    fn insert<'a>(&'a self, arrivals: &'a [Arrival]) -> Answer<'a, Vec<Accepted>> {
        Box::pin(async move { self.insert_all(arrivals) })
    }

    fn may_be_of_one(&self, error: &(dyn Error + 'static)) -> bool {
        error.to_string() == REJECTED
    }

    fn stats(&self) -> Answer<'_, Stats> {
        unreachable!("the loop does not count")
    }

    fn dead(&self, _: Ids, _: u32) -> Answer<'_, Vec<DeadLetter>> {
        unreachable!("the loop reads no dead letters")
    }

    fn dead_body(&self, _: i64) -> Answer<'_, Option<Bytes>> {
        unreachable!("the loop reads no dead letters")
    }

    fn replay(&self, _: Ids) -> Answer<'_, Vec<i64>> {
        unreachable!("the loop replays nothing")
    }

    fn discard(&self, _: Ids) -> Answer<'_, Vec<i64>> {
        unreachable!("the loop discards nothing")
    }

    fn prune(&self, _: Duration) -> Answer<'_, u64> {
        unreachable!("the loop does not prune")
    }

    /// It never answers.
    fn prune_as_one(&self, _: Duration, _: Pruning) -> Answer<'_, Option<u64>> {
        Box::pin(pending())
    }

    fn order(&self) -> Answer<'_, EventOrder> {
        unreachable!("a turn says the order")
    }

    fn set_order(&self, _: EventOrder) -> Answer<'_, Option<EventOrder>> {
        unreachable!("the loop sets nothing")
    }
}
