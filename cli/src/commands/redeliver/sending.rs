//! The calls that send deliveries again, one after another.
//!
//! Each call ends accepted, failed or unknown, and is printed. A call that would fail in the same
//! way for every delivery ends the run at once, and so does the floor of the quota; other failures
//! end it if 5 come in a row. The counts are printed at the end, also if the run is interrupted.

use ptolemy_webhooks_client::{ApiError, ApiErrorKind, Client, DeliveryId, Outcome};
use serde::Serialize;

use super::plan::{Plan, are_left};
use super::tally::{End, Tally};
use crate::notice::Progress;
use crate::output::{Output, Record};
use crate::stop::{Code, Stop, api_code, chain};

/// Sends the deliveries of a plan until one of them ends it.
pub(super) async fn send(client: &Client, output: &Output, plan: Plan) -> Result<(), Stop> {
    let steps = u64::try_from(plan.deliveries.len()).unwrap_or(u64::MAX);
    let mut tally = Tally::new(steps);
    let mut rows = output.records();
    let progress = Progress::new("deliveries sent:", Some(steps));
    let mut end = None;
    for planned in &plan.deliveries {
        end = floor_reached(client, plan.quota_floor);
        if end.is_some() {
            break;
        }
        tally.begin(&planned.id);
        let deliveries = client.deliveries();
        let result = progress.during(deliveries.redeliver(&planned.id)).await;
        let sent = Sent::of(&result);
        tally.count(sent);
        progress.add(1);
        let row = SentRow {
            response_status: result.as_ref().err().and_then(ApiError::status),
            ..SentRow::new(&planned.id, sent)
        };
        if rows.push(row).is_err() {
            // Ending in silence would look as if all had been sent.
            end = Some(End::new(
                Code::Failed,
                "stopped, because standard output was closed",
            ));
            break;
        }
        if let Err(error) = result {
            end = end_after(&error, &tally);
            if end.is_none() {
                progress.warning(&chain(&error));
            }
        }
        if end.is_some() {
            break;
        }
    }
    drop(progress);
    let printed = rows.finish();
    tally.finish(end).and(printed)
}

/// Reads the quota again before each call: other programs use it up too.
fn floor_reached(client: &Client, floor: u64) -> Option<End> {
    let remaining = client.remaining().filter(|calls| *calls <= floor)?;
    let reason = format!(
        "stopped at the floor of the quota: {}, and --quota-floor is {floor}",
        are_left(remaining)
    );
    Some(End::new(Code::Failed, reason))
}

fn end_after(error: &ApiError, tally: &Tally) -> Option<End> {
    let ends_all = matches!(
        error.kind(),
        ApiErrorKind::Unauthorized | ApiErrorKind::Forbidden | ApiErrorKind::OverQuota
    );
    if ends_all || tally.is_single() {
        return Some(End::new(api_code(error), chain(error)));
    }
    tally.is_failing().then(|| {
        let reason = format!(
            "stopped after 5 failures in a row, the last of which is: {}",
            chain(error)
        );
        End::new(Code::Failed, reason)
    })
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Sent {
    /// Nothing: it was a dry run.
    Planned,
    Accepted,
    Failed,
    Unknown,
}

impl Sent {
    fn of(result: &Result<(), ApiError>) -> Self {
        match result {
            Ok(()) => Self::Accepted,
            Err(error) if error.outcome() == Outcome::Unknown => Self::Unknown,
            Err(_) => Self::Failed,
        }
    }
}

/// A delivery and what became of it. The status is that of the answer of the API, if it is an
/// error.
#[derive(Serialize)]
pub(super) struct SentRow {
    delivery_id: String,
    outcome: Sent,
    response_status: Option<u16>,
}

impl SentRow {
    pub(super) fn new(id: &DeliveryId, outcome: Sent) -> Self {
        Self {
            delivery_id: id.as_str().to_owned(),
            outcome,
            response_status: None,
        }
    }
}

impl Record for SentRow {
    const COLUMNS: &'static [&'static str] = &["DELIVERY", "OUTCOME", "ANSWER"];

    fn cells(&self) -> Vec<String> {
        let outcome = match self.outcome {
            Sent::Planned => "planned",
            Sent::Accepted => "accepted",
            Sent::Failed => "failed",
            Sent::Unknown => "unknown",
        };
        let status = self.response_status.map(|status| status.to_string());
        vec![
            self.delivery_id.clone(),
            outcome.to_owned(),
            status.unwrap_or_default(),
        ]
    }
}
