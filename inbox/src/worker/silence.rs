//! Finds leases that have not been renewed for so long that their workers must be dead.
//!
//! Clocks can be set, so it is not enough that a lease has expired by the database's clock: it must
//! also have been seen unchanged for half of its length, by the monotonic clock of this process. A
//! worker renews its leases every third of their length, so a live worker is seen to renew them. If
//! this worker cannot look for a while, its earlier observations are discarded: the others may not
//! have reached the database either.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::turn::{Running, Stamped};

/// A worker with short leases on a busy machine may look less often than it should.
const MIN_GAP: Duration = Duration::from_secs(2);

/// Since when each lease has been seen unchanged, and its length.
#[derive(Default)]
pub(super) struct Silence {
    since: HashMap<Stamped, (Instant, Duration)>,
    /// When the next lease that may be abandoned will have been silent for long enough.
    next: Option<Instant>,
    looked_at: Option<Instant>,
}

impl Silence {
    /// Records the running events; `unheld` says which leases of this worker none of its tasks
    /// holds.
    pub(super) fn note(
        &mut self,
        running: &[Running],
        unheld: impl Fn(&Running) -> bool,
        now: Instant,
        lease: Duration,
    ) {
        if !self.has_looked(now, lease) {
            self.forget();
        }
        self.looked_at = Some(now);
        let before = std::mem::take(&mut self.since);
        let seen = running.iter().map(
            |Running {
                 stamped, length, ..
             }| {
                let since = before.get(stamped).map_or(now, |(since, _)| *since);
                (*stamped, (since, (*length).max(lease)))
            },
        );
        self.since = seen.collect();
        let may_be_gone = running.iter().filter(|one| one.is_expired || unheld(one));
        let ends = may_be_gone.filter_map(|running| self.since.get(&running.stamped));
        let ends = ends.map(|(since, length)| *since + *length / 2);
        self.next = ends.filter(|end| *end > now).min();
    }

    /// Whether the last look is as recent as a lease of this worker requires.
    fn has_looked(&self, now: Instant, lease: Duration) -> bool {
        let limit = (lease * 2 / 3).max(MIN_GAP);
        self.looked_at.is_some_and(|at| now - at <= limit)
    }

    /// Discards all observations.
    pub(super) fn forget(&mut self) {
        self.since.clear();
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Returns the leases that were silent for half of their length.
    pub(super) fn silent(&self, now: Instant, lease: Duration) -> Vec<Stamped> {
        if !self.has_looked(now, lease) {
            return Vec::new();
        }
        let silent = self
            .since
            .iter()
            .filter(|(_, (since, length))| now - *since >= *length / 2);
        silent.map(|(stamped, _)| *stamped).collect()
    }
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;
    use crate::turn::Lease;

    const LEASE: Duration = Duration::from_secs(30);

    fn running(renewed: i64) -> Running {
        Running {
            stamped: Stamped {
                lease: Lease { id: 1, token: 1 },
                renewed_at: OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(renewed),
            },
            length: LEASE,
            worker: None,
            attempts: 1,
            group: None,
            is_expired: true,
            key: String::new(),
            event_type: None,
        }
    }

    fn note(silence: &mut Silence, running: &[Running], now: Instant) {
        silence.note(running, |_| false, now, LEASE);
    }

    #[test]
    fn a_lease_is_silent_when_it_was_seen_unchanged_for_half_of_its_length() {
        let (mut silence, begin) = (Silence::default(), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        note(&mut silence, &[running(0)], at(0));
        note(&mut silence, &[running(0)], at(10));
        assert_eq!(silence.next(), Some(at(15)));
        assert_eq!(silence.silent(at(14), LEASE), []);
        assert_eq!(silence.silent(at(15), LEASE), [running(0).stamped]);
        // The turn that found it silent has handled it.
        note(&mut silence, &[running(0)], at(15));
        assert_eq!(silence.next(), None);
        // It was renewed.
        note(&mut silence, &[running(9)], at(20));
        note(&mut silence, &[running(9)], at(30));
        assert_eq!(silence.silent(at(34), LEASE), []);
        assert_eq!(silence.silent(at(35), LEASE), [running(9).stamped]);
        // It has ended.
        note(&mut silence, &[], at(40));
        assert_eq!(silence.next(), None);
        assert_eq!(silence.silent(at(50), LEASE), []);
    }

    #[test]
    fn while_nothing_can_be_seen_nothing_is_silent() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut silence = Silence::default();
        note(&mut silence, &[running(0)], at(0));
        assert_eq!(silence.silent(at(21), LEASE), []);
        note(&mut silence, &[running(0)], at(60));
        assert_eq!(silence.silent(at(74), LEASE), []);
        assert_eq!(silence.silent(at(75), LEASE), [running(0).stamped]);
        silence.forget();
        assert_eq!(silence.silent(at(76), LEASE), []);
    }

    #[test]
    fn a_lease_of_a_worker_with_longer_leases_has_its_own_length() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        for (own, silent_at) in [(1, 15), (60, 30)] {
            let (mut silence, own) = (Silence::default(), Duration::from_secs(own));
            for tenth in 0..300 {
                let now = begin + Duration::from_millis(100 * tenth);
                silence.note(&[running(0)], |_| false, now, own);
                let is_silent = !silence.silent(now, own).is_empty();
                assert_eq!(is_silent, now >= at(silent_at), "{tenth}");
            }
        }
    }
}
