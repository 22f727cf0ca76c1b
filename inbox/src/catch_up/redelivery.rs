//! Requests redeliveries and waits until the inbox has them.
//!
//! A few are under way at a time, the oldest first. Each has two parts: the call, and the wait
//! until a row of the inbox has the event's id. A call is counted as a try, on disk, before it is
//! made, so that runs that die cannot retry forever; the try is given back if the call certainly
//! had no effect. After a call with an unknown outcome the run waits for the event as after an
//! accepted call. An event that does not arrive in time is tried again after all others, by this
//! run or the next, up to three tries; if several in a row do not arrive, the cause is elsewhere,
//! and the run stops.
//!
//! New rows of the inbox are scanned as they arrive. On PostgreSQL a row can become visible after
//! rows with larger ids, so each scan goes back a little further, and before an event counts as
//! lost all rows since the start of its call are scanned.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ptolemy_webhooks_client::{ApiError, ApiErrorKind, Outcome};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::arrivals::{ROWS_BACK, scan, scan_new};
use super::error::{CatchUpError, CatchUpErrorKind};
use super::job::{Job, count, wait};
use super::progress::CatchUpPhase;
use crate::store::Ids;
use crate::store::catch_up::{Change, Settled, State, Taken};

/// How many redeliveries are under way at the same time.
const AT_ONCE: usize = 8;

/// The minimum number taken together, unless nothing else is under way: each time costs a commit.
const TAKE_AT_LEAST: usize = 4;

/// When no more calls are left above the floor of the quota, they are made one at a time.
const FEW_CALLS: u64 = 2 * AT_ONCE as u64;

/// After this many in a row that do not arrive, the run stops.
const MAX_IN_A_ROW: u32 = 5;

/// The delays between two scans of the inbox.
const FIRST_DELAY: Duration = Duration::from_millis(5);
const LONGEST_DELAY: Duration = Duration::from_millis(500);

/// Redelivers the open entries. When it returns, each one is in the inbox, has no tries left, or
/// was rejected by the API.
pub(super) async fn run(job: &Job) -> Result<(), CatchUpError> {
    // Events that arrived since the plan are not redelivered.
    let scanned = scan_new(job).await?;
    let mut under_way = UnderWay {
        job,
        calls: JoinSet::new(),
        calling: BTreeMap::new(),
        early: BTreeSet::new(),
        awaited: BTreeMap::new(),
        scanned,
        delay: FIRST_DELAY,
        next_look: Instant::now(),
        nothing_open: false,
        in_a_row: 0,
        uncertain: None,
        stop: None,
    };
    loop {
        under_way.take_some().await?;
        let gave_up = under_way.in_a_row >= MAX_IN_A_ROW;
        if under_way.calls.is_empty() && (under_way.awaited.is_empty() || gave_up) {
            job.progress(CatchUpPhase::Redelivering, 0);
            return under_way.stop.map_or(Ok(()), Err);
        }
        tokio::select! {
            Some(ended) = under_way.calls.join_next(), if !under_way.calls.is_empty() => {
                // A call that panicked stays counted, and is reported as missing.
                if let Ok((taken, result)) = ended {
                    under_way.call_ended(taken, result).await?;
                }
            }
            () = sleep_until(under_way.next_look), if !under_way.awaited.is_empty() => {
                under_way.look().await?;
            }
        }
    }
}

/// An event that is expected to arrive.
struct Awaited {
    deadline: Instant,
    /// Rows up to this one were there before the call.
    after: i64,
}

struct UnderWay<'a> {
    job: &'a Job,
    calls: JoinSet<(Taken, Result<(), ApiError>)>,
    /// The keys of the entries whose calls are under way, and the rows that were there before the
    /// calls.
    calling: BTreeMap<String, i64>,
    /// Those of them that have arrived: a delivery can arrive before the answer to the call.
    early: BTreeSet<String>,
    /// By the key of the entry.
    awaited: BTreeMap<String, Awaited>,
    /// The inbox was scanned up to this row.
    scanned: i64,
    delay: Duration,
    next_look: Instant,
    nothing_open: bool,
    in_a_row: u32,
    /// The last error of a call that may have been carried out.
    uncertain: Option<ApiError>,
    /// Why no more entries are taken.
    stop: Option<CatchUpError>,
}

