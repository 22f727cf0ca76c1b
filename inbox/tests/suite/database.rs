//! A separate database for a test, on either engine.

use std::env;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use ptolemy_webhooks_inbox::{Inbox, sqlx};
use sqlx::postgres::{PgConnection, PgPool, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, Row as _};

/// Runs each test on a SQLite file, and on the PostgreSQL server that the environment names.
macro_rules! on_both_engines {
    ($($test:ident)*) => {
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test(&crate::database::Database::sqlite().await).await;
                }
            )*
        }

        mod postgres {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                #[ignore = "needs postgres"]
                async fn $test() {
                    super::$test(&crate::database::Database::postgres().await).await;
                }
            )*
        }
    };
}
pub(crate) use on_both_engines;

pub(crate) enum Database {
    Sqlite { file: PathBuf, pool: SqlitePool },
    Postgres { url: String, pool: PgPool },
}

impl Database {
    pub(crate) async fn sqlite() -> Self {
        let file = env::temp_dir().join(format!("{}.db", name()));
        let options = SqliteConnectOptions::new()
            .filename(&file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal);
        let pool = SqlitePoolOptions::new()
            .max_connections(2)
            .connect_with(options)
            .await
            .unwrap();
        Self::Sqlite { file, pool }
    }

    pub(crate) async fn postgres() -> Self {
        let server = env::var("PTOLEMY_INBOX_POSTGRES_URL").expect(
            "PTOLEMY_INBOX_POSTGRES_URL: the URL of a server in which databases can be created",
        );
        Self::on_server(&server).await
    }

    pub(crate) async fn on_server(server: &str) -> Self {
        let name = name();
        let mut connection = PgConnection::connect(server).await.unwrap();
        connection
            .execute(AssertSqlSafe(format!("CREATE DATABASE {name}")))
            .await
            .unwrap();
        let (base, _) = server.rsplit_once('/').unwrap();
        let url = format!("{base}/{name}");
        let pool = PgPoolOptions::new()
            .max_connections(2)
            .connect(&url)
            .await
            .unwrap();
        Self::Postgres { url, pool }
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::Sqlite { file, .. } => format!("sqlite://{}", file.display()),
            Self::Postgres { url, .. } => url.clone(),
        }
    }

    /// Opens the inbox, with separate connections.
    pub(crate) async fn inbox(&self) -> Inbox {
        Inbox::connect(&self.url()).await.unwrap()
    }

    pub(crate) fn is_sqlite(&self) -> bool {
        matches!(self, Self::Sqlite { .. })
    }

    pub(crate) async fn execute(&self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite { pool, .. } => drop(pool.execute(sql).await.unwrap()),
            Self::Postgres { pool, .. } => drop(pool.execute(sql).await.unwrap()),
        }
    }

    /// The first column of all rows, which is a text.
    pub(crate) async fn texts(&self, sql: &str) -> Vec<String> {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite { pool, .. } => {
                let rows = pool.fetch_all(sql).await.unwrap();
                rows.iter().map(|row| row.get(0)).collect()
            }
            Self::Postgres { pool, .. } => {
                let rows = pool.fetch_all(sql).await.unwrap();
                rows.iter().map(|row| row.get(0)).collect()
            }
        }
    }

    /// The first column of the first row, which is a number.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        let sql = format!("SELECT CAST(({sql}) AS BIGINT)");
        match self {
            Self::Sqlite { pool, .. } => pool.fetch_one(AssertSqlSafe(sql)).await.unwrap().get(0),
            Self::Postgres { pool, .. } => pool.fetch_one(AssertSqlSafe(sql)).await.unwrap().get(0),
        }
    }

    /// Returns the state of each event, in the order of arrival.
    pub(crate) async fn states(&self) -> Vec<String> {
        self.texts("SELECT state FROM ptolemy_inbox ORDER BY id")
            .await
    }

    /// Returns an expression for a time this many seconds from now.
    pub(crate) fn time(&self, seconds: i64) -> String {
        match self {
            Self::Sqlite { .. } => {
                format!("strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '{seconds} seconds')")
            }
            Self::Postgres { .. } => format!("now() + interval '{seconds} seconds'"),
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // The databases on PostgreSQL are not dropped, since the server is temporary.
        if let Self::Sqlite { file, .. } = self {
            for end in ["", "-wal", "-shm"] {
                let mut file = file.clone().into_os_string();
                file.push(end);
                let _ = std::fs::remove_file(file);
            }
        }
    }
}

fn name() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    format!(
        "ptolemy_{}_{}_{}",
        std::process::id(),
        since.as_nanos(),
        NUMBER.fetch_add(1, Ordering::Relaxed)
    )
}
