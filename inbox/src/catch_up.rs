//! Catching up after an outage: redelivery through the API into the inbox, and a proof of what is
//! still missing.
//!
//! Read in the order of a run: the gap, the delivery log, arrivals, redelivery, the event log,
//! the proof, the plan.

mod error;
mod gap;
mod progress;
mod report;

mod job;

mod arrivals;
mod descent;

mod delivery_log;
mod event_log;
mod redelivery;

mod proof;

mod plan;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ptolemy_webhooks_client::{Client, WebhookId};
use time::OffsetDateTime;

pub use self::error::{CatchUpError, CatchUpErrorKind};
use self::job::Settings;
pub use self::plan::CatchUpPlan;
pub use self::progress::{CatchUpPhase, CatchUpProgress};
pub use self::report::{CatchUpReport, MissingEvent, MissingReason, UnreachableEvent};
use crate::inbox::Inbox;
use crate::retry::MAX_DELAY;

/// How many calls of the month's quota are reserved for others.
const QUOTA_FLOOR: u64 = 1_000;

/// How many events outside the gap are read if the event log is not sorted: 500 calls.
const EVENT_LOG_LIMIT: u64 = 100_000;

/// How long a redelivery may take to arrive; one attempt of Ptolemy may take 10 s.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(30);

/// A catch-up of one webhook; [`Inbox::catch_up`] returns it.
///
/// It asks Ptolemy to redeliver what the inbox does not have. The redeliveries are signed and go
/// through the receiver like any other delivery, so the receiver must be running, with the
/// webhook's secret and this inbox. See [After an outage](crate::guide::after_an_outage).
///
/// Ptolemy documents its calls: it filters the delivery log by `webhook_id`, sorted by
/// `delivered_at`, and has deliveries sent again. It is assumed that the entries of the log have an
/// `event_id`, and that this is the id in the deliveries; if that is wrong, the run stops or
/// reports it, and loses nothing.
///
/// # Examples
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use ptolemy_webhooks_client::Client;
/// use ptolemy_webhooks_inbox::Inbox;
/// use time::{Duration, OffsetDateTime};
///
/// let inbox = Inbox::open_existing("sqlite://inbox.db").await?;
/// let plan = inbox
///     .catch_up(&Client::from_env()?, "0198c7a2-4a54-7c1e-9d5f-2f1c1a3b4d5e")
///     .since(OffsetDateTime::now_utc() - Duration::hours(6)) // the first time; then not needed
///     .plan()
///     .await?;
/// println!("{} deliveries, {} calls", plan.redeliveries(), plan.calls());
/// let report = plan.run().await?;
/// assert!(report.is_complete(), "{report:?}");
/// # Ok(())
/// # }
/// ```
#[must_use = "a catch-up does nothing until it is planned and run"]
pub struct CatchUp {
    inbox: Inbox,
    client: Client,
    webhook: WebhookId,
    settings: Settings,
}

impl Inbox {
    /// Returns a catch-up with default settings: the redelivery of events that the inbox missed
    /// while the receiver was down.
    pub fn catch_up(&self, client: &Client, webhook: impl Into<WebhookId>) -> CatchUp {
        CatchUp {
            inbox: self.clone(),
            client: client.clone(),
            webhook: webhook.into(),
            settings: Settings {
                since: None,
                until: None,
                quota_floor: QUOTA_FLOOR,
                all_failed: false,
                retry_missing: false,
                event_log_limit: EVENT_LOG_LIMIT,
                source: None,
                arrival_timeout: ARRIVAL_TIMEOUT,
                on_progress: None,
            },
        }
    }
}

impl CatchUp {
    /// Sets the start of the gap; unless set, it is 15 minutes before the checkpoint of the last
    /// successful run.
    ///
    /// If it is after the checkpoint, the run leaves a hole and the checkpoint does not move,
    /// unless no gap can begin at the checkpoint any more because rows of that time may have been
    /// pruned.
    pub fn since(mut self, time: OffsetDateTime) -> Self {
        self.settings.since = Some(time);
        self
    }

