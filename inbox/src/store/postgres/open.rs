//! Connects to the database and opens its tables, and checks that a commit survives a crash.

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection as _, Row as _};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::kept::Kept;
use super::{BEGIN, MIGRATION_LOCK, PostgresStore, Settings, Trouble, pooler, versions};
use crate::error::{ConnectError, ConnectErrorKind};
use crate::store::gate::Gate;
use crate::store::migrate;

const VERSIONS: &[&str] = &[include_str!("../../../migrations/postgres/1_inbox.sql")];

const FUNCTIONS: &str = include_str!("../../../migrations/postgres/functions.sql");

/// How many connections are reserved for accepts and for the workers' turns.
const RESERVED_CONNECTIONS: u32 = 2;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

impl PostgresStore {
    pub(crate) async fn connect(url: &str) -> Result<Self, ConnectError> {
        let mut store = Self::open_with(connect(url).await?, names_in(url)).await?;
        store.owns_pool = true;
        Ok(store)
    }

    /// Creates nothing and changes nothing.
    pub(crate) async fn open_existing(url: &str) -> Result<Self, ConnectError> {
        let pool = connect(url).await?;
        must_be_fit(&pool).await?;
        let version = version(&pool).await.map_err(unavailable)?;
        migrate::must_be_newest(version, VERSIONS)?;
        let place = place(&pool).await.map_err(unavailable)?;
        let place = place.ok_or(ConnectError::new(ConnectErrorKind::NoInbox))?;
        let named = names_in(url) && !pooler::is_before(&pool.connect_options()).await;
        let mut store = Self::on(pool, named, place.schema).checked().await?;
        store.owns_pool = true;
        Ok(store)
    }

    pub(crate) async fn open(pool: PgPool) -> Result<Self, ConnectError> {
        Self::open_with(pool, true).await
    }

    async fn open_with(pool: PgPool, named: bool) -> Result<Self, ConnectError> {
        must_be_fit(&pool).await?;
        let version = version(&pool).await.map_err(unavailable)?;
        let place = match place(&pool).await.map_err(unavailable)? {
            Some(place) if place.is_complete && migrate::is_newest(version, VERSIONS) => place,
            _ => Self::migrate(&pool).await?,
        };
        let named = named && !pooler::is_before(&pool.connect_options()).await;
        Self::on(pool, named, place.schema).checked().await
    }

    /// Creates what is missing, one process at a time.
    async fn migrate(pool: &PgPool) -> Result<Place, ConnectError> {
        let mut tx = pool.begin_with(BEGIN).await.map_err(unavailable)?;
        let lock = format!("SELECT pg_advisory_xact_lock({MIGRATION_LOCK})");
        sqlx::raw_sql(AssertSqlSafe(lock))
            .execute(&mut *tx)
            .await
            .map_err(unavailable)?;
        let migrator = migrate::migrator(VERSIONS);
        versions::bring_to(&migrator, &mut tx).await?;
        let functions = sqlx::raw_sql(FUNCTIONS).execute(&mut *tx).await;
        functions.map_err(|error| ConnectError::with(ConnectErrorKind::Migration, error))?;
        tx.commit().await.map_err(unavailable)?;
        let place = place(pool).await.map_err(unavailable)?;
        place.ok_or(ConnectError::new(ConnectErrorKind::Migration))
    }

    /// Logs settings that weaken the inbox now rather than at the first accept.
    async fn checked(self) -> Result<Self, ConnectError> {
        let mut connection = self.pool.acquire().await.map_err(unavailable)?;
        let _ = self
            .settings
            .check(&mut connection)
            .await
            .map_err(unavailable)?;
        Ok(self)
    }

    fn on(pool: PgPool, named: bool, schema: String) -> Self {
        let connections = pool.options().get_max_connections();
        let transactions = connections.saturating_sub(RESERVED_CONNECTIONS).max(1);
        let transactions = usize::try_from(transactions).unwrap_or(1);
        Self {
            pool,
            owns_pool: false,
            gate: Gate::default(),
            trouble: Trouble::default(),
            settings: Settings::default(),
            named,
            schema,
            transactions: Arc::new(Semaphore::new(transactions.min(Semaphore::MAX_PERMITS))),
            max_transactions: transactions,
            kept: Kept::default(),
            floors: std::sync::Mutex::new(super::floors::Floors::NONE),
            rotation: std::sync::Mutex::default(),
        }
    }
}

