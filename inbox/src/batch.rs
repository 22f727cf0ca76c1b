//! Accepts that come at the same time share a commit.

#[cfg(test)]
mod sharing;

use std::collections::VecDeque;
use std::error::Error as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};
use tokio::task::yield_now;
use tokio::time::timeout;

use crate::accepted::Accepted;
use crate::arrival::Arrival;
use crate::error::InboxError;
use crate::store::Store;

/// How many rows share a commit.
const ROWS_PER_COMMIT: usize = 256;

/// How many bytes of bodies share a commit, unless one body alone is longer.
const BYTES_PER_COMMIT: usize = 4 * 1024 * 1024;

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
    /// Adds a delivery; `true` if a task has to be started.
    fn add(&mut self, pending: Pending) -> bool {
        self.pending.push_back(pending);
        !std::mem::replace(&mut self.busy, true)
    }
}

/// Group commit.
///
/// The first caller spawns a task that inserts until the queue is empty; what arrives during one
/// commit shares the next. The task is detached, so a dropped request does not cancel others.
pub(crate) struct Batcher {
    store: Arc<dyn Store>,
    /// The runtime in which the inbox was opened: it outlives those that a server has for its threads.
    runtime: Handle,
    queue: Mutex<Queue>,
    /// Tells the workers of this process that something is new.
    arrived: Arc<Notify>,
}

impl Batcher {
    pub(crate) fn new(store: Arc<dyn Store>, arrived: Arc<Notify>) -> Self {
        Self {
            store,
            runtime: Handle::current(),
            queue: Mutex::default(),
            arrived,
        }
    }

    /// Stores a delivery within the time, together with those that come meanwhile.
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
            // The task is gone with its runtime.
            Ok(Err(gone)) => Err(InboxError::unavailable(gone)),
            Err(_) => Err(InboxError::timed_out(limit)),
        }
    }

    /// Takes what shares the next commit; `None` ends the task, and the next caller starts one.
    fn next(&self) -> Option<Vec<Pending>> {
        let mut queue = self.queue();
        let mut batch = Vec::new();
        let mut bytes = 0;
        while batch.len() < ROWS_PER_COMMIT
            && let Some(pending) = queue.pending.pop_front()
        {
            // Its caller was dropped, or its time is over: the sender has its error.
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
        let (arrivals, answers): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .map(|pending| (pending.arrival, pending.answer))
            .unzip();
        let inserted = match self.try_insert(&arrivals, limit).await {
            Ok(accepted) => accepted.into_iter().map(Ok).collect(),
            Err(error) if arrivals.len() > 1 && self.is_of_one(&error) => {
                self.insert_each(&arrivals, limit).await
            }
            Err(error) => vec![Err(error); answers.len()],
        };
        for (answer, inserted) in answers.into_iter().zip(inserted) {
            if matches!(inserted, Ok(Accepted::New)) {
                self.arrived.notify_one();
            }
            // A caller that was dropped, or whose time is over, needs no answer.
            let _ = answer.send(inserted);
        }
    }

    /// Inserts deliveries one by one: the database rejects one of them.
    async fn insert_each(&self, arrivals: &[Arrival], limit: Duration) -> Vec<Answer> {
        let mut inserted = Vec::new();
        for arrival in arrivals {
            let alone = self.try_insert(std::slice::from_ref(arrival), limit).await;
            inserted.push(alone.and_then(|accepted| {
                let one = accepted.into_iter().next();
                one.ok_or_else(|| InboxError::unavailable("the store gave no answer"))
            }));
        }
        inserted
    }

    async fn try_insert(
        &self,
        arrivals: &[Arrival],
        limit: Duration,
    ) -> Result<Vec<Accepted>, InboxError> {
        let inserted = match timeout(limit, self.store.insert(arrivals)).await {
            Ok(inserted) => inserted.map_err(InboxError::unavailable),
            Err(_) => Err(InboxError::timed_out(limit)),
        };
        inserted.inspect_err(|error| {
            let source = error.source().map(tracing::field::display);
            tracing::warn!(%error, source, "deliveries were not accepted");
        })
    }

    fn is_of_one(&self, error: &InboxError) -> bool {
        error
            .source()
            .is_some_and(|source| self.store.is_of_one(source))
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
            // Callers that are about to accept, such as those answered just now, share this commit.
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
    /// Cut short, with its runtime or by a panic: the waiting accepts fail, and the next one starts
    /// another task.
    fn drop(&mut self) {
        if !self.ended {
            let left = std::mem::take(&mut *self.batcher.queue());
            drop(left);
        }
    }
}
