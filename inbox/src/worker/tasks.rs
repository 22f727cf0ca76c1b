//! The tasks of a worker: each runs the handler of one event that the worker has taken. And the
//! events that it has taken ahead, each of which begins when another one ends.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ptolemy_webhooks::Event;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::Instant;
use tracing::Instrument as _;

use super::Start;
use crate::guarded::{Guarded, text_of};
use crate::metrics;
use crate::outcome::Outcome;
use crate::turn::{Claim, Lease};

/// How far beyond its limit a handler runs before it counts as blocking its thread.
const OVERDUE: Duration = Duration::from_secs(5);

/// When the handler of an event was called; nothing while its task waits, for example for a
/// connection.
#[derive(Clone, Default)]
pub(super) struct Begun(Arc<OnceLock<Instant>>);

impl Begun {
    /// Records that it is called now.
    pub(super) fn note(&self) {
        self.0.get_or_init(Instant::now);
    }

    fn at(&self) -> Option<Instant> {
        self.0.get().copied()
    }
}

/// An event that a task works on.
pub(super) struct Held {
    pub(super) lease: Lease,
    pub(super) attempts: u32,
    pub(super) key: String,
    pub(super) event_type: Option<String>,
    task: AbortHandle,
    begun: Begun,
    /// Whether it was reported as overdue.
    overdue: bool,
    /// Whether another worker has taken the event over, so that the result of the task is ignored.
    lost: bool,
}

pub(super) struct Tasks {
    start: Arc<Start>,
    accepts_malformed: bool,
    /// How many run at the same time.
    concurrency: usize,
    running: JoinSet<Outcome>,
    held: HashMap<Id, Held>,
    /// Events that were taken and have not begun, and until when each may begin. While there are
    /// any before that time, all slots are in use.
    ahead: VecDeque<(Instant, Claim)>,
}

impl Tasks {
    pub(super) fn new(start: Arc<Start>, concurrency: usize, accepts_malformed: bool) -> Self {
        Self {
            start,
            accepts_malformed,
            concurrency,
            running: JoinSet::new(),
            held: HashMap::new(),
            ahead: VecDeque::new(),
        }
    }

    pub(super) fn running(&self) -> usize {
        self.running.len()
    }

    pub(super) fn ahead(&self) -> usize {
        self.ahead.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty() && self.ahead.is_empty()
    }

    /// How many more may begin at once.
    pub(super) fn free(&self) -> usize {
        self.concurrency.saturating_sub(self.running.len())
    }

    /// Returns the leases of all events, in the same order in all workers, so that no two of them
    /// wait for each other's rows.
    pub(super) fn leases(&self) -> Vec<Lease> {
        let held = self.held.values().map(|held| held.lease);
        let ahead = self.ahead.iter().map(|(_, claim)| claim.lease);
        let mut leases: Vec<_> = held.chain(ahead).collect();
        leases.sort_unstable_by_key(|lease| lease.id);
        leases
    }

    /// Starts the task of an event, or keeps the event until another one ends, but not beyond this
    /// time.
    pub(super) fn take(&mut self, claim: Claim, begin_by: Instant) {
        if self.free() > 0 {
            self.begin(claim);
        } else {
            self.ahead.push_back((begin_by, claim));
        }
    }

    /// Until when the first of the events that have not begun may begin.
    pub(super) fn ahead_until(&self) -> Option<Instant> {
        self.ahead.front().map(|(begin_by, _)| *begin_by)
    }

    /// Releases the events that have not begun.
    pub(super) fn give_back(&mut self) -> Vec<Lease> {
        let ahead = self.ahead.drain(..);
        ahead.map(|(_, claim)| claim.lease).collect()
    }

