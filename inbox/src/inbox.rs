mod letters;
mod upkeep;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ptolemy_webhooks::Delivery;
#[cfg(feature = "postgres")]
use sqlx::postgres::PgPool;
#[cfg(feature = "sqlite")]
use sqlx::sqlite::SqlitePool;
use tokio::sync::Notify;
use tokio::time::timeout;
use tracing::Instrument as _;

use crate::accepted::Accepted;
use crate::arrival::{Arrival, Labels, MAX_KEY_BYTES};
use crate::batch::Batcher;
use crate::engine::Engine;
use crate::error::{ConnectError, ConnectErrorKind, InboxError, InboxErrorKind};
use crate::store::Answer;
#[cfg(feature = "postgres")]
use crate::store::postgres::PostgresStore;
#[cfg(feature = "sqlite")]
use crate::store::sqlite::SqliteStore;
use crate::worker::Worker;

pub use self::letters::DeadLetters;

/// How long an accept may take: half of what Ptolemy waits for an answer.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long any other call of the database may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Deliveries that are safe, in a table of a SQLite or PostgreSQL database.
///
/// [`accept`](Self::accept) puts a delivery in, and [`worker`](Self::worker) hands events to a
/// handler. A clone is the same inbox. An inbox needs a Tokio runtime, and belongs to the one in which
/// it was opened: when that ends, accepts are errors.
///
/// The table is `ptolemy_inbox`, one row for each event; its columns have plain names, for questions in
/// SQL. `ptolemy_inbox_migrations` records its versions.
#[derive(Clone)]
pub struct Inbox {
    engine: Engine,
    batcher: Arc<Batcher>,
    arrived: Arc<Notify>,
    accept_timeout: Duration,
}

