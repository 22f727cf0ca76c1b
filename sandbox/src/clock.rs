//! The virtual clock, on which retries run.

use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The virtual time of a sandbox. It begins at the host's time and moves only when it is advanced.
pub(crate) struct Clock(OffsetDateTime);

impl Clock {
    pub(crate) fn new() -> Self {
        let now = OffsetDateTime::now_utc();
        // Whole seconds, as in the documented examples of timestamps.
        Self(now.replace_nanosecond(0).unwrap_or(now))
    }

    pub(crate) fn now(&self) -> OffsetDateTime {
        self.0
    }

    /// Moves the clock to `time`, but never back.
    pub(crate) fn move_to(&mut self, time: OffsetDateTime) {
        self.0 = self.0.max(time);
    }
}

/// The last second of 9999: RFC 3339 cannot write a later year.
const LAST_SECOND: i64 = 253_402_300_799;

/// Returns the time after `delay`, at most the last second of 9999.
pub(crate) fn later(time: OffsetDateTime, delay: Duration) -> OffsetDateTime {
    let last = OffsetDateTime::from_unix_timestamp(LAST_SECOND).unwrap_or(time);
    let delay = time::Duration::try_from(delay).unwrap_or(time::Duration::MAX);
    time.checked_add(delay)
        .map_or(last, |later| later.min(last))
}

/// Returns the time as JSON shows it.
pub(crate) fn to_text(time: OffsetDateTime) -> String {
    time.format(&Rfc3339).unwrap_or_default()
}
