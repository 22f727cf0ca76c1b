mod ahead;
#[cfg(test)]
mod logged;
#[cfg(test)]
mod looking;
#[cfg(all(test, feature = "metrics"))]
mod metered;
#[cfg(test)]
mod paused;
#[cfg(test)]
mod poisoned;
mod probe;
mod pruning;
mod report;
mod rounds;
mod silence;
#[cfg(test)]
mod stopping;
#[cfg(test)]
mod suspects;
#[cfg(test)]
mod taking_ahead;
mod tasks;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod transaction;

use std::fmt;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use ptolemy_webhooks::Event;
use tokio::sync::Notify;
use tokio::time::timeout;

use self::pruning::{keep_pruning, prune};
use self::rounds::Rounds;
use self::tasks::Begun;
use crate::asked::Asked;
use crate::attempt::Attempt;
use crate::engine::Engine;
use crate::failure::Failure;
use crate::guarded::guard;
use crate::health::{Duty, OnDuty, Record};
use crate::metrics;
use crate::outcome::Outcome;
use crate::retry::{MAX_ATTEMPTS, MAX_DELAY, MIN_DELAY, Retry};
use crate::store::BoxFuture;
use crate::turn::{Claim, WorkerId};

/// Takes events out of an [`Inbox`](crate::Inbox) and hands each to a handler, with retries until
/// it succeeds.
///
/// Any number of workers may run, in any number of processes. Each event is leased by one of them
/// at a time. If a worker dies, its leases expire and another worker takes over. A handler whose
/// lease expired is aborted and cannot mark the event as done, but its side effects remain. A
/// handler must therefore tolerate repeats; the transaction forms remove that need for writes to
/// the inbox's own database.
///
/// A worker runs in one of three ways, either until the shutdown signal or until no event is due:
///
/// | handler | until [`graceful_shutdown`](Self::graceful_shutdown) | until idle |
/// | --- | --- | --- |
/// | any | [`run`](Self::run) | [`run_until_idle`](Self::run_until_idle) |
/// | in a transaction of SQLite | `run_in_sqlite_transaction` | `run_in_sqlite_transaction_until_idle` |
/// | in a transaction of PostgreSQL | `run_in_postgres_transaction` | `run_in_postgres_transaction_until_idle` |
///
/// All settings have defaults. Two workers of one inbox may have different settings.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use ptolemy_webhooks::{Secret, Signer, Verifier};
/// # use ptolemy_webhooks_inbox::Inbox;
/// # let file = std::env::temp_dir().join(format!("ptolemy-worker-{}.db", std::process::id()));
/// # let inbox = Inbox::connect(&format!("sqlite://{}", file.display())).await?;
/// # let secret = Secret::new("whsec_a3f9b2c1d4e5f6a7b8c9d0e1")?;
/// # let body = r#"{"id":"e1","event_type":"market.created"}"#;
/// # let header = Signer::new(&secret).sign(body.as_bytes());
/// # inbox.accept(&Verifier::new(secret).receive(header, body)?).await?;
/// use std::time::Duration;
///
/// use ptolemy_webhooks::Event;
/// use ptolemy_webhooks_inbox::{Attempt, Failure};
///
/// async fn apply(event: Event, attempt: Attempt) -> Result<(), Failure> {
///     println!("{} (attempt {})", event.event_type, attempt.number());
///     Ok(())
/// }
///
/// inbox
///     .worker()
///     .concurrency(8)
///     .handler_timeout(Duration::from_secs(60))
///     .run_until_idle(apply) // in a service: `run`
///     .await;
/// assert_eq!(inbox.stats().await?.waiting(), 0);
/// # drop(inbox);
/// # for end in ["", "-wal", "-shm"] { let _ = std::fs::remove_file(format!("{}{end}", file.display())); }
/// # Ok(())
/// # }
/// ```
#[must_use = "a worker does nothing unless it runs"]
pub struct Worker {
    engine: Engine,
    arrived: Arc<Notify>,
    asked: Asked,
    keep_done: Option<Duration>,
    health: Record,
    settings: Settings,
    shutdown: BoxFuture<'static, ()>,
}

