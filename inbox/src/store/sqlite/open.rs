//! Opens the file and its tables, and checks that a commit survives a crash.

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use time::OffsetDateTime;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use super::clock::Clock;
use super::watch::Watch;
use super::{SqliteStore, code, file};
use crate::error::{ConnectError, ConnectErrorKind};
use crate::store::gate::Gate;
use crate::store::migrate;

const VERSIONS: &[&str] = &[include_str!("../../../migrations/sqlite/1_inbox.sql")];

/// How long a statement waits for another process's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The length in bytes to which SQLite truncates its log when it restarts it. Most logs are
/// shorter, so that they are overwritten in place.
const MAX_LOG_BYTES: &str = "16777216";

/// SQLite has one writer; the other connections are for reads.
pub(super) const MAX_CONNECTIONS: u32 = 4;

impl SqliteStore {
    pub(crate) async fn connect(url: &str) -> Result<Self, ConnectError> {
        let options = options(url)?;
        file::prepare(url, &options, file::is_to_be_created(url))?;
        // A file that is missing from here on was removed.
        let pool = connect(options.create_if_missing(false)).await?;
        file::must_be_writable(&pool).await?;
        write_ahead(&pool).await?;
        let mut store = Self::open_writable(pool, OffsetDateTime::now_utc).await?;
        store.owns_pool = true;
        Ok(store)
    }

    /// Creates nothing and changes no setting of the file.
    pub(crate) async fn open_existing(url: &str) -> Result<Self, ConnectError> {
        let options = options(url)?;
        file::prepare(url, &options, false)?;
        let pool = connect(options.create_if_missing(false)).await?;
        let version = version(&pool).await.map_err(unavailable)?;
        migrate::must_be_newest(version, VERSIONS)?;
        must_be_durable(&pool).await?;
        let mut store = Self::on(pool, OffsetDateTime::now_utc).await;
        store.owns_pool = true;
        Ok(store)
    }

    pub(crate) async fn open(pool: SqlitePool) -> Result<Self, ConnectError> {
        Self::open_with(pool, OffsetDateTime::now_utc).await
    }

    pub(super) async fn open_with(
        pool: SqlitePool,
        host: fn() -> OffsetDateTime,
    ) -> Result<Self, ConnectError> {
        file::must_be_writable(&pool).await?;
        Self::open_writable(pool, host).await
    }

    async fn open_writable(
        pool: SqlitePool,
        host: fn() -> OffsetDateTime,
    ) -> Result<Self, ConnectError> {
        must_be_durable(&pool).await?;
        let version = version(&pool).await.map_err(unavailable)?;
        let store = Self::on(pool, host).await;
        if !migrate::is_newest(version, VERSIONS) {
            let mut writer = store.writer().await.map_err(unavailable)?;
            let mut tx = writer.begin().await.map_err(unavailable)?;
            migrate::run(&migrate::migrator(VERSIONS), &mut *tx).await?;
            tx.commit().await.map_err(unavailable)?;
        }
        Ok(store)
    }

    async fn on(pool: SqlitePool, host: fn() -> OffsetDateTime) -> Self {
        Self {
            watch: Watch::start(&pool).await,
            rotation: std::sync::Mutex::default(),
            pool,
            writer: Mutex::new(None),
            owns_pool: false,
            gate: Gate::default(),
            clock: Clock::new(host),
        }
    }
}

fn options(url: &str) -> Result<SqliteConnectOptions, ConnectError> {
    let options = SqliteConnectOptions::from_str(url).map_err(|_| {
        let reason = "an encoded character is not valid";
        ConnectError::new(ConnectErrorKind::MalformedUrl { reason })
    })?;
    Ok(options
        .busy_timeout(BUSY_TIMEOUT)
        .synchronous(SqliteSynchronous::Full)
        // Without it, macOS leaves synced data in the disk's write cache.
        .pragma("fullfsync", "1")
        .pragma("journal_size_limit", MAX_LOG_BYTES))
}

async fn connect(options: SqliteConnectOptions) -> Result<SqlitePool, ConnectError> {
    SqlitePoolOptions::new()
        .max_connections(MAX_CONNECTIONS)
        .acquire_timeout(BUSY_TIMEOUT)
        .connect_with(options.clone())
        .await
        .map_err(|error| file::unusable(&options, error))
}

/// The version of the tables; `None` without any. At the newest one nothing needs to be written.
async fn version(pool: &SqlitePool) -> Result<Option<i64>, sqlx::Error> {
    let recorded: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'ptolemy_inbox_migrations')",
    )
    .fetch_one(pool)
    .await?;
    if !recorded {
        return Ok(None);
    }
    sqlx::query_scalar("SELECT max(version) FROM ptolemy_inbox_migrations")
        .fetch_one(pool)
        .await
}

/// Turns write-ahead logging on, which is not possible while another connection uses the database.
async fn write_ahead(pool: &SqlitePool) -> Result<(), ConnectError> {
    let give_up = Instant::now() + BUSY_TIMEOUT;
    loop {
        match sqlx::query("PRAGMA journal_mode = WAL").execute(pool).await {
            // SQLITE_BUSY and SQLITE_LOCKED.
            Err(error)
                if code(&error).is_some_and(|code| matches!(code & 0xff, 5 | 6))
                    && Instant::now() < give_up =>
            {
                sleep(Duration::from_millis(20)).await;
            }
            result => return result.map(drop).map_err(unavailable),
        }
    }
}

async fn must_be_durable(pool: &SqlitePool) -> Result<(), ConnectError> {
    let not_durable = |setting, value: String, wanted| {
        Err(ConnectError::new(ConnectErrorKind::NotDurable {
            setting,
            value,
            wanted,
        }))
    };
    let mut connection = pool.acquire().await.map_err(unavailable)?;
    let journal: String = sqlx::query_scalar("PRAGMA journal_mode")
        .fetch_one(&mut *connection)
        .await
        .map_err(unavailable)?;
    if journal != "wal" {
        return not_durable("journal_mode", journal, "`wal`");
    }
    let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous")
        .fetch_one(&mut *connection)
        .await
        .map_err(unavailable)?;
    if synchronous < 2 {
        let value = if synchronous == 1 { "normal" } else { "off" };
        return not_durable("synchronous", value.to_owned(), "`full` or `extra`");
    }
    Ok(())
}

fn unavailable(error: sqlx::Error) -> ConnectError {
    ConnectError::with(ConnectErrorKind::Unavailable, error)
}
