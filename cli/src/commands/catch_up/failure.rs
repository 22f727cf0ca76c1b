//! Why a catch-up stopped, with the option of the command that helps.

use std::error::Error as _;

use ptolemy_webhooks_client::WebhookId;
use ptolemy_webhooks_inbox::{CatchUpError, CatchUpErrorKind};

use crate::delivery_filter::plural;
use crate::since::{rfc3339, whole_seconds};
use crate::stop::{Code, Stop, api_code, chain};
use crate::text;

/// Turns the error of a plan or a run into a stop: its next step is a step at the command line.
pub(super) fn stopped(error: &CatchUpError, webhook: &WebhookId) -> Stop {
    let next_step = next_step(error.kind(), webhook);
    let mut message = next_step.unwrap_or_else(|| text::message(&error.to_string()));
    if let Some(source) = error.source() {
        message = format!("{message}: {}", chain(source));
    }
    Stop::new(code(error), message)
}

fn code(error: &CatchUpError) -> Code {
    match (error.kind(), error.api_error()) {
        (
            CatchUpErrorKind::NoCheckpoint
            | CatchUpErrorKind::EmptyGap
            | CatchUpErrorKind::BeyondHorizon { .. },
            _,
        ) => Code::Usage,
        (CatchUpErrorKind::Api, Some(api)) => api_code(api),
        _ => Code::Failed,
    }
}

/// Returns `None` if the error's text already has it.
fn next_step(kind: CatchUpErrorKind, webhook: &WebhookId) -> Option<String> {
    Some(match kind {
        CatchUpErrorKind::NoCheckpoint => {
            "no catch-up of this webhook has succeeded yet, so the start of the gap is not known: pass \
             --since with a time before the outage, such as --since 6h"
                .to_owned()
        }
        CatchUpErrorKind::EmptyGap => {
            "the gap is empty: pass --since with a time more than 2 minutes ago and before --until"
                .to_owned()
        }
        CatchUpErrorKind::BeyondHorizon { horizon, .. } => format!(
            "the gap begins before {}, up to which rows of handled events may have been removed, so \
             events could be handled again: pass a later --since, and check older events by hand",
            seconds(horizon)
        ),
        CatchUpErrorKind::AlreadyRunning { until, .. } => format!(
            "another catch-up of this webhook is running: wait for it; if its process died, its lease \
             ends at {}",
            seconds(until)
        ),
        CatchUpErrorKind::WebhookInactive => text::words(&format!(
            "the webhook is inactive, so nothing would be delivered: activate it with \
             `ptolemy-webhooks webhooks enable {webhook}`"
        )),
        CatchUpErrorKind::NoDeliveryTimes => {
            "the delivery log has entries without `delivered_at`, so it cannot be limited to the gap: \
             --all-failed sends all failed deliveries without a time again"
                .to_owned()
        }
        CatchUpErrorKind::QuotaFloor {
            remaining,
            floor,
            attempts,
            ..
        } => format!(
            "{} left in the month's quota and the floor is {floor}, which one more call of up to {} could \
             go below: pass a lower --quota-floor, or run again next month; over quota and with overage \
             off, Ptolemy abandons deliveries",
            plural(remaining, "call is", "calls are"),
            plural(attempts.into(), "attempt", "attempts"),
        ),
        CatchUpErrorKind::NothingArrives { in_a_row, .. } => format!(
            "{in_a_row} redeliveries in a row did not reach the inbox: check that the receiver runs, that \
             it has the webhook's secret, that it writes to this inbox (--database), and that it names \
             the source of --source, if that is set; then run the same command with --retry-missing. Or \
             the ids of events in deliveries differ from those in the log, which are assumed to be the \
             same"
        ),
        _ => return None,
    })
}

fn seconds(time: time::OffsetDateTime) -> String {
    whole_seconds(&rfc3339(time))
}
