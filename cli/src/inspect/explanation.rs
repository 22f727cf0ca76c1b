//! The verdict on a request in words: the cause, the numbers and the fix, as `why` finds them.

use ptolemy_webhooks::SIGNATURE_HEADER;
use serde::Serialize;

use crate::inspect::checker::{Checker, NOT_CHECKED, TOLERANCE_S};
use crate::inspect::entry::{Entry, Receiver, Verdict};
use crate::since;
use crate::why::{Case, Clock, Effort, Report, Saved, causes, heading};

/// A verdict as the page shows it.
#[derive(Default, Serialize)]
pub(crate) struct Why {
    verdict: &'static str,
    title: String,
    /// `proven` if undoing the cause makes the signature valid, `certain` if nothing had to be
    /// found out, and `suspected` otherwise.
    basis: &'static str,
    explanation: Vec<String>,
    numbers: Vec<Number>,
    fix: Vec<String>,
    /// The heading in `docs/rejected.md`.
    help: Option<&'static str>,
}

#[derive(Serialize)]
struct Number {
    name: &'static str,
    value: String,
}

pub(crate) fn explain(checker: &Checker, entry: &Entry) -> Why {
    let (Some(secrets), false) = (checker.secrets(), is_incomplete(entry)) else {
        return without_search(entry);
    };
    let headers = &entry.request.headers;
    let signatures = headers.get_all(SIGNATURE_HEADER).iter();
    let signatures = signatures.map(|value| value.as_bytes().to_vec()).collect();
    let is_encoded = headers
        .get_all("content-encoding")
        .iter()
        .any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"));
    let saved = Saved::whole(signatures, entry.request.body.to_vec(), is_encoded);
    let clock = Clock {
        time: entry.at,
        is_given: true,
    };
    let case = Case::new(saved, secrets, clock, TOLERANCE_S, Effort::bounded());
    match case.explain() {
        Ok(report) => of_report(entry, report),
        // It was checked with these secrets before.
        Err(_) => without_search(entry),
    }
}

/// Whether the body did not arrive, so that there is nothing to be searched.
fn is_incomplete(entry: &Entry) -> bool {
    matches!(entry.receiver, Receiver::NotSent { .. })
}

fn without_search(entry: &Entry) -> Why {
    let checked = &entry.checked;
    let title = checked.summary.clone().unwrap_or_default();
    let is_unchecked = checked.verdict == Verdict::NotChecked;
    let fix = "set PTOLEMY_WEBHOOK_SECRET, or PTOLEMY_WEBHOOK_SECRET_FILE to the path of a file, and start \
               the command again";
    Why {
        verdict: word(checked.verdict),
        basis: "certain",
        explanation: causes(&title),
        numbers: vec![number(
            "body",
            format!("{} bytes", entry.request.body.len()),
        )],
        fix: match is_unchecked {
            true => vec![fix.to_owned()],
            false => Vec::new(),
        },
        help: heading(&title),
        title: match is_unchecked {
            true => NOT_CHECKED.to_owned(),
            false => title,
        },
    }
}

fn of_report(entry: &Entry, report: Report) -> Why {
    let numbers = numbers(entry, &report);
    let checked = &entry.checked;
    let summary = checked.summary.clone();
    if report.is_valid() {
        let secret = report
            .signed_with
            .as_deref()
            .unwrap_or("an accepted secret");
        let mut explanation = Vec::new();
        if checked.verdict != Verdict::Accepted {
            explanation.extend(summary.as_deref().map(causes).unwrap_or_default());
        }
        if let Receiver::Answered { status, .. } = entry.receiver
            && !(200..300).contains(&status)
        {
            explanation.push(format!("the receiver answered {status} all the same:"));
            explanation.extend(report.suspicions);
        }
        return Why {
            verdict: word(checked.verdict),
            help: summary.as_deref().and_then(heading),
            title: summary.unwrap_or_else(|| format!("signed with {secret}")),
            basis: "certain",
            explanation,
            numbers,
            fix: Vec::new(),
        };
    }
    let mut explanation = report.causes;
    explanation.extend(report.suspicions);
    let title = report.reason.unwrap_or_default();
    Why {
        verdict: word(checked.verdict),
        help: heading(&title),
        title,
        basis: if report.proven { "proven" } else { "suspected" },
        explanation,
        numbers,
        fix: report.fixes,
    }
}

fn numbers(entry: &Entry, report: &Report) -> Vec<Number> {
    let mut numbers = Vec::new();
    if let Some(age_s) = report.age_s {
        numbers.push(number("age", format!("{age_s} s")));
    }
    numbers.push(number("tolerance", format!("{TOLERANCE_S} s")));
    if let Some(signed_at) = &report.signed_at {
        numbers.push(number("signed at", signed_at.clone()));
    }
    numbers.push(number("received at", since::rfc3339(entry.at)));
    let headers = entry.request.headers.get_all(SIGNATURE_HEADER);
    let count = headers.iter().count();
    numbers.push(number("signature headers", count.to_string()));
    let length = entry.request.body.len();
    numbers.push(number("body", format!("{length} bytes")));
    numbers
}

fn number(name: &'static str, value: String) -> Number {
    Number { name, value }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Accepted => "accepted",
        Verdict::Rejected => "rejected",
        Verdict::MalformedData => "malformed_data",
        Verdict::NotAnEvent => "not_an_event",
        Verdict::NotChecked => "not_checked",
    }
}
