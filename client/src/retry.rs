//! Which calls are repeated after which faults, and how long the client waits first.
//!
//! The effect of a call decides, not its method: `POST …/filter` is a read.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};

use crate::error::{Outcome, Stop};

/// How a call may be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Carrying it out twice has the same effect as once: reads, `PUT`, `PATCH` and `DELETE`.
    Always,
    /// Repeated only if the attempt was certainly not carried out: create and redeliver.
    IfNotCarriedOut,
    /// Like `IfNotCarriedOut`; after an unknown outcome the caller reads back and compares.
    ReadBack,
    /// Never repeated here, because each rotation creates another secret.
    Never,
}

/// How one attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No connection, so nothing was sent.
    NotConnected,
    /// There was a connection, but no whole answer: a time limit, or a connection that broke off.
    NoAnswer,
    /// 429 with quota left: a burst.
    Throttled,
    /// 429 without quota left.
    OverQuota,
    /// 5xx.
    ServerError,
    /// 4xx.
    Rejected,
    /// 3xx, and statuses that HTTP does not define.
    Unexpected,
    /// 2xx with a body that cannot be read.
    Unreadable,
}

impl Fault {
    /// Returns what one attempt with this fault may have changed.
    pub(crate) fn outcome(self) -> Outcome {
        match self {
            Self::NotConnected => Outcome::NotSent,
            Self::Throttled | Self::OverQuota | Self::Rejected => Outcome::Rejected,
            Self::NoAnswer | Self::ServerError | Self::Unexpected | Self::Unreadable => {
                Outcome::Unknown
            }
        }
    }
}

/// Returns `Ok` if the call is to be repeated after this fault, and otherwise why it is not.
pub(crate) fn decide(repeat: Repeat, fault: Fault) -> Result<(), Stop> {
    match (fault, repeat) {
        (Fault::OverQuota, _) => Err(Stop::Quota),
        (Fault::Rejected | Fault::Unexpected | Fault::Unreadable, _) => Err(Stop::Permanent),
        (_, Repeat::Never) => Err(Stop::NeverRepeated),
        (Fault::NotConnected | Fault::Throttled, _) | (_, Repeat::Always) => Ok(()),
        (Fault::NoAnswer | Fault::ServerError, Repeat::IfNotCarriedOut | Repeat::ReadBack) => {
            Err(Stop::MayBeCarriedOut)
        }
    }
}

/// The longest time that is added to what a server asks for.
const MAX_JITTER: Duration = Duration::from_secs(30);

/// The delays between the attempts of one call.
pub(crate) struct Delays(ExponentialBackoff);

impl Delays {
    /// `attempts` counts the first one, which has no delay.
    pub(crate) fn new(attempts: u32, first: Duration, longest: Duration) -> Self {
        let delays = ExponentialBuilder::new()
            .with_min_delay(first)
            .with_max_delay(longest)
            .with_max_times(usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX));
        Self(delays.build())
    }

    /// Returns the next delay, uniform between zero and the exponential delay, and at least what
    /// the server asked for plus up to 10 %, so that its clients do not all return at once; `None`
    /// after the last attempt.
    pub(crate) fn next(&mut self, at_least: Option<Duration>) -> Option<Duration> {
        let delay = self.0.next()?.mul_f64(fastrand::f64());
        let asked = at_least.unwrap_or_default();
        let jitter = (asked / 10).min(MAX_JITTER).mul_f64(fastrand::f64());
        Some(delay.max(asked.saturating_add(jitter)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every call against every fault. A changed cell is a changed promise.
    #[test]
    fn the_table_of_calls_and_faults() {
        use Fault::*;
        use Repeat::*;
        let (maybe, permanent) = (Err(Stop::MayBeCarriedOut), Err(Stop::Permanent));
        let (never, quota) = (Err(Stop::NeverRepeated), Err(Stop::Quota));
        #[rustfmt::skip]
        let table = [
            // fault, outcome, always, if not carried out, read back, never
            (NotConnected, Outcome::NotSent, [Ok(()), Ok(()), Ok(()), never]),
            (NoAnswer, Outcome::Unknown, [Ok(()), maybe, maybe, never]),
            (Throttled, Outcome::Rejected, [Ok(()), Ok(()), Ok(()), never]),
            (OverQuota, Outcome::Rejected, [quota; 4]),
            (ServerError, Outcome::Unknown, [Ok(()), maybe, maybe, never]),
            (Rejected, Outcome::Rejected, [permanent; 4]),
            (Unexpected, Outcome::Unknown, [permanent; 4]),
            (Unreadable, Outcome::Unknown, [permanent; 4]),
        ];
        for (fault, outcome, decisions) in table {
            assert_eq!(fault.outcome(), outcome, "{fault:?}");
            for (repeat, decision) in [Always, IfNotCarriedOut, ReadBack, Never]
                .into_iter()
                .zip(decisions)
            {
                assert_eq!(decide(repeat, fault), decision, "{fault:?} {repeat:?}");
            }
        }
    }

    #[test]
    fn delays_grow_to_the_longest_and_end() {
        let (first, longest) = (Duration::from_millis(100), Duration::from_millis(300));
        let mut delays = Delays::new(4, first, longest);
        for bound in [100, 200, 300] {
            assert!(delays.next(None).unwrap() <= Duration::from_millis(bound));
        }
        assert_eq!(delays.next(None), None);
        assert_eq!(Delays::new(1, first, longest).next(None), None);
        assert_eq!(Delays::new(0, first, longest).next(None), None);
        let least = Duration::from_secs(7);
        let delay = |least| Delays::new(2, first, longest).next(Some(least)).unwrap();
        let delays: Vec<Duration> = (0..50).map(|_| delay(least)).collect();
        assert!(
            delays
                .iter()
                .all(|delay| (least..=least.mul_f64(1.1)).contains(delay))
        );
        assert!(delays.iter().any(|delay| *delay != delays[0]), "no jitter");
        assert_eq!(
            Delays::new(2, first, longest).next(Some(Duration::MAX)),
            Some(Duration::MAX)
        );
    }
}
