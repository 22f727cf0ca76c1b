//! A handler whose row and the event's "done" are one transaction: a row for each event, exactly
//! once.

use std::error::Error;
use std::time::Duration;

use ptolemy_webhooks_inbox::{Inbox, Worker, WrongEngine};
#[cfg(any(feature = "postgres", feature = "sqlite"))]
use {
    crate::output::word, ptolemy_webhooks::Event, ptolemy_webhooks_inbox::sqlx, tokio::time::sleep,
};

use crate::{Fault, chain, misconfigured};

/// The row that is written for an event.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
struct Change {
    event_type: String,
    event_id: Option<String>,
}

#[cfg(any(feature = "postgres", feature = "sqlite"))]
impl Change {
    /// Escaped, since PostgreSQL cannot store a NUL.
    fn of(event: &Event) -> Self {
        Self {
            event_type: word(event.event_type.as_str()).to_string(),
            event_id: event.id.as_deref().map(|id| word(id).to_string()),
        }
    }
}

fn is_sqlite(database: &str) -> bool {
    database.starts_with("sqlite:")
}

/// Opens the inbox, and creates the table of changes beside it.
pub(crate) async fn open(database: &str, concurrency: u16) -> Result<Inbox, Fault> {
    let opened = async {
        if is_sqlite(database) {
            let inbox = Inbox::connect(database).await?;
            #[cfg(feature = "sqlite")]
            create_in_sqlite(database).await?;
            Ok(inbox)
        } else {
            open_in_postgres(database, concurrency).await
        }
    };
    opened.await.map_err(|error: Box<dyn Error + Send + Sync>| {
        misconfigured(format_args!("DATABASE_URL: {}", chain(&*error)))
    })
}

/// Hands events to a handler that writes a row for each, and then does its pretended work.
pub(crate) async fn record(
    worker: Worker,
    database: &str,
    work: Duration,
) -> Result<(), WrongEngine> {
    if is_sqlite(database) {
        record_in_sqlite(worker, work).await
    } else {
        record_in_postgres(worker, work).await
    }
}

#[cfg(feature = "sqlite")]
async fn create_in_sqlite(database: &str) -> Result<(), sqlx::Error> {
    use sqlx::{Connection as _, sqlite::SqliteConnection};

    let mut connection = SqliteConnection::connect(database).await?;
    sqlx::query(
        "CREATE TABLE IF NOT EXISTS example_changes (
             id INTEGER PRIMARY KEY AUTOINCREMENT,
             event_type TEXT NOT NULL,
             event_id TEXT,
             handled_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
         ) STRICT",
    )
    .execute(&mut connection)
    .await?;
    connection.close().await
}

#[cfg(feature = "sqlite")]
async fn record_in_sqlite(worker: Worker, work: Duration) -> Result<(), WrongEngine> {
    worker
        .run_in_sqlite_transaction(move |event, _, tx| {
            Box::pin(async move {
                let change = Change::of(&event);
                sqlx::query("INSERT INTO example_changes (event_type, event_id) VALUES (?, ?)")
                    .bind(change.event_type)
                    .bind(change.event_id)
                    .execute(tx)
                    .await?;
                sleep(work).await;
                Ok(())
            })
        })
        .await
}

#[cfg(not(feature = "sqlite"))]
async fn record_in_sqlite(worker: Worker, _: Duration) -> Result<(), WrongEngine> {
    // Not reached: without the feature no inbox was opened.
    drop(worker);
    Ok(())
}

/// With a connection for each handler that runs, and some for everything else.
#[cfg(feature = "postgres")]
async fn open_in_postgres(
    database: &str,
    concurrency: u16,
) -> Result<Inbox, Box<dyn Error + Send + Sync>> {
    use sqlx::postgres::PgPoolOptions;

    let connections = u32::from(concurrency) + 5;
    let pool = PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(5))
        .connect(database)
        .await?;
    let mut tx = pool.begin().await?;
    // One at a time: two processes that create a table at once conflict. The number is arbitrary.
    sqlx::query("SELECT pg_advisory_xact_lock(7305)")
        .execute(&mut *tx)
        .await?;
    sqlx::query(
        "CREATE TABLE IF NOT EXISTS example_changes (
             id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
             event_type TEXT NOT NULL,
             event_id TEXT,
             handled_at TIMESTAMPTZ NOT NULL DEFAULT now()
         )",
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(Inbox::from_postgres_pool(pool).await?)
}

/// Returns an error: the feature is off.
#[cfg(not(feature = "postgres"))]
async fn open_in_postgres(database: &str, _: u16) -> Result<Inbox, Box<dyn Error + Send + Sync>> {
    Ok(Inbox::connect(database).await?)
}

#[cfg(feature = "postgres")]
async fn record_in_postgres(worker: Worker, work: Duration) -> Result<(), WrongEngine> {
    worker
        .run_in_postgres_transaction(move |event, _, tx| {
            Box::pin(async move {
                let change = Change::of(&event);
                sqlx::query("INSERT INTO example_changes (event_type, event_id) VALUES ($1, $2)")
                    .bind(change.event_type)
                    .bind(change.event_id)
                    .execute(tx)
                    .await?;
                sleep(work).await;
                Ok(())
            })
        })
        .await
}

#[cfg(not(feature = "postgres"))]
async fn record_in_postgres(worker: Worker, _: Duration) -> Result<(), WrongEngine> {
    // Not reached: without the feature no inbox was opened.
    drop(worker);
    Ok(())
}
