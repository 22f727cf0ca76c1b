//! A clock for a database without one. It follows the host's clock, which can be set at any time.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Iso8601;
use time::format_description::well_known::iso8601::{Config, EncodedConfig, TimePrecision};
use tokio::time::Instant;

use crate::store::steps::MAX_AHEAD;

const FORMAT: EncodedConfig = Config::DEFAULT
    .set_year_is_six_digits(false)
    .set_time_precision(TimePrecision::Second {
        decimal_digits: std::num::NonZero::new(3),
    })
    .encode();

/// The last millisecond that the table can hold: 9999-12-31T23:59:59.999Z. With the feature
/// `large-dates`, which any crate of the program may switch on, `time` has later ones.
const LAST_MILLISECOND: i128 = 253_402_300_799_999;

/// How far a time may be ahead of the host's clock. Times that are further ahead were written when
/// that clock was wrong.
const MAX_LEAD: Duration = Duration::from_secs(24 * 60 * 60);

/// The lead above which a warning is logged.
const WARN_AT_LEAD: Duration = Duration::from_secs(60);

/// 2026-01-01T00:00:00Z. A host's clock that shows an earlier time has not been set since the host
/// started.
const FIRST_SECOND: i64 = 1_767_225_600;

/// How far the host's clock may jump ahead before ages are no longer counted by it.
const MAX_JUMP: Duration = Duration::from_secs(24 * 60 * 60);

/// How far it may be ahead of all times in the table at the start, since the inbox may have been
/// idle.
const MAX_PAUSE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How long a jump is not believed.
const DOUBT: Duration = Duration::from_secs(24 * 60 * 60);

/// The host's clock, unless it is set back: then time continues from where it was, but is at most a
/// day ahead of the host's clock.
///
/// "Where it was" is the latest time that this process has read from the clock or seen in the
/// table. So a lease that was taken before the host's clock was set back expires when it should.
pub(crate) struct Clock {
    state: Mutex<State>,
    host: fn() -> OffsetDateTime,
}

struct State {
    latest: (OffsetDateTime, Instant),
    /// Whether the table was seen.
    begun: bool,
    warned: bool,
    /// The time from which ages are computed, when it was read, and since when the host's clock is
    /// ahead of it.
    ages: (OffsetDateTime, Instant),
    doubted: Option<Instant>,
}

/// The latest times in a table.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) latest: Option<OffsetDateTime>,
    /// The latest that is not after [`Clock::limit`].
    pub(crate) believed: Option<OffsetDateTime>,
}

impl Clock {
    pub(crate) fn new(host: fn() -> OffsetDateTime) -> Self {
        let now = (host(), Instant::now());
        Self {
            state: Mutex::new(State {
                latest: now,
                begun: false,
                warned: false,
                ages: now,
                doubted: None,
            }),
            host,
        }
    }

    /// Returns the latest time that is believed now.
    pub(crate) fn limit(&self) -> OffsetDateTime {
        limit((self.host)())
    }

    /// Returns the time, which is not before the times in the table, within limits.
    pub(crate) fn now(&self, seen: Seen) -> OffsetDateTime {
        let host = (self.host)();
        let mut state = self.state();
        let steady = on(state.latest);
        // The times in the table are believed at the start. From then on the same clock has written
        // them, and times ahead of both were written while the clock was wrong for a moment.
        let ahead = |time: &OffsetDateTime| *time > after(steady.max(host), MAX_AHEAD);
        let table = seen.believed.filter(|time| !(state.begun && ahead(time)));
        let believed = [Some(steady), table].into_iter().flatten();
        let now = believed
            .filter(|time| *time <= limit(host))
            .fold(host, OffsetDateTime::max);
        state.latest = (now, Instant::now());
        state.warn(host, steady, seen.latest);
        let begun = state.begun;
        state.begun |= seen.latest.is_some();
        if !begun
            && let Some(seen) = seen.believed
            && host > after(seen, MAX_PAUSE)
        {
            state.ages = (seen, Instant::now());
        }
        let _ages = state.ages(host);
        now
    }

