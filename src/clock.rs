//! The timestamp of a request, checked against a clock and a tolerance.

use std::ops::Range;
use std::time::Duration;

use time::OffsetDateTime;

use crate::header::Timestamp;
use crate::verify_error::VerifyError;

/// 9999-12-31T23:59:59Z, the last second that `OffsetDateTime` can always represent.
const LAST_SECOND: i64 = 253_402_300_799;

/// A `t` in this range is a time from 1973 to 5138 if it counts milliseconds, and one after 5138
/// if it counts seconds.
const MILLISECONDS: Range<u64> = 100_000_000_000..100_000_000_000_000;

/// The header's timestamp: within the tolerance, and not yet authenticated.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim {
    /// In seconds since 1970, not after [`LAST_SECOND`].
    seconds: i64,
    t_length: usize,
}

impl Claim {
    /// Accepts `t` if it lies within `tolerance` of `now`, which counts seconds since 1970.
    ///
    /// The sender chooses `t`, so the difference is computed in 128 bits, where it cannot overflow.
    pub(crate) fn check(
        t: &Timestamp<'_>,
        now: i64,
        tolerance: Duration,
    ) -> Result<Self, VerifyError> {
        let distance = i128::from(t.seconds).abs_diff(i128::from(now));
        let distance = Duration::from_secs(u64::try_from(distance).unwrap_or(u64::MAX));
        let seconds = i64::try_from(t.seconds).ok();
        match seconds.filter(|&seconds| seconds <= LAST_SECOND) {
            Some(seconds) if distance.as_secs() <= tolerance.as_secs() => Ok(Self {
                seconds,
                t_length: t.text.len(),
            }),
            Some(seconds) if seconds < now => Err(VerifyError::TooOld {
                age: distance,
                tolerance,
            }),
            _ => Err(VerifyError::TooFarAhead {
                ahead: distance,
                tolerance,
                in_milliseconds: MILLISECONDS.contains(&t.seconds),
            }),
        }
    }

    /// Returns the time of `t`. It never saturates, because no claim is after [`LAST_SECOND`].
    pub(crate) fn signed_at(self) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH.saturating_add(time::Duration::seconds(self.seconds))
    }

    /// Returns the text of `t` as it was sent, leading zeros included.
    pub(crate) fn t(self) -> String {
        format!("{:0>1$}", self.seconds, self.t_length)
    }
}
