//! The loop of a worker.
//!
//! A worker knows the table only through *turns*: one transaction in which it settles the events
//! whose tasks have ended, renews the leases of those that run, and takes new ones if it has room.
//! The loop repeats four things. It *plans* a turn if one is due: because something ended, a lease
//! is to be renewed, or it is time to look for events. It *takes* the turn. It *applies* the
//! result: it starts a task for each event, aborts tasks whose lease was lost, and decides when to
//! look again. And if no turn is due, it *waits* until a task ends, an event arrives in this
//! process, a deadline passes, or the worker is to stop.
//!
//! While a turn is under way, tasks end, and events that were taken *ahead* (`ahead`) begin:
//! handlers that are faster than the database would otherwise spend most of the time waiting for
//! it. An event that was taken ahead has a lease. It is given back when the worker is to stop, when
//! suspects are to run alone, or when it has waited for too long.
//!
//! Every third of a lease a turn includes *upkeep*: it looks for leases of dead workers
//! (`silence`), and for suspects among their events, which then run alone (`probe`).
//!
//! After a turn that failed, the loop rests even if something is due, and keeps the results that it
//! could not settle. The failed turn may have been committed without an answer; settling again then
//! finds the leases gone. After the signal to stop no event is taken. The loop ends when all tasks
//! have ended and are settled, or at the deadline, when running tasks are aborted and their events
//! given back. The attempt of a handler that was called counts in any case.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};

use super::ahead::Ahead;
use super::probe::Probe;
use super::report::Report;
use super::silence::Silence;
use super::tasks::{Held, Tasks};
use super::{Settings, Start, Until};
use crate::asked::Asked;
use crate::guarded::Guarded;
use crate::health::Record;
use crate::metrics;
use crate::outcome::Outcome;
use crate::store::{BoxFuture, Store, TURN_TIMEOUT};
use crate::turn::{
    Died, Lease, Look, Queue, Running, Take, Turn, Turned, Upkeep, Verdict, WorkerId,
};

/// The maximum number of events that a turn takes: their bodies are read with them.
const MAX_TAKE: usize = 256;

/// How long to wait while another worker chooses.
const LOOK_SOON: Duration = Duration::from_millis(50);

/// The longest lease by which upkeep and suspects are timed.
const MAX_WINDOW: Duration = Duration::from_secs(30);

/// How long the loop rests after a turn that failed.
const REST_AFTER_ERROR: Duration = Duration::from_millis(500);

/// How long aborted tasks may take to end, and how long the last turn may take.
pub(super) const CUT_SHORT_TIMEOUT: Duration = Duration::from_secs(1);

/// When the next turn is due, and for what.
struct Times {
    /// When to look for events.
    look: Instant,
    /// When to renew leases.
    renew: Instant,
    /// When to look for leases of dead workers.
    upkeep: Instant,
    /// No turn is taken before this.
    rest: Instant,
}

/// The work of the next turn, besides settling.
struct Plan {
    take: Take,
    renew: bool,
    upkeep: bool,
    /// Whether upkeep is due by itself.
    mends: bool,
}

