//! Finds out why the pool cannot provide a connection. The pool retries until its timeout and
//! reports only that, so the server is probed in parallel.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnection, PgPool};
use sqlx::{Connection as _, Postgres};
use tokio::time::{Instant, sleep, timeout};

use crate::error::{BoxError, SharedError};

/// How long the pool may take before the server is probed, and the pause between two probes.
const ASK_AFTER: Duration = Duration::from_millis(500);

/// How long the server may take to answer a probe.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the server may be unreachable before that is returned as the error: less than the
/// timeout of an accept, so that its error has the cause.
const OUT_OF_REACH_FOR: Duration = Duration::from_secs(3);

/// The last finding, while it applies.
#[derive(Default)]
pub(super) struct Trouble {
    found: Mutex<Option<SharedError>>,
    /// Only one task probes at a time.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Debug, thiserror::Error)]
enum Found {
    #[error("all connections of the pool are in use")]
    InUse,
    #[error("no answer to a new connection within {ASK_TIMEOUT:?}")]
    NoAnswer,
}

/// An error that several callers share.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Shared(SharedError);

/// Returns whether an error is one of this file.
pub(super) fn is_unreachable(error: &(dyn Error + 'static)) -> bool {
    error.is::<Shared>()
}

impl Trouble {
    pub(super) fn get(&self) -> Option<SharedError> {
        self.lock().clone()
    }

    /// Returns a connection of the pool; an error has the cause, if it can be determined.
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

    /// Probes until the server has been unreachable for long enough.
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