impl Inbox {
    /// Opens the inbox in a database, and creates or migrates its tables.
    ///
    /// - `sqlite://inbox.db`: a file, which is created if it is missing. `sqlite:///var/lib/inbox.db`
    ///   has an absolute path.
    /// - `postgres://user:password@host/database`: a database that exists. It opens up to 10 connections.
    ///   For TLS, switch on one of sqlx's features, such as `tls-rustls-ring-webpki`.
    ///
    /// Any number of processes may open one inbox, also at the same time; those of a SQLite file must run
    /// on one machine.
    ///
    /// # Errors
    ///
    /// Refuses a URL of another kind, a database that cannot be reached, SQLite in memory, a PostgreSQL
    /// server that has `fsync` off or a database that is not in UTF-8, and tables of a newer version of this
    /// crate.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use ptolemy_webhooks::{Secret, Signer, Verifier};
    /// use ptolemy_webhooks_inbox::{Accepted, Inbox, EventState};
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
        match url.split_once(':').map(|(scheme, _)| scheme) {
            #[cfg(feature = "sqlite")]
            Some("sqlite") => Ok(Self::on(Engine::Sqlite(Arc::new(
                SqliteStore::connect(url).await?,
            )))),
            #[cfg(feature = "postgres")]
            Some("postgres" | "postgresql") => Ok(Self::on(Engine::Postgres(Arc::new(
                PostgresStore::connect(url).await?,
            )))),
            #[cfg(not(feature = "sqlite"))]
            Some("sqlite") => Err(ConnectError::new(ConnectErrorKind::FeatureOff {
                feature: "sqlite",
            })),
            #[cfg(not(feature = "postgres"))]
            Some("postgres" | "postgresql") => {
                Err(ConnectError::new(ConnectErrorKind::FeatureOff {
                    feature: "postgres",
                }))
            }
            _ => Err(ConnectError::new(ConnectErrorKind::UnknownEngine)),
        }
    }

    /// As [`connect`](Self::connect), in a database that you use through this pool.
    ///
    /// # Errors
    ///
    /// As `connect`; and refuses a pool whose connections would lose acknowledged deliveries in a
    /// crash: it wants `journal_mode` WAL and `synchronous` FULL or EXTRA.
    #[cfg(feature = "sqlite")]
    pub async fn from_sqlite_pool(pool: SqlitePool) -> Result<Self, ConnectError> {
        let store = SqliteStore::open(pool).await?;
        Ok(Self::on(Engine::Sqlite(Arc::new(store))))
    }

    /// As [`connect`](Self::connect), in a database that you use through this pool. The tables are created in the
    /// first schema of its `search_path`, and later looked for along it. A role that may create none can use
    /// those that are there.
    ///
    /// # Errors
    ///
    /// As `connect`.
    #[cfg(feature = "postgres")]
    pub async fn from_postgres_pool(pool: PgPool) -> Result<Self, ConnectError> {
        let store = PostgresStore::open(pool).await?;
        Ok(Self::on(Engine::Postgres(Arc::new(store))))
    }

    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    fn on(engine: Engine) -> Self {
        let arrived = Arc::new(Notify::new());
        Self {
            batcher: Arc::new(Batcher::new(engine.store(), arrived.clone())),
            engine,
            arrived,
            accept_timeout: ACCEPT_TIMEOUT,
        }
    }

    /// Sets how long [`accept`](Self::accept) may take, all waits included; 5 s unless set. Ptolemy
    /// times out after 10 s.
    #[must_use]
    pub fn with_accept_timeout(mut self, limit: Duration) -> Self {
        self.accept_timeout = limit;
        self
    }

    /// How long [`accept`](Self::accept) may take.
    #[must_use]
    pub fn accept_timeout(&self) -> Duration {
        self.accept_timeout
    }

    /// Stores a delivery: it is on disk when this returns `Ok`, and then a 2xx is the right answer.
    ///
    /// Repetitions are recognised by [`Delivery::dedup_key`]. A duplicate is as safe as a new one, and
    /// is to be answered alike. The duplicate of a dead event does not revive it; see
    /// [`replay`](Self::replay).
    ///
    /// A future that is dropped may have stored the delivery.
    ///
    /// # Errors
    ///
    /// Tells that the database did not store it, or not within
    /// [`accept_timeout`](Self::accept_timeout); then it must not be acknowledged. After a timeout it may
    /// be there all the same, and Ptolemy's repetition is a duplicate.
    pub async fn accept(&self, delivery: &Delivery) -> Result<Accepted, InboxError> {
        self.store(None, delivery).await
    }

    /// As [`accept`](Self::accept), for those who know a key that recognises repetitions better.
    ///
    /// Two deliveries with one key are one event, whatever else they say: the second is not kept.
    ///
    /// # Errors
    ///
    /// As `accept`; and refuses a key that is empty, longer than 255 bytes, or has a NUL.
    pub async fn accept_with_key(
        &self,
        delivery: &Delivery,
        key: impl Into<String>,
    ) -> Result<Accepted, InboxError> {
        let key = key.into();
        if key.is_empty() || key.len() > MAX_KEY_BYTES || key.contains('\0') {
            return Err(InboxError::new(InboxErrorKind::InvalidKey));
        }
        self.store(Some(key), delivery).await
    }

    async fn store(
        &self,
        key: Option<String>,
        delivery: &Delivery,
    ) -> Result<Accepted, InboxError> {
        let read = delivery.labels();
        let labels = Labels::from(&read);
        let key = key.unwrap_or(read.dedup_key);
        let event_type = labels.event_type.as_deref().unwrap_or("-");
        let span = tracing::debug_span!("ptolemy_inbox_accept", event_type);
        let arrival = Arrival {
            key,
            labels,
            body: delivery.body().clone(),
        };
        let accept = async {
            let accepted = self.batcher.accept(arrival, self.accept_timeout).await;
            tracing::debug!(?accepted);
            accepted
        };
        accept.instrument(span).await
    }

    /// Sets up what hands events to a handler; see [`Worker`].
    pub fn worker(&self) -> Worker {
        Worker::new(self.engine.clone(), self.arrived.clone())
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox")
            .field("engine", &self.engine.name())
            .field("accept_timeout", &self.accept_timeout)
            .finish()
    }
}

async fn in_time<T>(answer: Answer<'_, T>) -> Result<T, InboxError> {
    match timeout(CALL_TIMEOUT, answer).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(InboxError::unavailable(error)),
        Err(_) => Err(InboxError::timed_out(CALL_TIMEOUT)),
    }
}
