//! When a failed delivery is attempted again.

use std::time::Duration;

/// The retry schedule of the sandbox: exponential, on the virtual clock.
///
/// **Ptolemy documents that retries back off exponentially, but no numbers.** The numbers here are
/// settings of the sandbox and say nothing about Ptolemy.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use ptolemy_webhooks_sandbox::Retries;
///
/// let retries = Retries::new().attempts(4).first_delay(Duration::from_secs(10)).factor(3);
/// assert_eq!(retries.delay_after(1), Some(Duration::from_secs(10)));
/// assert_eq!(retries.delay_after(3), Some(Duration::from_secs(90)));
/// assert_eq!(retries.delay_after(4), None); // the fourth attempt was the last one
/// ```
#[derive(Clone, Debug)]
pub struct Retries {
    attempts: u32,
    first_delay: Duration,
    factor: u32,
    max_delay: Duration,
}

impl Retries {
    /// Six attempts: the first retry after one minute, each delay four times the previous one, and
    /// at most six hours.
    #[must_use]
    pub fn new() -> Self {
        Self {
            attempts: 6,
            first_delay: Duration::from_secs(60),
            factor: 4,
            max_delay: Duration::from_secs(6 * 3600),
        }
    }

    /// Sets the number of attempts, the first one included. 0 counts as 1.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts.max(1);
        self
    }

    /// Sets the delay between the first attempt and the second one.
    #[must_use]
    pub fn first_delay(mut self, delay: Duration) -> Self {
        self.first_delay = delay;
        self
    }

    /// Sets the factor by which each delay is longer than the previous one.
    #[must_use]
    pub fn factor(mut self, factor: u32) -> Self {
        self.factor = factor;
        self
    }

    /// Sets the longest delay.
    #[must_use]
    pub fn max_delay(mut self, delay: Duration) -> Self {
        self.max_delay = delay;
        self
    }

    /// Returns the delay after the failed attempt of this number, counted from 1; `None` after the
    /// last one.
    #[must_use]
    pub fn delay_after(&self, attempt: u32) -> Option<Duration> {
        if attempt >= self.attempts {
            return None;
        }
        let growth = self.factor.saturating_pow(attempt.saturating_sub(1));
        Some(self.first_delay.saturating_mul(growth).min(self.max_delay))
    }
}

impl Default for Retries {
    fn default() -> Self {
        Self::new()
    }
}
