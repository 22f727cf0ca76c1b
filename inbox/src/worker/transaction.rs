//! Handlers whose writes and "done" are one transaction.

use std::sync::Arc;
#[cfg(feature = "sqlite")]
use std::time::Duration;

use ptolemy_webhooks::Event;
#[cfg(feature = "sqlite")]
use tokio::time::timeout;

use super::Worker;
use crate::error::{InboxError, InboxErrorKind};
use crate::failure::Failure;
use crate::outcome::Outcome;
use crate::store::BoxFuture;
use crate::turn::Claim;

/// How long a transaction of SQLite may keep all other writers out before a warning is logged.
#[cfg(feature = "sqlite")]
const SLOW_TRANSACTION: Duration = Duration::from_secs(3);

impl Worker {
    /// As [`run`](Self::run), with a transaction of the inbox's SQLite database: what the handler writes
    /// through it and that the event is done are committed together, once, or not at all.
    ///
    /// The transaction holds the only write lock of the file from its beginning to its end. So these
    /// handlers run one at a time, whatever [`concurrency`](Self::concurrency) says, and meanwhile no
    /// delivery is accepted and no other process writes: keep them short, and do what waits for a network
    /// elsewhere, before. One that takes more than 3 s is warned about; at 5 s, accepts begin to fail. An
    /// accept within the handler waits for the handler, and fails.
    ///
    /// The handler must not end the transaction. If it does, or a statement does whose error it passes
    /// over, the attempt has failed.
    ///
    /// # Errors
    ///
    /// Refuses an inbox that is not on SQLite.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(inbox: ptolemy_webhooks_inbox::Inbox) -> Result<(), Box<dyn std::error::Error>> {
    /// use ptolemy_webhooks_inbox::sqlx;
    ///
    /// inbox
    ///     .worker()
    ///     .run_in_sqlite_transaction(|event, tx| {
    ///         Box::pin(async move {
    ///             sqlx::query("INSERT INTO changes (event_type) VALUES (?)")
    ///                 .bind(event.event_type.as_str())
    ///                 .execute(tx)
    ///                 .await?;
    ///             Ok(())
    ///         })
    ///     })
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "sqlite")]
    pub async fn run_in_sqlite_transaction<F>(mut self, handler: F) -> Result<(), InboxError>
    where
        F: for<'c> Fn(
                Event,
                &'c mut sqlx::sqlite::SqliteConnection,
            ) -> BoxFuture<'c, Result<(), Failure>>
            + Send
            + Sync
            + 'static,
    {
        let store = self.engine.sqlite().ok_or_else(|| self.wrong_engine())?;
        let handler = Arc::new(handler);
        self.settings.concurrency = 1;
        let start = move |event, Claim { lease, .. }: Claim| -> BoxFuture<'static, Outcome> {
            let (store, handler) = (store.clone(), handler.clone());
            Box::pin(async move {
                store
                    .handle(lease, |connection| {
                        let mut handled = handler(event, connection);
                        Box::pin(async move {
                            match timeout(SLOW_TRANSACTION, &mut handled).await {
                                Ok(result) => result,
                                Err(_) => {
                                    tracing::warn!(
                                        "a handler has held SQLite's write lock for more than {SLOW_TRANSACTION:?}"
                                    );
                                    handled.await
                                }
                            }
                        })
                    })
                    .await
            })
        };
        self.work(Arc::new(start)).await;
        Ok(())
    }

    /// As [`run`](Self::run), with a transaction of the inbox's PostgreSQL database: what the handler
    /// writes through it and that the event is done are committed together, once, or not at all.
    ///
    /// Each handler that runs has a connection of the pool to itself; see that it has some more than
    /// [`concurrency`](Self::concurrency) says. The transaction's level is READ COMMITTED.
    ///
    /// The handler must not end the transaction. If it does, or passes over the error of a statement, the
    /// attempt has failed.
    ///
    /// # Errors
    ///
    /// Refuses an inbox that is not on PostgreSQL.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(inbox: ptolemy_webhooks_inbox::Inbox) -> Result<(), Box<dyn std::error::Error>> {
    /// use ptolemy_webhooks_inbox::sqlx;
    ///
    /// inbox
    ///     .worker()
    ///     .concurrency(8)
    ///     .run_in_postgres_transaction(|event, tx| {
    ///         Box::pin(async move {
    ///             sqlx::query("INSERT INTO changes (event_type) VALUES ($1)")
    ///                 .bind(event.event_type.as_str())
    ///                 .execute(tx)
    ///                 .await?;
    ///             Ok(())
    ///         })
    ///     })
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "postgres")]
    pub async fn run_in_postgres_transaction<F>(self, handler: F) -> Result<(), InboxError>
    where
        F: for<'c> Fn(
                Event,
                &'c mut sqlx::postgres::PgConnection,
            ) -> BoxFuture<'c, Result<(), Failure>>
            + Send
            + Sync
            + 'static,
    {
        let store = self.engine.postgres().ok_or_else(|| self.wrong_engine())?;
        let handler = Arc::new(handler);
        let start = move |event, Claim { lease, .. }: Claim| -> BoxFuture<'static, Outcome> {
            let (store, handler) = (store.clone(), handler.clone());
            Box::pin(async move {
                store
                    .handle(lease, |connection| handler(event, connection))
                    .await
            })
        };
        self.work(Arc::new(start)).await;
        Ok(())
    }

    fn wrong_engine(&self) -> InboxError {
        InboxError::new(InboxErrorKind::WrongEngine {
            engine: self.engine.name(),
        })
    }
}