    fn begin(&mut self, claim: Claim) {
        let (lease, attempts) = (claim.lease, claim.attempts);
        let (key, event_type) = (claim.key.clone(), claim.event_type.clone());
        let span = tracing::info_span!(
            "ptolemy_inbox_handle",
            id = lease.id,
            event_type = event_type.as_deref().unwrap_or("-"),
            attempt = attempts
        );
        let (start, begun) = (self.start.clone(), Begun::default());
        let (noted, accepts_malformed) = (begun.clone(), self.accepts_malformed);
        // The handler is called within the task, and what it returns is read and dropped there, so
        // that a panic in any of this only becomes an outcome.
        let work = Guarded::new(async move {
            match Event::from_trusted_json(claim.body.clone()) {
                Ok(event) => match &event.payload {
                    Err(malformed) if !accepts_malformed => Outcome::Malformed(malformed.clone()),
                    _ => start(event, claim, noted).await,
                },
                Err(error) => Outcome::Undecodable(error),
            }
        });
        let work = async { work.await.unwrap_or_else(|text| Outcome::panicked(&text)) };
        let task = self.running.spawn(work.instrument(span));
        let id = task.id();
        let held = Held {
            lease,
            attempts,
            key,
            event_type,
            task,
            begun,
            overdue: false,
            lost: false,
        };
        self.held.insert(id, held);
    }

    /// Waits until a task has ended, and returns its result, with those of all others that have
    /// ended by then, except tasks whose leases were lost. `None` if no task runs.
    ///
    /// It is cancel safe.
    pub(super) async fn ended(&mut self) -> Option<Vec<(Held, Outcome)>> {
        let first = self.running.join_next_with_id().await?;
        let mut all = Vec::from_iter(self.end(first));
        all.extend(self.ended_by_now());
        Some(all)
    }

    /// Returns the results of tasks that have ended by now, without waiting.
    pub(super) fn ended_by_now(&mut self) -> Vec<(Held, Outcome)> {
        let mut all = Vec::new();
        while let Some(ended) = self.running.try_join_next_with_id() {
            all.extend(self.end(ended));
        }
        all
    }

    fn end(&mut self, ended: Result<(Id, Outcome), JoinError>) -> Option<(Held, Outcome)> {
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let held = self.held.remove(&id);
        if self.free() > 0
            && self
                .ahead_until()
                .is_some_and(|until| Instant::now() < until)
            && let Some((_, next)) = self.ahead.pop_front()
        {
            self.begin(next);
        }
        let held = held.filter(|held| !held.lost)?;
        let outcome = match ended.map_err(JoinError::try_into_panic) {
            Ok((_, outcome)) => outcome,
            Err(Ok(panic)) => Outcome::panicked(&text_of(panic)),
            Err(Err(_)) if held.begun.at().is_some() => Outcome::CutShort,
            Err(Err(_)) => Outcome::Cancelled,
        };
        metrics::attempted(held.event_type.as_deref(), held.begun.at(), &outcome);
        log(&held, &outcome);
        Some((held, outcome))
    }

    /// Aborts the task of an event that another worker has taken over.
    pub(super) fn lose(&mut self, lease: Lease) {
        log_lost(lease);
        self.ahead.retain(|(_, claim)| claim.lease != lease);
        for held in self.held.values_mut().filter(|held| held.lease == lease) {
            metrics::attempted(held.event_type.as_deref(), held.begun.at(), &Outcome::Lost);
            held.lost = true;
            held.task.abort();
        }
    }

    /// Returns the events whose handlers should have been aborted at this limit by now, each once.
    pub(super) fn overdue(&mut self, limit: Duration) -> Vec<Lease> {
        let limit = limit.saturating_add(OVERDUE);
        let mut overdue = Vec::new();
        for held in self.held.values_mut().filter(|held| !held.overdue) {
            held.overdue = held.begun.at().is_some_and(|at| at.elapsed() > limit);
            if held.overdue {
                overdue.push(held.lease);
            }
        }
        overdue
    }

    /// Aborts all tasks.
    pub(super) fn abort_all(&mut self) {
        self.running.abort_all();
    }
}

