//! Finds transactions that have been open for long, in any session of the database: no vacuum
//! removes a row that they might still see, so entries of events that were handled long ago stay in
//! the indexes, and taking events gets slower.

use std::error::Error;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Row as _};

/// How many dead rows of the table indicate that something which this role may not see holds a
/// vacuum back.
const DEAD_ROWS: i64 = 50_000;

pub(super) struct Horizon {
    /// The age from which a transaction counts as open for long.
    max_age: Duration,
    /// The session of the last warning: its number, or 0 if it is not known.
    warned_of: Mutex<Option<i32>>,
}

impl Default for Horizon {
    fn default() -> Self {
        Self {
            max_age: Duration::from_secs(5 * 60),
            warned_of: Mutex::default(),
        }
    }
}

impl Horizon {
    /// Looks for such transactions. If the server does not let this role look, it finds nothing,
    /// and the caller's transaction continues.
    pub(super) async fn check(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let mut look = connection.begin().await?;
        match self.look(&mut look).await {
            Ok(()) => look.commit().await,
            Err(error) => {
                tracing::debug!(
                    error = &error as &dyn Error,
                    "transactions cannot be listed"
                );
                look.rollback().await
            }
        }
    }

    async fn look(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let held_back_by = match self.oldest(connection).await? {
            Some(pid) => Some(pid),
            None if is_held_back(connection).await? => Some(0),
            None => None,
        };
        self.note(held_back_by);
        Ok(())
    }

    /// Returns the session whose transaction is open for longest, if it is open for long.
    async fn oldest(&self, connection: &mut PgConnection) -> Result<Option<i32>, sqlx::Error> {
        // Of a role's own sessions, and of all if it is a member of pg_read_all_stats. One that has
        // written and is idle has no snapshot, only a number: rows that changed later stay as well.
        let row = sqlx::query(
            "SELECT pid, extract(epoch FROM clock_timestamp() - xact_start)::bigint,
                    coalesce(usename, '-')::text, coalesce(application_name, '-'),
                    coalesce(state, '-')
             FROM pg_stat_activity
             WHERE datname = current_database()
               AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)
               AND pid <> pg_backend_pid()
               AND xact_start < clock_timestamp() - make_interval(secs => $1)
             ORDER BY xact_start LIMIT 1",
        )
        .persistent(false)
        .bind(self.max_age.as_secs_f64())
        .fetch_optional(connection)
        .await?;
        let Some(row) = row else {
            return Ok(None);
        };
        let pid: i32 = row.try_get(0)?;
        if self.warned_of() != Some(pid) {
            let age_s: i64 = row.try_get(1)?;
            let (user, application): (String, String) = (row.try_get(2)?, row.try_get(3)?);
            let state: String = row.try_get(4)?;
            tracing::warn!(
                age_s,
                pid,
                user,
                application = %ptolemy_webhooks::LogText::new(&application),
                state,
                "a transaction that is open for long keeps the inbox from being vacuumed: end it, or \
                 taking events gets slower"
            );
        }
        Ok(Some(pid))
    }

    fn note(&self, held_back_by: Option<i32>) {
        if held_back_by == Some(0) && self.warned_of() != Some(0) {
            tracing::warn!(
                dead_rows = DEAD_ROWS,
                "the inbox has more dead rows than live ones: something that this role may not see \
                 keeps it from being vacuumed; ask an administrator for `SELECT pid, usename, \
                 state, xact_start FROM pg_stat_activity WHERE backend_xmin IS NOT NULL OR \
                 backend_xid IS NOT NULL ORDER BY xact_start`"
            );
        }
        *self.lock() = held_back_by;
    }

    fn warned_of(&self) -> Option<i32> {
        *self.lock()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<i32>> {
        self.warned_of
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether there are sessions that this role may not see, and far more rows to vacuum than there
/// should be.
async fn is_held_back(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT coalesce((SELECT n_dead_tup > greatest($1, n_live_tup) FROM pg_stat_user_tables
                          WHERE relid = to_regclass('ptolemy_inbox')), FALSE)
                AND EXISTS (SELECT 1 FROM pg_stat_activity
                            WHERE datname = current_database()
                              AND query = '<insufficient privilege>')",
    )
    .persistent(false)
    .bind(DEAD_ROWS)
    .fetch_one(connection)
    .await
}

#[cfg(test)]
mod tests {
    use sqlx::Executor as _;

    use super::*;
    use crate::store::postgres::scratch::Scratch;

    /// In a separate database, since other tests have transactions too.
    #[tokio::test]
    #[ignore = "needs postgres"]
    async fn a_transaction_that_is_open_for_long_is_a_warning_until_it_ends() {
        let database = Scratch::create("horizon").await;
        let mut own = PgConnection::connect(&database.url).await.unwrap();
        let mut other = PgConnection::connect(&database.url).await.unwrap();
        own.execute("CREATE TABLE written (id INT)").await.unwrap();
        let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()")
            .fetch_one(&mut other)
            .await
            .unwrap();
        for begin in [
            "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1",
            "BEGIN ISOLATION LEVEL READ COMMITTED; INSERT INTO written VALUES (1)",
        ] {
            let mut horizon = Horizon::default();
            other.execute(begin).await.unwrap();
            horizon.check(&mut own).await.unwrap();
            assert_eq!(horizon.warned_of(), None, "{begin}");
            horizon.max_age = Duration::ZERO;
            horizon.check(&mut own).await.unwrap();
            assert_eq!(horizon.warned_of(), Some(pid), "{begin}");
            other.execute("COMMIT").await.unwrap();
            horizon.check(&mut own).await.unwrap();
            assert_eq!(horizon.warned_of(), None, "{begin}");
        }
        database.remove().await;
    }
}
