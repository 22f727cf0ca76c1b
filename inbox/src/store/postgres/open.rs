//! Connects to the database and opens its tables, and checks that a commit survives a crash.

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection as _, PgExecutor, Postgres, Row as _, Transaction};
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
            Some(place) if migrate::is_newest(version, VERSIONS) => {
                if !place.is_complete
                    && let Err(error) = repair(&pool, &place).await
                {
                    tracing::warn!(
                        %error,
                        "the inbox's functions are missing or outdated, and could not be created: \
                         no handler in a transaction can begin"
                    );
                }
                place
            }
            _ => create_missing(&pool).await?,
        };
        let named = named && !pooler::is_before(&pool.connect_options()).await;
        Self::on(pool, named, place.schema).checked().await
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

/// Brings the tables to the newest version, and creates their functions.
async fn create_missing(pool: &PgPool) -> Result<Place, ConnectError> {
    let mut tx = locked(pool).await.map_err(unavailable)?;
    // Tables that are found are migrated where they are.
    let there = "SELECT set_config('search_path',
                                   quote_ident(nspname) || ', ' || current_setting('search_path'), true)
                 FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
                 WHERE pg_class.oid = to_regclass('ptolemy_inbox_migrations')";
    let searched = sqlx::raw_sql(there).execute(&mut *tx).await;
    searched.map_err(unavailable)?;
    versions::bring_to(&migrate::migrator(VERSIONS), &mut tx).await?;
    let failed = |error| ConnectError::with(ConnectErrorKind::Migration, error);
    let place = place(&mut *tx).await.map_err(unavailable)?;
    let place = place.ok_or(ConnectError::new(ConnectErrorKind::Migration))?;
    make_functions(&mut tx, &place).await.map_err(failed)?;
    tx.commit().await.map_err(unavailable)?;
    Ok(place)
}

/// Creates the functions again, beside tables of the newest version.
async fn repair(pool: &PgPool, place: &Place) -> Result<(), sqlx::Error> {
    let mut tx = locked(pool).await?;
    make_functions(&mut tx, place).await?;
    tx.commit().await
}

async fn make_functions(tx: &mut PgConnection, place: &Place) -> Result<(), sqlx::Error> {
    let functions = sqlx::raw_sql(AssertSqlSafe(functions(&place.schema)));
    functions.execute(tx).await.map(drop)
}

/// Begins a transaction in which no other process migrates.
async fn locked(pool: &PgPool) -> Result<Transaction<'_, Postgres>, sqlx::Error> {
    let mut tx = pool.begin_with(BEGIN).await?;
    let lock = format!("SELECT pg_advisory_xact_lock({MIGRATION_LOCK})");
    sqlx::raw_sql(AssertSqlSafe(lock)).execute(&mut *tx).await?;
    Ok(tx)
}

/// Returns the statements that create the functions; the server has quoted the schema.
fn functions(schema: &str) -> String {
    FUNCTIONS.replace("{schema}", schema)
}

/// Where the tables are.
struct Place {
    /// The name of their schema, as it stands in a statement.
    schema: String,
    /// Whether the functions are there too, with the bodies of this version.
    is_complete: bool,
}

/// Returns where the tables are; `None` without any.
async fn place<'e>(executor: impl PgExecutor<'e>) -> Result<Option<Place>, sqlx::Error> {
    let found = "SELECT quote_ident(nspname), coalesce(prosrc, '')
                 FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
                 LEFT JOIN pg_proc ON pronamespace = pg_namespace.oid
                                      AND proname IN ('ptolemy_inbox_begin', 'ptolemy_inbox_end')
                                      AND oidvectortypes(proargtypes) = 'bigint, bigint'
                 WHERE pg_class.oid = to_regclass('ptolemy_inbox')";
    let rows = sqlx::raw_sql(found).fetch_all(executor).await?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    let schema: String = row.try_get(0)?;
    let bodies = rows.iter().map(|row| row.try_get(1));
    let bodies: Vec<String> = bodies.collect::<Result<_, _>>()?;
    let functions = functions(&schema);
    // The bodies are between two marks.
    let mut wanted = functions.split("$ptolemy_inbox$").skip(1).step_by(2);
    let is_complete = wanted.all(|wanted| bodies.iter().any(|body| body == wanted));
    Ok(Some(Place {
        schema,
        is_complete,
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