    /// Returns the time from which ages are computed, the earlier of two clocks, since a row that
    /// counts as old is removed and its event forgotten. If the host's clock jumps ahead, ages are
    /// computed as if it had not, for a day.
    pub(crate) fn ages(&self) -> OffsetDateTime {
        self.state().ages((self.host)())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn warn(&mut self, host: OffsetDateTime, steady: OffsetDateTime, seen: Option<OffsetDateTime>) {
        let latest = seen.map_or(steady, |seen| seen.max(steady));
        let lead = latest - host;
        if seen.is_none() && lead <= WARN_AT_LEAD {
            // The times in the table may still be ahead.
            return;
        }
        let before = std::mem::replace(&mut self.warned, lead > WARN_AT_LEAD);
        if before || !self.warned {
            return;
        }
        let (ahead, host_clock) = (lead.whole_seconds(), text(host));
        if latest <= limit(host) {
            tracing::warn!(
                ahead_s = ahead,
                host_clock,
                "the host's clock is behind the times in the inbox: time continues from those"
            );
        } else {
            tracing::warn!(
                ahead_s = ahead,
                host_clock,
                "times in the inbox are more than a day ahead of the host's clock, and are not believed"
            );
        }
    }

    fn ages(&mut self, host: OffsetDateTime) -> OffsetDateTime {
        let steady = on(self.ages);
        if host > after(steady, MAX_JUMP) {
            if self.doubted.is_none() {
                tracing::warn!(
                    ahead_s = (host - steady).whole_seconds(),
                    host_clock = text(host),
                    "the host's clock is far ahead of the last time that was seen: for a day, no \
                     row is removed for its age by this clock"
                );
            }
            let since = *self.doubted.get_or_insert_with(Instant::now);
            if since.elapsed() < DOUBT {
                return steady;
            }
        }
        self.doubted = None;
        self.ages = (host, Instant::now());
        host
    }
}

fn limit(host: OffsetDateTime) -> OffsetDateTime {
    if host.unix_timestamp() < FIRST_SECOND {
        last()
    } else {
        after(host, MAX_LEAD)
    }
}

/// Returns the current time, from a time that was read earlier.
fn on((time, read): (OffsetDateTime, Instant)) -> OffsetDateTime {
    after(time, read.elapsed())
}

fn last() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(LAST_MILLISECOND * 1_000_000)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// Returns a time in the format of the table: UTC to the millisecond, so that texts sort by time.
pub(crate) fn text(time: OffsetDateTime) -> String {
    let utc = time.clamp(OffsetDateTime::UNIX_EPOCH, last());
    let utc = utc.to_offset(time::UtcOffset::UTC);
    // Only a year outside 0 to 9999 can fail here.
    utc.format(&Iso8601::<FORMAT>).unwrap_or_default()
}

pub(crate) fn parse(text: &str) -> Result<OffsetDateTime, time::error::Parse> {
    OffsetDateTime::parse(text, &Iso8601::<FORMAT>)
}

pub(crate) fn after(time: OffsetDateTime, delay: Duration) -> OffsetDateTime {
    time.saturating_add(time::Duration::try_from(delay).unwrap_or(time::Duration::MAX))
        .min(last())
}

pub(crate) fn before(time: OffsetDateTime, age: Duration) -> OffsetDateTime {
    time.saturating_sub(time::Duration::try_from(age).unwrap_or(time::Duration::MAX))
        .max(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};
    use tracing_subscriber::filter::LevelFilter;

    use tokio::time::advance;

    use super::*;
    use crate::logged::Logged;

    /// A host's clock for one test.
    macro_rules! host {
        ($seconds:expr) => {{
            static HOST: AtomicI64 = AtomicI64::new($seconds);
            fn host() -> OffsetDateTime {
                OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(HOST.load(Ordering::Relaxed))
            }
            (&HOST, host as fn() -> OffsetDateTime)
        }};
    }

    const HOUR: i64 = 3_600;
    const DAY: i64 = 24 * HOUR;
    const YEAR: i64 = 365 * DAY;

    fn add(host: &AtomicI64, seconds: i64) {
        host.fetch_add(seconds, Ordering::Relaxed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_behind_or_ahead_is_one_warning() {
        let (set, host) = host!(1_776_245_400);
        let (logged, guard) = Logged::take(LevelFilter::INFO);
        let clock = Clock::new(host);
        for seconds in [0, HOUR, -30, -HOUR, 0, -10 * YEAR, 10 * YEAR] {
            add(set, seconds);
            let now = clock.now(Seen::default());
            let _ = clock.now(seen(&clock, &[now]));
        }
        add(set, 10 * YEAR);
        let wrong = clock.now(Seen::default());
        let _ = clock.now(seen(&clock, &[wrong]));
        add(set, -10 * YEAR);
        for _ in 0..3 {
            let _ = clock.now(seen(&clock, &[wrong]));
            // The end of a handler's transaction does not read the table.
            let _ = clock.now(Seen::default());
        }
        drop(guard);
        let lines = logged.lines();
        let expected = [
            "the host's clock is behind the times in the inbox: time continues from those ahead_s=3630",
            "for a day, no row is removed for its age by this clock ahead_s=315360000",
            "more than a day ahead of the host's clock, and are not believed ahead_s=315360000",
        ];
        for (line, expected) in lines.iter().zip(expected) {
            assert!(line.contains("WARN") && line.contains(expected), "{line}");
        }
        assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    }

    /// The answer of a table with these times.
    fn seen(clock: &Clock, times: &[OffsetDateTime]) -> Seen {
        let limit = clock.limit();
        Seen {
            latest: times.iter().max().copied(),
            believed: times.iter().filter(|time| **time <= limit).max().copied(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn time_goes_on_where_the_hosts_clock_is_set_back() {
        let (set, host) = host!(1_776_245_400);
        let clock = Clock::new(host);
        let before = clock.now(Seen::default());
        add(set, 100);
        assert_eq!(clock.now(Seen::default()), host());
        let latest = host();
        add(set, -10 * HOUR);
        let set_back = clock.now(Seen::default());
        assert_eq!(set_back, latest);
        advance(Duration::from_millis(20)).await;
        assert_eq!(
            clock.now(Seen::default()) - set_back,
            Duration::from_millis(20)
        );

        // A process that starts now sees the latest time in the table.
        let restarted = Clock::new(host);
        assert!(restarted.now(Seen::default()) < before);
        assert_eq!(restarted.now(seen(&restarted, &[set_back])), set_back);
        assert_eq!(restarted.now(Seen::default()), set_back);
    }

    #[tokio::test(start_paused = true)]
    async fn times_far_ahead_are_not_believed_by_whoever_saw_them() {
        let (set, host) = host!(1_776_245_400);
        let clock = Clock::new(host);
        let right = clock.now(Seen::default());
        add(set, 10 * YEAR);
        let wrong = clock.now(Seen::default());
        assert_eq!(wrong, host());
        add(set, -10 * YEAR);
        // This process, and the next one.
        for clock in [clock, Clock::new(host)] {
            assert_eq!(clock.now(seen(&clock, &[right, wrong])), right);
            let near = right + Duration::from_secs(60);
            assert_eq!(clock.now(seen(&clock, &[right, near, wrong])), near);
            assert_eq!(clock.ages(), right);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_without_a_time_of_its_own_takes_the_tables() {
        let (_, host) = host!(1_000);
        let clock = Clock::new(host);
        let latest = OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(1_776_245_400);
        assert_eq!(clock.now(seen(&clock, &[latest])), latest);
        assert_eq!(clock.ages(), host());
    }

    #[tokio::test(start_paused = true)]
    async fn ages_are_counted_by_the_earlier_clock_for_a_day() {
        let (set, host) = host!(1_776_245_400);
        let clock = Clock::new(host);
        let right = clock.now(Seen::default());
        add(set, DAY);
        assert_eq!(
            clock.ages() - right,
            time::Duration::days(1),
            "a small jump"
        );
        add(set, 10 * YEAR);
        let _ = clock.now(Seen::default());
        let day = time::Duration::days(1);
        assert_eq!(clock.ages() - right, day);
        advance(Duration::from_secs(3_600)).await;
        add(set, HOUR);
        assert_eq!(clock.ages() - right, day + time::Duration::hours(1));
        advance(Duration::from_secs(24 * 3_600)).await;
        assert_eq!(clock.ages(), host(), "it has been so for a day");
        add(set, -10 * YEAR);
        assert_eq!(clock.ages(), host(), "the earlier one is always believed");
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_starts_with_a_clock_far_ahead_counts_ages_from_the_table() {
        let (set, host) = host!(1_776_245_400);
        let latest = host();
        add(set, 29 * DAY);
        let clock = Clock::new(host);
        let _ = clock.now(seen(&clock, &[latest]));
        assert_eq!(clock.ages(), host(), "nothing happened for a while");
        add(set, 2 * DAY);
        let clock = Clock::new(host);
        let _ = clock.now(seen(&clock, &[latest]));
        assert_eq!(clock.ages(), latest);
        // Times that it has written itself prove nothing.
        let _ = clock.now(seen(&clock, &[host()]));
        assert_eq!(clock.ages(), latest);
        advance(Duration::from_secs(25 * 3_600)).await;
        assert_eq!(clock.ages(), host());
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
        let latest = OffsetDateTime::new_utc(time::Date::MAX, time::Time::MIDNIGHT);
        let earliest = OffsetDateTime::new_utc(time::Date::MIN, time::Time::MIDNIGHT);
        assert_eq!(
            text(after(latest, Duration::MAX)),
            "9999-12-31T23:59:59.999Z"
        );
        assert_eq!(
            text(latest.saturating_add(time::Duration::MAX)),
            "9999-12-31T23:59:59.999Z"
        );
        assert_eq!(text(earliest), "1970-01-01T00:00:00.000Z");
        assert_eq!(
            text(before(earliest, Duration::MAX)),
            "1970-01-01T00:00:00.000Z"
        );
    }
}
