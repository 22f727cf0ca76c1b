//! The event log, compared with the delivery log and the inbox.

use std::collections::{BTreeMap, BTreeSet};

use ptolemy_webhooks_client::{ApiErrorKind, EventRecord, Filter, Pages};
use time::OffsetDateTime;
use tokio::time::{Instant, sleep};

use super::arrivals::{scan_all, scan_new};
use super::delivery_log::has_expired;
use super::descent::{Descent, PAGE_ROWS};
use super::error::CatchUpError;
use super::job::{Job, count, read, wait};
use super::progress::CatchUpPhase;
use crate::arrival::label;
use crate::store::catch_up::{Change, Entry, Other, State};

/// How often reading a list starts over because its cursor expired.
const RESTARTS: u32 = 3;

/// How many event types a webhook is expected to subscribe to; more count as all types.
const MAX_TYPES: usize = 10_000;

/// How long to wait between two looks for events whose deliveries have no event id.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(200);

/// The events that a comparison could not cover.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Compared {
    /// How many events could not be compared: without an id or a time, or with the id of another
    /// event.
    pub(super) not_compared: u64,
    /// Whether reading ended at the limit.
    pub(super) is_cut: bool,
}

/// Spools the events of the gap without a delivery, and marks those that the inbox has. They are
/// never added to the inbox, since they are not signed.
///
/// If the list is sorted by time, it is read until it is older than the gap. If the API rejects or
/// ignores the sort, the events of the gap can be anywhere in the list, so all of it is read, up to
/// a limit: page by page, and only the events of the gap are kept.
pub(super) async fn compare(job: &Job) -> Result<Compared, CatchUpError> {
    let subscribed = Subscribed::read(job).await?;
    let mut restarts = 0;
    let mut is_filtered = true;
    let compared = loop {
        match read_once(job, &subscribed, is_filtered).await {
            Err(error) if has_expired(&error) && restarts < RESTARTS => restarts += 1,
            // The list is documented; that it can be sorted by this field is assumed.
            Err(error) if is_filtered && is_invalid(&error) => is_filtered = false,
            result => break result?,
        }
    };
    let deadline = Instant::now() + job.settings.arrival_timeout;
    if has_unreachable(job).await? {
        scan_all(job).await?;
    }
    while has_unreachable(job).await? {
        // A redelivery that cannot be recognised by an event id may still be on its way.
        let may_arrive = read(&job.totals.unconfirmed) > 0 && Instant::now() < deadline;
        if !may_arrive {
            break;
        }
        sleep(LOOK_EVERY).await;
        scan_new(job).await?;
    }
    Ok(compared)
}

fn is_invalid(error: &CatchUpError) -> bool {
    let error = error.api_error();
    error.is_some_and(|error| error.kind() == ApiErrorKind::Invalid)
}

async fn has_unreachable(job: &Job) -> Result<bool, CatchUpError> {
    let counts = wait(job.lease.store.counts(&job.lease.claim)).await?;
    let mut states = counts.iter().map(|count| count.state);
    Ok(states.any(|state| matches!(state, State::Unreachable | State::Unsubscribed)))
}

fn list(job: &Job, is_filtered: bool) -> Pages<EventRecord> {
    let events = job.client.events();
    let list = match is_filtered {
        true => events.filter(Filter::new().sort_descending("created_at")),
        false => events.list(),
    };
    list.page_size(PAGE_ROWS)
}

