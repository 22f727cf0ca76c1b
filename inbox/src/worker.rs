mod rounds;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod transaction;

use std::fmt;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use ptolemy_webhooks::Event;
use tokio::sync::Notify;

use self::rounds::Rounds;
use crate::attempt::Attempt;
use crate::engine::Engine;
use crate::error::InboxError;
use crate::failure::Failure;
use crate::outcome::Outcome;
use crate::retry::{MAX_DELAY, Retry};
use crate::store::BoxFuture;
use crate::turn::Claim;

/// Takes events out of an [`Inbox`](crate::Inbox) and hands them to a handler, again until it
/// succeeds.
///
/// Any number of workers may run, in any number of processes. Each event is leased by one of them at a
/// time; whoever dies loses the lease, and another takes over. Whoever wakes late, with a lease that was
/// lost, is cut short and cannot mark anything done, but what its handler did is done: a handler has to
/// bear that an event comes again. [`run_in_sqlite_transaction`](Self::run_in_sqlite_transaction) and
/// [`run_in_postgres_transaction`](Self::run_in_postgres_transaction) spare it that for what it writes into the inbox's own
/// database.
///
/// All settings have defaults. What two workers of one inbox set differently, each does in its own way.
#[must_use = "a worker does nothing unless it runs"]
pub struct Worker {
    engine: Engine,
    arrived: Arc<Notify>,
    settings: Settings,
    shutdown: BoxFuture<'static, ()>,
}

#[derive(Clone, Debug)]
struct Settings {
    concurrency: usize,
    lease: Duration,
    poll: Duration,
    retry: Retry,
    in_order: bool,
    shutdown_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            concurrency: 1,
            lease: Duration::from_secs(30),
            poll: Duration::from_secs(1),
            retry: Retry::default(),
            in_order: false,
            shutdown_timeout: Duration::from_secs(20),
        }
    }
}

/// Starts the handler of an event.
type Start = dyn Fn(Event, Claim) -> BoxFuture<'static, Outcome> + Send + Sync;

impl Worker {
    pub(crate) fn new(engine: Engine, arrived: Arc<Notify>) -> Self {
        Self {
            engine,
            arrived,
            settings: Settings::default(),
            shutdown: Box::pin(pending()),
        }
    }

    /// Sets how many events are handled at the same time, from 1 to 10,000; 1 unless set.
    pub fn concurrency(mut self, events: usize) -> Self {
        self.settings.concurrency = events.clamp(1, 10_000);
        self
    }

    /// Sets for how long an event is leased; 30 s unless set, a second at least and a year at most.
    ///
    /// The worker renews a lease at each third of it, so a handler may take as long as it likes, as long as
    /// it does not block its thread: what blocks belongs in `tokio::task::spawn_blocking`. It is the time
    /// after which the events of a worker that died go to another.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.settings.lease = lease.clamp(Duration::from_secs(1), MAX_DELAY);
        self
    }

    /// Sets how often to look for events that other processes accepted, and for those that are due again;
    /// 1 s unless set. What this process accepts is seen at once.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.settings.poll = interval.clamp(Duration::from_millis(1), MAX_DELAY);
        self
    }

    /// Sets how often an event is tried before it is dead, at least once; 20 times unless set.
    ///
    /// An attempt counts when it begins. So an event that kills its process is dead in the end, and each
    /// crash counts as an attempt for all events that the process had.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.settings.retry.attempts = attempts.max(1);
        self
    }

    /// Sets the delay before the second attempt, which doubles with each attempt, and the longest delay; 1 s
    /// and 1 h unless set. Jitter adds up to as much again, within the longest.
    pub fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        self.settings.retry.first = first;
        self.settings.retry.longest = longest;
        self
    }

    /// Handles the events of one resource in the order in which they were accepted, one at a time.
    ///
    /// A resource is what comes before the dot of the event type, together with the `id` in the data;
    /// events without such an id are not ordered. An event waits while an earlier one of its resource is waiting,
    /// running or backing off. A dead one blocks nothing, and if it is replayed it may come after newer ones.
    ///
    /// Ptolemy does not promise to deliver in order; deliveries that arrive at the same time have none. All
    /// workers of an inbox must set this for it to hold.
    pub fn in_order(mut self) -> Self {
        self.settings.in_order = true;
        self
    }

    /// Stops when this future ends, such as on a signal: from then on no event is taken, and those that
    /// run may finish within the [`shutdown_timeout`](Self::shutdown_timeout).
    pub fn graceful_shutdown(mut self, signal: impl Future<Output = ()> + Send + 'static) -> Self {
        self.shutdown = Box::pin(signal);
        self
    }

    /// Sets how long events that run may take to finish after the signal; 20 s unless set. What has not
    /// finished by then is cut short and goes back into the inbox, and the attempt does not count; that
    /// takes 2 s more at most. What runs in `spawn_blocking` is not cut short.
    pub fn shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.settings.shutdown_timeout = timeout.min(MAX_DELAY);
        self
    }

    /// Hands events to the handler until [`graceful_shutdown`](Self::graceful_shutdown)'s signal.
    ///
    /// An event is done when the handler returns `Ok`. If it returns an error or panics, the event is tried
    /// again; see [`Failure`]. A body that is no event never reaches the handler: it is dead at once, with the
    /// [`DecodeError`], and can be replayed after an upgrade. Events of an unknown type and events whose data is
    /// malformed do reach it.
    ///
    /// While the database is down it goes on trying. If the returned future is dropped, the handlers are cut
    /// short, and their events come back when their leases expire.
    ///
    /// # Errors
    ///
    /// None at present.
    ///
    /// # Panics
    ///
    /// If it is polled outside a Tokio runtime.
    pub async fn run<F, Fut, E>(self, handler: F) -> Result<(), InboxError>
    where
        F: Fn(Event, Attempt) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Failure>,
    {
        let handler = Arc::new(handler);
        let most = self.settings.retry.attempts;
        let start = move |event, claim: Claim| -> BoxFuture<'static, Outcome> {
            let handler = handler.clone();
            Box::pin(async move {
                let attempt = Attempt::new(&claim, most);
                match handler(event, attempt).await {
                    Ok(()) => Outcome::Done,
                    Err(error) => Outcome::Failed(error.into()),
                }
            })
        };
        self.work(Arc::new(start)).await;
        Ok(())
    }

    async fn work(self, start: Arc<Start>) {
        let rounds = Rounds::new(self.engine.store(), self.settings, start, self.shutdown);
        rounds.run(&self.arrived).await;
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("engine", &self.engine.name())
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