    /// Sets the end of the gap; 2 minutes ago unless set, since the log may lag. A time in the
    /// future counts as now.
    pub fn until(mut self, time: OffsetDateTime) -> Self {
        self.settings.until = Some(time);
        self
    }

    /// Sets how many calls of the month's quota to leave unused; 1,000 unless set. The run stops
    /// before a call that could leave fewer, assuming that the client makes [all its
    /// attempts](ptolemy_webhooks_client::Client::max_attempts). Over quota and with overage off,
    /// Ptolemy abandons deliveries. With 0 there is no floor.
    ///
    /// A run that begins within an hour after its client saw the floor reached makes no call; a
    /// later run makes one call to check.
    ///
    /// Ptolemy documents that each response says how many calls are left. If no response does, the
    /// floor cannot be kept: [`CatchUpPlan::quota_left`] is `None` then, and a line at the level
    /// WARN says so.
    pub fn quota_floor(mut self, calls: u64) -> Self {
        self.settings.quota_floor = calls;
        self
    }

    /// Also redelivers failed deliveries that have no time and are not in the inbox, instead of
    /// stopping if the log shows no times.
    ///
    /// A delivery without a time can be older than the gap, so an event whose row was pruned is
    /// handled again. Deliveries with a time must still be in the gap. The checkpoint does not
    /// move.
    pub fn all_failed(mut self) -> Self {
        self.settings.all_failed = true;
        self
    }

    /// Sets how many events outside the gap are read if the event log is not sorted by time, newest
    /// first; 100,000 unless set, which takes 500 calls. That events can be sorted by `created_at`
    /// is assumed.
    ///
    /// If there are more, reading ends, and the report says so in
    /// [`event_log_cut`](CatchUpReport::event_log_cut): it may then lack events that have no
    /// delivery. Redelivery itself is not affected.
    pub fn event_log_limit(mut self, events: u64) -> Self {
        self.settings.event_log_limit = events;
        self
    }

    /// Resets how often events were tried. Otherwise, an event is redelivered at most three times
    /// by all runs together, and only once if it has no event id.
    ///
    /// Use it for events that were tried while the receiver could not accept them. They are
    /// redelivered even if they are older than the gap, but not if rows of their time were pruned.
    pub fn retry_missing(mut self) -> Self {
        self.settings.retry_missing = true;
        self
    }

    /// Counts an event as arrived only if it came through this source, if the receiver of the
    /// webhook [names one](crate::Accept::source).
    pub fn source(mut self, name: impl Into<String>) -> Self {
        self.settings.source = Some(name.into());
        self
    }

    /// Sets how long a redelivery may take until the inbox has it; 30 s unless set.
    pub fn arrival_timeout(mut self, limit: Duration) -> Self {
        self.settings.arrival_timeout = limit.min(MAX_DELAY);
        self
    }

    /// Sets a function that is called after each page of a log, and when redeliveries have arrived.
    /// The same progress is logged at the level INFO, for each page and for each hundred arrivals.
    pub fn on_progress(
        mut self,
        callback: impl Fn(CatchUpProgress) + Send + Sync + 'static,
    ) -> Self {
        self.settings.on_progress = Some(Arc::new(callback));
        self
    }

    /// Reads the delivery log and compares it with the inbox. It changes nothing at Ptolemy, and
    /// nothing in `ptolemy_inbox`.
    ///
    /// # Errors
    ///
    /// Returns an error if the start of the gap is unknown or too early, if another run is under
    /// way, if the host's clock is wrong by more than 300 s, if the webhook is inactive, if the log
    /// shows no times, if the floor of the quota is reached, and if the API or the database fails.
    pub async fn plan(self) -> Result<CatchUpPlan, CatchUpError> {
        plan::plan(&self.inbox, self.client, self.webhook, self.settings).await
    }
}

impl fmt::Debug for CatchUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CatchUp")
            .field("inbox", &self.inbox)
            .field("webhook", &self.webhook)
            .field("since", &self.settings.since)
            .field("until", &self.settings.until)
            .finish_non_exhaustive()
    }
}
