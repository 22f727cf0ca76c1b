//! The verdict on a request in words: the cause, the numbers and the fix, as `why` finds them.

use ptolemy_webhooks::SIGNATURE_HEADER;
use serde::Serialize;

use crate::inspect::checker::{Checker, NOT_CHECKED, TOLERANCE_S};
use crate::inspect::entry::{Entry, Receiver, Source, Verdict};
use crate::inspect::suspicions::{self, Suspicion};
use crate::since;
use crate::why::{Case, Clock, Effort, Report, Saved, causes, heading};

/// The longest number of 64 bits.
const MAX_T_DIGITS: usize = 20;

/// A verdict as the page shows it.
#[derive(Default, Serialize)]
pub(crate) struct Why {
    verdict: &'static str,
    title: String,
    /// How sure the causes are: `proven` if undoing them makes the signature valid, `certain` if
    /// the request or the tool itself shows them, and `suspected` otherwise. `None` without causes.
    basis: Option<&'static str>,
    causes: Vec<String>,
    /// What may be the cause, and is not proven.
    suspicions: Vec<Suspicion>,
    numbers: Vec<Number>,
    fix: Vec<String>,
    /// The section and the heading in `docs/rejected.md`.
    help: Option<String>,
}

#[derive(Serialize)]
struct Number {
    name: &'static str,
    value: String,
}

pub(crate) fn explain(checker: &Checker, entry: &Entry) -> Why {
    let mut why = explain_request(checker, entry);
    let fault = entry.sandbox.as_ref().and_then(|it| it.fault);
    if let Some(fault) = fault.filter(|_| entry.source != Source::SignedAnew) {
        blame_sandbox(fault, entry.checked.verdict, &mut why);
    }
    why
}

/// The fault that was asked for explains a rejection, so that nothing is left to be suspected.
fn blame_sandbox(fault: &str, verdict: Verdict, why: &mut Why) {
    let cause = format!("the sandbox injected the fault `{fault}`");
    if verdict == Verdict::Accepted {
        why.causes.insert(0, cause);
    } else {
        why.causes = vec![cause];
        why.suspicions.clear();
        why.fix = vec![
            "a receiver should reject it; to deliver the event without the fault, redeliver it"
                .to_owned(),
        ];
    }
    why.basis = Some("certain");
}

fn explain_request(checker: &Checker, entry: &Entry) -> Why {
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
        Ok(report) if report.is_valid() => of_valid(entry, report),
        Ok(report) => of_rejection(entry, report),
        // It was checked with these secrets before.
        Err(_) => without_search(entry),
    }
}

/// Whether the body did not arrive, so that there is nothing to search.
fn is_incomplete(entry: &Entry) -> bool {
    matches!(entry.receiver, Receiver::NotSent { .. })
}

fn without_search(entry: &Entry) -> Why {
    let checked = &entry.checked;
    let title = checked.summary.clone().unwrap_or_default();
    let body = format!("{} bytes", entry.request.body.len());
    let mut why = Why {
        verdict: word(checked.verdict),
        help: help(&title),
        numbers: vec![number("body", body)],
        ..Why::default()
    };
    if checked.verdict == Verdict::NotChecked {
        let fix = "set PTOLEMY_WEBHOOK_SECRET, or PTOLEMY_WEBHOOK_SECRET_FILE to the path of a file, and \
                   start the command again";
        why.title = NOT_CHECKED.to_owned();
        why.fix.push(fix.to_owned());
    } else {
        suspicions::add(causes(&title), &mut why.suspicions, &mut why.fix);
        why.title = title;
    }
    why
}

/// Of a request whose signature is valid: why it is not an event, or why the receiver may have
/// rejected it.
fn of_valid(entry: &Entry, report: Report) -> Why {
    let checked = &entry.checked;
    let summary = checked.summary.as_deref().unwrap_or_default();
    let secret = report
        .signed_with
        .as_deref()
        .unwrap_or("an accepted secret");
    let mut why = Why {
        verdict: word(checked.verdict),
        title: match &checked.summary {
            Some(summary) => summary.clone(),
            None => format!("signed with {secret}"),
        },
        help: help(summary),
        numbers: numbers(entry, &report),
        ..Why::default()
    };
    if let Some((path, reason)) = &checked.malformed {
        why.causes.push(suspicions::malformed(path, reason));
        suspicions::add(causes(summary), &mut Vec::new(), &mut why.fix);
    } else if checked.verdict != Verdict::Accepted {
        suspicions::add(causes(summary), &mut why.suspicions, &mut why.fix);
    }
    refusal(entry, report.suspicions, &mut why);
    why.basis = (!why.causes.is_empty()).then_some("certain");
    why
}

/// Adds why the receiver may have rejected a valid request; `of_key` are the suspicions about the
/// secret and the bytes.
fn refusal(entry: &Entry, of_key: Vec<String>, why: &mut Why) {
    let Receiver::Answered { status, .. } = entry.receiver else {
        return;
    };
    if (200..300).contains(&status) {
        return;
    }
    let cause = format!("the signature is valid, and the receiver answered {status}");
    why.causes.push(cause);
    let texts = suspicions::of_status(status, of_key);
    suspicions::add(texts, &mut why.suspicions, &mut why.fix);
}

fn of_rejection(entry: &Entry, report: Report) -> Why {
    let numbers = numbers(entry, &report);
    let title = report.reason.unwrap_or_default();
    let basis = match report.proven {
        true => "proven",
        false => "suspected",
    };
    let mut why = Why {
        verdict: word(entry.checked.verdict),
        help: help(&title),
        title,
        basis: (!report.causes.is_empty()).then_some(basis),
        causes: report.causes,
        numbers,
        fix: report.fixes,
        suspicions: Vec::new(),
    };
    // The fix of a proven cause is enough.
    let mut fixes = Vec::new();
    suspicions::add(report.suspicions, &mut why.suspicions, &mut fixes);
    if why.fix.is_empty() {
        why.fix = fixes;
    }
    why
}

fn numbers(entry: &Entry, report: &Report) -> Vec<Number> {
    let mut numbers = Vec::new();
    // `t` in milliseconds is far outside of the years that a time can have.
    let raw = raw_t(entry).filter(|_| report.signed_at.is_none());
    match (raw, report.age_s) {
        (Some(t), _) => numbers.push(number("t", t)),
        (None, Some(age_s @ 0..)) => numbers.push(number("age", format!("{age_s} s"))),
        (None, Some(age_s)) => {
            numbers.push(number("ahead", format!("{} s", age_s.unsigned_abs())));
        }
        (None, None) => {}
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

/// The digits of the only `t`, unless they are too many to be shown.
fn raw_t(entry: &Entry) -> Option<String> {
    let header = entry.request.headers.get(SIGNATURE_HEADER)?.to_str().ok()?;
    let mut parts = header.split(',').map(str::trim);
    let t = parts.find_map(|part| part.strip_prefix("t="))?;
    let is_short = (1..=MAX_T_DIGITS).contains(&t.len());
    (is_short && t.bytes().all(|byte| byte.is_ascii_digit())).then(|| t.to_owned())
}

fn help(title: &str) -> Option<String> {
    let (section, heading) = heading(title)?;
    Some(format!("{section} › {heading}"))
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