#[derive(Clone, Debug)]
struct Settings {
    worker: WorkerId,
    concurrency: usize,
    lease: Duration,
    poll: Duration,
    retry: Retry,
    handler_timeout: Option<Duration>,
    accepts_malformed: bool,
    shutdown_timeout: Duration,
    until: Until,
}

/// When a worker ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    /// On the shutdown signal.
    Stopped,
    /// On the shutdown signal, or when nothing is due and nothing runs.
    Idle,
}

impl Until {
    fn duty(self) -> Duty {
        match self {
            Self::Stopped => Duty::Lasting,
            Self::Idle => Duty::UntilIdle,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            worker: WorkerId::new(),
            concurrency: 1,
            lease: Duration::from_secs(30),
            poll: Duration::from_secs(1),
            retry: Retry::default(),
            handler_timeout: Some(Duration::from_secs(15 * 60)),
            accepts_malformed: false,
            shutdown_timeout: Duration::from_secs(15),
            until: Until::Stopped,
        }
    }
}

/// Starts the handler of an event, and records when it has.
type Start = dyn Fn(Event, Claim, Begun) -> BoxFuture<'static, Outcome> + Send + Sync;

impl Worker {
    pub(crate) fn new(
        engine: Engine,
        arrived: Arc<Notify>,
        asked: Asked,
        keep_done: Option<Duration>,
        health: Record,
    ) -> Self {
        Self {
            engine,
            arrived,
            asked,
            keep_done,
            health,
            settings: Settings::default(),
            shutdown: Box::pin(pending()),
        }
    }

    /// Sets how many events are handled concurrently, from 1 to 10,000; 1 unless set.
    ///
    /// If handlers are faster than the database, the worker also takes up to 64 events ahead: about
    /// as many as finish during a few round trips. Their bodies are in memory, and they are
    /// unavailable to other workers until they begin, for at most a second. An attempt is counted
    /// only when it begins.
    pub fn concurrency(mut self, events: usize) -> Self {
        self.settings.concurrency = events.clamp(1, 10_000);
        self
    }

