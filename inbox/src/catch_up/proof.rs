//! The check at the end of a run: which events are missing, and whether the checkpoint moves.

use time::OffsetDateTime;

use super::error::CatchUpError;
use super::job::{Job, read, wait};
use super::report::{CatchUpReport, MAX_LISTED, MissingEvent, UnreachableEvent};
use crate::store::catch_up::{Count, Listed, State};

pub(super) fn is_to_be_sent(count: &Count) -> bool {
    count.state == State::Open && count.may_be_tried
}

pub(super) async fn counts(job: &Job) -> Result<Vec<Count>, CatchUpError> {
    let lease = &job.lease;
    wait(lease.store.counts(&lease.claim)).await
}

async fn list(job: &Job, state: State) -> Result<Vec<Listed>, CatchUpError> {
    let lease = &job.lease;
    wait(lease.store.list(&lease.claim, state, MAX_LISTED)).await
}

/// Whether these entries are of events that should be in the inbox but are not.
fn is_missing(count: &Count) -> bool {
    match count.state {
        // One without an event id that was tried is unconfirmed.
        State::Open => count.has_event_id || !count.is_tried,
        State::Sent | State::Rejected => true,
        _ => false,
    }
}

pub(super) async fn report(job: &Job) -> Result<CatchUpReport, CatchUpError> {
    let counts = counts(job).await?;
    let sum = |of: fn(&Count) -> bool| -> u64 {
        let counts = counts.iter().filter(|count| of(count));
        counts.map(|count| count.entries).sum()
    };
    let mut missing = Vec::new();
    for state in [State::Open, State::Sent, State::Rejected] {
        let listed = list(job, state).await?.into_iter();
        missing.extend(listed.filter_map(|listed| MissingEvent::read(listed, state)));
    }
    missing.truncate(MAX_LISTED as usize);
    let unreachable = list(job, State::Unreachable).await?.into_iter();
    let unreachable = unreachable.filter_map(|listed| {
        Some(UnreachableEvent {
            event_id: listed.event_id?,
            event_type: listed.event_type,
        })
    });
    Ok(CatchUpReport {
        redelivered: read(&job.totals.redelivered),
        arrived: read(&job.totals.arrived),
        missing_events: sum(is_missing),
        missing,
        unreachable_events: sum(|count| count.state == State::Unreachable),
        unreachable: unreachable.collect(),
        unsubscribed_events: sum(|count| count.state == State::Unsubscribed),
        // A run that died after the call and before it recorded the result has not updated an entry
        // without an event id.
        unconfirmed: sum(|count| {
            let is_left = count.state == State::Open && !count.has_event_id && count.is_tried;
            is_left || count.state == State::Unconfirmed
        }),
        calls: read(&job.totals.calls),
        ..CatchUpReport::default()
    })
}

/// Returns the next checkpoint if nothing is left that another run could redeliver, that is, no
/// event with tries left and a delivery that the API still has. If the log has no times, deliveries
/// of the gap may not be recognised as such.
pub(super) async fn next_checkpoint(job: &Job) -> Result<Option<OffsetDateTime>, CatchUpError> {
    let counts = counts(job).await?;
    let is_gone = |count: &Count| count.state == State::Rejected && count.is_gone;
    let mut missing = counts.iter().filter(|count| is_missing(count));
    let holds_back = missing.any(|count| count.may_be_tried && !is_gone(count));
    let next = job.gap.next_checkpoint();
    Ok(next.filter(|_| !holds_back && !job.settings.all_failed))
}

pub(super) fn log(job: &Job, report: &CatchUpReport) {
    let CatchUpReport {
        redelivered,
        arrived,
        missing_events: missing,
        unreachable_events: unreachable,
        unconfirmed,
        not_compared,
        event_log_cut,
        ..
    } = *report;
    let webhook = &job.webhook;
    if report.is_complete() {
        tracing::info!(%webhook, redelivered, arrived, "caught up: nothing is missing");
    } else {
        tracing::warn!(
            %webhook, redelivered, arrived, missing, unreachable, unconfirmed, not_compared,
            event_log_cut,
            "caught up, and events are missing or could not be compared: the report lists them"
        );
    }
}
