//! The purpose of the next turn, and when it is due.

use std::time::Duration;

use tokio::time::Instant;

use super::super::Until;
use super::{MAX_TAKE, MAX_WINDOW, Plan, Rounds, Times};
use crate::turn::Take;

impl Rounds {
    /// Returns what to do now; `None` if there is nothing to do or the loop rests.
    pub(super) fn plan(&self, now: Instant) -> Option<Plan> {
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
    pub(super) fn takes(&self) -> bool {
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

    /// Returns the next time at which something is due; `None` if only an event can cause it.
    pub(super) fn wake(&self) -> Option<Instant> {
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
    pub(super) fn ahead_until(&self) -> Option<Instant> {
        self.tasks.ahead_until()
    }

    /// Returns the length of a lease, or less if leases are long.
    pub(super) fn window(&self) -> Duration {
        self.settings.lease.min(MAX_WINDOW)
    }
}
