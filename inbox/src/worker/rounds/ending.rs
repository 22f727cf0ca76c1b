//! The ends of tasks and of the worker.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::super::tasks::Held;
use super::{CUT_SHORT_TIMEOUT, Plan, Rounds};
use crate::metrics;
use crate::outcome::Outcome;
use crate::turn::{Died, Take, Verdict};

impl Rounds {
    /// Gives back events that were taken ahead, to be settled with the next turn.
    pub(super) fn give_back(&mut self) {
        let delay = Duration::ZERO;
        let ahead = self.tasks.give_back().into_iter();
        self.settle
            .extend(ahead.map(|lease| (lease, Verdict::Returned { delay })));
    }

    pub(super) fn stop(&mut self, signal: &Result<(), String>) {
        if signal.is_err() {
            tracing::error!("the future of graceful_shutdown panicked: the worker stops");
        }
        tracing::debug!(running = self.tasks.running(), "the worker is stopping");
        self.give_back();
        self.deadline = Some(Instant::now() + self.settings.shutdown_timeout);
    }

    /// Records the results of tasks that have ended by now, and gives back events that have waited
    /// for too long.
    pub(super) fn end_all(&mut self, now: Instant) {
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
    pub(super) fn end(&mut self, ended: Vec<(Held, Outcome)>) {
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
    pub(super) async fn cut_short(&mut self) {
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
