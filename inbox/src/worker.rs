#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod transaction;

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use ptolemy_webhooks::{DecodeError, Event};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::Instrument as _;

use crate::attempt::Attempt;
use crate::error::InboxError;
use crate::failure::{Failure, Next, kept};
use crate::inbox::Engine;
use crate::retry::{LONGEST, Retry};
use crate::store::{
    BoxFuture, Claim, Handled, Lease, Look, PATIENCE, Store, Turn, Turned, Verdict,
};

/// How many events a turn takes at most: their bodies come with them.
const MOST: usize = 256;

/// How long to wait where another worker is choosing.
const SOON: Duration = Duration::from_millis(50);

/// How long the loop rests after a turn that failed.
const REST: Duration = Duration::from_millis(500);

/// How long a task that was told to end may take to do so.
const LAST_BREATH: Duration = Duration::from_secs(1);

/// Takes events out of an [`Inbox`](crate::Inbox) and hands them to a handler, again until it
/// succeeds.
///
/// Any number of workers may run, in any number of processes. Each event is leased by one of them at a
/// time; whoever dies loses the lease, and another takes over. Whoever wakes late, with a lease that was
/// lost, is cut short and cannot mark anything done, but what its handler did is done: a handler has to
/// bear that an event comes again. `run_in_sqlite_transaction` and
/// `run_in_postgres_transaction` (of the engines' features) spare it that for what it writes into the inbox's own
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

/// How a task ended.
enum Ended {
    /// By itself; what becomes of the event is not in the table yet.
    Plain(Result<(), Failure>),
    InTransaction(Handled),
    Undecodable(DecodeError),
}

