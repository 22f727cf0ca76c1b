//! When a failed event is tried again.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};

/// The longest delay or lease; anything above is clamped so that date arithmetic cannot overflow.
pub(crate) const MAX_DELAY: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// The shortest delay before another attempt: without one, an event that fails at once would keep
/// the database busy.
pub(crate) const MIN_DELAY: Duration = Duration::from_millis(100);

/// The maximum of attempts that can be set; the column holds larger numbers.
pub(crate) const MAX_ATTEMPTS: u32 = 1_000_000;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Retry {
    pub(crate) attempts: u32,
    pub(crate) first: Duration,
    pub(crate) longest: Duration,
}

impl Default for Retry {
    /// Retries for 9 to 18 hours, which covers an outage overnight.
    fn default() -> Self {
        Self {
            attempts: 20,
            first: Duration::from_secs(1),
            longest: Duration::from_secs(60 * 60),
        }
    }
}

impl Retry {
    /// Returns the delay after this many attempts; `None` after the last.
    pub(crate) fn after(&self, attempts: u32) -> Option<Duration> {
        if attempts >= self.attempts {
            return None;
        }
        // Jitter adds up to 100%, and no delay is shorter than the first.
        let longest = self.longest.min(MAX_DELAY);
        let mut delays = ExponentialBuilder::new()
            .with_min_delay(self.first)
            .with_max_delay((longest / 2).max(self.first.min(longest)))
            .without_max_times()
            .with_jitter()
            .build();
        // After this many doublings any delay has reached the maximum.
        let doublings = attempts.saturating_sub(1).min(64);
        let delay = delays.nth(usize::try_from(doublings).ok()?)?;
        Some(delay.min(longest))
    }

    /// Same as `after`, with a delay that the handler asked for.
    pub(crate) fn after_in(&self, attempts: u32, delay: Duration) -> Option<Duration> {
        (attempts < self.attempts).then(|| delay.min(MAX_DELAY))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_with_jitter_up_to_the_longest() {
        let retry = Retry::default();
        for _ in 0..100 {
            for (attempts, least) in [(1, 1), (2, 2), (3, 4), (10, 512), (12, 1_800), (19, 1_800)] {
                let delay = retry.after(attempts).unwrap().as_secs_f64();
                let least = f64::from(least);
                assert!(
                    (least..=2.0 * least).contains(&delay),
                    "{attempts}: {delay}"
                );
            }
        }
        assert_eq!(retry.after(20), None);
        assert_eq!(retry.after(u32::MAX), None);
    }

    #[test]
    fn the_longest_delay_is_a_leap_year() {
        assert_eq!(MAX_DELAY.as_secs(), 31_622_400);
        let retry = Retry::default();
        assert_eq!(retry.after_in(19, MAX_DELAY / 2), Some(MAX_DELAY / 2));
    }

    #[test]
    fn the_jitter_spreads() {
        let retry = Retry::default();
        // Also after the delays have stopped growing.
        for attempts in [5, 19] {
            let delays = (0..20).map(|_| retry.after(attempts));
            let delays: std::collections::HashSet<_> = delays.collect();
            assert!(delays.len() > 10, "{attempts}");
        }
    }

    #[test]
    fn any_setting_has_delays_that_a_database_can_add() {
        for first in [Duration::ZERO, Duration::from_secs(1), Duration::MAX] {
            for longest in [Duration::ZERO, Duration::from_millis(1), Duration::MAX] {
                let attempts = u32::MAX;
                let retry = Retry {
                    attempts,
                    first,
                    longest,
                };
                for attempts in [0, 1, 2, 40, 1_000, u32::MAX - 1] {
                    assert!(retry.after(attempts).unwrap() <= longest.min(MAX_DELAY));
                }
                assert_eq!(retry.after_in(1, Duration::MAX), Some(MAX_DELAY));
                assert_eq!(retry.after_in(u32::MAX, Duration::ZERO), None);
            }
        }
    }
}
