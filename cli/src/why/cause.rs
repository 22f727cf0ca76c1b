//! The cause of a rejection: proven, likely, or one of several.

use ptolemy_webhooks::{Reason, Rejection};

use crate::why::body::Change;
use crate::why::form::SignedT;
use crate::why::input::Saved;
use crate::why::report::Report;
use crate::why::search::{Found, Searched};
use crate::why::verdict::Verdict;
use crate::why::{Case, suspicions, verdict};

/// Finds the cause of a rejection, or lists what may be one.
pub(crate) fn explain(case: &Case, rejection: &Rejection, verdict: &Verdict, report: &mut Report) {
    let searched = case.search();
    let is_clock = verdict::is_clock(rejection.reason()) && !looks_like_milliseconds(rejection);
    let mut changes = Vec::new();
    match case.saved.missing_from {
        Some(length) if rejection.reason() == Reason::BodyIncomplete => {
            incomplete(case, length, &searched, report);
        }
        // Without the rest of the body, the signature cannot be checked.
        Some(length) => report.suspect(broken_off(&case.saved, length).cause),
        None => {
            if is_clock {
                changes.push(clock_is_off(case, &searched));
            }
            if let Some(found) = &searched.found {
                report.signed_with = Some(found.secret.clone());
                changes.extend(signature_is_off(rejection, found, changes.is_empty()));
            }
        }
    }
    if !changes.is_empty() {
        report.prove(&changes);
        // Now is not when a receiver got the request; and without a valid signature, the clock may
        // not be the only reason.
        report.proven = (case.clock.is_given || !is_clock) && searched.found.is_some();
    }
    let searched = case.saved.missing_from.is_none().then_some(&searched);
    suspicions::of_rejection(case, rejection, searched, report);
    if let Some(set_aside) = &verdict.set_aside {
        suspicions::of_clock(set_aside, report);
    }
    if is_clock || verdict.set_aside.is_some() {
        suspicions::of_file_time(case, report);
    }
    if let (true, true, Some(age_s)) = (is_clock, case.clock.is_given, case.age_s()) {
        suspicions::of_time_zone(age_s, report);
    }
}

/// Returns what makes the signature valid, if that is more than the form of the header.
fn signature_is_off(rejection: &Rejection, found: &Found, is_only_cause: bool) -> Vec<Change> {
    const SECONDS: &str =
        "sign and send `t` in seconds, as Ptolemy documents it; the sender is probably test code";
    let mut changes = Vec::new();
    if looks_like_milliseconds(rejection) {
        match found.signed_t {
            SignedT::AsSent => changes.push(Change::new(
                "the sender put milliseconds into `t`, and signed them",
                SECONDS,
            )),
            SignedT::None => {
                changes.push(Change::new("the sender put milliseconds into `t`", SECONDS))
            }
            // The change of the form says it.
            SignedT::InSeconds => {}
        }
    }
    changes.extend(found.changes.iter().cloned());
    if changes.is_empty() && is_only_cause {
        changes.push(Change::new(
            "the signature is valid, but the header is malformed",
            "send one `t` and at most 16 `v1` in at most 4096 bytes",
        ));
    }
    changes
}

fn looks_like_milliseconds(rejection: &Rejection) -> bool {
    rejection.to_string().ends_with("looks like milliseconds")
}

/// Says why the body is shorter than its head announces: the program that saved it changed it, if a
/// body of the right length has a valid signature.
fn incomplete(case: &Case, length: usize, searched: &Searched, report: &mut Report) {
    let found = searched.found.as_ref();
    let Some(found) = found.filter(|found| found.body_len == length) else {
        report.prove(&[broken_off(&case.saved, length)]);
        report.proven = false;
        return;
    };
    report.signed_with = Some(found.secret.clone());
    let mut changes = found.changes.clone();
    changes.push(Change::new(
        format!("with that undone, the body has the {length} bytes that its head announces"),
        "if only the file was changed, save the request again: the receiver got the whole body",
    ));
    report.prove(&changes);
}

fn broken_off(saved: &Saved, length: usize) -> Change {
    let come = saved.body.len();
    let cause = match length {
        usize::MAX => format!("the chunks of the body break off after {come} bytes"),
        length => format!("the head announces {length} bytes, and the body has {come}"),
    };
    Change::new(
        cause,
        "find out who closed the connection: a timeout or a restart of the sender or of a proxy; Ptolemy \
         sends the delivery again. If only the file was cut, save the whole request",
    )
}

fn clock_is_off(case: &Case, searched: &Searched) -> Change {
    let signature = match searched
        .found
        .as_ref()
        .map(|found| found.changes.is_empty())
    {
        Some(true) => "the signature is valid, and only the time is not",
        Some(false) => {
            "the time is not within the tolerance, and the signature needs a change to be valid"
        }
        None => {
            "the time is not within the tolerance, and no signature was found to be valid either"
        }
    };
    if case.age_s().is_some_and(|age_s| age_s < 0) {
        let fix = "compare the clocks of the receiver and of the sender with one that you trust, and run NTP: \
                   the receiver's is behind, or the sender's is ahead";
        // A request that is saved cannot be from after now.
        return Change::new(signature, fix);
    }
    if case.clock.is_given {
        let fix = "compare the receiver's clock with one that you trust, and run NTP: it is ahead; if it is \
                   right, the request waited, or it is a replay";
        return Change::new(signature, fix);
    }
    let cause = format!(
        "{signature}; it was checked against now, because --at was not given, and a saved request is old by now"
    );
    Change::new(
        cause,
        "pass --at with the time at which the receiver got the request",
    )
}
