//! Possible faults that cannot be proven.

use ptolemy_webhooks::{DecodeErrorKind, Event, Reason, Rejection, Secret};

use crate::secret::GivenSecret;
use crate::why::body::MAX_REWRITTEN_BYTES;
use crate::why::report::Report;
use crate::why::search::Searched;
use crate::why::{Case, guide, verdict};

/// The longest body that a receiver of the library accepts unless it is set up otherwise: 1 MiB.
const DEFAULT_BODY_LIMIT: usize = 1024 * 1024;

/// The text of a rejection because of the signature.
const MISMATCH: &str = "signature does not match the body under any accepted secret";

/// A time zone is at most this number of half hours from UTC.
const MAX_ZONE_HALF_HOURS: i64 = 28;

/// By how many seconds a difference can be off because a time was rounded or the request took a
/// while.
const ZONE_SLACK_S: i64 = 60;

/// Adds why a receiver may have rejected a valid request.
pub(crate) fn of_valid(case: &Case, report: &mut Report) {
    if !case.clock.is_given {
        report.suspect(
            "its clock is off: here, `t` was checked against now, not against the time of the request, \
             because --at was not given",
        );
    }
    if report.signed_with.as_deref() == Some("the previous secret") {
        report.suspect(
            "it does not accept the previous secret. Fix: set PTOLEMY_WEBHOOK_SECRET_PREVIOUS",
        );
    } else {
        report.suspect(
            "it has another secret, or verified other bytes than these. Fix: give the receiver the secret that \
             is valid here, and have it verify the body as it arrived",
        );
    }
    if case.secrets.secret.had_line_end {
        report.suspect(format!(
            "the {} ends in a line end, which is removed here; a receiver that keeps it rejects every \
             delivery",
            case.secrets.secret.place
        ));
    }
    faults_of_secrets(case, report);
    long_body(case, report);
    extra_bytes(case, report);
}

/// Adds possible faults of a rejected request, and the causes that the guide of the library lists.
pub(crate) fn of_rejection(
    case: &Case,
    rejection: &Rejection,
    searched: Option<&Searched>,
    report: &mut Report,
) {
    let searched = searched.filter(|searched| searched.tried > 0 && searched.found.is_none());
    if searched.is_some() {
        look_of_body(case, report);
        if case.secrets.unreadable > 0 {
            let count = case.secrets.unreadable;
            report.suspect(format!(
                "files of the folder that could not be read as a secret: {count}"
            ));
        }
    }
    faults_of_secrets(case, report);
    extra_bytes(case, report);
    if let Some(searched) = searched {
        let tried = searched.tried;
        if searched.is_cut_short || case.saved.body.len() > MAX_REWRITTEN_BYTES {
            report.suspect(format!(
                "the body is long, so only {tried} combinations of changes were tried, and JSON of more \
                 than {MAX_REWRITTEN_BYTES} bytes was not written again"
            ));
        }
    }
    // The guide lists why the time can be off. For other reasons, it helps if nothing is proven.
    let is_clock = verdict::is_clock(rejection.reason());
    if !report.proven && !is_clock || is_clock && case.clock.is_given {
        for cause in guide::causes(&rejection.to_string()) {
            report.suspect(cause);
        }
    }
    if is_clock && searched.is_some() {
        for cause in guide::causes(MISMATCH) {
            report.suspect(cause);
        }
    }
    long_body(case, report);
    if searched.is_some() {
        several_lines(case, report);
    }
}

/// Adds that the time would have been a reason too, if it had been now.
pub(crate) fn of_clock(set_aside: &Rejection, report: &mut Report) {
    report.suspect(format!(
        "checked against now, the {set_aside}; that says nothing about the time of the request: pass --at \
         to check it"
    ));
}

/// Adds that a time zone may be the reason, if the time is off by that.
pub(crate) fn of_time_zone(age_s: i64, report: &mut Report) {
    const HALF_HOUR_S: i64 = 30 * 60;
    let half_hours = (age_s.saturating_abs().saturating_add(ZONE_SLACK_S)) / HALF_HOUR_S;
    let rest = age_s.saturating_abs() - half_hours * HALF_HOUR_S;
    if rest.abs() > ZONE_SLACK_S || !(1..=MAX_ZONE_HALF_HOURS).contains(&half_hours) {
        return;
    }
    let minutes = if half_hours % 2 == 1 { " 30 min" } else { "" };
    let hours = match half_hours / 2 {
        0 => minutes.trim().to_owned(),
        hours => format!("{hours} h{minutes}"),
    };
    report.suspect(format!(
        "the time is off by almost {hours}: a local time may have been taken for UTC (a time zone), in --at \
         or by one of the clocks"
    ));
}