async fn connect(url: &str) -> Result<PgPool, ConnectError> {
    // The driver's own error may quote the URL.
    let options = PgConnectOptions::from_str(url).map_err(|_| {
        let reason = "its host, its port or an encoded character is not valid";
        ConnectError::new(ConnectErrorKind::MalformedUrl { reason })
    })?;
    // PgBouncer rejects connections that set it; the inbox does not read fractions as text.
    let options = options.extra_float_digits(None);
    // A pool would retry until its timeout, and not report what failed.
    match timeout(CONNECT_TIMEOUT, PgConnection::connect_with(&options)).await {
        Ok(connection) => connection.map_err(unavailable)?.close().await,
        Err(elapsed) => return Err(ConnectError::with(ConnectErrorKind::Unavailable, elapsed)),
    }
    .map_err(unavailable)?;
    Ok(PgPoolOptions::new()
        .acquire_timeout(CONNECT_TIMEOUT)
        // Each session checks them when it begins, with its own deadline.
        .test_before_acquire(false)
        .connect_lazy_with(options))
}

async fn must_be_fit(pool: &PgPool) -> Result<(), ConnectError> {
    let settings = "SELECT current_setting('fsync'), current_setting('server_encoding')";
    let row = sqlx::raw_sql(settings).fetch_one(pool).await;
    let row = row.map_err(unavailable)?;
    let fsync: String = row.try_get(0).map_err(unavailable)?;
    let encoding: String = row.try_get(1).map_err(unavailable)?;
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

/// The version of the tables; `None` without any. At the newest one nothing is written, so that a
/// role without permission to create tables can use them.
async fn version(pool: &PgPool) -> Result<Option<i64>, sqlx::Error> {
    let recorded = "SELECT to_regclass('ptolemy_inbox_migrations') IS NOT NULL";
    let row = sqlx::raw_sql(recorded).fetch_one(pool).await?;
    if !row.try_get::<bool, _>(0)? {
        return Ok(None);
    }
    let newest = "SELECT max(version) FROM ptolemy_inbox_migrations";
    sqlx::raw_sql(newest).fetch_one(pool).await?.try_get(0)
}

/// Where the tables are.
struct Place {
    /// The name of their schema, as it stands in a statement.
    schema: String,
    /// Whether the functions are there too.
    is_complete: bool,
}

/// Returns where the tables are; `None` without any. Functions that were made for another schema,
/// as after a rename, do not count.
async fn place(pool: &PgPool) -> Result<Option<Place>, sqlx::Error> {
    let found = "SELECT quote_ident(nspname),
                        (SELECT count(*) FROM pg_proc
                         WHERE pronamespace = pg_namespace.oid
                           AND proname IN ('ptolemy_inbox_begin', 'ptolemy_inbox_end')
                           AND EXISTS (SELECT FROM unnest(proconfig) AS setting
                                       WHERE starts_with(setting, 'search_path='
                                                                  || quote_ident(nspname) || ','))
                        ) = 2
                 FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
                 WHERE pg_class.oid = to_regclass('ptolemy_inbox')";
    let Some(row) = sqlx::raw_sql(found).fetch_optional(pool).await? else {
        return Ok(None);
    };
    Ok(Some(Place {
        schema: row.try_get(0)?,
        is_complete: row.try_get(1)?,
    }))
}

/// Returns whether the URL allows statements with names.
fn names_in(url: &str) -> bool {
    let cache = crate::url::parameter(url, "statement-cache-capacity");
    cache.and_then(|capacity| capacity.parse::<usize>().ok()) != Some(0)
}

fn unavailable(error: sqlx::Error) -> ConnectError {
    ConnectError::with(ConnectErrorKind::Unavailable, error)
}