    /// Sets how long an event is leased; 30 s unless set, at least a second and at most a year.
    ///
    /// Leases are renewed every third of this time, so handlers may run longer, provided they do
    /// not block the thread: blocking work belongs in `tokio::task::spawn_blocking`. The events of
    /// a worker that died go to another worker after this time, or after one and a half times as
    /// long if that worker has just started: it must also have seen the lease unchanged for half of
    /// its length, so that a clock change cannot take an event from a live worker.
    ///
    /// It must be longer than the database takes to answer: events whose leases may have ended by
    /// then are given back, and none of them begins.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.settings.lease = lease.clamp(Duration::from_secs(1), MAX_DELAY);
        self
    }

    /// Sets how often to look for events that other processes accepted and for retries that are
    /// due; 1 s unless set. Events that this process accepts are noticed at once.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.settings.poll = interval.clamp(Duration::from_millis(1), MAX_DELAY);
        self
    }

    /// Sets how many attempts are made before an event is dead, from 1 to a million; 20 unless set.
    ///
    /// If a process dies, its events become suspects. They run next without other events beside
    /// them, in groups of half the size, which is halved again after each further crash. An attempt
    /// is counted only for a suspect that was the only one when its process died. So an event that
    /// kills its process ends up dead, but events that ran beside it, or had not begun, do not.
    ///
    /// Other events wait for suspects for at most one and a half leases, where a lease counts as at
    /// most half a minute. If a suspect takes longer, they begin beside it, and further suspects
    /// wait until it has ended. If the process dies meanwhile, the attempt is still counted for the
    /// suspect: it has been there at each of several crashes. Several workers of one process take
    /// turns with suspects, but do not hold other events back for each other, so use one with a
    /// higher [`concurrency`](Self::concurrency) instead.
    ///
    /// If a worker stops, an attempt is counted for each event whose handler it aborts.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.settings.retry.attempts = attempts.clamp(1, MAX_ATTEMPTS);
        self
    }

    /// Sets the delay before the second attempt, which doubles with each further attempt, and the
    /// maximum delay; 1 s and 1 h unless set, both from 100 ms to a year. Jitter adds up to 100% to
    /// each delay, within the maximum.
    pub fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        self.settings.retry.first = first.clamp(MIN_DELAY, MAX_DELAY);
        self.settings.retry.longest = longest.clamp(MIN_DELAY, MAX_DELAY);
        self
    }

    /// Sets how long a handler may take; 15 min unless set, `None` for no limit.
    ///
    /// A handler that exceeds it is dropped at its next `await`, and the attempt fails. A handler
    /// that blocks its thread cannot be dropped: a warning is logged, and its slot stays occupied
    /// until the process ends, which counts as a failed attempt.
    pub fn handler_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.settings.handler_timeout = limit.into();
        self
    }

    /// Also hands events whose data is malformed to the handler.
    ///
    /// Without this setting, such an event never reaches the handler: it is dead at once, with the
    /// path of the field that could not be read, and can be replayed after an upgrade. With it, the
    /// handler must look at [`Event::payload`](ptolemy_webhooks::Event::payload), which is then an
    /// `Err`: if the handler ignores it and returns `Ok`, the event is done.
    pub fn accept_malformed(mut self) -> Self {
        self.settings.accepts_malformed = true;
        self
    }

    /// Stops the worker when this future completes, for example on a signal: from then on no event
    /// is taken, and running events may finish within the
    /// [`shutdown_timeout`](Self::shutdown_timeout). If it panics, the worker logs an error and
    /// stops in the same way.
    pub fn graceful_shutdown(mut self, signal: impl Future<Output = ()> + Send + 'static) -> Self {
        self.shutdown = Box::pin(signal);
        self
    }

    /// Sets how long running events may take to finish after the signal; 15 s unless set. Handlers
    /// that have not finished by then are aborted and their events return to the inbox, which takes
    /// at most 2 s more. The attempt counts, so an event whose handler never ends is dead after its
    /// last attempt.
    ///
    /// Orchestrators give a process a limited time: Kubernetes kills it 30 s after SIGTERM. The
    /// defaults, 5 s for an accept and then 17 s for the worker, fit into that; if you raise this
    /// timeout, raise the orchestrator's limit too. Work in `spawn_blocking` is not aborted, and a
    /// runtime waits for it when it is dropped: use
    /// [`Runtime::shutdown_background`](tokio::runtime::Runtime::shutdown_background) if that work
    /// may take long.
    pub fn shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.settings.shutdown_timeout = timeout.min(MAX_DELAY);
        self
    }

    /// Hands events to the handler until the signal of
    /// [`graceful_shutdown`](Self::graceful_shutdown).
    ///
    /// An event is done when the handler returns `Ok`. If it returns an error, panics or takes
    /// longer than [`handler_timeout`](Self::handler_timeout), the event is retried; see
    /// [`Failure`]. Events of an unknown type reach the handler. Bodies that are not events never
    /// do, nor do events with malformed data unless [`accept_malformed`](Self::accept_malformed) is
    /// set: they are dead at once, and can be replayed after an upgrade.
    ///
    /// While the database is down, the worker keeps retrying. If the returned future is dropped,
    /// the handlers are aborted, and their events are retried when their leases expire. Deliveries
    /// are still accepted then, so this is logged as an error and reported by
    /// [`Inbox::health`](crate::Inbox::health).
    ///
    /// # Panics
    ///
    /// Panics if it is polled outside a Tokio runtime.
    pub async fn run<F, Fut, E>(self, handler: F)
    where
        F: Fn(Event, Attempt) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Failure>,
    {
        let handler = Arc::new(handler);
        let Settings {
            retry,
            handler_timeout,
            ..
        } = self.settings;
        let start = move |event, claim: Claim, begun: Begun| -> BoxFuture<'static, Outcome> {
            let handler = handler.clone();
            Box::pin(async move {
                let attempt = Attempt::new(&claim, retry.attempts);
                begun.note();
                let handled = async { handler(event, attempt).await.map_err(Into::into) };
                match in_time(handler_timeout, handled).await {
                    Ok(()) => Outcome::Done,
                    Err(failure) => Outcome::failed(failure),
                }
            })
        };
        self.work(Arc::new(start)).await;
    }

    /// Same as [`run`](Self::run), but also ends when no event is due and none of this worker's
    /// events is running: for tests and batch jobs.
    ///
    /// Events that are backing off or postponed are not due, and neither are those that another
    /// worker has taken. While the database is down, the worker keeps retrying.
    ///
    /// [`Inbox::health`](crate::Inbox::health) counts this worker while it runs. The metric
    /// `ptolemy_inbox_workers_running` does not, and this worker does not record the numbers of
    /// events: a process that has no other worker calls `Inbox::record_stats` for them.
    ///
    /// # Panics
    ///
    /// Panics if it is polled outside a Tokio runtime.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use ptolemy_webhooks::{Secret, Signer, Verifier};
    /// # use ptolemy_webhooks_inbox::{Failure, Inbox};
    /// # let file = std::env::temp_dir().join(format!("ptolemy-idle-{}.db", std::process::id()));
    /// # let inbox = Inbox::connect(&format!("sqlite://{}", file.display())).await?;
    /// # let secret = Secret::new("whsec_a3f9b2c1d4e5f6a7b8c9d0e1")?;
    /// # let body = r#"{"id":"e1","event_type":"market.created"}"#;
    /// # let header = Signer::new(&secret).sign(body.as_bytes());
    /// # let delivery = Verifier::new(secret).receive(header, body)?;
    /// inbox.accept(&delivery).await?;
    /// let apply = |_, _| async { Err(Failure::permanent("no such market")) };
    /// inbox.worker().run_until_idle(apply).await;
    ///
    /// let stats = inbox.stats().await?;
    /// assert_eq!((stats.waiting(), stats.running, stats.dead), (0, 0, 1));
    /// # drop(inbox);
    /// # for end in ["", "-wal", "-shm"] { let _ = std::fs::remove_file(format!("{}{end}", file.display())); }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn run_until_idle<F, Fut, E>(mut self, handler: F)
    where
        F: Fn(Event, Attempt) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Failure>,
    {
        self.settings.until = Until::Idle;
        self.run(handler).await;
    }

    /// Makes the worker act as if it were in another process.
    #[cfg(test)]
    pub(crate) fn of_process(mut self, process: u32) -> Self {
        self.settings.worker = WorkerId::of(process, 0);
        self
    }

    async fn work(self, start: Arc<Start>) {
        let on_duty = OnDuty::begin(self.health.clone(), self.settings.until.duty());
        let store = self.engine.store();
        let mut rounds = Rounds::new(
            store.clone(),
            self.settings.clone(),
            start.clone(),
            self.asked,
            self.health,
            self.shutdown,
        );
        let keep_done = self.keep_done;
        let ended = match self.settings.until {
            // In this task, so that the pruning ends with the worker.
            Until::Stopped => tokio::select! {
                biased;
                ended = rounds.run(&self.arrived) => ended,
                () = keep_pruning(store.clone(), keep_done) => Until::Stopped,
                () = metrics::keep_recording(store.clone()) => Until::Stopped,
            },
            Until::Idle => rounds.run(&self.arrived).await,
        };
        // A batch job may end before a pruning beside it has removed anything.
        if let (Until::Idle, Some(keep_done)) = (ended, keep_done) {
            tokio::select! {
                biased;
                () = rounds.signal() => {}
                () = prune(&*store, keep_done) => {}
            }
        }
        drop(rounds);
        // The handler is the user's, and what it has captured is dropped with it.
        if guard(|| drop(start)).is_err() {
            tracing::error!("a value that the handler had captured panicked when it was dropped");
        }
        match ended {
            Until::Stopped => on_duty.stop(),
            Until::Idle => on_duty.rest(),
        }
    }
}

/// Returns the result of a handler, or a failure if it exceeds its time limit.
async fn in_time(
    limit: Option<Duration>,
    handled: impl Future<Output = Result<(), Failure>> + Send,
) -> Result<(), Failure> {
    let Some(limit) = limit else {
        return handled.await;
    };
    match timeout(limit, handled).await {
        Ok(result) => result,
        Err(_) => Err(Failure::retry(format!(
            "the handler took longer than its limit of {limit:?}"
        ))),
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
