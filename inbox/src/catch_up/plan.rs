//! The plan of a run, and the run.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicI64;

use ptolemy_webhooks_client::{Client, WebhookId};
use time::OffsetDateTime;

use super::delivery_log;
use super::error::{CatchUpError, CatchUpErrorKind};
use super::gap::{Bounds, Gap};
use super::job::{Job, Lease, Settings, Totals, count, read, wait};
use super::proof::{counts, is_to_be_sent, log, next_checkpoint, report};
use super::report::CatchUpReport;
use super::{arrivals, event_log, redelivery};
use crate::inbox::Inbox;
use crate::store::catch_up::{Change, Count, State, Tidy};

/// By how many seconds the host's clock may be wrong before a warning is logged, and before a run
/// stops.
const WARN_SECONDS: i64 = 60;
const MAX_SECONDS: i64 = 300;

/// How often redelivery and the proof follow each other at most: the log may show more meanwhile.
const MAX_ROUNDS: u32 = 3;

/// The plan of a catch-up, which can be run: see [`CatchUp::plan`](crate::CatchUp::plan).
///
/// While it exists, no other catch-up of the webhook can begin: [release](Self::release) it if you
/// do not run it.
#[derive(Debug)]
#[must_use = "a plan does nothing until it is run"]
pub struct CatchUpPlan {
    job: Job,
    by_type: BTreeMap<String, u64>,
    redeliveries: u64,
    already_here: u64,
    no_tries_left: u64,
    calls: u64,
    clock_warning: Option<i64>,
}

impl CatchUpPlan {
    /// Returns the id of the webhook.
    #[must_use]
    pub fn webhook_id(&self) -> &WebhookId {
        &self.job.webhook
    }

    /// Returns the start of the gap.
    #[must_use]
    pub fn from(&self) -> OffsetDateTime {
        self.job.gap.from
    }

    /// Returns the end of the gap, exclusive.
    #[must_use]
    pub fn until(&self) -> OffsetDateTime {
        self.job.gap.until
    }

    /// Returns how many deliveries are to be redelivered.
    #[must_use]
    pub fn redeliveries(&self) -> u64 {
        self.redeliveries
    }

    /// Returns how many deliveries of each event type are to be redelivered; `-` if the log has no
    /// type.
    #[must_use]
    pub fn by_type(&self) -> &BTreeMap<String, u64> {
        &self.by_type
    }

    /// Returns how many events of the log the inbox has already.
    #[must_use]
    pub fn already_here(&self) -> u64 {
        self.already_here
    }

    /// Returns how many events are not in the inbox and are not redelivered: they have no tries
    /// left (see [`CatchUp::retry_missing`](crate::CatchUp::retry_missing)), or no delivery whose
    /// id can be sent.
    #[must_use]
    pub fn no_tries_left(&self) -> u64 {
        self.no_tries_left
    }

    /// Returns the minimum number of calls of the run: the redeliveries, and the log once more. The
    /// event log takes one more call for every 200 events.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls
    }

    /// Returns how many calls are left in the month's quota, if the API says so. `None` if its
    /// answers have no `X-RateLimit-Remaining`: the run cannot keep the floor then.
    #[must_use]
    pub fn quota_left(&self) -> Option<u64> {
        self.job.client.remaining()
    }

    /// Returns by how many seconds the host's clock is ahead of the API's, if that is more than 60
    /// in either direction: above 300 s, receivers reject every delivery.
    #[must_use]
    pub fn clock_warning(&self) -> Option<i64> {
        self.clock_warning
    }

    /// Ends the plan without running it, so that another catch-up of the webhook can begin at once.
    ///
    /// A plan that is dropped instead is released in the background, if the runtime continues;
    /// otherwise another catch-up can begin when the lease ends, within a minute.
    ///
    /// # Errors
    ///
    /// Returns an error if the database does not answer.
    pub async fn release(mut self) -> Result<(), CatchUpError> {
        self.job.lease.release().await
    }

    /// Redelivers the oldest deliveries first, and then checks what is still missing.
    ///
    /// The future can be dropped and the process killed at any point: plan and run again to
    /// continue. An event that has arrived is not redelivered again.
    ///
    /// # Errors
    ///
    /// Returns an error if a call fails for a reason that applies to all calls, if the floor of the
    /// quota is reached, if five redeliveries in a row do not arrive, if the database does not
    /// answer, or if another run has taken over. Events that have arrived stay, and the checkpoint
    /// does not move.
    pub async fn run(mut self) -> Result<CatchUpReport, CatchUpError> {
        let report = self.run_all().await;
        // The report is complete: the events that it lists may be recorded as reported. The lease
        // ends by itself.
        let _ = self.job.lease.release().await;
        report
    }

    async fn run_all(&self) -> Result<CatchUpReport, CatchUpError> {
        let job = &self.job;
        for _ in 0..MAX_ROUNDS {
            redelivery::run(job).await?;
            delivery_log::read(job).await?;
            arrivals::scan_all(job).await?;
            if !counts(job).await?.iter().any(is_to_be_sent) {
                break;
            }
        }
        let compared = event_log::compare(job).await?;
        let mut report = report(job).await?;
        let ambiguous = read(&job.totals.ambiguous);
        report.not_compared = compared.not_compared.saturating_add(ambiguous);
        report.event_log_cut = compared.is_cut;
        report.clock_warning = self.clock_warning;
        log(job, &report);
        report.checkpoint = job.gap.checkpoint;
        if let Err(error) = finish(job, &mut report).await {
            let webhook = &job.webhook;
            tracing::warn!(%webhook, ?error, "the end of a catch-up was not stored: run it again");
        }
        Ok(report)
    }
}