/// Logs what an operator must know about the end of an attempt, besides a failure. The errors of
/// handlers are not logged, since they may quote the event; the errors of this crate and of the
/// core do not.
fn log(held: &Held, outcome: &Outcome) {
    let id = held.lease.id;
    let unread: &dyn fmt::Display = match outcome {
        Outcome::Lost => return log_lost(held.lease),
        Outcome::NotBegun(error) => {
            tracing::warn!(
                id,
                error,
                "a handler's transaction could not begin; retrying"
            );
            return;
        }
        Outcome::Undecodable(error) => error,
        Outcome::Malformed(error) => error,
        _ => return,
    };
    tracing::warn!(id, error = %unread, "the event cannot be read; replay it after an upgrade");
}

fn log_lost(lease: Lease) {
    tracing::warn!(
        id = lease.id,
        "lease lost: another worker has this event; the result of this attempt is ignored"
    );
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use time::OffsetDateTime;
    use tokio::time::sleep;

    use super::*;

    fn claim(id: i64) -> Claim {
        Claim {
            lease: Lease { id, token: 1 },
            key: "k".to_owned(),
            source: None,
            attempts: 1,
            received_at: OffsetDateTime::UNIX_EPOCH,
            started_at: OffsetDateTime::UNIX_EPOCH,
            event_type: None,
            body: Bytes::from_static(br#"{"event_type":"market.created","data":{}}"#),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_taken_beyond_the_concurrency_begins_when_others_end() {
        let starts: Arc<Start> = Arc::new(|_, _, begun| {
            begun.note();
            Box::pin(async {
                sleep(Duration::from_secs(1)).await;
                Outcome::Done
            })
        });
        let mut tasks = Tasks::new(starts, 1, false);
        let soon = Instant::now() + Duration::from_secs(3);
        for id in [3, 1, 2] {
            tasks.take(claim(id), soon);
        }
        let ids = |leases: Vec<Lease>| leases.iter().map(|lease| lease.id).collect::<Vec<_>>();
        assert_eq!((tasks.running(), tasks.ahead(), tasks.free()), (1, 2, 0));
        assert_eq!(ids(tasks.leases()), [1, 2, 3]);
        // An event whose lease was lost does not begin.
        tasks.lose(Lease { id: 1, token: 1 });
        let ended = tasks.ended().await.unwrap();
        assert_eq!(ended[0].0.lease.id, 3);
        assert_eq!((tasks.running(), tasks.ahead()), (1, 0));
        tasks.take(claim(4), soon);
        assert_eq!(tasks.ahead_until(), Some(soon));
        assert_eq!(ids(tasks.give_back()), [4]);
        assert_eq!(ids(tasks.leases()), [2]);
        assert!(!tasks.is_empty() && tasks.ahead_until().is_none());
        // One that may not begin any more stays until it is given back.
        tasks.take(claim(5), Instant::now() + Duration::from_millis(999));
        tasks.ended().await.unwrap();
        assert_eq!((tasks.running(), tasks.ahead(), tasks.free()), (0, 1, 1));
        assert_eq!(ids(tasks.give_back()), [5]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_that_cannot_be_cut_short_at_its_limit_is_found_once() {
        let begins: Arc<Start> = Arc::new(|_, _, begun| {
            begun.note();
            Box::pin(std::future::pending())
        });
        let waits: Arc<Start> = Arc::new(|_, _, _| Box::pin(std::future::pending()));
        let starts: Arc<Start> = Arc::new(move |event, claim: Claim, begun| {
            let start = if claim.lease.id == 1 { &begins } else { &waits };
            start(event, claim, begun)
        });
        let mut tasks = Tasks::new(starts, 2, false);
        let soon = Instant::now() + Duration::from_secs(1);
        tasks.take(claim(1), soon);
        tasks.take(claim(2), soon);
        let limit = Duration::from_secs(60);
        sleep(limit).await;
        assert_eq!(tasks.overdue(limit), []);
        sleep(OVERDUE).await;
        assert_eq!(tasks.overdue(limit), []);
        sleep(Duration::from_millis(1)).await;
        assert_eq!(tasks.overdue(limit), [Lease { id: 1, token: 1 }]);
        assert_eq!(tasks.overdue(limit), []);
    }
}
