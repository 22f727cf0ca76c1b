//! State that all steps of a run share: the client behind the floor of the quota, the spool, and
//! the lease.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use ptolemy_webhooks_client::{Client, WebhookId};
use time::OffsetDateTime;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::error::{CatchUpError, CatchUpErrorKind};
use super::gap::Gap;
use super::progress::{CatchUpPhase, CatchUpProgress};
use crate::arrival::label;
use crate::error::InboxError;
use crate::inbox::in_time;
use crate::store::Answer;
use crate::store::catch_up::{Begun, CatchUpStore, Change, Claim, LEASE, ROWS_PER_TIDY, Tidy};

/// How long the remaining quota counts as known. A job that finds the floor reached makes one call
/// in this time, which is 720 a month.
const QUOTA_KNOWN_FOR: Duration = Duration::from_secs(60 * 60);

pub(super) type OnProgress = Arc<dyn Fn(CatchUpProgress) + Send + Sync>;

/// The caller's settings.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) since: Option<OffsetDateTime>,
    pub(super) until: Option<OffsetDateTime>,
    pub(super) quota_floor: u64,
    pub(super) all_failed: bool,
    pub(super) retry_missing: bool,
    pub(super) event_log_limit: u64,
    pub(super) source: Option<String>,
    pub(super) arrival_timeout: Duration,
    pub(super) on_progress: Option<OnProgress>,
}

impl Settings {
    /// Checks whether a run may make its first call. The remaining quota is known from earlier
    /// calls of the client, if there are any, but a new month may have begun, so old figures do not
    /// count.
    ///
    /// # Errors
    ///
    /// Returns an error if the floor is reached.
    pub(super) fn may_begin(&self, client: &Client) -> Result<(), CatchUpError> {
        match client.remaining_age() {
            Some(age) if age < QUOTA_KNOWN_FOR => self.calls_left(client).map(drop),
            _ => Ok(()),
        }
    }

    /// Returns how many calls may be made before the floor of the quota is reached, if the client
    /// makes all its attempts for each: a failed attempt may use quota too.
    ///
    /// # Errors
    ///
    /// Returns an error if there are none.
    pub(super) fn calls_left(&self, client: &Client) -> Result<u64, CatchUpError> {
        // Without a floor, the API says when nothing is left.
        let Some(remaining) = client.remaining().filter(|_| self.quota_floor > 0) else {
            return Ok(u64::MAX);
        };
        let (floor, attempts) = (self.quota_floor, client.max_attempts());
        match remaining.saturating_sub(floor) / u64::from(attempts.max(1)) {
            0 => Err(CatchUpError::new(CatchUpErrorKind::QuotaFloor {
                remaining,
                floor,
                attempts,
            })),
            left => Ok(left),
        }
    }
}

/// Counts of a run.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) calls: AtomicU64,
    pub(super) redelivered: AtomicU64,
    pub(super) arrived: AtomicU64,
    pub(super) unconfirmed: AtomicU64,
    /// How many events of the delivery log have an id that another event has.
    pub(super) ambiguous: AtomicU64,
    /// For how many hundreds of arrivals a line was logged.
    logged: AtomicU64,
}

pub(super) fn count(number: &AtomicU64, by: u64) {
    number.fetch_add(by, Ordering::Relaxed);
}

pub(super) fn read(number: &AtomicU64) -> u64 {
    number.load(Ordering::Relaxed)
}

pub(super) struct Job {
    pub(super) client: Client,
    pub(super) webhook: WebhookId,
    pub(super) settings: Settings,
    pub(super) gap: Gap,
    pub(super) lease: Lease,
    pub(super) totals: Totals,
    /// The inbox was scanned up to this row.
    pub(super) scanned: AtomicI64,
}

impl Job {
    pub(super) fn calls_left(&self) -> Result<u64, CatchUpError> {
        self.settings.calls_left(&self.client)
    }

    /// Returns how many entries were changed.
    pub(super) async fn change(&self, change: Change<'_>) -> Result<u64, CatchUpError> {
        let Lease { store, claim, .. } = &self.lease;
        let changed = wait(store.change(claim, change)).await?;
        changed.ok_or_else(|| CatchUpError::new(CatchUpErrorKind::LeaseLost))
    }

