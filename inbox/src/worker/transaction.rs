//! Handlers whose writes and "done" are one transaction.

use std::sync::Arc;
#[cfg(feature = "sqlite")]
use std::time::Duration;

use ptolemy_webhooks::Event;
#[cfg(feature = "sqlite")]
use tokio::time::timeout;

use super::tasks::Begun;
use super::{Settings, Until, Worker, in_time};
use crate::attempt::Attempt;
use crate::error::WrongEngine;
use crate::failure::Failure;
use crate::outcome::Outcome;
use crate::store::BoxFuture;
use crate::turn::Claim;

/// How long a SQLite transaction may block all other writers before a warning is logged.
#[cfg(feature = "sqlite")]
const SLOW_TRANSACTION: Duration = Duration::from_secs(3);

impl Worker {
    /// Same as [`run`](Self::run), but passes a transaction of the inbox's SQLite database to the
    /// handler. The handler's writes in the transaction and the fact that the event is done are
    /// committed together, exactly once, or not at all.
    ///
    /// SQLite has one write lock for the whole file, and the transaction holds it from beginning to
    /// end. So these handlers run one at a time, regardless of [`concurrency`](Self::concurrency),
    /// and meanwhile no delivery is accepted and no other process can write. Keep them short, and
    /// make network calls elsewhere, before the transaction. A warning is logged if a handler takes
    /// more than 3 s; at 5 s, accepts begin to fail. An accept within the handler waits for the
    /// handler itself, and fails.
    ///
    /// The handler must not end the transaction. If the transaction ends anyway, for example
    /// through a statement whose error the handler ignores, the attempt fails.
    ///
    /// # Errors
    ///
    /// Returns an error if the inbox is not on SQLite.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(inbox: ptolemy_webhooks_inbox::Inbox) -> Result<(), Box<dyn std::error::Error>> {
    /// use ptolemy_webhooks_inbox::sqlx;
    ///
    /// inbox
    ///     .worker()
    ///     .run_in_sqlite_transaction(|event, attempt, tx| {
    ///         Box::pin(async move {
    ///             sqlx::query("INSERT INTO changes (key, event_type) VALUES (?, ?)")
    ///                 .bind(attempt.dedup_key())
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
    pub async fn run_in_sqlite_transaction<F>(mut self, handler: F) -> Result<(), WrongEngine>
    where
        F: for<'c> Fn(
                Event,
                Attempt,
                &'c mut sqlx::sqlite::SqliteConnection,
            ) -> BoxFuture<'c, Result<(), Failure>>
            + Send
            + Sync
            + 'static,
    {
        let Some(store) = self.engine.sqlite() else {
            return Err(self.is_on_another_engine("SQLite"));
        };
        let handler = Arc::new(handler);
        self.settings.concurrency = 1;
        let Settings {
            retry,
            handler_timeout,
            ..
        } = self.settings;
        let start = move |event, claim: Claim, begun: Begun| -> BoxFuture<'static, Outcome> {
            let (store, handler) = (store.clone(), handler.clone());
            Box::pin(async move {
                let attempt = Attempt::new(&claim, retry.attempts);
                store
                    .handle(claim.lease, |connection| {
                        begun.note();
                        let handled = handler(event, attempt, connection);
                        Box::pin(in_time(handler_timeout, with_warning(handled)))
                    })
                    .await
            })
        };
        self.work(Arc::new(start)).await;
        Ok(())
    }

    /// Same as [`run_in_sqlite_transaction`](Self::run_in_sqlite_transaction), but also ends when
    /// nothing is due, as [`run_until_idle`](Self::run_until_idle) does.
    ///
    /// # Errors
    ///
    /// Returns an error if the inbox is not on SQLite.
    #[cfg(feature = "sqlite")]
    pub async fn run_in_sqlite_transaction_until_idle<F>(
        mut self,
        handler: F,
    ) -> Result<(), WrongEngine>
    where
        F: for<'c> Fn(
                Event,
                Attempt,
                &'c mut sqlx::sqlite::SqliteConnection,
            ) -> BoxFuture<'c, Result<(), Failure>>
            + Send
            + Sync
            + 'static,
    {
        self.settings.until = Until::Idle;
        self.run_in_sqlite_transaction(handler).await
    }

    /// Same as [`run`](Self::run), but passes a transaction of the inbox's PostgreSQL database to
    /// the handler. The handler's writes in the transaction and the fact that the event is done are
    /// committed together, exactly once, or not at all.
    ///
    /// Each running handler uses one connection of the pool, and two connections are reserved for
    /// accepts and for the worker's own queries: with a pool of 10, 8 handlers run at the same
    /// time. A warning is logged at the start if [`concurrency`](Self::concurrency) is higher. The
    /// isolation level is READ COMMITTED. Behind a pooler in transaction mode, make statements with
    /// `.persistent(false)`.
    ///
    /// The handler must not end the transaction. If it does, or ignores the error of a statement,
    /// the attempt fails. Two more rules keep its writes and "done" together:
    ///
    /// - Return the error of every statement. Do not ignore the error of a nested `begin`, and do
    ///   not cancel it: the driver would roll back the whole transaction, and later writes would be
    ///   committed on their own, although the attempt fails.
    /// - Change settings with `SET LOCAL`. Any other `SET` outlives the transaction and changes the
    ///   inbox's own connections, and `RESET ALL` makes the attempt fail.
    ///
    /// # Errors
    ///
    /// Returns an error if the inbox is not on PostgreSQL.
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
    ///     .run_in_postgres_transaction(|event, attempt, tx| {
    ///         Box::pin(async move {
    ///             sqlx::query("INSERT INTO changes (key, event_type) VALUES ($1, $2)")
    ///                 .bind(attempt.dedup_key())
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
    pub async fn run_in_postgres_transaction<F>(mut self, handler: F) -> Result<(), WrongEngine>
    where
        F: for<'c> Fn(
                Event,
                Attempt,
                &'c mut sqlx::postgres::PgConnection,
            ) -> BoxFuture<'c, Result<(), Failure>>
            + Send
            + Sync
            + 'static,
    {
        let Some(store) = self.engine.postgres() else {
            return Err(self.is_on_another_engine("PostgreSQL"));
        };
        let most = store.max_transactions();
        let concurrency = self.settings.concurrency;
        if concurrency > most {
            tracing::warn!(
                concurrency,
                "the pool has too few connections: {most} handlers run at the same time"
            );
            self.settings.concurrency = most;
        }
        let handler = Arc::new(handler);
        let Settings {
            retry,
            handler_timeout,
            ..
        } = self.settings;
        let start = move |event, claim: Claim, begun: Begun| -> BoxFuture<'static, Outcome> {
            let (store, handler) = (store.clone(), handler.clone());
            Box::pin(async move {
                let attempt = Attempt::new(&claim, retry.attempts);
                store
                    .handle(claim.lease, |connection| {
                        begun.note();
                        let handled = handler(event, attempt, connection);
                        Box::pin(in_time(handler_timeout, handled))
                    })
                    .await
            })
        };
        self.work(Arc::new(start)).await;
        Ok(())
    }

    /// Same as [`run_in_postgres_transaction`](Self::run_in_postgres_transaction), but also ends
    /// when nothing is due, as [`run_until_idle`](Self::run_until_idle) does.
    ///
    /// # Errors
    ///
    /// Returns an error if the inbox is not on PostgreSQL.
    #[cfg(feature = "postgres")]
    pub async fn run_in_postgres_transaction_until_idle<F>(
        mut self,
        handler: F,
    ) -> Result<(), WrongEngine>
    where
        F: for<'c> Fn(
                Event,
                Attempt,
                &'c mut sqlx::postgres::PgConnection,
            ) -> BoxFuture<'c, Result<(), Failure>>
            + Send
            + Sync
            + 'static,
    {
        self.settings.until = Until::Idle;
        self.run_in_postgres_transaction(handler).await
    }

    /// The error is also logged, since nobody sees the error of a spawned task.
    fn is_on_another_engine(&self, wanted: &'static str) -> WrongEngine {
        let error = WrongEngine::new(self.engine.name(), wanted);
        self.health.fail(self.settings.until.duty());
        tracing::error!(%error, "a worker could not begin");
        error
    }
}

/// Returns the result of a handler that holds SQLite's write lock; logs a warning if it takes long.
#[cfg(feature = "sqlite")]
async fn with_warning(mut handled: BoxFuture<'_, Result<(), Failure>>) -> Result<(), Failure> {
    match timeout(SLOW_TRANSACTION, &mut handled).await {
        Ok(result) => result,
        Err(_) => {
            tracing::warn!(
                "a handler has held SQLite's write lock for more than {SLOW_TRANSACTION:?}"
            );
            handled.await
        }
    }
}
