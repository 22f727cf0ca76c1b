use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ptolemy_webhooks::Delivery;
#[cfg(feature = "postgres")]
use sqlx::postgres::PgPool;
#[cfg(feature = "sqlite")]
use sqlx::sqlite::SqlitePool;
use tokio::sync::Notify;
use tokio::time::timeout;
use tracing::Instrument as _;

use crate::accepted::Accepted;
use crate::batch::Batcher;
use crate::dead::DeadLetter;
use crate::error::{ConnectError, ConnectErrorKind, InboxError, InboxErrorKind};
use crate::key::{self, Labels};
use crate::stats::Stats;
#[cfg(feature = "postgres")]
use crate::store::postgres::PostgresStore;
#[cfg(feature = "sqlite")]
use crate::store::sqlite::SqliteStore;
use crate::store::{Answer, Arrival, Range, Store};
use crate::worker::Worker;

/// How long an accept may take: half of what Ptolemy waits for an answer.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long anything else may take.
const PATIENCE: Duration = Duration::from_secs(30);

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
    group_commit: bool,
}

#[derive(Clone)]
pub(crate) enum Engine {
    #[cfg(feature = "sqlite")]
    Sqlite(Arc<SqliteStore>),
    #[cfg(feature = "postgres")]
    Postgres(Arc<PostgresStore>),
}

