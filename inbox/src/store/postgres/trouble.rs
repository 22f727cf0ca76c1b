//! What keeps the pool from having a connection. The pool tries for as long as it may and says no
//! more than that its time is over, so the server is asked beside it.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnection, PgPool};
use sqlx::{Connection as _, Postgres};
use tokio::time::{Instant, sleep, timeout};

use crate::error::{BoxError, SharedError};

/// How long the pool may take before the server is asked, and the pause between two times.
const ASK_AFTER: Duration = Duration::from_millis(500);

/// How long the server may take to answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// For how long the server may be out of reach before that is the answer: less than an accept has,
/// so that its error has the cause.
const OUT_OF_REACH_FOR: Duration = Duration::from_secs(3);

/// What was last found, as long as it lasts.
#[derive(Default)]
pub(super) struct Trouble {
    found: Mutex<Option<SharedError>>,
    /// One asks at a time.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Debug, thiserror::Error)]
enum Found {
    #[error("all connections of the pool are in use")]
    InUse,
    #[error("no answer to a new connection within {ASK_TIMEOUT:?}")]
    NoAnswer,
}

/// An error that was found, for one of those that share it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Shared(SharedError);

/// Whether an error is one of this file.
pub(super) fn is_unreachable(error: &(dyn Error + 'static)) -> bool {
    error.is::<Shared>()
}

impl Trouble {
    pub(super) fn get(&self) -> Option<SharedError> {
        self.lock().clone()
    }

    /// Has a connection of the pool; an error says what is the matter, if that can be found out.
    pub(super) async fn acquire(
        &self,
        pool: &PgPool,
    ) -> Result<PoolConnection<Postgres>, BoxError> {
        let acquired = tokio::select! {
            biased;
            acquired = pool.acquire() => acquired,
            error = self.ask(pool) => return Err(Shared(error).into()),
        };
        match acquired {
            Ok(connection) => {
                *self.lock() = None;
                Ok(connection)
            }
            Err(sqlx::Error::PoolTimedOut) => Err(match self.get() {
                Some(error) => Shared(error).into(),
                None => sqlx::Error::PoolTimedOut.into(),
            }),
            Err(error) => Err(error.into()),
        }
    }

    /// Asks until the server has been out of reach for long enough.
    async fn ask(&self, pool: &PgPool) -> SharedError {
        let mut reached_at = Instant::now();
        loop {
            sleep(ASK_AFTER).await;
            let _turn = self.asking.lock().await;
            let options = pool.connect_options();
            let connect = PgConnection::connect_with(&options);
            let (error, reached): (SharedError, _) = match timeout(ASK_TIMEOUT, connect).await {
                Ok(Ok(connection)) => {
                    let _ = connection.close().await;
                    (Arc::new(Found::InUse), true)
                }
                Ok(Err(error)) => (Arc::new(error), false),
                Err(_) => (Arc::new(Found::NoAnswer), false),
            };
            *self.lock() = Some(error.clone());
            if reached {
                reached_at = Instant::now();
            } else if reached_at.elapsed() >= OUT_OF_REACH_FOR {
                return error;
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<SharedError>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
