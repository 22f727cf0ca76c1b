//! Detects a pooler in transaction mode in front of the server, such as PgBouncer: then each
//! transaction of a connection may run in another process of the server, and a statement that was
//! prepared in one is not there in the next, or is another one.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection as _, Row as _};
use tokio::time::timeout;

/// How long the detection may take.
const LIMIT: Duration = Duration::from_secs(3);

/// How often both connections are asked which process they have: a busy pooler may give each the
/// same one again by chance.
const ROUNDS: u32 = 12;

/// Returns whether there is one. If that cannot be determined, one is assumed: statements without
/// names work everywhere, and take one more round trip each.
pub(super) async fn is_before(options: &PgConnectOptions) -> bool {
    match timeout(LIMIT, has_moved(options)).await {
        Ok(Ok(false)) => return false,
        Ok(Ok(true)) => tracing::info!(
            "a pooler in transaction mode is before the server: statements are not kept prepared"
        ),
        Ok(Err(error)) => tracing::info!(
            %error,
            "a second connection failed, so statements are not kept prepared, as behind a pooler"
        ),
        Err(_) => tracing::info!(
            "a second connection took too long, so statements are not kept prepared, as behind a \
             pooler"
        ),
    }
    true
}

/// Two connections have two processes and keep them, unless a pooler gives each transaction another
/// one: a second connection that begins a transaction has the process of the first one then; or,
/// if others use the pooler too, the first one has another process afterwards.
async fn has_moved(options: &PgConnectOptions) -> Result<bool, sqlx::Error> {
    let mut first = PgConnection::connect_with(options).await?;
    let mut second = PgConnection::connect_with(options).await?;
    let before = process(&mut first).await?;
    let mut moved = false;
    for _ in 0..ROUNDS {
        let mut tx = second.begin().await?;
        moved = process(&mut tx).await? == before || process(&mut first).await? != before;
        tx.rollback().await?;
        if moved {
            break;
        }
    }
    second.close().await?;
    first.close().await?;
    Ok(moved)
}

async fn process(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    let row = sqlx::raw_sql("SELECT pg_backend_pid()").fetch_one(connection);
    row.await?.try_get(0)
}
