//! Connects to the database and opens its tables, and checks that a commit survives a crash.

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::Connection as _;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use tokio::time::timeout;

use super::{BEGIN, MIGRATION_LOCK, PostgresStore};
use crate::error::{ConnectError, ConnectErrorKind};
use crate::store::migrate;

const VERSIONS: &[&str] = &[include_str!("../../../migrations/postgres/1_inbox.sql")];

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

impl PostgresStore {
    pub(crate) async fn connect(url: &str) -> Result<Self, ConnectError> {
        let options = PgConnectOptions::from_str(url)
            .map_err(|error| ConnectError::with(ConnectErrorKind::MalformedUrl, error))?;
        // A pool would try until its time is over, and not say what failed.
        match timeout(CONNECT_TIMEOUT, PgConnection::connect_with(&options)).await {
            Ok(connection) => connection.map_err(unavailable)?.close().await,
            Err(elapsed) => return Err(ConnectError::with(ConnectErrorKind::Unavailable, elapsed)),
        }
        .map_err(unavailable)?;
        let pool = PgPoolOptions::new()
            .acquire_timeout(CONNECT_TIMEOUT)
            .connect_lazy_with(options);
        Self::open(pool).await
    }

    pub(crate) async fn open(pool: PgPool) -> Result<Self, ConnectError> {
        must_be_fit(&pool).await?;
        if !is_current(&pool).await.map_err(unavailable)? {
            let mut tx = pool.begin_with(BEGIN).await.map_err(unavailable)?;
            sqlx::query("SELECT pg_advisory_xact_lock($1)")
                .bind(MIGRATION_LOCK)
                .execute(&mut *tx)
                .await
                .map_err(unavailable)?;
            migrate::run(&migrate::migrator(VERSIONS), &mut *tx).await?;
            tx.commit().await.map_err(unavailable)?;
        }
        Ok(Self { pool })
    }
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

/// Whether the tables are at the newest version, so that a role that may not create any can use
/// them.
async fn is_current(pool: &PgPool) -> Result<bool, sqlx::Error> {
    let recorded: bool =
        sqlx::query_scalar("SELECT to_regclass('ptolemy_inbox_migrations') IS NOT NULL")
            .fetch_one(pool)
            .await?;
    if !recorded {
        return Ok(false);
    }
    let version: Option<i64> =
        sqlx::query_scalar("SELECT max(version) FROM ptolemy_inbox_migrations")
            .fetch_one(pool)
            .await?;
    Ok(migrate::is_newest(version, VERSIONS))
}

fn unavailable(error: sqlx::Error) -> ConnectError {
    ConnectError::with(ConnectErrorKind::Unavailable, error)
}
