//! Which leases have not been renewed for so long that their workers must be gone.
//!
//! A clock can be set, so that a lease has expired by the database's clock is not enough: it must
//! also have been seen unchanged for half of its length, by the monotonic clock of this process. A
//! worker renews its leases every third of their length, so one that lives is seen to.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::turn::{Running, Stamped};

/// Since when each lease is known as it is, and its length.
#[derive(Default)]
pub(super) struct Silence {
    since: HashMap<Stamped, (Instant, Duration)>,
    /// When the next one of those that have expired will have been silent for long enough.
    next: Option<Instant>,
}

impl Silence {
    /// Notes what runs now.
    pub(super) fn note(&mut self, running: &[Running], now: Instant, lease: Duration) {
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
        let expired = running.iter().filter(|running| running.is_expired);
        let ends = expired.filter_map(|running| self.since.get(&running.stamped));
        let ends = ends.map(|(since, length)| *since + *length / 2);
        self.next = ends.filter(|end| *end > now).min();
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// The leases that were silent for half of their length.
    pub(super) fn silent(&self, now: Instant) -> Vec<Stamped> {
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

    #[test]
    fn a_lease_is_silent_when_it_was_seen_unchanged_for_half_of_its_length() {
        let (mut silence, begin) = (Silence::default(), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        silence.note(&[running(0)], at(0), LEASE);
        silence.note(&[running(0)], at(10), LEASE);
        assert_eq!(silence.next(), Some(at(15)));
        assert_eq!(silence.silent(at(14)), []);
        assert_eq!(silence.silent(at(15)), [running(0).stamped]);
        // It was renewed.
        silence.note(&[running(9)], at(20), LEASE);
        assert_eq!(silence.silent(at(34)), []);
        assert_eq!(silence.silent(at(35)), [running(9).stamped]);
        // It has ended.
        silence.note(&[], at(40), LEASE);
        assert_eq!(silence.next(), None);
        assert_eq!(silence.silent(at(99)), []);
    }

    #[test]
    fn a_lease_of_a_worker_with_longer_leases_has_its_own_length() {
        let (mut silence, begin) = (Silence::default(), Instant::now());
        silence.note(&[running(0)], begin, Duration::from_secs(1));
        assert_eq!(silence.silent(begin + Duration::from_secs(14)), []);
        silence.note(&[running(0)], begin, Duration::from_secs(60));
        assert_eq!(silence.silent(begin + Duration::from_secs(29)), []);
    }
}
