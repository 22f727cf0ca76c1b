mod close;
mod letters;
mod ready;
mod upkeep;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ptolemy_webhooks::{Delivery, Observations};
#[cfg(feature = "postgres")]
use sqlx::postgres::PgPool;
#[cfg(feature = "sqlite")]
use sqlx::sqlite::SqlitePool;
use tokio::sync::Notify;
use tokio::time::timeout;
use tracing::Instrument as _;

pub use self::letters::DeadLetters;
use crate::accept::Accept;
use crate::accepted::Accepted;
use crate::asked::Asked;
use crate::batch::Batcher;
use crate::engine::Engine;
use crate::error::{ConnectError, ConnectErrorKind, InboxError};
use crate::health::{Health, Record};
use crate::metrics;
use crate::retry::MAX_DELAY;
use crate::store::Answer;
#[cfg(feature = "postgres")]
use crate::store::postgres::PostgresStore;
#[cfg(feature = "sqlite")]
use crate::store::sqlite::SqliteStore;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
use crate::url;
use crate::worker::Worker;

/// How long an accept may take: half of the time that Ptolemy waits for a response.
pub(crate) const ACCEPT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long any other database call may take.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the rows of done events are kept.
const KEEP_DONE: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// A durable store of deliveries in a SQLite or PostgreSQL database.
///
/// [`accept`](Self::accept) stores a delivery, and [`worker`](Self::worker) hands events to a
/// handler. A clone refers to the same inbox. An inbox needs a Tokio runtime, and is tied to the
/// one in which it was opened: when that runtime ends, accepts return errors.
///
/// The events are in the table `ptolemy_inbox`, one row each; its columns have plain names, so that
/// you can query it in SQL. `ptolemy_inbox_settings` contains the settings that all processes
/// share, `ptolemy_inbox_catch_up` and `ptolemy_inbox_catch_up_event` contain the records of
/// catch-ups, and `ptolemy_inbox_migrations` records the version of the tables.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use ptolemy_webhooks::{Secret, Signer, Verifier};
/// use ptolemy_webhooks_inbox::{Accepted, Inbox};
/// # let file = std::env::temp_dir().join(format!("ptolemy-inbox-{}.db", std::process::id()));
/// # let url = format!("sqlite://{}", file.display());
/// # let secret = Secret::new("whsec_a3f9b2c1d4e5f6a7b8c9d0e1")?;
/// # let body = r#"{"id":"e1","event_type":"market.created"}"#;
/// # let header = Signer::new(&secret).sign(body.as_bytes());
/// # let delivery = Verifier::new(secret).receive(header, body)?;
///
/// let inbox = Inbox::connect(&url).await?; // such as sqlite://inbox.db
/// assert!(matches!(inbox.accept(&delivery).await?, Accepted::New)); // on disk now
/// assert!(matches!(inbox.accept(&delivery).await?, Accepted::Duplicate { .. }));
/// assert_eq!(inbox.stats().await?.due, 1);
/// # drop(inbox);
/// # for end in ["", "-wal", "-shm"] { let _ = std::fs::remove_file(format!("{}{end}", file.display())); }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Inbox {
    engine: Engine,
    batcher: Arc<Batcher>,
    arrived: Arc<Notify>,
    observations: Arc<Observations>,
    asked: Asked,
    health: Record,
    accept_timeout: Duration,
    keep_done: Option<Duration>,
}

