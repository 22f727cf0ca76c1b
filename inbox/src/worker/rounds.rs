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

mod ending;
mod planning;
mod turning;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::ahead::Ahead;
use super::probe::Probe;
use super::report::Report;
use super::silence::Silence;
use super::tasks::{Held, Tasks};
use super::{Settings, Start, Until};
use crate::asked::Asked;
use crate::guarded::Guarded;
use crate::health::Record;
use crate::outcome::Outcome;
use crate::store::{BoxFuture, Store};
use crate::turn::{Lease, Queue, Take, Verdict, WorkerId};

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
}

/// The time, or never.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