type Start = dyn Fn(Event, Claim) -> BoxFuture<'static, Ended> + Send + Sync;

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
        self.settings.lease = lease.clamp(Duration::from_secs(1), LONGEST);
        self
    }

    /// Sets how often to look for events that other processes accepted, and for those that are due again;
    /// 1 s unless set. What this process accepts is seen at once.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.settings.poll = interval.clamp(Duration::from_millis(1), LONGEST);
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
        self.settings.shutdown_timeout = timeout.min(LONGEST);
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
        let start = move |event, claim: Claim| -> BoxFuture<'static, Ended> {
            let handler = handler.clone();
            Box::pin(async move {
                let attempt = Attempt::new(&claim, most);
                Ended::Plain(handler(event, attempt).await.map_err(Into::into))
            })
        };
        self.work(Arc::new(start)).await;
        Ok(())
    }

    async fn work(self, start: Arc<Start>) {
        let rounds = Rounds {
            store: self.engine.store(),
            settings: self.settings,
            start,
            tasks: JoinSet::new(),
            held: HashMap::new(),
            settle: Vec::new(),
            shutdown: self.shutdown,
            deadline: None,
        };
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

/// An event that a task works on.
struct Held {
    lease: Lease,
    attempts: u32,
    task: AbortHandle,
    lost: bool,
}

/// The loop of a worker: what ended is settled, leases are renewed and events are taken, all in one
/// transaction, which is a turn.
struct Rounds {
    store: Arc<dyn Store>,
    settings: Settings,
    start: Arc<Start>,
    tasks: JoinSet<Ended>,
    held: HashMap<Id, Held>,
    /// What is over and not yet in the table.
    settle: Vec<(Lease, Verdict)>,
    shutdown: BoxFuture<'static, ()>,
    /// When to stop at the latest; set by the signal.
    deadline: Option<Instant>,
}

impl Rounds {
    async fn run(mut self, arrived: &Notify) {
        let mut look_at = Instant::now();
        let mut renew_at = look_at + self.settings.lease / 3;
        let mut rest_until = look_at;
        loop {
            let now = Instant::now();
            if self.deadline.is_some_and(|deadline| now >= deadline) {
                return self.cut_short().await;
            }
            if self.deadline.is_some() && self.tasks.is_empty() && self.settle.is_empty() {
                return;
            }
            let take = match self.deadline {
                None if look_at <= now => MOST.min(self.settings.concurrency - self.tasks.len()),
                _ => 0,
            };
            let renew = renew_at <= now && !self.held.is_empty();
            if (take > 0 || renew || !self.settle.is_empty()) && rest_until <= now {
                match self.turn(take, renew).await {
                    Ok(turned) => {
                        if renew || self.held.is_empty() {
                            renew_at = now + self.settings.lease / 3;
                        }
                        self.settle.clear();
                        self.lose(&turned.lost);
                        for claim in turned.claims {
                            self.begin(claim);
                        }
                        match turned.next {
                            _ if take == 0 => {}
                            // What this worker has no room for may be for another.
                            Look::AtOnce if self.tasks.len() == self.settings.concurrency => {
                                arrived.notify_one();
                            }
                            Look::AtOnce => {}
                            Look::Soon => look_at = now + SOON.min(self.settings.poll),
                            Look::Later => look_at = now + self.settings.poll,
                        }
                    }
                    Err(error) => {
                        tracing::warn!(error, "the inbox's database is in the way of the worker");
                        rest_until = Instant::now() + REST;
                    }
                }
                continue;
            }

            let free = self.deadline.is_none() && self.tasks.len() < self.settings.concurrency;
            let wake_at = [
                free.then_some(look_at),
                (!self.held.is_empty()).then_some(renew_at),
                (!self.settle.is_empty()).then_some(rest_until),
                self.deadline,
            ]
            .into_iter()
            .flatten()
            .map(|at| at.max(rest_until))
            .min();
            tokio::select! {
                Some(ended) = self.tasks.join_next_with_id() => {
                    self.end(ended);
                    while let Some(ended) = self.tasks.try_join_next_with_id() {
                        self.end(ended);
                    }
                    look_at = Instant::now();
                }
                () = arrived.notified(), if free => look_at = Instant::now(),
                () = at(wake_at) => {}
                () = &mut self.shutdown, if self.deadline.is_none() => self.stop(),
            }
        }
    }

    fn stop(&mut self) {
        tracing::debug!(running = self.tasks.len(), "the worker is stopping");
        self.deadline = Some(Instant::now() + self.settings.shutdown_timeout);
    }

    /// Settles what is over, and takes and renews as told.
    async fn turn(&mut self, take: usize, renew: bool) -> Result<Turned, String> {
        let store = self.store.clone();
        let settle = self.settle.clone();
        let renew: Vec<_> = if renew {
            self.held.values().map(|held| held.lease).collect()
        } else {
            Vec::new()
        };
        let settings = self.settings.clone();
        let turn = store.turn(Turn {
            settle: &settle,
            renew: &renew,
            take,
            in_order: settings.in_order,
            lease: settings.lease,
            retry: &settings.retry,
        });
        let mut turn = Box::pin(timeout(PATIENCE, turn));
        loop {
            tokio::select! {
                turned = &mut turn => return match turned {
                    Ok(turned) => turned.map_err(|error| error.to_string()),
                    Err(_) => Err(format!("no answer within {PATIENCE:?}")),
                },
                () = &mut self.shutdown, if self.deadline.is_none() => self.stop(),
                () = at(self.deadline), if self.deadline.is_some() => {
                    return Err("no answer before the worker had to stop".to_owned());
                }
            }
        }
    }

    fn begin(&mut self, claim: Claim) {
        let Claim {
            lease, attempts, ..
        } = claim;
        // The signal came while the turn was on its way.
        if self.deadline.is_some() {
            let delay = Duration::ZERO;
            self.settle.push((lease, Verdict::Returned { delay }));
            return;
        }
        let event_type = claim.event_type.as_deref().unwrap_or("-");
        let span = tracing::info_span!(
            "ptolemy_inbox_handle",
            id = lease.id,
            event_type,
            attempt = attempts
        );
        let start = self.start.clone();
        // The handler is called within the task, so that a panic of it ends nothing but the task.
        let work = async move {
            match Event::from_trusted_json(claim.body.clone()) {
                Ok(event) => start(event, claim).await,
                Err(error) => Ended::Undecodable(error),
            }
        };
        let task = self.tasks.spawn(work.instrument(span));
        let held = Held {
            lease,
            attempts,
            task: task.clone(),
            lost: false,
        };
        self.held.insert(task.id(), held);
    }

    fn end(&mut self, ended: Result<(Id, Ended), JoinError>) {
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let Some(held) = self.held.remove(&id) else {
            return;
        };
        let failed = |error: String, delay: Option<Duration>| {
            tracing::warn!(
                id = held.lease.id,
                attempt = held.attempts,
                again_in = delay.map(tracing::field::debug),
                "an attempt failed"
            );
            Verdict::after(delay, error)
        };
        let retry = &self.settings.retry;
        let verdict = match ended {
            _ if held.lost => return,
            Ok((_, Ended::Plain(Ok(())))) => Verdict::Done,
            Ok((_, Ended::InTransaction(Handled::Committed))) => return,
            Ok((_, Ended::InTransaction(Handled::Lost))) => return too_late(held.lease),
            Ok((_, Ended::InTransaction(Handled::NotCalled(error)))) => {
                tracing::warn!(error, "the inbox's database is in the way of a transaction");
                Verdict::Returned { delay: REST }
            }
            Ok((_, Ended::Undecodable(error))) => failed(error.to_string(), None),
            Ok((
                _,
                Ended::Plain(Err(failure)) | Ended::InTransaction(Handled::Failed(failure)),
            )) => {
                let delay = match failure.next {
                    Next::Backoff => retry.after(held.attempts),
                    Next::In(delay) => retry.after_in(held.attempts, delay),
                    Next::Never => None,
                };
                failed(failure.text(), delay)
            }
            Err(error) => match error.try_into_panic() {
                Ok(panic) => failed(panic_text(&*panic), retry.after(held.attempts)),
                Err(_cancelled) => Verdict::Returned {
                    delay: Duration::ZERO,
                },
            },
        };
        self.settle.push((held.lease, verdict));
    }

    /// Ends the tasks whose events another worker has taken over.
    fn lose(&mut self, lost: &[Lease]) {
        for lease in lost {
            too_late(*lease);
            for held in self.held.values_mut().filter(|held| held.lease == *lease) {
                held.lost = true;
                held.task.abort();
            }
        }
    }

    /// Ends what still runs, and gives it back as far as it can be told that it has ended.
    async fn cut_short(mut self) {
        tracing::warn!(
            running = self.tasks.len(),
            "events were cut short and go back"
        );
        self.tasks.abort_all();
        let ends = async {
            while let Some(ended) = self.tasks.join_next_with_id().await {
                self.end(ended);
            }
        };
        let _ = timeout(LAST_BREATH, ends).await;
        if self.settle.is_empty() {
            return;
        }
        self.deadline = Some(Instant::now() + LAST_BREATH);
        if let Err(error) = self.turn(0, false).await {
            tracing::warn!(error, "events come back when their leases expire");
        }
    }
}

/// The time, or never.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}

fn too_late(lease: Lease) {
    tracing::warn!(
        id = lease.id,
        "a lease was lost: this attempt marks nothing, and the event goes on elsewhere"
    );
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    kept(&format!("the handler panicked: {}", text.unwrap_or("-")))
}
