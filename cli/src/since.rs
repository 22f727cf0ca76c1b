//! Points in time and spans, as people write them.

use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Reads a span: a whole number and `s`, `m`, `h` or `d`.
pub(crate) fn span(text: &str) -> Result<Duration, String> {
    let unit_at = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let seconds: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err("expected a number and s, m, h or d, such as 30m".to_owned()),
    };
    let number: u64 = number
        .parse()
        .map_err(|_| "expected a whole number before the unit".to_owned())?;
    let seconds = number
        .checked_mul(seconds)
        .filter(|it| *it <= 36_500 * 86_400);
    seconds
        .map(Duration::from_secs)
        .ok_or_else(|| "longer than 100 years".to_owned())
}

/// Reads a span that is not zero.
pub(crate) fn interval(text: &str) -> Result<Duration, String> {
    match span(text)? {
        Duration::ZERO => Err("has to be at least 1s".to_owned()),
        span => Ok(span),
    }
}

/// Reads a point in time: a span before now, or an RFC 3339 time.
pub(crate) fn point(text: &str) -> Result<OffsetDateTime, String> {
    if let Ok(time) = OffsetDateTime::parse(text, &Rfc3339) {
        return Ok(time);
    }
    let before = span(text).map_err(|_| {
        "expected a span such as 30m, 2h or 7d, or a time such as 2026-04-15T09:30:00Z".to_owned()
    })?;
    OffsetDateTime::now_utc()
        .checked_sub(time::Duration::try_from(before).unwrap_or(time::Duration::ZERO))
        .ok_or_else(|| "before the calendar begins".to_owned())
}

/// A time as RFC 3339 in UTC with three digits of milliseconds, which sort as text, for JSON. Times
/// of servers have more digits, or fewer, which say nothing.
pub(crate) fn rfc3339(time: OffsetDateTime) -> String {
    let Some(utc) = time.checked_to_offset(time::UtcOffset::UTC) else {
        // A time of year 9999 whose UTC is in year 10000, which RFC 3339 does not have.
        return time.to_string();
    };
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        utc.year(),
        u8::from(utc.month()),
        utc.day(),
        utc.hour(),
        utc.minute(),
        utc.second(),
        utc.millisecond(),
    )
}

/// A time of `rfc3339` without the fraction of its second, for tables.
pub(crate) fn whole_seconds(time: &str) -> String {
    match time.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => time.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_a_unit_and_times_are_rfc_3339() {
        assert_eq!(span("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(span("2h"), Ok(Duration::from_secs(7_200)));
        assert_eq!(span("7d"), Ok(Duration::from_secs(604_800)));
        for wrong in [
            "",
            "2",
            "h",
            "-2h",
            "2 h",
            "2.5h",
            "99999999999999999999s",
            "40000d",
            "2w",
        ] {
            assert!(span(wrong).is_err(), "{wrong}");
            assert!(point(wrong).is_err(), "{wrong}");
        }
        let time = point("2026-04-15T11:30:00+02:00").unwrap();
        assert_eq!(rfc3339(time), "2026-04-15T09:30:00.000Z");
        assert_eq!(
            whole_seconds("2026-04-15T09:30:00.5Z"),
            "2026-04-15T09:30:00Z"
        );
        assert_eq!(
            whole_seconds("2026-04-15T09:30:00Z"),
            "2026-04-15T09:30:00Z"
        );
        for (text, shown) in [
            ("2026-04-15T09:30:00.5Z", "2026-04-15T09:30:00.500Z"),
            ("2026-04-15T09:30:00.123999999Z", "2026-04-15T09:30:00.123Z"),
            ("0001-01-01T00:00:00.001Z", "0001-01-01T00:00:00.001Z"),
            (
                "9999-12-31T23:59:59.25-23:00",
                "9999-12-31 23:59:59.25 -23:00:00",
            ),
        ] {
            let time = OffsetDateTime::parse(text, &Rfc3339).unwrap();
            assert_eq!(rfc3339(time), shown, "{text}");
        }
        let ago = OffsetDateTime::now_utc() - point("2h").unwrap();
        assert!((7_199..=7_260).contains(&ago.whole_seconds()), "{ago}");
    }
}
