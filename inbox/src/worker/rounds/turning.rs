//! Takes a turn, and applies its result.

use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::super::ahead::Ahead;
use super::{LOOK_SOON, Plan, Rounds, at};
use crate::guarded::Guarded;
use crate::metrics;
use crate::store::TURN_TIMEOUT;
use crate::turn::{Claim, Lease, Look, Running, Suspects, Take, Turn, Turned, Upkeep, Verdict};

impl Rounds {
    /// The leases of events that run, that were taken ahead, and that have ended but are not
    /// settled.
    fn held(&self) -> Vec<Lease> {
        let ended = self.ended.iter().map(|(held, _)| held.lease);
        self.tasks.leases().into_iter().chain(ended).collect()
    }

    pub(super) async fn turn(&mut self, plan: &Plan) -> Result<Turned, String> {
        let store = self.store.clone();
        let settle = self.settle.clone();
        self.sent = settle.len();
        let renew = if plan.renew {
            self.tasks.leases()
        } else {
            Vec::new()
        };
        let held = self.held();
        let silent = self.silence.silent(Instant::now(), self.settings.lease);
        let upkeep = plan.upkeep.then_some(Upkeep {
            held: &held,
            silent: &silent,
            mends: plan.mends,
        });
        let settings = self.settings.clone();
        let turn = Turn {
            worker: self.worker,
            settle: &settle,
            renew: &renew,
            take: plan.take,
            upkeep,
            lease: settings.lease,
            retry: &settings.retry,
        };
        // A pool of the user may call the user's code, and so may its errors.
        let turn = Guarded::new(async {
            let turned = store.turn(turn).await;
            turned.map_err(|error| error.to_string())
        });
        let mut turn = Box::pin(metrics::timed(timeout(TURN_TIMEOUT, turn)));
        // The signal first, so that no handler is called after it; an answer before the deadline,
        // since it says which events to give back.
        loop {
            tokio::select! {
                biased;
                signal = &mut self.shutdown, if self.deadline.is_none() => self.stop(&signal),
                turned = &mut turn => return match turned {
                    Ok(Ok(turned)) => turned,
                    Ok(Err(_)) => Err("a turn panicked".to_owned()),
                    Err(_) => Err(match self.store.trouble() {
                        Some(trouble) => format!("no answer within {TURN_TIMEOUT:?}: {trouble}"),
                        None => format!("no answer within {TURN_TIMEOUT:?}"),
                    }),
                },
                // Events that were taken ahead begin meanwhile.
                Some(ended) = self.tasks.ended() => self.ended.extend(ended),
                () = at(self.deadline), if self.deadline.is_some() => {
                    return Err("no answer before the worker had to stop".to_owned());
                }
            }
        }
    }

    /// Applies the result of a turn that was planned at this time.
    pub(super) fn apply(
        &mut self,
        plan: &Plan,
        turned: Turned,
        planned_at: Instant,
        arrived: &Notify,
    ) {
        if plan.renew || self.tasks.is_empty() {
            self.times.renew = planned_at + self.settings.lease / 3;
        }
        if plan.renew {
            self.warn_of_overdue();
        }
        self.lose(turned.lost, planned_at);
        if plan.upkeep {
            self.keep_up(&turned.running, planned_at);
            self.report.crashed(&turned.crashed);
            match turned.suspects {
                Suspects::Due => self.probe.suspects(planned_at, self.window()),
                Suspects::Wait => self.probe.waits(),
                Suspects::None => {}
            }
        }
        self.report.order(turned.order);
        if let Take::Suspects { .. } = plan.take {
            if turned.order.is_none() {
                // Another worker chooses.
                self.times.rest = planned_at + LOOK_SOON;
                return;
            }
            let group = turned.claims.iter().map(|claim| claim.lease).collect();
            self.probe.began(group, planned_at, self.window());
        }
        self.begin(turned.claims, planned_at);
        if self.probe.is_at_work() {
            self.give_back();
        }
        let suspects_wait = turned.suspects != Suspects::None;
        self.look_next(plan, turned.next, suspects_wait, planned_at, arrived);
    }

