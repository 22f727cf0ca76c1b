//! The result of a run: the events that are missing as data, counts and next steps as words.

use ptolemy_webhooks_inbox::{
    CatchUpPlan, CatchUpReport, MissingEvent, MissingReason, UnreachableEvent,
};
use serde::Serialize;

use crate::delivery_filter::plural;
use crate::notice;
use crate::output::{Output, Record};
use crate::since::{rfc3339, whole_seconds};
use crate::stop::Stop;

/// An event that the inbox does not have.
#[derive(Serialize)]
struct Row {
    kind: &'static str,
    event_id: Option<String>,
    event_type: Option<String>,
    delivery_id: Option<String>,
    why: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tries: Option<u32>,
    /// The status of the answer that rejected the redelivery.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
}

impl From<&MissingEvent> for Row {
    fn from(event: &MissingEvent) -> Self {
        let (why, tries, status) = match event.why {
            MissingReason::NotArrived { tries, .. } => ("not_arrived", Some(tries), None),
            MissingReason::Rejected { status, .. } => ("rejected", None, status),
            _ => ("not_tried", None, None),
        };
        Self {
            kind: "missing",
            event_id: event.event_id.clone(),
            event_type: event.event_type.clone(),
            delivery_id: event.delivery_id.clone(),
            why,
            tries,
            status,
        }
    }
}

impl From<&UnreachableEvent> for Row {
    fn from(event: &UnreachableEvent) -> Self {
        Self {
            kind: "unreachable",
            event_id: Some(event.event_id.clone()),
            event_type: event.event_type.clone(),
            delivery_id: None,
            why: "no_delivery",
            tries: None,
            status: None,
        }
    }
}

impl Record for Row {
    const COLUMNS: &'static [&'static str] =
        &["KIND", "EVENT ID", "EVENT TYPE", "DELIVERY ID", "WHY"];

    fn cells(&self) -> Vec<String> {
        let why = self.why.replace('_', " ");
        let why = match (self.tries, self.status) {
            (Some(tries), _) => format!("{why}, {}", plural(tries.into(), "try", "tries")),
            (_, Some(status)) => format!("{why}, {status}"),
            _ => why,
        };
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        vec![
            self.kind.to_owned(),
            or_dash(&self.event_id),
            or_dash(&self.event_type),
            or_dash(&self.delivery_id),
            why,
        ]
    }
}

/// The last object of a run.
#[derive(Serialize)]
struct Summary<'a> {
    kind: &'static str,
    webhook_id: &'a str,
    from: &'a str,
    until: &'a str,
    complete: bool,
    redelivered: u64,
    arrived: u64,
    missing: u64,
    unreachable: u64,
    unconfirmed: u64,
    unsubscribed: u64,
    not_compared: u64,
    event_log_cut: bool,
    skipped_from: Option<String>,
    checkpoint: Option<String>,
    calls: u64,
    clock_ahead_seconds: Option<i64>,
}

/// Prints the data of a run, whose gap it keeps from the plan.
pub(super) struct Outcome {
    webhook_id: String,
    from: String,
    until: String,
}

impl Outcome {
    pub(super) fn new(plan: &CatchUpPlan) -> Self {
        Self {
            webhook_id: plan.webhook_id().as_str().to_owned(),
            from: rfc3339(plan.from()),
            until: rfc3339(plan.until()),
        }
    }

    pub(super) fn print(&self, report: &CatchUpReport, output: &Output) -> Result<(), Stop> {
        let mut rows = output.records();
        for event in &report.missing {
            rows.push(Row::from(event))?;
        }
        for event in &report.unreachable {
            rows.push(Row::from(event))?;
        }
        rows.finish()?;
        if !output.is_json() {
            return Ok(());
        }
        output.object(&Summary {
            kind: "summary",
            webhook_id: &self.webhook_id,
            from: &self.from,
            until: &self.until,
            complete: report.is_complete(),
            redelivered: report.redelivered,
            arrived: report.arrived,
            missing: report.missing_events,
            unreachable: report.unreachable_events,
            unconfirmed: report.unconfirmed,
            unsubscribed: report.unsubscribed_events,
            not_compared: report.not_compared,
            event_log_cut: report.event_log_cut,
            skipped_from: report.skipped_from.map(rfc3339),
            checkpoint: report.checkpoint.map(rfc3339),
            calls: report.calls,
            clock_ahead_seconds: report.clock_warning,
        })
    }
}