impl Inbox {
    /// Opens the inbox in a database, and creates or migrates its tables.
    ///
    /// - `sqlite://inbox.db`: a file, which is created if it is missing, on Unix with the mode 0600.
    ///   `sqlite:///var/lib/inbox.db` has an absolute path.
    /// - `postgres://user:password@host/database`: an existing database. It opens up to 10
    ///   connections. For TLS, switch on the feature `tls`; see [the URLs of usual
    ///   hosts](crate#postgresql-at-a-host).
    ///
    /// Any number of processes may open one inbox, also at the same time; those of a SQLite file
    /// must run on one machine.
    ///
    /// A SQLite file, its `-wal` and its `-shm` must not be removed or replaced while the inbox is
    /// open: later writes to them would be lost. On Unix the inbox detects this, and every call
    /// returns an error until the files are back or the inbox is opened again.
    ///
    /// # Errors
    ///
    /// Returns an error for any other kind of URL, or one with an unknown parameter; no error and
    /// no log line quotes a URL. Also returns an error for a database that cannot be reached, a
    /// file that cannot be opened, created or written (the error has its path and the reason),
    /// SQLite in memory, a PostgreSQL server with `fsync` off or a database that is not in UTF-8,
    /// and tables of a newer version of this crate.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use ptolemy_webhooks::{Secret, Signer, Verifier};
    /// use ptolemy_webhooks_inbox::{Accepted, EventState, Inbox};
    ///
    /// # let file = std::env::temp_dir().join(format!("ptolemy-doc-{}.db", std::process::id()));
    /// # let url = format!("sqlite://{}", file.display());
    /// # /*
    /// let url = "sqlite://inbox.db";
    /// # */
    /// let inbox = Inbox::connect(&url).await?;
    ///
    /// let secret = Secret::new("whsec_a3f9b2c1d4e5f6a7b8c9d0e1")?;
    /// let body = r#"{"id":"e1","event_type":"market.created"}"#;
    /// let header = Signer::new(&secret).sign(body.as_bytes());
    /// let delivery = Verifier::new(secret).receive(header, body)?;
    ///
    /// assert_eq!(inbox.accept(&delivery).await?, Accepted::New);
    /// let Accepted::Duplicate { state, .. } = inbox.accept(&delivery).await? else { unreachable!() };
    /// assert_eq!(state, EventState::Waiting);
    /// # drop(inbox);
    /// # for end in ["", "-wal", "-shm"] { let _ = std::fs::remove_file(format!("{}{end}", file.display())); }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn connect(url: &str) -> Result<Self, ConnectError> {
        match Scheme::of(url)? {
            #[cfg(feature = "sqlite")]
            Scheme::Sqlite => Ok(Self::on(Engine::Sqlite(Arc::new(
                SqliteStore::connect(url).await?,
            )))),
            #[cfg(feature = "postgres")]
            Scheme::Postgres => Ok(Self::on(Engine::Postgres(Arc::new(
                PostgresStore::connect(url).await?,
            )))),
        }
    }

    /// Opens an existing inbox. It creates nothing, migrates nothing and changes no setting of the
    /// database, and its workers prune nothing. Use it in tools that run beside a service.
    ///
    /// The URL is the same as for [`connect`](Self::connect).
    ///
    /// # Errors
    ///
    /// Same as `connect`. Also returns an error if the database has no inbox, or tables of an older
    /// version.
    pub async fn open_existing(url: &str) -> Result<Self, ConnectError> {
        let inbox: Self = match Scheme::of(url)? {
            #[cfg(feature = "sqlite")]
            Scheme::Sqlite => Self::on(Engine::Sqlite(Arc::new(
                SqliteStore::open_existing(url).await?,
            ))),
            #[cfg(feature = "postgres")]
            Scheme::Postgres => Self::on(Engine::Postgres(Arc::new(
                PostgresStore::open_existing(url).await?,
            ))),
        };
        Ok(inbox.with_keep_done(None))
    }

    /// Same as [`connect`](Self::connect), in a database that you use through this pool.
    ///
    /// `connect` also sets `journal_size_limit` to 16 MiB, which truncates the write-ahead log
    /// after a long read transaction has made it grow; set it in the pool's options if you want the
    /// same.
    ///
    /// # Errors
    ///
    /// Same as `connect`. Also returns an error for a pool whose connections would lose
    /// acknowledged deliveries in a crash: `journal_mode` must be WAL, and `synchronous` FULL or
    /// EXTRA.
    #[cfg(feature = "sqlite")]
    pub async fn from_sqlite_pool(pool: SqlitePool) -> Result<Self, ConnectError> {
        let store = SqliteStore::open(pool).await?;
        Ok(Self::on(Engine::Sqlite(Arc::new(store))))
    }

    /// Same as [`connect`](Self::connect), in a database that you use through this pool. The tables
    /// are created in the first schema of its `search_path`, and later looked for along it. A role
    /// without permission to create tables can use existing ones.
    ///
    /// Give the pool at least 3 connections: two of them are reserved for accepts, and handlers in
    /// transactions use the rest.
    ///
    /// If a connection of the pool breaks, or is read-only after a failover, the inbox closes it
    /// together with all idle connections and retries on a new one. An idle connection that does
    /// not respond to a ping within 1 s counts as broken, whether or not the pool tests connections
    /// itself.
    ///
    /// Handlers in transactions reuse a connection one after another, for at most 10 s and only
    /// while the pool has another one available. The pool's hooks run before the first of these
    /// handlers and after the last.
    ///
    /// Behind a pooler such as PgBouncer the pool's options must have `extra_float_digits(None)`,
    /// or the pooler rejects them. A pooler in transaction mode is detected when the inbox is
    /// opened.
    ///
    /// # Errors
    ///
    /// Same as `connect`.
    #[cfg(feature = "postgres")]
    pub async fn from_postgres_pool(pool: PgPool) -> Result<Self, ConnectError> {
        let store = PostgresStore::open(pool).await?;
        Ok(Self::on(Engine::Postgres(Arc::new(store))))
    }

    #[cfg(any(test, feature = "postgres", feature = "sqlite"))]
    pub(crate) fn on(engine: Engine) -> Self {
        let arrived = Arc::new(Notify::new());
        Self {
            batcher: Arc::new(Batcher::new(engine.store(), arrived.clone())),
            engine,
            arrived,
            observations: Arc::default(),
            asked: Asked::default(),
            health: Record::default(),
            accept_timeout: ACCEPT_TIMEOUT,
            keep_done: Some(KEEP_DONE),
        }
    }

    /// Sets how long [`accept`](Self::accept) may take, including all waits; 5 s unless set, a year
    /// at most. Ptolemy times out after 10 s.
    #[must_use]
    pub fn with_accept_timeout(mut self, limit: Duration) -> Self {
        self.accept_timeout = limit.min(MAX_DELAY);
        self
    }

    /// Returns how long [`accept`](Self::accept) may take.
    #[must_use]
    pub fn accept_timeout(&self) -> Duration {
        self.accept_timeout
    }

    /// Sets how long the rows of done events are kept; 90 days unless set, `None` to keep them
    /// forever.
    ///
    /// The workers of this inbox remove older rows: when they start and every hour, in small
    /// batches, one worker at a time across all processes. A delivery that is repeated after its
    /// row was removed counts as new and is handled again, so keep at least 30 days. Dead events
    /// are never removed.
    #[must_use]
    pub fn with_keep_done(mut self, age: impl Into<Option<Duration>>) -> Self {
        self.keep_done = age.into();
        self
    }

    /// Returns how long the rows of done events are kept; `None` if forever.
    #[must_use]
    pub fn keep_done(&self) -> Option<Duration> {
        self.keep_done
    }

    /// Stores a delivery. When this returns `Ok` the delivery is on disk, so respond with a 2xx.
    ///
    /// Repetitions are recognised by [`Delivery::dedup_key`]. A duplicate is as safe as a new
    /// delivery: answer it exactly like one. The duplicate of a dead event does not revive it; see
    /// [`DeadLetters::replay`].
    ///
    /// If the future is dropped, the delivery may or may not have been stored.
    ///
    /// # Errors
    ///
    /// Returns an error if the database does not store the delivery within
    /// [`accept_timeout`](Self::with_accept_timeout); do not acknowledge the delivery then. After a
    /// timeout it may have been stored nevertheless; Ptolemy's retry is then a duplicate.
    pub async fn accept(&self, delivery: &Delivery) -> Result<Accepted, InboxError> {
        self.accept_with(delivery, Accept::new()).await
    }

    /// Same as [`accept`](Self::accept), with a custom key or the name of a source.
    ///
    /// # Errors
    ///
    /// Same as `accept`. Also returns an error for a key or a source that cannot be stored.
    pub async fn accept_with(
        &self,
        delivery: &Delivery,
        accept: Accept,
    ) -> Result<Accepted, InboxError> {
        metrics::accepting(self.store(delivery, accept)).await
    }

    async fn store(&self, delivery: &Delivery, accept: Accept) -> Result<Accepted, InboxError> {
        let arrival = accept.arrival(delivery)?;
        let event_type = arrival.labels.event_type.as_deref().unwrap_or("-");
        let source = arrival.source.as_deref();
        let span = tracing::debug_span!("ptolemy_inbox_accept", event_type, source);
        let accept = async {
            let accepted = self.batcher.accept(arrival, self.accept_timeout).await;
            tracing::debug!(?accepted);
            if accepted.is_ok() {
                self.observe(delivery);
            }
            accepted
        };
        accept.instrument(span).await
    }

    /// Returns, for each assumption about deliveries, how many of the deliveries accepted through
    /// this inbox and its clones met it.
    ///
    /// The counts are in memory and start at zero with each process. The first deviation of each
    /// kind is logged as a warning that says what it costs. `Display` prints a summary.
    #[must_use]
    pub fn observations(&self) -> &Observations {
        &self.observations
    }

    fn observe(&self, delivery: &Delivery) {
        for deviation in self.observations.observe(delivery) {
            tracing::warn!("deliveries are not as assumed: {deviation}");
        }
    }

    /// Returns a worker with default settings, which hands events to a handler; see [`Worker`].
    pub fn worker(&self) -> Worker {
        Worker::new(
            self.engine.clone(),
            self.arrived.clone(),
            self.asked.clone(),
            self.keep_done,
            self.health.clone(),
        )
    }

    #[cfg(feature = "catch-up")]
    pub(crate) fn catch_up_store(&self) -> Option<Arc<dyn crate::store::catch_up::CatchUpStore>> {
        self.engine.catch_up_store()
    }

    /// Returns whether the workers of this inbox and its clones are running, for a health endpoint.
    /// It does not query the database.
    ///
    /// Deliveries are accepted even after a worker has ended, so nothing else in the process may
    /// show it.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use ptolemy_webhooks_inbox::{Failure, Inbox};
    /// # let file = std::env::temp_dir().join(format!("ptolemy-health-{}.db", std::process::id()));
    /// # let inbox = Inbox::connect(&format!("sqlite://{}", file.display())).await?;
    /// let handler = |_, _| async { Ok::<(), Failure>(()) };
    /// let worker = tokio::spawn(inbox.worker().run(handler));
    /// # tokio::task::yield_now().await;
    /// assert_eq!(inbox.health().workers_running, 1);
    /// assert!(inbox.health().is_healthy());
    ///
    /// worker.abort(); // or a panic
    /// assert!(worker.await.is_err());
    /// assert!(!inbox.health().is_healthy()); // answer 503
    /// # drop(inbox);
    /// # for end in ["", "-wal", "-shm"] { let _ = std::fs::remove_file(format!("{}{end}", file.display())); }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn health(&self) -> Health {
        self.health.read()
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox")
            .field("engine", &self.engine.name())
            .field("accept_timeout", &self.accept_timeout)
            .field("keep_done", &self.keep_done)
            .finish_non_exhaustive()
    }
}

