//! A store in memory, on Tokio's time, for tests of the loop: it can fail and hang.

use std::collections::VecDeque;
use std::error::Error;
use std::future::pending;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use time::OffsetDateTime;
use tokio::time::Instant;

use super::{Answer, Ids, Pruning, Store};
use crate::accepted::{Accepted, EventState};
use crate::arrival::Arrival;
use crate::dead::DeadLetter;
use crate::event_order::EventOrder;
use crate::stats::Stats;
use crate::turn::{Claim, Lease, Look, Turn, Turned, Verdict};

/// What goes wrong in a turn.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    Fails,
    Hangs,
    /// It is committed, and its answer is lost.
    Forgets,
}

#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) state: EventState,
    pub(crate) attempts: u32,
    pub(crate) last_error: Option<String>,
    token: i64,
    run_at: Instant,
    lease_until: Instant,
    body: Bytes,
}

#[derive(Default)]
pub(crate) struct FakeStore {
    rows: Mutex<Vec<Row>>,
    faults: Mutex<VecDeque<Fault>>,
    /// When a turn was asked for, and how many leases it was to renew.
    turns: Mutex<Vec<(Instant, usize)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

impl FakeStore {
    pub(crate) fn add(&self, body: &'static str) {
        let now = Instant::now();
        lock(&self.rows).push(Row {
            state: EventState::Waiting,
            attempts: 0,
            last_error: None,
            token: 0,
            run_at: now,
            lease_until: now,
            body: Bytes::from_static(body.as_bytes()),
        });
    }

    /// Lets the next turn go wrong.
    pub(crate) fn will(&self, fault: Fault) {
        lock(&self.faults).push_back(fault);
    }

    pub(crate) fn rows(&self) -> Vec<Row> {
        lock(&self.rows).clone()
    }

    pub(crate) fn turns(&self) -> Vec<(Instant, usize)> {
        lock(&self.turns).clone()
    }

    fn take(&self, turn: &Turn<'_>) -> Turned {
        let now = Instant::now();
        let mut rows = lock(&self.rows);
        let mut turned = Turned {
            order: (turn.take > 0).then_some(EventOrder::AsDue),
            ..Turned::default()
        };
        for (lease, verdict) in turn.settle {
            match held(&mut rows, *lease) {
                Some(row) => settle(row, verdict, now),
                None => turned.lost.push(*lease),
            }
        }
        for lease in turn.renew {
            match held(&mut rows, *lease) {
                Some(row) => row.lease_until = now + turn.lease,
                None => turned.lost.push(*lease),
            }
        }
        for row in rows.iter_mut() {
            if row.state == EventState::Running && row.lease_until < now {
                let delay = turn.retry.after(row.attempts);
                settle(row, &Verdict::after(delay, "expired".to_owned()), now);
            }
        }
        for (id, row) in (0..).zip(rows.iter_mut()) {
            let due = row.state == EventState::Waiting && row.run_at <= now;
            if due && turned.claims.len() < turn.take {
                row.state = EventState::Running;
                row.attempts += 1;
                row.token += 1;
                row.lease_until = now + turn.lease;
                turned.claims.push(claim(id, row));
            }
        }
        turned.next = Look::at_once(turn.take > 0 && turned.claims.len() == turn.take);
        turned
    }
}

fn held(rows: &mut [Row], lease: Lease) -> Option<&mut Row> {
    let row = rows.get_mut(usize::try_from(lease.id).ok()?)?;
    (row.state == EventState::Running && row.token == lease.token).then_some(row)
}

fn settle(row: &mut Row, verdict: &Verdict, now: Instant) {
    row.state = verdict.state();
    row.run_at = now + verdict.delay().unwrap_or_default();
    row.attempts -= u32::from(!verdict.counts());
    row.last_error = verdict.error().map(str::to_owned);
}

fn claim(id: i64, row: &Row) -> Claim {
    Claim {
        lease: Lease {
            id,
            token: row.token,
        },
        key: id.to_string(),
        source: None,
        attempts: row.attempts,
        received_at: OffsetDateTime::UNIX_EPOCH,
        started_at: OffsetDateTime::UNIX_EPOCH,
        event_type: None,
        body: row.body.clone(),
    }
}

impl Store for FakeStore {
    fn turn<'a>(&'a self, turn: Turn<'a>) -> Answer<'a, Turned> {
        lock(&self.turns).push((Instant::now(), turn.renew.len()));
        let fault = lock(&self.faults).pop_front();
        Box::pin(async move {
            match fault {
                None => Ok(self.take(&turn)),
                Some(Fault::Fails) => Err("it fails".into()),
                Some(Fault::Hangs) => pending().await,
                Some(Fault::Forgets) => {
                    self.take(&turn);
                    Err("its answer is lost".into())
                }
            }
        })
    }

    fn insert<'a>(&'a self, _: &'a [Arrival]) -> Answer<'a, Vec<Accepted>> {
        unimplemented!("the loop does not insert")
    }

    fn is_of_one(&self, _: &(dyn Error + 'static)) -> bool {
        false
    }

    fn stats(&self) -> Answer<'_, Stats> {
        unimplemented!("the loop does not count")
    }

    fn dead(&self, _: Ids, _: u32) -> Answer<'_, Vec<DeadLetter>> {
        unimplemented!("the loop reads no dead letters")
    }

    fn dead_body(&self, _: i64) -> Answer<'_, Option<Bytes>> {
        unimplemented!("the loop reads no dead letters")
    }

    fn replay(&self, _: Ids) -> Answer<'_, Vec<i64>> {
        unimplemented!("the loop replays nothing")
    }

    fn discard(&self, _: Ids) -> Answer<'_, Vec<i64>> {
        unimplemented!("the loop discards nothing")
    }

    fn prune(&self, _: Duration) -> Answer<'_, u64> {
        unimplemented!("the loop does not prune")
    }

    fn prune_as_one(&self, _: Duration, _: Pruning) -> Answer<'_, Option<u64>> {
        unimplemented!("the loop does not prune")
    }

    fn order(&self) -> Answer<'_, EventOrder> {
        unimplemented!("a turn says the order")
    }

    fn set_order(&self, _: EventOrder) -> Answer<'_, Option<EventOrder>> {
        unimplemented!("the loop sets nothing")
    }
}