    pub(super) async fn tidy(&self, tidy: Tidy) -> Result<(), CatchUpError> {
        while self.change(Change::Tidy(tidy)).await? >= u64::from(ROWS_PER_TIDY) {}
        Ok(())
    }

    pub(super) fn progress(&self, phase: CatchUpPhase, read_now: u64) {
        let progress = CatchUpProgress {
            phase,
            read: read_now,
            redelivered: read(&self.totals.redelivered),
            arrived: read(&self.totals.arrived),
        };
        let hundreds = progress.arrived / 100;
        let is_new = self.totals.logged.swap(hundreds, Ordering::Relaxed) < hundreds;
        if is_new || phase != CatchUpPhase::Redelivering {
            self.log(progress);
        }
        if let Some(on_progress) = &self.settings.on_progress {
            on_progress(progress);
        }
    }

    fn log(&self, progress: CatchUpProgress) {
        tracing::info!(
            webhook = %self.webhook,
            phase = ?progress.phase,
            read = progress.read,
            redelivered = progress.redelivered,
            arrived = progress.arrived,
            "catching up"
        );
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("webhook", &self.webhook)
            .field("gap", &self.gap)
            .finish_non_exhaustive()
    }
}

/// Waits for an answer of the inbox's database.
pub(super) async fn wait<T>(answer: Answer<'_, T>) -> Result<T, CatchUpError> {
    in_time(answer).await.map_err(CatchUpError::inbox)
}

/// The exclusive right of this run to its webhook. A task renews the lease while the run waits for
/// a person or for the API, and every change to the spool checks it. It is released on drop; after
/// a process dies it expires within a minute.
pub(super) struct Lease {
    pub(super) store: Arc<dyn CatchUpStore>,
    pub(super) claim: Claim,
    renewal: Option<JoinHandle<()>>,
    is_released: bool,
}

impl Lease {
    /// Returns the lease of a webhook, not taken yet.
    pub(super) fn new(
        store: Option<Arc<dyn CatchUpStore>>,
        webhook: &WebhookId,
    ) -> Result<Self, CatchUpError> {
        let store = store.ok_or_else(|| {
            CatchUpError::inbox(InboxError::unavailable("the engine has no catch-up"))
        })?;
        // The random keys of a hasher are the only random numbers in std. The engines have signed
        // numbers.
        let random = RandomState::new().hash_one(std::process::id());
        let holder = i64::try_from(random >> 1).unwrap_or_default();
        let webhook = label(webhook.as_str());
        Ok(Self {
            store,
            claim: Claim { webhook, holder },
            renewal: None,
            is_released: false,
        })
    }

    /// Takes the lease and keeps it renewed; returns the checkpoint and the time up to which rows
    /// were pruned.
    pub(super) async fn begin(
        &mut self,
    ) -> Result<(Option<OffsetDateTime>, Option<OffsetDateTime>), CatchUpError> {
        let (checkpoint, pruned_to) = match wait(self.store.begin(&self.claim)).await? {
            Begun::Held {
                checkpoint,
                pruned_to,
            } => (checkpoint, pruned_to),
            Begun::Busy { until } => {
                return Err(CatchUpError::new(CatchUpErrorKind::AlreadyRunning {
                    until,
                }));
            }
        };
        let (store, claim) = (self.store.clone(), self.claim.clone());
        self.renewal = Some(tokio::spawn(async move {
            loop {
                sleep(LEASE / 4).await;
                // If it fails, the next change shows it.
                let _ = in_time(store.change(&claim, Change::Renew)).await;
            }
        }));
        Ok((checkpoint, pruned_to))
    }

    /// Releases the lease and waits for it, which `drop` cannot do.
    pub(super) async fn release(&mut self) -> Result<(), CatchUpError> {
        self.stop_renewal();
        wait(self.store.release(&self.claim)).await?;
        self.is_released = true;
        Ok(())
    }

    fn stop_renewal(&mut self) {
        if let Some(renewal) = self.renewal.take() {
            renewal.abort();
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.stop_renewal();
        if let (false, Ok(runtime)) = (self.is_released, Handle::try_current()) {
            let (store, claim) = (self.store.clone(), self.claim.clone());
            runtime.spawn(async move {
                let _ = in_time(store.release(&claim)).await;
            });
        }
    }
}