/// A run in one line. It names the end of the gap: an outage can have lasted beyond it.
pub(super) fn line(report: &CatchUpReport, outcome: &Outcome) -> String {
    let mut parts = vec![
        plural(report.redelivered, "delivery", "deliveries") + " sent again",
        format!("{} arrived", report.arrived),
    ];
    let others = [
        (report.missing_events, "missing"),
        (report.unreachable_events, "unreachable"),
        (report.unconfirmed, "unconfirmed"),
        (report.not_compared, "not compared"),
    ];
    let others = others.iter().filter(|(count, _)| *count > 0);
    parts.extend(others.map(|(count, what)| format!("{count} {what}")));
    if report.event_log_cut {
        parts.push("event log not read to its end".to_owned());
    }
    if report.is_complete() {
        let until = whole_seconds(&outcome.until);
        parts.push(format!("nothing is missing up to {until}"));
    }
    parts.push(plural(report.calls, "call", "calls"));
    parts.join(", ")
}

/// Prints the counts to standard error, and the next step for what is missing.
pub(super) fn explain(report: &CatchUpReport, outcome: &Outcome) {
    notice::note(&line(report, outcome));
    let listed = report.missing.len() + report.unreachable.len();
    let all = report
        .missing_events
        .saturating_add(report.unreachable_events);
    if u64::try_from(listed).is_ok_and(|listed| listed < all) {
        notice::note(&format!(
            "{listed} of {all} events are listed, the oldest of each kind"
        ));
    }
    let missing = |is_so: fn(MissingReason) -> bool| {
        let events = report.missing.iter().filter(|event| is_so(event.why));
        events.count() as u64
    };
    let not_arrived = missing(|why| matches!(why, MissingReason::NotArrived { .. }));
    let rejected = missing(|why| matches!(why, MissingReason::Rejected { .. }));
    let not_tried = missing(|why| why == MissingReason::NotTried);
    let steps = [
        (
            not_arrived,
            "not arrived: look for these events in the receiver's log; after three tries, --retry-missing \
             tries an event again",
        ),
        (
            rejected,
            "rejected: the API did not send these deliveries again; with 404 or 410 the delivery is gone, \
             and `ptolemy-webhooks events show ID` may still show its event; otherwise run again",
        ),
        (
            not_tried,
            "not tried: run again; if an event stays, fetch its resource from the API",
        ),
        (
            report.unreachable_events,
            "unreachable: no delivery of these events exists; `ptolemy-webhooks events show ID` shows \
             one, and the resource can be fetched from the API",
        ),
        (
            report.unconfirmed,
            "unconfirmed: the log shows no event ids of these deliveries, so compare by hand whether they \
             arrived; they are not sent again",
        ),
    ];
    let steps = steps.iter().filter(|(count, _)| *count > 0);
    steps.for_each(|(_, step)| notice::note(step));
    if report.unsubscribed_events > 0 {
        notice::note(&format!(
            "{} of types that the webhook does not subscribe to; `ptolemy-webhooks subscribe` changes that",
            plural(report.unsubscribed_events, "event is", "events are")
        ));
    }
    if report.not_compared > 0 {
        notice::note(&format!(
            "{} of the logs had no id or no time, or an id that another event has too, and could not be \
             compared: compare by hand",
            plural(report.not_compared, "event", "events")
        ));
    }
    if report.event_log_cut {
        notice::note(
            "the event log is not sorted by time, and was not read to its end: events that have no \
             delivery may not be listed; a higher --event-log-limit reads more",
        );
    }
    if let Some(time) = report.skipped_from {
        notice::note(&format!(
            "rows had been pruned, so nothing was looked at between {} and the start of the gap: compare \
             these events by hand",
            whole_seconds(&rfc3339(time))
        ));
    }
    notice::note(&match report.checkpoint {
        Some(time) => format!("checkpoint: {}", whole_seconds(&rfc3339(time))),
        None => "the checkpoint is not set yet: pass --since to the next run too".to_owned(),
    });
}