/// Moves the checkpoint if nothing prevents it. The next run does any remaining work.
async fn finish(job: &Job, report: &mut CatchUpReport) -> Result<(), CatchUpError> {
    let Some(checkpoint) = next_checkpoint(job).await? else {
        return Ok(());
    };
    let horizon = job.gap.horizon;
    report.skipped_from = job.gap.skipped_from();
    job.change(Change::Checkpoint(checkpoint)).await?;
    report.checkpoint = Some(checkpoint);
    job.tidy(Tidy::Reported).await?;
    job.tidy(Tidy::Ended { horizon }).await
}

/// Reads the log and the inbox, and changes nothing at Ptolemy.
pub(super) async fn plan(
    inbox: &Inbox,
    client: Client,
    webhook: WebhookId,
    settings: Settings,
) -> Result<CatchUpPlan, CatchUpError> {
    settings.may_begin(&client)?;
    // Under its id, in case the caller used another of its names.
    let webhook = client.webhooks().get(&webhook).await;
    let webhook = webhook.map_err(CatchUpError::api)?;
    let clock_warning = check_clock(&client)?;
    if settings.quota_floor > 0 && client.remaining().is_none() {
        tracing::warn!(
            floor = settings.quota_floor,
            "the API does not say how many calls are left in the month's quota, so a catch-up cannot keep \
             the floor"
        );
    }
    if webhook.active == Some(false) {
        return Err(CatchUpError::new(CatchUpErrorKind::WebhookInactive));
    }
    let mut lease = Lease::new(inbox.catch_up_store(), &webhook.id)?;
    let (checkpoint, pruned_to) = lease.begin().await?;
    let gap = Gap::of(&Bounds {
        now: OffsetDateTime::now_utc(),
        since: settings.since,
        until: settings.until,
        checkpoint,
        keep_done: inbox.keep_done(),
        pruned_to,
    });
    let gap = match gap {
        Ok(gap) => gap,
        Err(error) => {
            let _ = lease.release().await;
            return Err(error);
        }
    };
    let mut job = Job {
        client,
        webhook: webhook.id,
        settings,
        gap,
        lease,
        totals: Totals::default(),
        scanned: AtomicI64::new(0),
    };
    count(&job.totals.calls, 1);
    match compare(&job).await {
        Ok((counts, types)) => Ok(summary(job, &counts, types, clock_warning)),
        Err(error) => {
            // So that the next run need not wait for the end of the lease. The error of this run is
            // the one to return.
            let _ = job.lease.release().await;
            Err(error)
        }
    }
}

/// The number of entries to redeliver, by event type.
type Types = Vec<(Option<String>, u64)>;

/// Compares the log with the inbox.
async fn compare(job: &Job) -> Result<(Vec<Count>, Types), CatchUpError> {
    let Gap { from, horizon, .. } = job.gap;
    job.tidy(Tidy::Found).await?;
    if job.settings.retry_missing {
        job.tidy(Tidy::Again { horizon }).await?;
    }
    job.tidy(Tidy::Reopen { from }).await?;
    job.tidy(Tidy::SetAside { from, horizon }).await?;
    delivery_log::read(job).await?;
    arrivals::scan_all(job).await?;
    let lease = &job.lease;
    let types = wait(lease.store.types(&lease.claim)).await?;
    Ok((counts(job).await?, types))
}

fn summary(job: Job, counts: &[Count], types: Types, clock_warning: Option<i64>) -> CatchUpPlan {
    let mut by_type = BTreeMap::new();
    for (event_type, entries) in types {
        *by_type
            .entry(event_type.unwrap_or_else(|| "-".to_owned()))
            .or_default() += entries;
    }
    let sum = |of: fn(&Count) -> bool| -> u64 {
        let counts = counts.iter().filter(|count| of(count));
        counts.map(|count| count.entries).sum()
    };
    let redeliveries = sum(is_to_be_sent);
    CatchUpPlan {
        by_type,
        redeliveries,
        already_here: sum(|count| count.state == State::Here),
        no_tries_left: sum(|count| {
            count.state == State::Open && count.has_event_id && !count.may_be_tried
        }),
        calls: redeliveries.saturating_add(read(&job.totals.calls)),
        clock_warning,
        job,
    }
}

fn check_clock(client: &Client) -> Result<Option<i64>, CatchUpError> {
    let Some(seconds) = client.clock_offset().map(time::Duration::whole_seconds) else {
        return Ok(None);
    };
    if seconds.saturating_abs() > MAX_SECONDS {
        return Err(CatchUpError::new(CatchUpErrorKind::ClockWrong { seconds }));
    }
    if seconds.saturating_abs() <= WARN_SECONDS {
        return Ok(None);
    }
    tracing::warn!(
        ahead_s = seconds,
        "the host's clock differs from the API's: set it, since receivers reject every delivery above \
         300 s"
    );
    Ok(Some(seconds))
}
