//! A clock that never goes back, for a database without a clock.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use time::format_description::well_known::Iso8601;
use time::format_description::well_known::iso8601::{Config, EncodedConfig, TimePrecision};

const FORMAT: EncodedConfig = Config::DEFAULT
    .set_year_is_six_digits(false)
    .set_time_precision(TimePrecision::Second {
        decimal_digits: std::num::NonZero::new(3),
    })
    .encode();

/// The host's clock, unless that is set back: then time goes on from where it was.
///
/// "Where it was" is the latest time that this process has seen, of its own or in the table. So a
/// lease that was taken before the host's clock was set back runs out when it should.
pub(crate) struct Clock {
    latest: Mutex<(OffsetDateTime, Instant)>,
    host: fn() -> OffsetDateTime,
}

impl Clock {
    pub(crate) fn new(host: fn() -> OffsetDateTime) -> Self {
        Self {
            latest: Mutex::new((host(), Instant::now())),
            host,
        }
    }

    pub(crate) fn now(&self) -> OffsetDateTime {
        self.at_least(OffsetDateTime::UNIX_EPOCH)
    }

    /// Same as `now`, and not before `seen`, which stands in the table.
    pub(crate) fn at_least(&self, seen: OffsetDateTime) -> OffsetDateTime {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let (time, read) = *latest;
        let steady =
            time.saturating_add(time::Duration::try_from(read.elapsed()).unwrap_or_default());
        let now = steady.max((self.host)()).max(seen);
        *latest = (now, Instant::now());
        now
    }
}

/// A time as the table holds it: UTC to the millisecond, in an order that is the text's order.
pub(crate) fn text(time: OffsetDateTime) -> String {
    let utc = time.to_offset(time::UtcOffset::UTC);
    // Every time of this crate lies within the years 0 to 9999, which is what can fail here.
    utc.format(&Iso8601::<FORMAT>).unwrap_or_default()
}

pub(crate) fn parse(text: &str) -> Result<OffsetDateTime, time::error::Parse> {
    OffsetDateTime::parse(text, &Iso8601::<FORMAT>)
}

pub(crate) fn after(time: OffsetDateTime, delay: Duration) -> OffsetDateTime {
    time.saturating_add(time::Duration::try_from(delay).unwrap_or(time::Duration::MAX))
}

pub(crate) fn before(time: OffsetDateTime, age: Duration) -> OffsetDateTime {
    time.saturating_sub(time::Duration::try_from(age).unwrap_or(time::Duration::MAX))
        .max(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    static HOST: AtomicI64 = AtomicI64::new(0);

    fn host() -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(HOST.load(Ordering::Relaxed))
    }

    #[test]
    fn time_goes_on_where_the_hosts_clock_is_set_back() {
        HOST.store(1_000_000, Ordering::Relaxed);
        let clock = Clock::new(host);
        let before = clock.now();
        HOST.store(1_000_100, Ordering::Relaxed);
        assert_eq!(clock.now(), host());
        let latest = host();
        HOST.store(990_000, Ordering::Relaxed);
        let set_back = clock.now();
        assert!(latest <= set_back && set_back < latest + Duration::from_secs(50));
        std::thread::sleep(Duration::from_millis(20));
        assert!(clock.now() - set_back >= time::Duration::milliseconds(20));

        // A process that starts now sees the latest time in the table.
        let restarted = Clock::new(host);
        assert!(restarted.now() < before);
        assert_eq!(restarted.at_least(set_back), set_back);
        assert!(restarted.now() >= set_back);
        assert!(restarted.at_least(OffsetDateTime::UNIX_EPOCH) >= set_back);
    }

    #[test]
    fn the_order_of_the_texts_is_the_order_of_the_times() {
        let time = OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(1_776_245_400);
        let milliseconds = [0, 1, 9, 10, 99, 100, 999, 1_000, 60_000, 86_400_000];
        let times = milliseconds.map(|after| time + Duration::from_millis(after));
        let texts = times.map(text);
        assert!(texts.is_sorted());
        assert_eq!(texts[0], "2026-04-15T09:30:00.000Z");
        assert_eq!(texts[6], "2026-04-15T09:30:00.999Z");
        assert_eq!(texts.map(|text| parse(&text).unwrap()), times);
        let east = time.to_offset(time::UtcOffset::from_hms(9, 0, 0).unwrap());
        assert_eq!(text(east), text(time));
    }

    #[test]
    fn delays_do_not_overflow() {
        let now = OffsetDateTime::now_utc();
        for delay in [
            Duration::ZERO,
            Duration::MAX,
            Duration::from_secs(u64::MAX / 2),
        ] {
            assert!(after(now, delay) >= now);
            assert!(before(now, delay) <= now);
            assert!(!text(after(now, delay)).is_empty());
            assert!(!text(before(now, delay)).is_empty(), "{delay:?}");
        }
    }
}