async fn read_once(
    job: &Job,
    subscribed: &Subscribed,
    is_filtered: bool,
) -> Result<Compared, CatchUpError> {
    let mut list = list(job, is_filtered);
    let mut descent = Descent::to(job.gap.from);
    let mut batch = Batch::default();
    let (mut records, mut outside, mut is_cut) = (0_u64, 0, false);
    loop {
        if records.is_multiple_of(u64::from(PAGE_ROWS)) {
            flush(job, &mut batch, records).await?;
            count(&job.totals.calls, 1);
        }
        job.calls_left()?;
        let Some(event) = list.try_next().await.map_err(CatchUpError::api)? else {
            break;
        };
        records += 1;
        let is_past = descent.is_past(event.created_at);
        let in_gap = event.created_at.is_some_and(|time| is_in_gap(job, time));
        match entry(&event, subscribed) {
            None => batch.not_compared += 1,
            Some(entry) if in_gap => batch.add(entry),
            Some(_) => {}
        }
        // In a sorted list, the events that are newer than the gap come first, and their number is
        // finite.
        let is_sorted = event.created_at.is_some() && descent.is_sorted();
        outside += u64::from(!in_gap && !is_sorted);
        is_cut = outside > job.settings.event_log_limit;
        if is_past || is_cut {
            break;
        }
    }
    flush(job, &mut batch, records).await?;
    Ok(Compared {
        not_compared: batch.not_compared,
        is_cut,
    })
}

fn is_in_gap(job: &Job, time: OffsetDateTime) -> bool {
    (job.gap.from..job.gap.until).contains(&time)
}

/// The events of one page that are in the gap, with different keys.
#[derive(Debug, Default)]
struct Batch {
    entries: BTreeMap<String, Entry>,
    /// Of all pages so far.
    not_compared: u64,
}

impl Batch {
    fn add(&mut self, entry: Entry) {
        let other = self.entries.insert(entry.key.clone(), entry.clone());
        let is_another = other.is_some_and(|other| {
            entry.is_another(&Other {
                event_type: other.event_type.as_deref(),
                created_at: other.created_at,
                received_at: None,
            })
        });
        self.not_compared += u64::from(is_another);
    }
}

async fn flush(job: &Job, batch: &mut Batch, records: u64) -> Result<(), CatchUpError> {
    let entries: Vec<Entry> = std::mem::take(&mut batch.entries).into_values().collect();
    batch.not_compared += job.change(Change::Spool(&entries)).await?;
    job.progress(CatchUpPhase::ReadingEvents, records);
    Ok(())
}

/// `None` if the event has no id or no time.
fn entry(event: &EventRecord, subscribed: &Subscribed) -> Option<Entry> {
    let event_id = label(event.id.as_ref()?.as_str());
    let event_type = event.event_type.as_ref().map(|kind| kind.as_str());
    Some(Entry {
        key: format!("event:{event_id}"),
        event_id: Some(event_id),
        event_type: event_type.map(label),
        delivery_id: None,
        delivered_at: Some(event.created_at?),
        created_at: event.created_at,
        state: match subscribed.has(event_type) {
            true => State::Unreachable,
            false => State::Unsubscribed,
        },
    })
}

/// The event types that the webhook subscribes to now.
enum Subscribed {
    All,
    Types(BTreeSet<String>),
}

impl Subscribed {
    /// A subscription that cannot be read counts as one to all types: it is better to report an
    /// event too many than one too few.
    async fn read(job: &Job) -> Result<Self, CatchUpError> {
        let webhooks = job.client.webhooks();
        let list = webhooks.subscriptions(&job.webhook).list();
        let mut list = list.page_size(PAGE_ROWS);
        let mut types = BTreeSet::new();
        for records in 0_u64.. {
            if records.is_multiple_of(u64::from(PAGE_ROWS)) {
                count(&job.totals.calls, 1);
            }
            job.calls_left()?;
            let Some(subscription) = list.try_next().await.map_err(CatchUpError::api)? else {
                break;
            };
            match subscription.event_type {
                Some(kind) if kind != "*" && types.len() < MAX_TYPES => {
                    types.insert(kind.as_str().to_owned());
                }
                _ => return Ok(Self::All),
            }
        }
        Ok(Self::Types(types))
    }

    fn has(&self, event_type: Option<&str>) -> bool {
        match self {
            Self::All => true,
            Self::Types(types) => event_type.is_none_or(|kind| types.contains(kind)),
        }
    }
}
