//! The loop of a worker.
//!
//! A worker knows the table only through *turns*: one transaction in which it settles the events
//! whose tasks have ended, renews the leases of those that run, and takes new ones for the tasks
//! that it has room for. The loop repeats four things. It *plans* a turn if one is due: because
//! something ended, a lease is to be renewed, or it is time to look for events. It *takes* the turn.
//! It *applies* what the turn found: starts a task for each event, cuts the tasks short whose
//! lease was lost, and decides when to look again. And if no turn is due, it *waits* until a task
//! ends, an event arrives in this process, a time comes, or the worker is to stop.
//!
//! After a turn that failed the loop rests, whatever is due, and keeps what it had to settle: a
//! turn may have been committed without an answer, and then settling again finds the leases gone.
//! After the signal to stop no event is taken; the loop ends when all tasks have ended and are
//! settled, or at the deadline, when what still runs is cut short and given back.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};

use super::tasks::{Held, Tasks};
use super::{Settings, Start, Until};
use crate::asked::Asked;
use crate::event_order::EventOrder;
use crate::outcome::Outcome;
use crate::reach::{Reach, WORKER};
use crate::store::{BoxFuture, Store, TURN_TIMEOUT};
use crate::turn::{Lease, Look, Turn, Turned, Verdict};

/// How many events a turn takes at most: their bodies come with them.
const MAX_TAKE: usize = 256;

/// How long to wait while another worker chooses.
const LOOK_SOON: Duration = Duration::from_millis(50);

/// How long the loop rests after a turn that failed.
const REST_AFTER_ERROR: Duration = Duration::from_millis(500);

/// How long tasks that were cut short may take to end, and how long the last turn may take.
const CUT_SHORT_TIMEOUT: Duration = Duration::from_secs(1);

/// When the next turn is due, and for what.
struct Times {
    /// When to look for events.
    look: Instant,
    /// When to renew leases.
    renew: Instant,
    /// No turn is taken before this.
    rest: Instant,
}

/// What the next turn is for, besides settling.
struct Plan {
    take: usize,
    renew: bool,
}

pub(super) struct Rounds {
    store: Arc<dyn Store>,
    settings: Settings,
    start: Arc<Start>,
    tasks: Tasks,
    /// What has ended and is not in the table yet.
    settle: Vec<(Lease, Verdict)>,
    times: Times,
    reach: Reach,
    asked: Asked,
    /// The inbox's order, as the last turn found it.
    order: Option<EventOrder>,
    shutdown: BoxFuture<'static, ()>,
    /// When to stop at the latest; set by the signal.
    deadline: Option<Instant>,
    /// Whether the last turn found nothing due, and nothing runs.
    idle: bool,
}

impl Rounds {
    pub(super) fn new(
        store: Arc<dyn Store>,
        settings: Settings,
        start: Arc<Start>,
        asked: Asked,
        shutdown: BoxFuture<'static, ()>,
    ) -> Self {
        let now = Instant::now();
        Self {
            times: Times {
                look: now,
                renew: now + settings.lease / 3,
                rest: now,
            },
            store,
            settings,
            start,
            tasks: Tasks::default(),
            settle: Vec::new(),
            reach: Reach::new(WORKER),
            asked,
            order: None,
            shutdown,
            deadline: None,
            idle: false,
        }
    }

    /// Works until it is to stop, and returns why it did; `arrived` says that an event was accepted in
    /// this process.
    pub(super) async fn run(mut self, arrived: &Notify) -> Until {
        loop {
            let now = Instant::now();
            if let Some(deadline) = self.deadline {
                if now >= deadline {
                    self.cut_short().await;
                    return Until::Stopped;
                }
                if self.tasks.is_empty() && self.settle.is_empty() {
                    return Until::Stopped;
                }
            }
            if self.idle && self.settings.until == Until::Idle {
                return Until::Idle;
            }
            // During a turn tasks may end, and the next one is to settle them: until then their leases
            // run out, and another worker would handle the events again.
            let ended = self.tasks.ended_by_now();
            if !ended.is_empty() {
                self.end(ended);
                self.times.look = now;
            }
            match self.plan(now) {
                Some(plan) => match self.turn(&plan).await {
                    Ok(turned) => {
                        self.reach.back();
                        self.apply(&plan, turned, now, arrived);
                    }
                    Err(error) => {
                        self.reach.lost(&error);
                        self.times.rest = Instant::now() + REST_AFTER_ERROR;
                    }
                },
                None => self.wait(arrived).await,
            }
        }
    }

    /// What to do now; `None` if there is nothing, or the loop rests.
    fn plan(&self, now: Instant) -> Option<Plan> {
        let take = if self.takes() && self.times.look <= now {
            MAX_TAKE.min(self.free())
        } else {
            0
        };
        let renew = self.times.renew <= now && !self.tasks.is_empty();
        let due = take > 0 || renew || !self.settle.is_empty();
        (due && self.times.rest <= now).then_some(Plan { take, renew })
    }

    /// Whether there is room for events, and the worker is not to stop.
    fn takes(&self) -> bool {
        self.deadline.is_none() && self.free() > 0
    }

    fn free(&self) -> usize {
        self.settings.concurrency.saturating_sub(self.tasks.len())
    }

