//! Accepts that arrive at the same time share a commit.

#[cfg(test)]
mod sharing;

use std::collections::VecDeque;
use std::error::Error as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};
use tokio::task::yield_now;
use tokio::time::{Instant, timeout, timeout_at};

use crate::accepted::Accepted;
use crate::arrival::Arrival;
use crate::error::{InboxError, InboxErrorKind};
use crate::metrics;
use crate::reach::{ACCEPTS, Reach};
use crate::store::Store;

/// How many rows share a commit.
const ROWS_PER_COMMIT: usize = 256;

/// How many bytes of bodies share a commit, unless one body alone is longer.
const BYTES_PER_COMMIT: usize = 4 * 1024 * 1024;

/// How many deliveries of a batch may fail on their own before the rest is not tried.
const MAX_REJECTED_ALONE: u32 = 32;

type Answer = Result<Accepted, InboxError>;

struct Pending {
    arrival: Arrival,
    limit: Duration,
    answer: oneshot::Sender<Answer>,
}

#[derive(Default)]
struct Queue {
    pending: VecDeque<Pending>,
    /// Whether a task works through the queue.
    busy: bool,
}

impl Queue {
    /// Adds a delivery; returns `true` if a task must be started.
    fn add(&mut self, pending: Pending) -> bool {
        self.pending.push_back(pending);
        !std::mem::replace(&mut self.busy, true)
    }
}

/// The state of the log about batches.
struct Log {
    reach: Reach,
    /// Whether the last batch was a single delivery that failed, apparently through its own fault.
    failed_alone: bool,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            reach: Reach::new(ACCEPTS),
            failed_alone: false,
        }
    }
}

/// Group commit.
///
/// The first caller spawns a task that inserts until the queue is empty; deliveries that arrive
/// during one commit share the next. The task is detached, so a dropped request does not cancel
/// others.
pub(crate) struct Batcher {
    store: Arc<dyn Store>,
    /// The runtime in which the inbox was opened: it outlives those that a server has for its
    /// threads.
    runtime: Handle,
    queue: Mutex<Queue>,
    log: Mutex<Log>,
    /// Notifies the workers of this process of a new event.
    arrived: Arc<Notify>,
}

impl Batcher {
    pub(crate) fn new(store: Arc<dyn Store>, arrived: Arc<Notify>) -> Self {
        Self {
            store,
            runtime: Handle::current(),
            queue: Mutex::default(),
            log: Mutex::default(),
            arrived,
        }
    }

    /// Stores a delivery within the time limit, together with those that arrive meanwhile.
    pub(crate) async fn accept(
        self: &Arc<Self>,
        arrival: Arrival,
        limit: Duration,
    ) -> Result<Accepted, InboxError> {
        let (answer, answered) = oneshot::channel();
        let pending = Pending {
            arrival,
            limit,
            answer,
        };
        if self.queue().add(pending) {
            let work = Work {
                batcher: self.clone(),
                ended: false,
            };
            // The queue is not locked here: a runtime that has ended drops the task at once.
            self.runtime.spawn(work.run());
        }
        match timeout(limit, answered).await {
            Ok(Ok(answer)) => answer,
            // The task ended with its runtime.
            Ok(Err(gone)) => Err(InboxError::unavailable(gone)),
            Err(_) => Err(self.timed_out(limit)),
        }
    }

    /// Takes the deliveries that share the next commit; `None` ends the task, and the next caller
    /// starts another.
    fn next(&self) -> Option<Vec<Pending>> {
        let mut queue = self.queue();
        let mut batch = Vec::new();
        let mut bytes = 0;
        while batch.len() < ROWS_PER_COMMIT
            && let Some(pending) = queue.pending.pop_front()
        {
            // Its caller was dropped or timed out, so the sender has an error already.
            if pending.answer.is_closed() {
                continue;
            }
            bytes += pending.arrival.body.len();
            if bytes > BYTES_PER_COMMIT && !batch.is_empty() {
                queue.pending.push_front(pending);
                break;
            }
            batch.push(pending);
        }
        queue.busy = !batch.is_empty();
        queue.busy.then_some(batch)
    }

    /// Inserts a batch and answers each of its deliveries.
    async fn insert(&self, batch: Vec<Pending>) {
        let limit = batch.iter().map(|pending| pending.limit).max();
        let limit = limit.unwrap_or_default();
        metrics::committing(batch.len());
        let (arrivals, answers): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .map(|pending| (pending.arrival, pending.answer))
            .unzip();
        let inserted = self.insert_by_halves(&arrivals, limit).await;
        self.log(&inserted);
        for (answer, inserted) in answers.into_iter().zip(inserted) {
            if matches!(inserted, Ok(Accepted::New)) {
                self.arrived.notify_one();
            }
            // A caller that was dropped or timed out needs no answer.
            let _ = answer.send(inserted);
        }
    }