impl Engine {
    pub(crate) fn store(&self) -> Arc<dyn Store> {
        match *self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(ref store) => store.clone(),
            #[cfg(feature = "postgres")]
            Self::Postgres(ref store) => store.clone(),
        }
    }

    #[cfg(feature = "sqlite")]
    pub(crate) fn sqlite(&self) -> Option<Arc<SqliteStore>> {
        match self {
            Self::Sqlite(store) => Some(store.clone()),
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => None,
        }
    }

    #[cfg(feature = "postgres")]
    pub(crate) fn postgres(&self) -> Option<Arc<PostgresStore>> {
        match self {
            Self::Postgres(store) => Some(store.clone()),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => None,
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match *self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => "SQLite",
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => "PostgreSQL",
        }
    }
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
    /// use ptolemy_webhooks_inbox::{Accepted, Inbox, State};
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
    /// assert_eq!(state, State::Waiting);
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
            group_commit: true,
        }
    }

    /// Sets how long [`accept`](Self::accept) may take, all waits included; 5 s unless set. Ptolemy gives
    /// a delivery up after 10 s.
    #[must_use]
    pub fn accept_timeout(mut self, limit: Duration) -> Self {
        self.accept_timeout = limit;
        self
    }

    /// Gives each accept a commit of its own, instead of one for all that come at the same time.
    ///
    /// It makes many deliveries at once much slower and nothing safer; it is there to measure that.
    #[must_use]
    pub fn without_group_commit(mut self) -> Self {
        self.group_commit = false;
        self
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
        if key.is_empty() || key.len() > key::LONGEST || key.contains('\0') {
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
            let accepted = self
                .batcher
                .accept(arrival, self.accept_timeout, self.group_commit)
                .await;
            tracing::debug!(?accepted);
            accepted
        };
        accept.instrument(span).await
    }

    /// Sets up what hands events to a handler; see [`Worker`].
    pub fn worker(&self) -> Worker {
        Worker::new(self.engine.clone(), self.arrived.clone())
    }

    /// Lists dead events, the one that was accepted first first: up to `limit` of those whose id is
    /// greater than `after`, so 0 begins and the last id goes on.
    ///
    /// # Errors
    ///
    /// Tells that the database did not answer.
    pub async fn dead_letters(
        &self,
        after: i64,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, InboxError> {
        let store = self.engine.store();
        in_time(store.dead(Range(after, i64::MAX), limit)).await
    }

    /// Looks at one dead event; `None` if there is none with this id.
    ///
    /// # Errors
    ///
    /// Tells that the database did not answer.
    pub async fn dead_letter(&self, id: i64) -> Result<Option<DeadLetter>, InboxError> {
        let store = self.engine.store();
        Ok(in_time(store.dead(one(id), 1)).await?.pop())
    }

    /// Returns the body of a dead event, byte for byte as it was signed;
    /// [`Event::from_trusted_json`](ptolemy_webhooks::Event::from_trusted_json) reads it.
    ///
    /// # Errors
    ///
    /// Tells that the database did not answer.
    pub async fn dead_letter_body(&self, id: i64) -> Result<Option<Bytes>, InboxError> {
        in_time(self.engine.store().dead_body(id)).await
    }

    /// Lets a dead event wait for a worker again, with all its attempts; `false` if there is none with this
    /// id.
    ///
    /// It may come after newer events of its resource, also for a worker that takes events in order: a
    /// dead event blocks nothing.
    ///
    /// # Errors
    ///
    /// Tells that the database did not answer.
    pub async fn replay(&self, id: i64) -> Result<bool, InboxError> {
        let replayed = in_time(self.engine.store().replay(one(id))).await?;
        self.arrived.notify_one();
        Ok(!replayed.is_empty())
    }

    /// As [`replay`](Self::replay), for all that are dead now; tells how many. It goes through them in small batches, so
    /// an error leaves some replayed.
    ///
    /// # Errors
    ///
    /// Tells that the database did not answer.
    pub async fn replay_all(&self) -> Result<u64, InboxError> {
        let store = self.engine.store();
        let replayed = all(|range| store.replay(range)).await?;
        self.arrived.notify_one();
        Ok(replayed)
    }

    /// Gives a dead event up; `false` if there is none with this id.
    ///
    /// Its row counts as done from now on, so that a repetition is still recognised; `last_error` says
    /// that it was discarded.
    ///
    /// # Errors
    ///
    /// Tells that the database did not answer.
    pub async fn discard(&self, id: i64) -> Result<bool, InboxError> {
        let discarded = in_time(self.engine.store().discard(one(id))).await?;
        Ok(!discarded.is_empty())
    }

    /// As [`discard`](Self::discard), for all that are dead now; tells how many. It goes through them in small batches,
    /// so an error leaves some discarded.
    ///
    /// # Errors
    ///
    /// Tells that the database did not answer.
    pub async fn discard_all(&self) -> Result<u64, InboxError> {
        let store = self.engine.store();
        all(|range| store.discard(range)).await
    }

    /// Removes the rows of events that were done longer ago than this, in small batches; tells how
    /// many. Dead events stay.
    ///
    /// A delivery that is repeated after its row is gone is new, and is handled again. How long
    /// Ptolemy repeats is not documented, and a person can have a delivery sent again at any time: keep
    /// at least 30 days.
    ///
    /// # Errors
    ///
    /// Tells that the database did not answer.
    pub async fn prune(&self, older_than: Duration) -> Result<u64, InboxError> {
        let store = self.engine.store();
        let mut pruned = 0;
        loop {
            match in_time(store.prune(older_than)).await? {
                0 => return Ok(pruned),
                batch => pruned += batch,
            }
        }
    }

    /// Counts what is not done.
    ///
    /// It reads an index of what is not done, and nothing of what is.
    ///
    /// # Errors
    ///
    /// Tells that the database did not answer.
    pub async fn stats(&self) -> Result<Stats, InboxError> {
        in_time(self.engine.store().stats()).await
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox")
            .field("engine", &self.engine.name())
            .field("accept_timeout", &self.accept_timeout)
            .field("group_commit", &self.group_commit)
            .finish()
    }
}

fn one(id: i64) -> Range {
    Range(id.saturating_sub(1), id)
}

/// Does something to small batches of dead letters until the last; tells to how many.
async fn all<'a>(step: impl Fn(Range) -> Answer<'a, Vec<i64>>) -> Result<u64, InboxError> {
    let mut done = 0;
    let mut range = Range(0, i64::MAX);
    loop {
        let ids = in_time(step(range)).await?;
        let Some(last) = ids.iter().max() else {
            return Ok(done);
        };
        range.0 = *last;
        done += ids.len() as u64;
    }
}

async fn in_time<T>(answer: Answer<'_, T>) -> Result<T, InboxError> {
    match timeout(PATIENCE, answer).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(InboxError::unavailable(error)),
        Err(_) => Err(InboxError::timed_out(PATIENCE)),
    }
}
