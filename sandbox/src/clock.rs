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

    /// Moves the clock to `time`; never back.
    pub(crate) fn move_to(&mut self, time: OffsetDateTime) {
        self.0 = self.0.max(time);
    }
}

/// Returns the time after `delay`, or `time` itself if no date can express it.
pub(crate) fn later(time: OffsetDateTime, delay: Duration) -> OffsetDateTime {
    let delay = time::Duration::try_from(delay).unwrap_or(time::Duration::MAX);
    // RFC 3339 cannot write a year after 9999.
    time.checked_add(delay)
        .filter(|later| later.year() <= 9999)
        .unwrap_or(time)
}

/// Returns the time as JSON shows it.
pub(crate) fn to_text(time: OffsetDateTime) -> String {
    time.format(&Rfc3339).unwrap_or_default()
}