/// Adds the verdict on the time when the file was saved, which is often soon after the request.
pub(crate) fn of_file_time(case: &Case, report: &mut Report) {
    let times = case.saved.saved_at.zip(case.signed_at);
    if let Some((saved_at, signed_at)) = times.filter(|_| !case.clock.is_given) {
        let after = saved_at.unix_timestamp() - signed_at.unix_timestamp();
        let verdict = match after.unsigned_abs() <= case.tolerance_s {
            true => "the time was not the reason",
            false => "the time was a reason",
        };
        report.suspect(format!(
            "if it was checked when this file was saved, {after} s after `t`, {verdict}"
        ));
    }
}

fn long_body(case: &Case, report: &mut Report) {
    let length = case.saved.body.len();
    if length > DEFAULT_BODY_LIMIT {
        report.suspect(format!(
            "the body is {length} bytes long, and a receiver of this library rejects more than \
             {DEFAULT_BODY_LIMIT} bytes unless its limit is raised ({})",
            Reason::BodyTooLarge
        ));
    }
}

fn extra_bytes(case: &Case, report: &mut Report) {
    let count = case.saved.extra.len();
    if count > 0 {
        report.suspect(format!(
            "bytes after the end that its Content-Length gives to the request: {count}; they were ignored"
        ));
    }
}

/// Adds why the library would reject a secret.
fn faults_of_secrets(case: &Case, report: &mut Report) {
    for secret in [Some(&case.secrets.secret), case.secrets.previous.as_ref()]
        .into_iter()
        .flatten()
    {
        if let Some(fault) = fault_of(secret) {
            report.suspect(format!("{}: {fault}", secret.place));
        }
    }
}

fn fault_of(secret: &GivenSecret) -> Option<String> {
    match str::from_utf8(&secret.bytes) {
        Ok(text) => Secret::new(text).err().map(|error| error.to_string()),
        Err(_) => Some("secret is not valid Unicode".to_owned()),
    }
}

/// Adds a description of the body.
fn look_of_body(case: &Case, report: &mut Report) {
    let body = case.saved.body.as_slice();
    let compressed = [
        (&b"\x1f\x8b"[..], "gzip"),
        (b"\x28\xb5\x2f\xfd", "Zstandard"),
        (b"\x78\x9c", "deflate"),
    ];
    if let Some((_, name)) = compressed.iter().find(|(magic, _)| body.starts_with(magic)) {
        report.suspect(format!(
            "the body looks compressed ({name}): a proxy may have compressed it after it was signed. Fix: \
             turn off compression of request bodies in the proxy"
        ));
    } else if case.saved.is_encoded {
        report.suspect(
            "the head has a Content-Encoding and the body does not look compressed: it may have been \
             decompressed on the way. Fix: verify the bytes in front of what decompresses them",
        );
    }
    if body.is_empty() {
        report.suspect(
            "the body is empty: something may have read it before it was saved or verified. Fix: verify \
             the body before anything reads it",
        );
        return;
    }
    if str::from_utf8(body).is_ok_and(|text| text.contains('\u{fffd}')) {
        report.suspect(
            "the body contains replacement characters (U+FFFD): it was decoded as text, and bytes were \
             lost",
        );
    }
    match Event::from_trusted_json(body.to_vec()) {
        Err(error) if error.kind() == DecodeErrorKind::Incomplete => report.suspect(format!(
            "the body ends in the middle of its JSON after {} bytes: it may have been cut when it was \
             saved or read",
            body.len()
        )),
        Err(error) => report.suspect(format!("as an event, the {error}: it may have been changed")),
        Ok(_) => {}
    }
}

/// Adds that the body may have been formatted. Many senders write several lines themselves.
fn several_lines(case: &Case, report: &mut Report) {
    let body = case.saved.body.as_slice();
    if body.contains(&b'\n') && Event::from_trusted_json(body.to_vec()).is_ok() {
        report.suspect(
            "the body has several lines: it may have been formatted for reading after it was signed, or \
             numbers and key order changed so that no usual way of writing JSON restores it",
        );
    }
}
