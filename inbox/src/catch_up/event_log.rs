//! The event log, compared with the delivery log and the inbox.

use std::collections::{BTreeMap, BTreeSet};

use ptolemy_webhooks_client::{ApiErrorKind, EventRecord, Filter, Pages};
use tokio::time::{Instant, sleep};

use super::arrivals::{scan_all, scan_new};
use super::delivery_log::has_expired;
use super::descent::{Descent, PAGE_ROWS};
use super::error::CatchUpError;
use super::job::{Job, count, read, wait};
use super::progress::CatchUpPhase;
use crate::arrival::label;
use crate::store::catch_up::{Change, Entry, State};

/// How often a list is begun again because its cursor expired.
const RESTARTS: u32 = 3;

/// How many kinds of event types a webhook is expected to subscribe to; more are read as all.
const MAX_TYPES: usize = 10_000;

/// How long to wait between two looks for events whose deliveries have no event id.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(200);

/// Spools the events of the gap that no delivery names, and marks those that the inbox has; returns how
/// many events could not be compared: without an id or a time, or with the id of another event. They are never put into the inbox: they are not signed.
pub(super) async fn compare(job: &Job) -> Result<u64, CatchUpError> {
    let subscribed = Subscribed::read(job).await?;
    let mut restarts = 0;
    let mut is_filtered = true;
    let not_compared = loop {
        match read_once(job, &subscribed, is_filtered).await {
            Err(error) if has_expired(&error) && restarts < RESTARTS => restarts += 1,
            // That events can be sorted by this field is assumed; the list is documented.
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
    Ok(not_compared)
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
) -> Result<u64, CatchUpError> {
    let mut list = list(job, is_filtered);
    let mut descent = Descent::to(job.gap.from);
    let mut batch = BTreeMap::new();
    let (mut records, mut not_compared) = (0_u64, 0);
    loop {
        if records.is_multiple_of(u64::from(PAGE_ROWS)) {
            not_compared += flush(job, &mut batch, records).await?;
            count(&job.totals.calls, 1);
        }
        job.calls_left()?;
        let Some(event) = list.try_next().await.map_err(CatchUpError::api)? else {
            break;
        };
        records += 1;
        let is_past = descent.is_past(event.created_at);
        match entry(&event, subscribed) {
            None => not_compared += 1,
            Some(entry) if is_in_gap(job, &entry) => {
                let (event_type, created_at) = (entry.event_type.clone(), entry.created_at);
                let other = batch.insert(entry.key.clone(), entry);
                not_compared += u64::from(
                    other.is_some_and(|other| other.is_another(event_type.as_deref(), created_at)),
                );
            }
            Some(_) => {}
        }
        if is_past {
            break;
        }
    }
    not_compared += flush(job, &mut batch, records).await?;
    Ok(not_compared)
}

fn is_in_gap(job: &Job, entry: &Entry) -> bool {
    let gap = job.gap.from..job.gap.until;
    entry.delivered_at.is_some_and(|time| gap.contains(&time))
}

async fn flush(
    job: &Job,
    batch: &mut BTreeMap<String, Entry>,
    records: u64,
) -> Result<u64, CatchUpError> {
    let entries: Vec<Entry> = std::mem::take(batch).into_values().collect();
    let others = job.change(Change::Spool(&entries)).await?;
    job.progress(CatchUpPhase::ReadingEvents, records);
    Ok(others)
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
    /// A subscription that cannot be read counts as one to everything: an event too many is reported
    /// rather than one too few.
    async fn read(job: &Job) -> Result<Self, CatchUpError> {
        let webhooks = job.client.webhooks();
        let mut list = webhooks.subscriptions(&job.webhook).list();
        let mut types = BTreeSet::new();
        job.calls_left()?;
        count(&job.totals.calls, 1);
        while let Some(subscription) = list.try_next().await.map_err(CatchUpError::api)? {
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