    async fn turn(&mut self, plan: &Plan) -> Result<Turned, String> {
        let store = self.store.clone();
        let settle = self.settle.clone();
        let renew = if plan.renew {
            self.tasks.leases()
        } else {
            Vec::new()
        };
        let settings = self.settings.clone();
        let turn = store.turn(Turn {
            settle: &settle,
            renew: &renew,
            take: plan.take,
            lease: settings.lease,
            retry: &settings.retry,
        });
        let mut turn = Box::pin(timeout(TURN_TIMEOUT, turn));
        loop {
            tokio::select! {
                biased;
                () = &mut self.shutdown, if self.deadline.is_none() => self.stop(),
                turned = &mut turn => return match turned {
                    Ok(turned) => turned.map_err(|error| error.to_string()),
                    Err(_) => Err(match self.store.trouble() {
                        Some(trouble) => format!("no answer within {TURN_TIMEOUT:?}: {trouble}"),
                        None => format!("no answer within {TURN_TIMEOUT:?}"),
                    }),
                },
                () = at(self.deadline), if self.deadline.is_some() => {
                    return Err("no answer before the worker had to stop".to_owned());
                }
            }
        }
    }

    /// Does what a turn that was planned at this time asks for.
    fn apply(&mut self, plan: &Plan, turned: Turned, planned_at: Instant, arrived: &Notify) {
        if plan.renew || self.tasks.is_empty() {
            self.times.renew = planned_at + self.settings.lease / 3;
        }
        self.settle.clear();
        for lease in turned.lost {
            self.tasks.lose(lease);
        }
        self.compare(turned.order);
        for claim in turned.claims {
            if self.deadline.is_none() {
                let accepts_malformed = self.settings.accepts_malformed;
                self.tasks.begin(claim, &self.start, accepts_malformed);
            } else {
                // The signal came while the turn was on its way.
                let delay = Duration::ZERO;
                self.settle.push((claim.lease, Verdict::Returned { delay }));
            }
        }
        let at_rest = self.tasks.is_empty() && self.settle.is_empty();
        self.idle = at_rest && plan.take > 0 && turned.next == Look::Later;
        if plan.take == 0 {
            return;
        }
        match turned.next {
            // What this worker has no room for may be for another one of this process.
            Look::AtOnce if self.free() == 0 => arrived.notify_one(),
            Look::AtOnce => {}
            Look::Soon => self.times.look = planned_at + LOOK_SOON.min(self.settings.poll),
            Look::Later => self.times.look = planned_at + self.settings.poll,
        }
    }

    /// Says so if the inbox has another order than this process asked for.
    fn compare(&mut self, order: Option<EventOrder>) {
        let Some(order) = order.filter(|order| self.order != Some(*order)) else {
            return;
        };
        self.order = Some(order);
        if let Some(asked) = self.asked.get().filter(|asked| *asked != order) {
            tracing::warn!(
                %asked,
                %order,
                "another process has set another order than this one asked for; it is obeyed"
            );
        }
    }

    /// Waits until a turn may be due, or the worker is to stop.
    async fn wait(&mut self, arrived: &Notify) {
        let takes = self.takes();
        let wake = self.wake();
        // In a fixed order, so that a simulation can replay it; the signal first, so that nothing can
        // keep it from being seen.
        tokio::select! {
            biased;
            () = &mut self.shutdown, if self.deadline.is_none() => self.stop(),
            Some(ended) = self.tasks.ended() => {
                self.end(ended);
                // There is room again, and what waited for the event may be due.
                self.times.look = Instant::now();
            }
            () = arrived.notified(), if takes => self.times.look = Instant::now(),
            () = at(wake) => {}
        }
    }

    /// The next time at which something is due; `None` if only an event can bring it.
    fn wake(&self) -> Option<Instant> {
        let Times { look, renew, rest } = self.times;
        [
            self.takes().then_some(look),
            (!self.tasks.is_empty()).then_some(renew),
            (!self.settle.is_empty()).then_some(rest),
            self.deadline,
        ]
        .into_iter()
        .flatten()
        .map(|at| at.max(rest))
        .min()
    }

    fn stop(&mut self) {
        tracing::debug!(running = self.tasks.len(), "the worker is stopping");
        self.deadline = Some(Instant::now() + self.settings.shutdown_timeout);
    }

    /// Notes how tasks ended.
    fn end(&mut self, ended: Vec<(Held, Outcome)>) {
        for (
            Held {
                lease, attempts, ..
            },
            outcome,
        ) in ended
        {
            let Some(verdict) = outcome.verdict(&self.settings.retry, attempts) else {
                continue;
            };
            if let Verdict::Again { .. } | Verdict::Dead { .. } = verdict {
                tracing::warn!(
                    id = lease.id,
                    attempt = attempts,
                    again_in = verdict.delay().map(tracing::field::debug),
                    "an attempt failed"
                );
            }
            self.settle.push((lease, verdict));
        }
    }

    /// Cuts short what still runs, and gives back the events whose tasks end in time.
    async fn cut_short(&mut self) {
        tracing::warn!(
            running = self.tasks.len(),
            "shutdown timeout: running handlers are aborted and their events returned"
        );
        self.tasks.abort_all();
        let ends = async {
            while let Some(ended) = self.tasks.ended().await {
                self.end(ended);
            }
        };
        let _ = timeout(CUT_SHORT_TIMEOUT, ends).await;
        if self.settle.is_empty() {
            return;
        }
        self.deadline = Some(Instant::now() + CUT_SHORT_TIMEOUT);
        let settle = Plan {
            take: 0,
            renew: false,
        };
        if let Err(error) = self.turn(&settle).await {
            tracing::warn!(error, "events return when their leases expire");
        }
    }
}

/// The time, or never.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
