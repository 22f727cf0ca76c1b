//! The loop that a user would write instead of a worker: take one event, handle it, mark it,
//! commit; in several concurrent tasks. It has no leases, retries, dead letters, order or time
//! limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use ptolemy_webhooks::Event;
use ptolemy_webhooks_inbox::sqlx;
use sqlx::postgres::PgPool;
use sqlx::sqlite::SqlitePool;
use tokio::task::JoinSet;

use crate::{Handler, Result};

/// A table with the same bodies, and only the index that the loop needs.
pub(crate) const POSTGRES_TABLE: &str = "CREATE TABLE by_hand AS
        SELECT id, 'waiting' AS state, body FROM ptolemy_inbox WHERE state = 'waiting';
     ALTER TABLE by_hand ADD PRIMARY KEY (id);
     CREATE INDEX ON by_hand (id) WHERE state = 'waiting';
     VACUUM ANALYZE by_hand";

pub(crate) const SQLITE_TABLE: &str =
    "CREATE TABLE by_hand (id INTEGER PRIMARY KEY, state TEXT, body BLOB);
     INSERT INTO by_hand SELECT id, 'waiting', body FROM ptolemy_inbox WHERE state = 'waiting';
     CREATE INDEX by_hand_waiting ON by_hand (id) WHERE state = 'waiting'";

pub(crate) const REFILL: &str = "UPDATE by_hand SET state = 'waiting' WHERE state <> 'waiting'";

#[derive(Clone)]
pub(crate) enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// Handles this many events, this many at a time; returns the time for each.
pub(crate) async fn work(
    pool: &Pool,
    concurrency: usize,
    handler: Handler,
    events: usize,
) -> Result<f64> {
    let left = Arc::new(AtomicUsize::new(events));
    let begin = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..concurrency {
        let (pool, left) = (pool.clone(), left.clone());
        tasks.spawn(async move {
            let takes = |left: usize| left.checked_sub(1);
            while left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, takes)
                .is_ok()
            {
                match &pool {
                    Pool::Sqlite(pool) => one_of_sqlite(pool, handler).await?,
                    Pool::Postgres(pool) => one_of_postgres(pool, handler).await?,
                }
            }
            Ok(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        let ended: Result<()> = ended?;
        ended?;
    }
    Ok(begin.elapsed().as_secs_f64() / events as f64)
}

async fn one_of_postgres(pool: &PgPool, handler: Handler) -> Result<()> {
    let mut tx = pool.begin().await?;
    let (id, body): (i64, Vec<u8>) = sqlx::query_as(
        "SELECT id, body FROM by_hand WHERE state = 'waiting'
         ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED",
    )
    .fetch_one(&mut *tx)
    .await?;
    Event::from_trusted_json(body)?;
    handler.handle().await;
    sqlx::query("UPDATE by_hand SET state = 'done' WHERE id = $1")
        .bind(id)
        .execute(&mut *tx)
        .await?;
    Ok(tx.commit().await?)
}

async fn one_of_sqlite(pool: &SqlitePool, handler: Handler) -> Result<()> {
    let mut tx = pool.begin_with("BEGIN IMMEDIATE").await?;
    let (id, body): (i64, Vec<u8>) =
        sqlx::query_as("SELECT id, body FROM by_hand WHERE state = 'waiting' ORDER BY id LIMIT 1")
            .fetch_one(&mut *tx)
            .await?;
    Event::from_trusted_json(body)?;
    handler.handle().await;
    sqlx::query("UPDATE by_hand SET state = 'done' WHERE id = ?")
        .bind(id)
        .execute(&mut *tx)
        .await?;
    Ok(tx.commit().await?)
}
