//! Connects to the database and opens its tables, and checks that a commit survives a crash.

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::Connection as _;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{BEGIN, MIGRATION_LOCK, PostgresStore};
use crate::error::{ConnectError, ConnectErrorKind};
use crate::store::migrate;

const VERSIONS: &[&str] = &[include_str!("../../../migrations/postgres/1_inbox.sql")];

/// How many connections handlers in transactions leave to accepts and to the workers' turns.
const RESERVED_CONNECTIONS: u32 = 2;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

impl PostgresStore {
    pub(crate) async fn connect(url: &str) -> Result<Self, ConnectError> {
        Self::open(connect(url).await?).await
    }

    /// Creates nothing and changes nothing.
    pub(crate) async fn open_existing(url: &str) -> Result<Self, ConnectError> {
        let pool = connect(url).await?;
        must_be_fit(&pool).await?;
        let version = version(&pool).await.map_err(unavailable)?;
        migrate::must_be_newest(version, VERSIONS)?;
        Ok(Self::on(pool))
    }

    pub(crate) async fn open(pool: PgPool) -> Result<Self, ConnectError> {
        must_be_fit(&pool).await?;
        let version = version(&pool).await.map_err(unavailable)?;
        if !migrate::is_newest(version, VERSIONS) {
            let mut tx = pool.begin_with(BEGIN).await.map_err(unavailable)?;
            sqlx::query("SELECT pg_advisory_xact_lock($1)")
                .bind(MIGRATION_LOCK)
                .execute(&mut *tx)
                .await
                .map_err(unavailable)?;
            migrate::run(&migrate::migrator(VERSIONS), &mut *tx).await?;
            tx.commit().await.map_err(unavailable)?;
        }
        Ok(Self::on(pool))
    }

    fn on(pool: PgPool) -> Self {
        let connections = pool.options().get_max_connections();
        let transactions = connections.saturating_sub(RESERVED_CONNECTIONS).max(1);
        let transactions = usize::try_from(transactions).unwrap_or(1);
        Self {
            pool,
            transactions: Semaphore::new(transactions.min(Semaphore::MAX_PERMITS)),
            max_transactions: transactions,
            floors: std::sync::Mutex::new(super::floors::Floors::NONE),
        }
    }
}

async fn connect(url: &str) -> Result<PgPool, ConnectError> {
    let options = PgConnectOptions::from_str(url)
        .map_err(|error| ConnectError::with(ConnectErrorKind::MalformedUrl, error))?;
    // A pool would try until its time is over, and not say what failed.
    match timeout(CONNECT_TIMEOUT, PgConnection::connect_with(&options)).await {
        Ok(connection) => connection.map_err(unavailable)?.close().await,
        Err(elapsed) => return Err(ConnectError::with(ConnectErrorKind::Unavailable, elapsed)),
    }
    .map_err(unavailable)?;
    Ok(PgPoolOptions::new()
        .acquire_timeout(CONNECT_TIMEOUT)
        .connect_lazy_with(options))
}

async fn must_be_fit(pool: &PgPool) -> Result<(), ConnectError> {
    let (fsync, encoding): (String, String) =
        sqlx::query_as("SELECT current_setting('fsync'), current_setting('server_encoding')")
            .fetch_one(pool)
            .await
            .map_err(unavailable)?;
    if fsync != "on" {
        return Err(ConnectError::new(ConnectErrorKind::NotDurable {
            setting: "fsync",
            value: fsync,
            wanted: "`on`",
        }));
    }
    if encoding != "UTF8" {
        return Err(ConnectError::new(ConnectErrorKind::Encoding { encoding }));
    }
    Ok(())
}

/// The version of the tables; `None` without any. At the newest one nothing needs to be written, so
/// that a role that may not create tables can use them.
async fn version(pool: &PgPool) -> Result<Option<i64>, sqlx::Error> {
    let recorded: bool =
        sqlx::query_scalar("SELECT to_regclass('ptolemy_inbox_migrations') IS NOT NULL")
            .fetch_one(pool)
            .await?;
    if !recorded {
        return Ok(None);
    }
    sqlx::query_scalar("SELECT max(version) FROM ptolemy_inbox_migrations")
        .fetch_one(pool)
        .await
}

fn unavailable(error: sqlx::Error) -> ConnectError {
    ConnectError::with(ConnectErrorKind::Unavailable, error)
}
