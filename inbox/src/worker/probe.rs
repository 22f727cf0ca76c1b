//! Finds out which event makes its process die, without harm to the others.
//!
//! Events whose worker died before they ended are suspects. When suspects are due, a worker
//! *drains*: it takes nothing until its running events have ended. Then it takes a group of
//! suspects and nothing else, and they *run* alone. If the process dies now, the group is halved
//! (see `crashes` in the store). Otherwise the group has *cleared* when its last event ends, and
//! the next group may be twice as large. All of this takes at most one and a half leases, where a
//! lease counts as at most half a minute; then other events have a turn.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;

use crate::turn::Lease;

#[derive(Default)]
pub(super) struct Probe {
    state: State,
    /// Since when other events have been waiting.
    since: Option<Instant>,
    /// The size of the last group that cleared.
    cleared: usize,
}

#[derive(Default)]
enum State {
    #[default]
    Calm,
    /// Nothing is taken until all running events have ended, or until this time.
    Drains { until: Instant },
    /// A group runs alone, until it has ended, or until this time.
    Runs {
        leases: HashSet<Lease>,
        size: usize,
        until: Instant,
    },
}

impl Probe {
    /// Records that suspects are due.
    pub(super) fn suspects(&mut self, now: Instant, lease: Duration) {
        if let State::Calm = self.state {
            self.since = Some(now);
            self.state = State::Drains {
                until: now + lease / 2,
            };
        }
    }

    /// Records that those that are due wait for others that run in this process.
    pub(super) fn waits(&mut self) {
        if let State::Drains { .. } = self.state {
            *self = Self::default();
        }
    }

    /// Whether other events wait for suspects.
    pub(super) fn is_at_work(&self) -> bool {
        !matches!(self.state, State::Calm)
    }

    /// Whether a group is to be taken now; `is_empty` says that nothing runs.
    pub(super) fn is_due(&self, now: Instant, is_empty: bool) -> bool {
        matches!(self.state, State::Drains { until } if is_empty || until <= now)
    }

    /// The size of the last group that cleared.
    pub(super) fn cleared(&self) -> usize {
        self.cleared
    }

    /// Records that a group was taken at this time.
    pub(super) fn began(&mut self, leases: HashSet<Lease>, now: Instant, lease: Duration) {
        if leases.is_empty() {
            // Another worker has them.
            *self = Self::default();
            return;
        }
        let end = self.since.unwrap_or(now) + lease;
        self.state = State::Runs {
            size: leases.len(),
            leases,
            until: end.max(now + lease / 2),
        };
    }

    /// Records that the event of this lease has ended, or that its lease was lost.
    pub(super) fn ended(&mut self, lease: Lease, now: Instant, length: Duration) {
        if let State::Runs { leases, .. } = &mut self.state {
            leases.remove(&lease);
        }
        self.advance(now, length);
    }

    /// Ends a phase whose time is over.
    pub(super) fn advance(&mut self, now: Instant, lease: Duration) {
        let State::Runs {
            leases,
            size,
            until,
        } = &self.state
        else {
            return;
        };
        if !leases.is_empty() && now < *until {
            return;
        }
        // A group that exceeds its time has proved nothing yet.
        self.cleared = if leases.is_empty() { *size } else { 0 };
        let end = self.since.unwrap_or(now) + lease;
        self.state = if now < end {
            State::Drains { until: now }
        } else {
            // The others have a turn; the next upkeep finds the suspects that are left.
            State::Calm
        };
    }

    /// The latest time at which something must be done.
    pub(super) fn wake(&self) -> Option<Instant> {
        match self.state {
            State::Calm => None,
            State::Drains { until } | State::Runs { until, .. } => Some(until),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(30);

    fn lease(id: i64) -> Lease {
        Lease { id, token: 1 }
    }

    fn group(ids: impl IntoIterator<Item = i64>) -> HashSet<Lease> {
        ids.into_iter().map(lease).collect()
    }

    #[test]
    fn a_group_runs_alone_after_what_ran_has_ended_and_the_next_may_be_larger() {
        let (mut probe, begin) = (Probe::default(), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        assert!(!probe.is_at_work() && !probe.is_due(at(0), true));
        probe.suspects(at(0), LEASE);
        assert!(probe.is_at_work());
        assert!(!probe.is_due(at(1), false) && probe.is_due(at(1), true));
        // Handlers that take long are not waited for.
        assert!(probe.is_due(at(15), false));
        assert_eq!(probe.wake(), Some(at(15)));

        probe.began(group([1, 2]), at(1), LEASE);
        assert!(probe.is_at_work() && !probe.is_due(at(2), true));
        probe.ended(lease(1), at(2), LEASE);
        probe.ended(lease(7), at(2), LEASE);
        assert!(!probe.is_due(at(2), false));
        probe.ended(lease(2), at(3), LEASE);
        assert!(probe.is_due(at(3), false));
        assert_eq!(probe.cleared(), 2);
        // There are no more.
        probe.began(group([]), at(3), LEASE);
        assert!(!probe.is_at_work());
        assert_eq!(probe.cleared(), 0);
    }

    #[test]
    fn nothing_is_drained_for_suspects_that_wait_for_others_of_the_process() {
        let (mut probe, now) = (Probe::default(), Instant::now());
        probe.suspects(now, LEASE);
        probe.waits();
        assert!(!probe.is_at_work());
        // A group that runs is its own.
        probe.suspects(now, LEASE);
        probe.began(group([1]), now, LEASE);
        probe.waits();
        assert!(probe.is_at_work());
    }

    #[test]
    fn others_wait_for_a_lease_at_most() {
        let (mut probe, begin) = (Probe::default(), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        probe.suspects(at(0), LEASE);
        probe.began(group([1]), at(10), LEASE);
        probe.suspects(at(12), LEASE);
        assert_eq!(probe.wake(), Some(at(30)));
        probe.advance(at(29), LEASE);
        assert!(probe.is_at_work());
        probe.advance(at(30), LEASE);
        assert!(!probe.is_at_work());

        // A group that is taken late has half a lease.
        probe.suspects(at(31), LEASE);
        probe.began(group([1]), at(51), LEASE);
        assert_eq!(probe.wake(), Some(at(66)));
        probe.advance(at(66), LEASE);
        assert!(!probe.is_at_work());

        // Group after group: the next upkeep begins again.
        probe.suspects(at(70), LEASE);
        for (group_begins, id) in [(70, 1), (85, 2)] {
            probe.began(group([id]), at(group_begins), LEASE);
            probe.ended(lease(id), at(group_begins + 15), LEASE);
        }
        assert!(!probe.is_at_work());
    }
}