impl UnderWay<'_> {
    /// Takes open entries and starts their calls, if it is time to.
    async fn take_some(&mut self) -> Result<(), CatchUpError> {
        let busy = self.calls.len() + self.awaited.len();
        let free = AT_ONCE.saturating_sub(busy);
        if self.stop.is_some() || self.nothing_open || (busy > 0 && free < TAKE_AT_LEAST) {
            return Ok(());
        }
        let limit = match self.job.calls_left() {
            Ok(left) if left > FEW_CALLS => free,
            // Answers to concurrent calls arrive in any order, so the remaining quota is exact only
            // with one call at a time.
            Ok(_) if self.calls.is_empty() => 1,
            Ok(_) => return Ok(()),
            Err(error) => {
                self.stop = Some(error);
                return Ok(());
            }
        };
        let limit = u32::try_from(limit).unwrap_or(1);
        let lease = &self.job.lease;
        let taken = wait(lease.store.take(&lease.claim, limit)).await?;
        let mut taken = taken.ok_or_else(|| CatchUpError::new(CatchUpErrorKind::LeaseLost))?;
        self.nothing_open = u32::try_from(taken.len()).is_ok_and(|taken| taken < limit);
        taken.sort_by_key(|taken| taken.delivered_at);
        for taken in taken {
            self.calling.insert(taken.key.clone(), self.scanned);
            let client = self.job.client.clone();
            count(&self.job.totals.calls, 1);
            self.calls.spawn(async move {
                let result = client.deliveries().redeliver(&*taken.delivery_id).await;
                (taken, result)
            });
        }
        Ok(())
    }

    async fn call_ended(
        &mut self,
        taken: Taken,
        result: Result<(), ApiError>,
    ) -> Result<(), CatchUpError> {
        let after = self.calling.remove(&taken.key).unwrap_or(self.scanned);
        let is_here = self.early.remove(&taken.key);
        match result {
            Err(error) if error.outcome() != Outcome::Unknown => {
                return self.not_carried_out(taken, error).await;
            }
            Err(error) => self.uncertain = Some(error),
            Ok(()) => {}
        }
        count(&self.job.totals.redelivered, 1);
        if !taken.has_event_id {
            count(&self.job.totals.unconfirmed, 1);
            return self.settle(taken.key, State::Unconfirmed, None).await;
        }
        if is_here {
            self.note_arrived(1);
            return Ok(());
        }
        self.delay = FIRST_DELAY;
        self.next_look = Instant::now() + self.delay;
        let awaited = Awaited {
            deadline: Instant::now() + self.job.settings.arrival_timeout,
            after,
        };
        self.awaited.insert(taken.key, awaited);
        Ok(())
    }

    /// The cause may concern one event, or all of them: then the run stops.
    async fn not_carried_out(&mut self, taken: Taken, error: ApiError) -> Result<(), CatchUpError> {
        let is_of_one = matches!(
            error.kind(),
            ApiErrorKind::NotFound
                | ApiErrorKind::Conflict
                | ApiErrorKind::Invalid
                | ApiErrorKind::InvalidArgument
                | ApiErrorKind::Rejected
        );
        let state = if is_of_one {
            State::Rejected
        } else {
            State::Open
        };
        // If it concerns one event, it counts as a try: otherwise every run would request it.
        let answer = error.status().filter(|_| is_of_one);
        self.settle(taken.key, state, answer).await?;
        if !is_of_one {
            self.stop = Some(CatchUpError::api(error));
        } else if error.kind() != ApiErrorKind::NotFound {
            // The log may keep entries for longer than their deliveries, so this does not mean that
            // all calls fail.
            self.failed(1, Some(error));
        }
        Ok(())
    }

    /// Looks for events that have arrived, and settles those that did not arrive in time.
    async fn look(&mut self) -> Result<(), CatchUpError> {
        let up_to = wait(self.job.lease.store.rows()).await?.up_to;
        let after = self.scanned.saturating_sub(ROWS_BACK).max(0);
        self.take_arrived(Ids { after, up_to }).await?;
        self.scanned = up_to;
        let now = Instant::now();
        let late = |awaited: &&Awaited| awaited.deadline <= now;
        if let Some(after) = self.awaited.values().filter(late).map(|it| it.after).min() {
            self.take_arrived(Ids { after, up_to }).await?;
            self.settle_late(now).await?;
        }
        self.next_look = Instant::now() + self.delay;
        self.delay = (self.delay * 2).min(LONGEST_DELAY);
        Ok(())
    }

    async fn take_arrived(&mut self, rows: Ids) -> Result<(), CatchUpError> {
        let keys = scan(self.job, rows).await?;
        let before = self.awaited.len();
        for key in keys {
            if self.awaited.remove(&key).is_none() && self.calling.contains_key(&key) {
                self.early.insert(key);
            }
        }
        self.note_arrived(before - self.awaited.len());
        Ok(())
    }

    fn note_arrived(&mut self, events: usize) {
        if events > 0 {
            self.in_a_row = 0;
            count(&self.job.totals.arrived, events as u64);
            self.job.progress(CatchUpPhase::Redelivering, 0);
        }
    }

    async fn settle_late(&mut self, now: Instant) -> Result<(), CatchUpError> {
        let mut settled = Vec::new();
        self.awaited.retain(|key, awaited| {
            let is_late = awaited.deadline <= now;
            if is_late {
                settled.push(Settled {
                    key: key.clone(),
                    state: State::Open,
                    gives_back: false,
                    answer: None,
                });
            }
            !is_late
        });
        self.job.change(Change::Settle(&settled)).await?;
        // They may have tries left.
        self.nothing_open = settled.is_empty() && self.nothing_open;
        self.failed(u32::try_from(settled.len()).unwrap_or(u32::MAX), None);
        Ok(())
    }

    fn failed(&mut self, events: u32, error: Option<ApiError>) {
        self.in_a_row = self.in_a_row.saturating_add(events);
        if self.in_a_row >= MAX_IN_A_ROW && self.stop.is_none() {
            let in_a_row = self.in_a_row;
            let stop = CatchUpError::new(CatchUpErrorKind::NothingArrives { in_a_row });
            self.stop = Some(stop.because_of(error.or_else(|| self.uncertain.take())));
        }
    }

    /// Settles an entry without waiting for its event; gives the try back if the entry is not the
    /// cause of the failure.
    async fn settle(
        &self,
        key: String,
        state: State,
        answer: Option<u16>,
    ) -> Result<(), CatchUpError> {
        let settled = Settled {
            key,
            state,
            gives_back: state == State::Open,
            answer,
        };
        self.job.change(Change::Settle(&[settled])).await.map(drop)
    }
}
