//! The delivery log, spooled.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::sync::atomic::Ordering;

use ptolemy_webhooks::LogText;
use ptolemy_webhooks_client::{ApiErrorKind, DeliveryStatus, Filter, WebhookDelivery};

use super::descent::{Descent, PAGE_ROWS};
use super::error::{CatchUpError, CatchUpErrorKind};
use super::gap::Gap;
use super::job::{Job, count};
use super::progress::CatchUpPhase;
use crate::arrival::label;
use crate::store::catch_up::{Change, Entry, Other, State};

/// How often reading a list starts over because its cursor expired.
const RESTARTS: u32 = 3;

/// The longest id of a delivery that is stored, in bytes.
const MAX_ID_BYTES: usize = 255;

/// Reads the log of the webhook as far as the gap reaches back, the newest first, into the spool.
///
/// Deliveries of every status are read, since one that succeeded but is not in the inbox is missing
/// too. With `all_failed`, the failed ones are read first, and those without a time count as in the
/// gap.
pub(super) async fn read(job: &Job) -> Result<(), CatchUpError> {
    if job.settings.all_failed {
        read_pass(job, Pass::Failed).await?;
        return read_pass(job, Pass::Rest).await;
    }
    read_pass(job, Pass::All).await
}

/// Which deliveries are read, and how those without a time are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    /// All: without times the gap has no bounds.
    All,
    /// The failed ones: those without a time are redelivered.
    Failed,
    /// All, after the failed ones: those without a time have a delivery that is not redelivered.
    Rest,
}

async fn read_pass(job: &Job, pass: Pass) -> Result<(), CatchUpError> {
    let mut restarts = 0;
    loop {
        match read_once(job, pass).await {
            Err(error) if has_expired(&error) && restarts < RESTARTS => restarts += 1,
            result => return result,
        }
    }
}

/// Whether reading a list must start over.
pub(super) fn has_expired(error: &CatchUpError) -> bool {
    let error = error.api_error();
    error.is_some_and(|error| error.kind() == ApiErrorKind::CursorExpired)
}

async fn read_once(job: &Job, pass: Pass) -> Result<(), CatchUpError> {
    let mut filter = Filter::new().eq("webhook_id", &job.webhook);
    if pass == Pass::Failed {
        filter = filter.eq("status", "failed");
    }
    let filter = filter.sort_descending("delivered_at");
    let list = job.client.deliveries().filter(filter);
    let mut list = list.page_size(PAGE_ROWS);
    let mut descent = Descent::to(job.gap.from);
    let (mut batch, mut times) = (Batch::default(), Times::default());
    let mut records: u64 = 0;
    loop {
        if records.is_multiple_of(u64::from(PAGE_ROWS)) {
            flush(job, &mut batch, records).await?;
            count(&job.totals.calls, 1);
        }
        job.calls_left()?;
        let Some(delivery) = list.try_next().await.map_err(CatchUpError::api)? else {
            break;
        };
        records += 1;
        let others = delivery.webhook_id.as_ref();
        if others.is_some_and(|webhook| *webhook != job.webhook) {
            continue;
        }
        let is_past = descent.is_past(delivery.delivered_at);
        if let Some(state) = times.state(&delivery, &job.gap, pass)? {
            batch.add(entry(&delivery, state));
        }
        if is_past {
            break;
        }
    }
    flush(job, &mut batch, records).await?;
    job.totals
        .ambiguous
        .fetch_max(batch.others, Ordering::Relaxed);
    match pass {
        Pass::All => times.end(),
        Pass::Failed | Pass::Rest => Ok(()),
    }
}

async fn flush(job: &Job, batch: &mut Batch, records: u64) -> Result<(), CatchUpError> {
    let entries = batch.take();
    batch.others += job.change(Change::Spool(&entries)).await?;
    job.progress(CatchUpPhase::ReadingDeliveries, records);
    Ok(())
}

/// Entries with different keys.
#[derive(Debug, Default)]
struct Batch {
    entries: BTreeMap<String, Entry>,
    /// How many entries so far have an id that another event has.
    others: u64,
}

impl Batch {
    /// The first one of an event is the newest, and stays. If an older one is in the gap, so is the
    /// event.
    fn add(&mut self, entry: Entry) {
        match self.entries.entry(entry.key.clone()) {
            Slot::Vacant(slot) => drop(slot.insert(entry)),
            Slot::Occupied(mut slot) => {
                let newer = slot.get_mut();
                let other = Other {
                    event_type: newer.event_type.as_deref(),
                    ..Other::default()
                };
                self.others += u64::from(entry.is_another(&other));
                if entry.state == State::Open {
                    newer.state = State::Open;
                }
            }
        }
    }

    fn take(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.entries).into_values().collect()
    }
}

fn entry(delivery: &WebhookDelivery, state: State) -> Entry {
    let id = delivery.id.as_str();
    let event_id = delivery.event_id.as_ref().map(|id| label(id.as_str()));
    Entry {
        key: match &event_id {
            Some(id) => format!("event:{id}"),
            None => format!("delivery:{}", label(id)),
        },
        event_id,
        event_type: delivery
            .event_type
            .as_ref()
            .map(|kind| label(kind.as_str())),
        delivery_id: (id.len() <= MAX_ID_BYTES && LogText::is_plain(id)).then(|| id.to_owned()),
        delivered_at: delivery.delivered_at,
        created_at: None,
        state,
    }
}

/// What the log shows about the times of the deliveries.
#[derive(Debug, Default)]
struct Times {
    /// Whether any delivery has a time.
    has_one: bool,
    /// Whether any delivery has no time and an unknown status.
    lacks_one: bool,
}

impl Times {
    /// The state of a delivery for the run; `None` if it does not matter.
    fn state(
        &mut self,
        delivery: &WebhookDelivery,
        gap: &Gap,
        pass: Pass,
    ) -> Result<Option<State>, CatchUpError> {
        let has_event_id = delivery.event_id.is_some();
        let may_have_failed = !matches!(
            delivery.status,
            Some(DeliveryStatus::Succeeded | DeliveryStatus::Pending)
        );
        self.has_one |= delivery.delivered_at.is_some();
        Ok(match delivery.delivered_at {
            Some(time) if time < gap.from => None,
            Some(time) if time >= gap.until => has_event_id.then_some(State::Later),
            // Without an event id nothing shows whether the inbox has it.
            Some(_) => (has_event_id || may_have_failed).then_some(State::Open),
            None if pass == Pass::Failed => may_have_failed.then_some(State::Open),
            None if pass == Pass::Rest => has_event_id.then_some(State::Later),
            None => match delivery.status {
                // Its first attempt is still to come.
                Some(DeliveryStatus::Pending) => has_event_id.then_some(State::Later),
                None | Some(DeliveryStatus::Failed | DeliveryStatus::Succeeded) => {
                    return Err(CatchUpError::new(CatchUpErrorKind::NoDeliveryTimes));
                }
                Some(_) => {
                    self.lacks_one = true;
                    has_event_id.then_some(State::Later)
                }
            },
        })
    }

    /// If others have times, a delivery with an unknown status may be one whose first attempt is
    /// still to come.
    fn end(&self) -> Result<(), CatchUpError> {
        match self.lacks_one && !self.has_one {
            true => Err(CatchUpError::new(CatchUpErrorKind::NoDeliveryTimes)),
            false => Ok(()),
        }
    }
}
