//! Compares the host's clock with that of the API.

use std::env;
use std::time::Duration;

use reqwest::header::DATE;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use crate::commands::doctor::finding::Report;
use crate::stop::Stop;

/// Documented: a signature that is further in the past or the future is rejected.
const TOLERANCE: u64 = 300;

/// The difference that a right clock can show, since `Date` has whole seconds and an answer takes
/// time.
const WARNING_FROM: u64 = 30;

const TIMEOUT: Duration = Duration::from_secs(10);

const FIX: &str =
    "synchronise the clock of this host, with chrony or systemd-timesyncd for example";

/// Compares the clocks. The API is asked without a token, so that only the `Date` of its answer
/// matters.
pub(super) async fn check(report: &mut Report) -> Result<(), Stop> {
    let Some(ahead) = seconds_ahead().await else {
        let text = "the API's answer had no Date to compare with";
        return report.unknown("clock", text, FIX);
    };
    let apart = ahead.unsigned_abs();
    let direction = if ahead < 0 { "behind" } else { "ahead of" };
    let text = format!("the host's clock is {apart} s {direction} the API's");
    match apart {
        0..WARNING_FROM => report.ok("clock", &text),
        WARNING_FROM..=TOLERANCE => {
            let text = format!(
                "{text}; a receiver rejects signatures whose time differs from its clock by more than {TOLERANCE} s"
            );
            report.warning("clock", &text, FIX)
        }
        _ => {
            let text = format!("{text}: a receiver on this host rejects every delivery");
            report.problem("clock", &text, FIX)
        }
    }
}

/// By how many seconds the host's clock is ahead of that of the API; `None` if it does not answer.
async fn seconds_ahead() -> Option<i64> {
    // The client has checked it.
    let url = env::var("PTOLEMY_API_URL").ok().filter(|it| !it.is_empty());
    let url = url.unwrap_or_else(|| "https://api.ptolemy.cloud/v1".to_owned());
    let http = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(TIMEOUT);
    // Plain HTTP is for loopback hosts only.
    let http = match url.starts_with("http:") {
        true => http.no_proxy(),
        false => http,
    };
    let before = OffsetDateTime::now_utc();
    let answer = http.build().ok()?.get(url).send().await.ok()?;
    let after = OffsetDateTime::now_utc();
    let date = answer.headers().get(DATE)?.to_str().ok()?;
    let date = OffsetDateTime::parse(date, &Rfc2822).ok()?;
    let until_before: time::Duration = before - date;
    let until_after: time::Duration = after - date;
    let middle: time::Duration = (until_before + until_after) / 2;
    Some(middle.whole_seconds())
}
