//! The plan of a run, in words and as an object.

use std::collections::BTreeMap;

use ptolemy_webhooks_inbox::CatchUpPlan;
use serde::Serialize;

use crate::delivery_filter::plural;
use crate::notice;
use crate::output::Output;
use crate::since::{rfc3339, whole_seconds};
use crate::stop::Stop;
use crate::text;

/// How many event types are listed by name in the words.
const MAX_TYPES: usize = 40;

/// Prints the plan to standard error.
pub(super) fn note(plan: &CatchUpPlan, quota_floor: u64) {
    let [from, until] = [plan.from(), plan.until()].map(|time| whole_seconds(&rfc3339(time)));
    let webhook = text::words(plan.webhook_id().as_str());
    notice::note(&format!("plan: webhook {webhook}, from {from} to {until}"));
    let deliveries = deliveries(plan);
    let here = plural(plan.already_here(), "event is", "events are");
    notice::note(&format!(
        "plan: send {deliveries} again; {here} in the inbox already"
    ));
    for (event_type, count) in plan.by_type().iter().take(MAX_TYPES) {
        notice::note(&text::words(&format!("plan: {count:>8} {event_type}")));
    }
    let others = plan.by_type().len().saturating_sub(MAX_TYPES);
    if others > 0 {
        notice::note(&format!("plan: and {others} more types"));
    }
    if plan.no_tries_left() > 0 {
        notice::note(&format!(
            "plan: {} not in the inbox and {} no tries left: --retry-missing tries them again",
            plural(plan.no_tries_left(), "event is", "events are"),
            if plan.no_tries_left() == 1 {
                "has"
            } else {
                "have"
            },
        ));
    }
    notice::note(&format!("plan: {}", quota(plan, quota_floor)));
    warn(plan);
}

/// Warns of a clock that is wrong.
pub(super) fn warn(plan: &CatchUpPlan) {
    if let Some(seconds) = plan.clock_warning() {
        let direction = if seconds > 0 { "ahead of" } else { "behind" };
        notice::warning(&format!(
            "the clock of this host is {} s {direction} the API's: set it, since receivers reject every delivery above 300 s",
            seconds.unsigned_abs()
        ));
    }
}

/// The question before the run.
pub(super) fn question(plan: &CatchUpPlan) -> String {
    if plan.redeliveries() == 0 {
        return "compare the inbox with the event log?".to_owned();
    }
    format!("send {} again?", deliveries(plan))
}

fn deliveries(plan: &CatchUpPlan) -> String {
    plural(plan.redeliveries(), "delivery", "deliveries")
}

fn quota(plan: &CatchUpPlan, floor: u64) -> String {
    let calls = plural(plan.calls(), "call", "calls");
    let calls = format!("at least {calls}, and one for 200 events of the event log");
    let Some(left) = plan.quota_left() else {
        return format!(
            "{calls}; the API does not say how many calls are left in the month's quota, so the floor of \
             {floor} cannot be kept"
        );
    };
    let usable = left.saturating_sub(floor);
    let left = plural(left, "call is", "calls are");
    if usable < plan.calls() {
        return format!(
            "{calls}; {left} left in the month's quota, and the floor is {floor}, so it stops after \
             {usable} at most: a lower --quota-floor allows more"
        );
    }
    format!("{calls}; {left} left in the month's quota, the floor is {floor}")
}

/// The plan as data: what `--dry-run` prints with `--json`.
#[derive(Serialize)]
struct Object<'a> {
    kind: &'static str,
    webhook_id: &'a str,
    from: String,
    until: String,
    redeliveries: u64,
    by_type: &'a BTreeMap<String, u64>,
    already_here: u64,
    no_tries_left: u64,
    calls: u64,
    quota_left: Option<u64>,
    clock_ahead_seconds: Option<i64>,
}

/// Prints the plan to standard output, if programs read it.
pub(super) fn print(plan: &CatchUpPlan, output: &Output) -> Result<(), Stop> {
    if !output.is_json() {
        return Ok(());
    }
    output.object(&Object {
        kind: "plan",
        webhook_id: plan.webhook_id().as_str(),
        from: rfc3339(plan.from()),
        until: rfc3339(plan.until()),
        redeliveries: plan.redeliveries(),
        by_type: plan.by_type(),
        already_here: plan.already_here(),
        no_tries_left: plan.no_tries_left(),
        calls: plan.calls(),
        quota_left: plan.quota_left(),
        clock_ahead_seconds: plan.clock_warning(),
    })
}
