//! The checks at the end of a run, on everything that was recorded.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::world::{Call, Ended, Mark, Plan, World, lock};
use crate::accepted::EventState;
use crate::event_order::EventOrder;
use crate::store::fake::{Change, Row, What};
use crate::turn::{Lease, Verdict};

/// A lease that is in force.
#[derive(Clone, Copy)]
struct Holder {
    token: i64,
    attempt: u32,
    since: Instant,
}

/// The state of an event after the changes so far.
#[derive(Default)]
struct Past {
    holder: Option<Holder>,
    ended: Option<EventState>,
    counted: u32,
    last_token: i64,
}

pub(super) fn check(world: &World) {
    let rows = world.store.rows();
    let history = History {
        world,
        rows: &rows,
        calls: &lock(&world.calls),
    };
    history.each_acknowledged_event_has_ended();
    history.changes_follow_from_each_other();
}

struct History<'a> {
    world: &'a World,
    rows: &'a [Row],
    calls: &'a [Call],
}

impl History<'_> {
    fn wrong(&self, at: Instant, id: i64, what: &str) {
        let at = self.world.since_start(at);
        self.world.wrong(format!("{what}: event {id} at {at:?}"));
    }

    fn each_acknowledged_event_has_ended(&self) {
        let mut times = BTreeMap::<&str, u32>::new();
        for row in self.rows.iter().filter(|row| !row.is_pruned) {
            *times.entry(&row.arrival.key).or_default() += 1;
        }
        if times.values().any(|times| *times > 1) {
            self.world.wrong("(5) an event is there twice");
        }
        for key in lock(&self.world.acknowledged).keys() {
            let mut rows = self.rows.iter().filter(|row| row.arrival.key == *key);
            if !rows.next().is_some_and(Row::is_ended) || !rows.all(Row::is_ended) {
                let wrong = format!("(1) {key} was acknowledged and has not ended");
                self.world.wrong(wrong);
            }
        }
    }

    /// Goes through the changes of all events in the order of their commits.
    fn changes_follow_from_each_other(&self) {
        let mut pasts: Vec<Past> = self.rows.iter().map(|_| Past::default()).collect();
        for Change { at, lease, what } in &self.world.store.changes() {
            let id = usize::try_from(lease.id).unwrap();
            match what {
                What::Claimed { attempt, order } => {
                    self.claimed(*at, &pasts, *lease, *attempt, *order);
                    pasts[id].counted += 1;
                    pasts[id].last_token = lease.token;
                    pasts[id].holder = Some(Holder {
                        token: lease.token,
                        attempt: *attempt,
                        since: *at,
                    });
                }
                What::Settled(verdict) | What::Expired(verdict) => {
                    let holder = pasts[id].holder.take();
                    let Some(holder) = holder.filter(|holder| holder.token == lease.token) else {
                        self.wrong(
                            *at,
                            lease.id,
                            "(2) it was settled by a worker without a lease",
                        );
                        return;
                    };
                    match what {
                        What::Expired(_) => self.expired(*at, *lease, holder, verdict),
                        _ => self.settled(*at, *lease, holder, verdict),
                    }
                    pasts[id].counted -= u32::from(!verdict.counts());
                    pasts[id].ended = verdict.is_end().then(|| verdict.state());
                }
                What::Replayed | What::Discarded | What::Pruned => {
                    self.operated(*at, &mut pasts[id], *lease, what);
                }
            }
        }
        for (past, row) in pasts.iter().zip(self.rows) {
            if past.ended != Some(row.state) || past.counted != row.attempts {
                let wrong = format!("(3) {} is not as its changes say", row.arrival.key);
                self.world.wrong(wrong);
            }
        }
    }

    fn claimed(&self, at: Instant, pasts: &[Past], lease: Lease, attempt: u32, order: EventOrder) {
        let id = usize::try_from(lease.id).unwrap();
        let past = &pasts[id];
        if past.holder.is_some() || past.ended.is_some() || lease.token <= past.last_token {
            self.wrong(at, lease.id, "(2) it was taken while it was not to be had");
        }
        if attempt != past.counted + 1 || attempt > self.world.setup.max_attempts {
            self.wrong(at, lease.id, "(3) its attempts are counted wrong");
        }
        let of = &self.rows[id].arrival.labels.resource;
        if order == EventOrder::ByResource && of.is_some() {
            let mut others = self.rows.iter().zip(pasts).enumerate();
            // An earlier one has ended by now, and none runs.
            let out_of_order = others.any(|(other, (row, past))| {
                let same = other != id && row.arrival.labels.resource == *of;
                let waits = other < id && past.ended.is_none();
                same && (waits || past.holder.is_some())
            });
            if out_of_order {
                self.wrong(
                    at,
                    lease.id,
                    "(6) it was taken before an earlier one had ended",
                );
            }
        }
    }

    /// Something other than a turn has changed an event, which must have ended.
    fn operated(&self, at: Instant, past: &mut Past, lease: Lease, what: &What) {
        let (before, after) = match what {
            What::Pruned => (EventState::Done, Some(EventState::Done)),
            What::Discarded => (EventState::Dead, Some(EventState::Done)),
            _ => (EventState::Dead, None),
        };
        if past.ended != Some(before) {
            self.wrong(at, lease.id, "(7) it was changed before it had ended");
        }
        past.ended = after;
        if after.is_none() {
            past.counted = 0;
        }
    }

    fn call(&self, lease: Lease) -> Option<&Call> {
        self.calls.iter().find(|call| call.lease == Some(lease))
    }

    /// A worker has written how an attempt ended; it must agree with how the handler ended.
    fn settled(&self, at: Instant, lease: Lease, holder: Holder, verdict: &Verdict) {
        let setup = &self.world.setup;
        let is_last = holder.attempt >= setup.max_attempts;
        let failed = if is_last {
            EventState::Dead
        } else {
            EventState::Waiting
        };
        let follows = match self.call(lease) {
            None => {
                let key = &self.rows[usize::try_from(lease.id).unwrap()].arrival.key;
                let unreadable = matches!(self.world.plan(key), Plan::Unreadable);
                verdict.is_malformed() && unreadable || matches!(verdict, Verdict::Returned { .. })
            }
            Some(call) => match call.ended {
                Some(Ended::Succeeded) => *verdict == Verdict::Done,
                Some(Ended::Failed | Ended::Panicked) => {
                    verdict.counts() && verdict.state() == failed
                }
                Some(Ended::Postponed) => matches!(verdict, Verdict::Postponed { .. }),
                Some(Ended::FailedForGood) => verdict.state() == EventState::Dead,
                None => {
                    let over = call.over.unwrap_or(at);
                    let too_long = over - call.began >= setup.handler_timeout;
                    let counts = verdict.counts() && verdict.state() == failed;
                    counts && (too_long || self.stopped(call.process))
                }
            },
        };
        if !follows {
            let wrong = format!(
                "(3) {verdict:?} does not follow from {:?}",
                self.call(lease)
            );
            self.wrong(at, lease.id, &wrong);
        }
    }

    /// Whether the process received the signal to stop.
    fn stopped(&self, process: usize) -> bool {
        let marks = lock(&self.world.marks);
        let mut own = marks.iter().filter(|(_, of, _)| *of == process);
        own.any(|(_, _, mark)| *mark == Mark::Stopped)
    }

    /// A lease expired: there must be a reason.
    fn expired(&self, at: Instant, lease: Lease, holder: Holder, verdict: &Verdict) {
        let dead = holder.attempt >= self.world.setup.max_attempts;
        let follows = match verdict {
            Verdict::Crashed { alone, .. } => !(*alone && dead),
            Verdict::Dead { .. } => dead,
            // It was taken in a turn whose answer was lost.
            Verdict::Returned { .. } => self.call(lease).is_none(),
            _ => false,
        };
        if !follows {
            let wrong = format!("(3) {verdict:?} does not follow from a lost worker");
            self.wrong(at, lease.id, &wrong);
        }
        // A clock change is not a reason: a live worker is seen to renew its leases.
        let Some(call) = self.call(lease) else {
            // It was taken without an answer, or the worker died before the handler began.
            self.expired_without_a_call(at, lease, holder);
            return;
        };
        // A request that goes wrong may have begun before, and time out after 10 s.
        let begin = holder.since - (holder.since - self.start()).min(Duration::from_secs(11));
        let marks = lock(&self.world.marks);
        let mut own = marks
            .iter()
            .filter(|(when, process, _)| *process == call.process && *when <= at);
        let troubled = own.clone().any(|(when, _, mark)| match mark {
            Mark::Fault => *when >= begin,
            Mark::Cut => true,
            Mark::Turned { .. } | Mark::Stopped => false,
        });
        if !troubled {
            self.wrong(
                at,
                lease.id,
                "(2) the lease of a worker without trouble expired",
            );
        }
        // The first turn with an answer should have settled what its handler returned.
        let dropped = own.any(|(_, _, mark)| match (mark, call.over) {
            (Mark::Turned { asked }, Some(over)) => call.ended.is_some() && *asked > over,
            _ => false,
        });
        if dropped {
            self.wrong(at, lease.id, "(3) the result of a handler was forgotten");
        }
    }

    fn expired_without_a_call(&self, at: Instant, lease: Lease, holder: Holder) {
        let marks = lock(&self.world.marks);
        let fault = |when: &Instant| {
            let before = holder.since.saturating_duration_since(*when);
            before <= Duration::from_secs(30) && *when <= at
        };
        let troubled = marks
            .iter()
            .any(|(when, _, mark)| matches!(mark, Mark::Fault | Mark::Cut) && fault(when));
        if !troubled {
            self.wrong(at, lease.id, "(2) a lease expired without a reason");
        }
    }

    fn start(&self) -> Instant {
        self.world.start()
    }
}