/// The engine that a URL names, if the engine's driver accepts the URL.
enum Scheme {
    #[cfg(feature = "sqlite")]
    Sqlite,
    #[cfg(feature = "postgres")]
    Postgres,
}

impl Scheme {
    fn of(url: &str) -> Result<Self, ConnectError> {
        let kind = match url.split_once(':').map(|(scheme, _)| scheme) {
            #[cfg(feature = "sqlite")]
            Some("sqlite") => return url::check_sqlite(url).map(|()| Self::Sqlite),
            #[cfg(feature = "postgres")]
            Some("postgres" | "postgresql") => {
                return url::check_postgres(url).map(|()| Self::Postgres);
            }
            #[cfg(not(feature = "sqlite"))]
            Some("sqlite") => ConnectErrorKind::FeatureOff { feature: "sqlite" },
            #[cfg(not(feature = "postgres"))]
            Some("postgres" | "postgresql") => ConnectErrorKind::FeatureOff {
                feature: "postgres",
            },
            _ => ConnectErrorKind::UnknownEngine,
        };
        Err(ConnectError::new(kind))
    }
}

pub(crate) async fn in_time<T>(answer: Answer<'_, T>) -> Result<T, InboxError> {
    match metrics::timed(timeout(CALL_TIMEOUT, answer)).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(InboxError::unavailable(error)),
        Err(_) => Err(InboxError::timed_out(CALL_TIMEOUT)),
    }
}