    /// Inserts deliveries together. If the database returns an error that a single delivery may
    /// have caused, inserts each half separately, down to single deliveries. An error of the
    /// connection applies to all of them, and so does one that several deliveries get on their own
    /// before any is inserted.
    async fn insert_by_halves(&self, arrivals: &[Arrival], limit: Duration) -> Vec<Answer> {
        let deadline = Instant::now() + limit;
        let mut inserted = Vec::with_capacity(arrivals.len());
        // The remaining deliveries; the next one is at the end.
        let mut parts = vec![arrivals];
        let mut rejected_alone = 0;
        let mut is_of_all = None;
        while let Some(part) = parts.pop() {
            if let Some(error) = &is_of_all {
                inserted.extend(part.iter().map(|_| Err(InboxError::clone(error))));
                continue;
            }
            let error = match metrics::timed(timeout_at(deadline, self.store.insert(part))).await {
                Ok(Ok(accepted)) if accepted.len() == part.len() => {
                    inserted.extend(accepted.into_iter().map(Ok));
                    continue;
                }
                Ok(Ok(_)) => InboxError::unavailable("the store gave no answer"),
                Ok(Err(error)) => InboxError::unavailable(error),
                Err(_) => self.timed_out(limit),
            };
            if !self.may_be_of_one(&error) {
                inserted.extend(part.iter().map(|_| Err(error.clone())));
                is_of_all = Some(error);
                continue;
            }
            if let [_] = part {
                rejected_alone += 1;
                if rejected_alone == MAX_REJECTED_ALONE && inserted.iter().all(Result::is_err) {
                    is_of_all = Some(error.clone());
                }
                inserted.push(Err(error));
                continue;
            }
            let (first, second) = part.split_at(part.len() / 2);
            parts.extend([second, first]);
        }
        inserted
    }

    fn timed_out(&self, limit: Duration) -> InboxError {
        InboxError::timed_out(limit).because_of(self.store.trouble())
    }

    /// Logs what an operator must know about a batch. A single rejected delivery may itself be at
    /// fault; two in a row are an outage.
    fn log(&self, inserted: &[Answer]) {
        let may_be_of_one = matches!(inserted, [Err(error)] if self.may_be_of_one(error));
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let failed_before = std::mem::replace(&mut log.failed_alone, may_be_of_one);
        let mut failed = inserted.iter().filter_map(|one| one.as_ref().err());
        if inserted.iter().any(Result::is_ok) {
            log.reach.back();
            for error in failed {
                let cause = error.with_source();
                tracing::warn!(cause, "a delivery was not accepted, and others were");
            }
        } else if let Some(error) = failed.next() {
            let cause = error.with_source();
            if may_be_of_one && !failed_before && !log.reach.is_lost() {
                tracing::warn!(cause, "a delivery was not accepted");
            } else {
                log.reach.lost(&cause);
            }
        }
    }

    fn may_be_of_one(&self, error: &InboxError) -> bool {
        let source = error.source();
        let unavailable = error.kind() == InboxErrorKind::Unavailable;
        unavailable && source.is_some_and(|source| self.store.may_be_of_one(source))
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task that works through the queue.
struct Work {
    batcher: Arc<Batcher>,
    ended: bool,
}

impl Work {
    async fn run(mut self) {
        loop {
            // Callers that accept next, such as those answered just now, share this commit.
            yield_now().await;
            let Some(batch) = self.batcher.next() else {
                break;
            };
            self.batcher.insert(batch).await;
        }
        self.ended = true;
    }
}

impl Drop for Work {
    /// If the task ends early, with its runtime or by a panic, the waiting accepts fail, and the
    /// next one starts another task.
    fn drop(&mut self) {
        if !self.ended {
            let left = std::mem::take(&mut *self.batcher.queue());
            drop(left);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::arrival::Labels;
    use crate::store::fake::{FakeStore, REJECTED_KEY};

    fn arrivals(keys: impl Iterator<Item = String>) -> Vec<Arrival> {
        keys.map(|key| Arrival {
            key,
            source: None,
            labels: Labels::default(),
            body: Bytes::new(),
        })
        .collect()
    }

    /// How many of a batch are new, and how many statements it took.
    async fn insert(keys: impl Iterator<Item = String>) -> (usize, usize) {
        let store = Arc::new(FakeStore::default());
        let batcher = Batcher::new(store.clone(), Arc::default());
        let limit = Duration::from_secs(5);
        let arrivals = arrivals(keys);
        let inserted = batcher.insert_by_halves(&arrivals, limit).await;
        assert_eq!(inserted.len(), arrivals.len());
        for (arrival, inserted) in arrivals.iter().zip(&inserted) {
            let rejected = arrival.key == REJECTED_KEY;
            assert_eq!(inserted.is_err(), rejected, "{}", arrival.key);
        }
        (store.rows().len(), store.inserts().len())
    }

    fn keys(is_rejected: impl Fn(usize) -> bool) -> impl Iterator<Item = String> {
        (0..256).map(move |number| match is_rejected(number) {
            true => REJECTED_KEY.to_owned(),
            false => number.to_string(),
        })
    }

    #[tokio::test]
    async fn a_delivery_that_is_rejected_is_found_by_halves() {
        assert_eq!(insert(keys(|_| false)).await, (256, 1));
        for one in [0, 77, 255] {
            assert_eq!(insert(keys(|number| number == one)).await, (255, 17));
        }
        let (new, inserts) = insert(keys(|number| number % 25 == 3)).await;
        assert!(new == 245 && inserts < 130, "{new} {inserts}");
        // Rejected deliveries come first.
        assert_eq!(insert(keys(|number| number < 31)).await.0, 225);
    }

    #[tokio::test]
    async fn what_is_rejected_as_a_whole_is_not_tried_one_by_one() {
        let (new, inserts) = insert(keys(|_| true)).await;
        assert!(new == 0 && inserts < 80, "{inserts}");
    }
}