    /// Records the leases that a turn has found lost.
    fn lose(&mut self, lost: Vec<Lease>, planned_at: Instant) {
        let unsure = self.report.is_unsure();
        // A signal during the turn has added to them.
        let settled: Vec<_> = self.settle.drain(..self.sent).collect();
        self.report.dead(&lost);
        let window = self.window();
        for lost in lost {
            self.probe.ended(lost, planned_at, window);
            if unsure && settled.iter().any(|(lease, _)| *lease == lost) {
                tracing::debug!(
                    id = lost.id,
                    "a turn without an answer may have settled this event"
                );
            } else {
                self.ended.retain(|(held, _)| held.lease != lost);
                self.tasks.lose(lost);
            }
        }
    }

    /// Begins the events that a turn has taken that was planned at this time.
    fn begin(&mut self, claims: Vec<Claim>, planned_at: Instant) {
        let (now, lease) = (Instant::now(), self.settings.lease);
        // The lease began later, but nothing says when.
        let leased_until = planned_at + lease;
        let is_late = now >= leased_until;
        if is_late && !claims.is_empty() {
            tracing::warn!(
                events = claims.len(),
                "taking events took longer than their leases: they are given back"
            );
        }
        for claim in claims {
            // Or the signal came while the turn was on its way.
            if is_late || self.deadline.is_some() {
                let delay = Duration::ZERO;
                self.settle.push((claim.lease, Verdict::Returned { delay }));
            } else {
                let begin_by = leased_until.min(Ahead::end(now, lease));
                self.tasks.take(claim, begin_by);
            }
        }
    }

    /// Decides when to look for events again.
    fn look_next(
        &mut self,
        plan: &Plan,
        next: Look,
        suspects_wait: bool,
        planned_at: Instant,
        arrived: &Notify,
    ) {
        let at_rest = self.tasks.is_empty()
            && self.ended.is_empty()
            && self.settle.is_empty()
            && !self.probe.is_at_work();
        match plan.take {
            Take::Nothing => return,
            Take::Due { prefer, .. } => {
                self.prefer = prefer.other();
                self.ahead.turned(planned_at, Instant::now());
                // A dead worker may leave events that are due.
                let found_none = next == Look::Later && self.silence.next().is_none();
                self.idle = at_rest && plan.upkeep && found_none && !suspects_wait;
            }
            Take::Suspects { .. } => {
                // The others have waited meanwhile. Suspects that are left may wait for events that
                // run.
                self.times.look = planned_at + LOOK_SOON;
                return;
            }
        }
        match next {
            // Another worker of this process may have room for the remaining events.
            Look::AtOnce if !self.takes() => arrived.notify_one(),
            Look::AtOnce => {}
            Look::Soon => self.times.look = planned_at + LOOK_SOON.min(self.settings.poll),
            Look::Later => self.times.look = planned_at + self.settings.poll,
        }
    }

    /// Records the running events of a turn with upkeep, and when the next upkeep is due.
    fn keep_up(&mut self, running: &[Running], planned_at: Instant) {
        let held = self.held();
        let unheld =
            |one: &Running| one.worker == Some(self.worker) && !held.contains(&one.stamped.lease);
        // The answer may be late: silence is only known from now on.
        let now = Instant::now();
        self.silence.note(running, unheld, now, self.settings.lease);
        let next = planned_at + self.window() / 3;
        self.times.upkeep = self.silence.next().map_or(next, |silent| silent.min(next));
    }

    /// Logs handlers that should have been aborted at their limit.
    fn warn_of_overdue(&mut self) {
        let Some(limit) = self.settings.handler_timeout else {
            return;
        };
        for lease in self.tasks.overdue(limit) {
            tracing::warn!(
                id = lease.id,
                "a handler has exceeded its limit of {limit:?} and still runs: it blocks its thread"
            );
        }
    }
}