pub(super) struct Rounds {
    worker: WorkerId,
    store: Arc<dyn Store>,
    settings: Settings,
    tasks: Tasks,
    ahead: Ahead,
    /// Tasks that have ended during a turn.
    ended: Vec<(Held, Outcome)>,
    /// Results that are not in the table yet.
    settle: Vec<(Lease, Verdict)>,
    /// How many of those the turn under way settles.
    sent: usize,
    report: Report,
    times: Times,
    silence: Silence,
    probe: Probe,
    /// The queue that gets the odd event of the next turn.
    prefer: Queue,
    shutdown: Guarded<BoxFuture<'static, ()>>,
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
        health: Record,
        shutdown: BoxFuture<'static, ()>,
    ) -> Self {
        let now = Instant::now();
        Self {
            worker: settings.worker,
            times: Times {
                look: now,
                renew: now + settings.lease / 3,
                upkeep: now,
                rest: now,
            },
            silence: Silence::default(),
            probe: Probe::default(),
            prefer: Queue::First,
            store,
            tasks: Tasks::new(start, settings.concurrency, settings.accepts_malformed),
            ahead: Ahead::new(now),
            settings,
            ended: Vec::new(),
            settle: Vec::new(),
            sent: 0,
            report: Report::new(health, asked),
            shutdown: Guarded::new(shutdown),
            deadline: None,
            idle: false,
        }
    }

    /// Runs until the worker is to stop, and returns why it ended; `arrived` signals that an event
    /// was accepted in this process.
    pub(super) async fn run(&mut self, arrived: &Notify) -> Until {
        loop {
            let now = Instant::now();
            // Tasks that end during a turn are settled by the next one: otherwise their leases
            // could expire, and another worker would handle the events again.
            self.end_all(now);
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
            self.probe.advance(now, self.window());
            match self.plan(now) {
                Some(plan) => match self.turn(&plan).await {
                    Ok(turned) => {
                        self.report.reach.back();
                        self.apply(&plan, turned, now, arrived);
                    }
                    Err(error) => {
                        self.report.lost(&error);
                        self.silence.forget();
                        self.times.rest = Instant::now() + REST_AFTER_ERROR;
                    }
                },
                None => self.wait(arrived).await,
            }
        }
    }

    /// Waits for the signal to stop, if it has not come.
    pub(super) async fn signal(&mut self) {
        if self.deadline.is_some() {
            std::future::pending().await
        }
        let signal = (&mut self.shutdown).await;
        self.stop(&signal);
    }

    /// Returns what to do now; `None` if there is nothing to do or the loop rests.
    fn plan(&self, now: Instant) -> Option<Plan> {
        let take = if self.takes_suspects(now) {
            let rows = MAX_TAKE.min(self.tasks.free());
            let cleared = self.probe.cleared();
            Take::Suspects { rows, cleared }
        } else if self.takes() && self.times.look <= now {
            Take::Due {
                rows: MAX_TAKE.min(self.room()),
                // Zero while there are events that were taken ahead, since those begin first.
                begin: self.tasks.free(),
                prefer: self.prefer,
            }
        } else {
            Take::Nothing
        };
        let renew = self.times.renew <= now && !self.tasks.is_empty();
        // Only upkeep sees all due events, which decides whether the worker is idle.
        let may_be_idle = self.settings.until == Until::Idle && self.tasks.is_empty();
        let upkeep = self.times.upkeep <= now || may_be_idle && !take.is_nothing();
        let upkeep = upkeep && self.deadline.is_none();
        let due = !take.is_nothing() || renew || upkeep || !self.settle.is_empty();
        (due && self.times.rest <= now).then_some(Plan {
            take,
            renew,
            upkeep,
            mends: self.times.upkeep <= now,
        })
    }

    /// Whether there is room for events, and the worker is not to stop.
    fn takes(&self) -> bool {
        let is_low = self.tasks.free() > 0 || self.ahead.is_low(self.tasks.ahead());
        self.deadline.is_none() && is_low && self.room() > 0 && !self.probe.is_at_work()
    }

    /// Whether a group of suspects is to be taken.
    fn takes_suspects(&self, now: Instant) -> bool {
        let is_due = self.probe.is_due(now, self.tasks.is_empty());
        self.deadline.is_none() && self.tasks.free() > 0 && is_due
    }

    /// For how many more events there is room, including those to take ahead.
    fn room(&self) -> usize {
        let room = self.settings.concurrency + self.ahead.target();
        room.saturating_sub(self.tasks.running() + self.tasks.ahead())
    }

    /// The leases of events that run, that were taken ahead, and that have ended but are not
    /// settled.
    fn held(&self) -> Vec<Lease> {
        let ended = self.ended.iter().map(|(held, _)| held.lease);
        self.tasks.leases().into_iter().chain(ended).collect()
    }

    async fn turn(&mut self, plan: &Plan) -> Result<Turned, String> {
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
    fn apply(&mut self, plan: &Plan, turned: Turned, planned_at: Instant, arrived: &Notify) {
        if plan.renew || self.tasks.is_empty() {
            self.times.renew = planned_at + self.settings.lease / 3;
        }
        if plan.renew {
            self.warn_of_overdue();
        }
        let unsure = self.report.is_unsure();
        // A signal during the turn has added to them.
        let settled: Vec<_> = self.settle.drain(..self.sent).collect();
        self.report.dead(&turned.lost);
        let window = self.window();
        for lost in turned.lost {
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
        if plan.upkeep {
            self.keep_up(&turned.running, planned_at);
            self.report.crashed(&turned.crashed);
            if turned.suspects {
                self.probe.suspects(planned_at, window);
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
            self.probe.began(group, planned_at, window);
        }
        for claim in turned.claims {
            if self.deadline.is_none() {
                self.tasks.take(claim);
            } else {
                // The signal came while the turn was on its way.
                let delay = Duration::ZERO;
                self.settle.push((claim.lease, Verdict::Returned { delay }));
            }
        }
        if self.probe.is_at_work() {
            self.give_back();
        }
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
                let found_none = turned.next == Look::Later && self.silence.next().is_none();
                self.idle = at_rest && plan.upkeep && found_none;
            }
            Take::Suspects { .. } => {
                // The others have waited meanwhile. Suspects that are left may wait for events that
                // run.
                self.times.look = planned_at + LOOK_SOON;
                return;
            }
        }
        match turned.next {
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

    /// Returns the length of a lease, or less if leases are long.
    fn window(&self) -> Duration {
        self.settings.lease.min(MAX_WINDOW)
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

    /// Waits until a turn may be due, or the worker is to stop.
    async fn wait(&mut self, arrived: &Notify) {
        let takes = self.takes();
        let wake = self.wake();
        // In a fixed order, so that a simulation can replay it; the signal first, so that nothing
        // can delay it.
        tokio::select! {
            biased;
            signal = &mut self.shutdown, if self.deadline.is_none() => self.stop(&signal),
            Some(ended) = self.tasks.ended() => {
                self.end(ended);
                // There is room again, and events that waited for this one may be due.
                self.times.look = Instant::now();
            }
            () = arrived.notified(), if takes => self.times.look = Instant::now(),
            () = at(wake) => {}
        }
    }

    /// Returns the next time at which something is due; `None` if only an event can cause it.
    fn wake(&self) -> Option<Instant> {
        let Times {
            look,
            renew,
            upkeep,
            rest,
        } = self.times;
        let now = Instant::now();
        let suspects = if self.takes_suspects(now) {
            // The loop rests: another worker chooses, or a turn has failed.
            Some(now)
        } else {
            self.probe
                .wake()
                .filter(|_| self.deadline.is_none() && self.tasks.free() > 0)
        };
        [
            self.takes().then_some(look),
            self.deadline.is_none().then_some(upkeep),
            suspects,
            self.ahead_until(),
            (!self.tasks.is_empty()).then_some(renew),
            (!self.settle.is_empty()).then_some(rest),
            self.deadline,
        ]
        .into_iter()
        .flatten()
        .map(|at| at.max(rest))
        .min()
    }

    /// When events that were taken ahead and have not begun are given back.
    fn ahead_until(&self) -> Option<Instant> {
        let since = self.tasks.ahead_since()?;
        Some(Ahead::end(since, self.settings.lease))
    }

    /// Gives back events that were taken ahead, to be settled with the next turn.
    fn give_back(&mut self) {
        let delay = Duration::ZERO;
        let ahead = self.tasks.give_back().into_iter();
        self.settle
            .extend(ahead.map(|lease| (lease, Verdict::Returned { delay })));
    }

    fn stop(&mut self, signal: &Result<(), String>) {
        if signal.is_err() {
            tracing::error!("the future of graceful_shutdown panicked: the worker stops");
        }
        tracing::debug!(running = self.tasks.running(), "the worker is stopping");
        self.give_back();
        self.deadline = Some(Instant::now() + self.settings.shutdown_timeout);
    }

    /// Records the results of tasks that have ended by now, and gives back events that have waited
    /// for too long.
    fn end_all(&mut self, now: Instant) {
        let mut ended = std::mem::take(&mut self.ended);
        ended.extend(self.tasks.ended_by_now());
        if !ended.is_empty() {
            self.end(ended);
            self.times.look = now;
        }
        if self.ahead_until().is_some_and(|until| until <= now) {
            self.ahead.stalled();
            self.give_back();
        }
    }

    /// Records how tasks ended.
    fn end(&mut self, ended: Vec<(Held, Outcome)>) {
        let now = Instant::now();
        self.ahead.ended(ended.len());
        for (held, outcome) in ended {
            let (lease, attempts) = (held.lease, held.attempts);
            self.probe.ended(lease, now, self.window());
            let Some(verdict) = outcome.verdict(&self.settings.retry, attempts) else {
                continue;
            };
            metrics::settling(&verdict);
            match verdict {
                Verdict::Again { delay, .. } => tracing::warn!(
                    id = lease.id,
                    attempt = attempts,
                    again_in = ?delay,
                    "an attempt failed"
                ),
                Verdict::Dead { .. } => self.report.dies(Died {
                    id: lease.id,
                    key: held.key,
                    event_type: held.event_type,
                    attempts,
                }),
                _ => {}
            }
            self.settle.push((lease, verdict));
        }
    }

    /// Aborts running tasks, and gives back the events whose tasks end in time.
    async fn cut_short(&mut self) {
        tracing::warn!(
            running = self.tasks.running(),
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
            take: Take::Nothing,
            renew: false,
            upkeep: false,
            mends: false,
        };
        match self.turn(&settle).await {
            Ok(turned) => self.report.dead(&turned.lost),
            Err(error) => tracing::warn!(error, "events return when their leases expire"),
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
