//! A connection of the pool while it is in use, and what becomes of it: one that is dead, or whose
//! server has become read-only, does not go back to the pool.
//!
//! An idle connection is pinged before use, with its own short time limit. If it does not respond,
//! all idle connections are closed, since what happened to one has happened to the others: a
//! firewall dropped them, or the server has been replaced. Then a new one is opened. A transaction
//! that was left open, by an error or because its future was dropped, is rolled back in the
//! background, and its connection goes back to the pool only if it responds and may write. The
//! connection of a handler that has committed need not be pinged for the next handler (`kept`): the
//! message that begins its transaction has the same limit.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{Connection as _, Postgres, Row as _, SqlSafeStr, Transaction};
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, timeout};

use super::PostgresStore;
use super::trouble::is_unreachable;
use crate::error::BoxError;
use crate::metrics;

/// How long an idle connection may take to respond to a ping.
pub(super) const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a connection may take to roll back before it is closed.
const ROLLBACK_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an operation is retried after its connection broke. An accept has 5 s, and its error
/// should say more than that they have passed.
pub(super) const TRY_AGAIN_FOR: Duration = Duration::from_secs(3);

/// Before each try but the second, which comes at once.
const PAUSE_BETWEEN_TRIES: Duration = Duration::from_millis(100);

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It did not respond to a ping, or broke: it is closed.
    Unproved,
    /// Its transaction was beginning, which the driver does not know if that failed: it is rolled
    /// back and checked.
    Begins,
    /// Its use was abandoned: it is rolled back and checked.
    Left,
    /// Its use ended some time ago, and its transaction is empty: the same, in a shorter time. The
    /// pool's own ping has no limit, and would keep the place of a connection whose server has
    /// disappeared since.
    Rests,
    /// Its use has ended: it goes back to the pool.
    Ended,
}

pub(super) struct Session {
    /// `Some` until the drop.
    connection: Option<PoolConnection<Postgres>>,
    fate: Fate,
    turn: Option<HandlersTurn>,
    /// When it was taken from the pool.
    since: Instant,
}

/// The turn of a handler's transaction, which lasts until its connection is free, also while it is
/// rolled back: otherwise handlers would take the connections that are reserved for accepts.
pub(super) type HandlersTurn = Arc<OwnedSemaphorePermit>;

impl PostgresStore {
    /// Returns a connection that has responded to a ping, or a new one.
    pub(super) async fn session(&self) -> Result<Session, BoxError> {
        if self.pool.num_idle() > 0 {
            match timeout(CHECK_TIMEOUT, self.checked_session()).await {
                Ok(Err(error)) if is_broken(&*error) => {}
                Ok(session) => return session,
                Err(_) => {}
            }
            self.close_idle();
        }
        self.checked_session().await
    }

    async fn checked_session(&self) -> Result<Session, BoxError> {
        let mut session = Session {
            connection: Some(self.trouble.acquire(&self.pool).await?),
            fate: Fate::Unproved,
            turn: None,
            since: Instant::now(),
        };
        // A user's pool may have pinged it already.
        if !self.pool.options().get_test_before_acquire() {
            session.connection()?.ping().await?;
        }
        session.fate = Fate::Left;
        Ok(session)
    }

    /// Retries on a new connection, for as long as connections break.
    pub(super) async fn again<T, F>(&self, attempt: impl Fn() -> F) -> Result<T, BoxError>
    where
        F: Future<Output = Result<T, BoxError>>,
    {
        let _running = self.gate.enter()?;
        let give_up = Instant::now() + TRY_AGAIN_FOR;
        let mut pause = Duration::ZERO;
        loop {
            match attempt().await {
                Err(error) if is_broken(&*error) && Instant::now() + pause < give_up => {
                    tracing::debug!(error, "a connection broke; trying again on a new one");
                }
                result => {
                    return result
                        .inspect_err(|error| metrics::database_failed(&**error, is_unanswered));
                }
            }
            self.close_idle();
            sleep(pause).await;
            pause = PAUSE_BETWEEN_TRIES;
        }
    }

    fn close_idle(&self) {
        // Not forever, if others open connections at the same time.
        for _ in 0..self.pool.size() {
            match self.pool.try_acquire() {
                Some(connection) => drop(connection.detach()),
                None => break,
            }
        }
    }
}

impl Session {
    fn connection(&mut self) -> Result<&mut PoolConnection<Postgres>, sqlx::Error> {
        self.connection.as_mut().ok_or(sqlx::Error::PoolClosed)
    }

    /// Begins a transaction with these statements, whose rows are ignored.
    pub(super) async fn begin(
        &mut self,
        begin: impl SqlSafeStr,
    ) -> Result<Transaction<'_, Postgres>, sqlx::Error> {
        self.fate = Fate::Begins;
        let connection = self.connection.as_mut().ok_or(sqlx::Error::PoolClosed)?;
        let tx = connection.begin_with(begin).await?;
        self.fate = Fate::Left;
        Ok(tx)
    }

    /// Returns how long ago it was taken from the pool.
    pub(super) fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// Keeps the turn until the connection is free again.
    pub(super) fn keep_until_its_end(&mut self, turn: HandlersTurn) {
        self.turn = Some(turn);
    }

    /// Records that its use has ended successfully.
    pub(super) fn end(mut self) {
        self.fate = Fate::Ended;
    }

    /// Closes the connection, which has broken or does not answer, and frees its place at once.
    pub(super) fn abandon(mut self) {
        self.fate = Fate::Unproved;
    }

    /// Same as `end`, but the connection stays out of the pool until the drop.
    pub(super) fn rest(mut self) -> Self {
        self.fate = Fate::Rests;
        self.turn = None;
        self
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        match (self.fate, Handle::try_current()) {
            (Fate::Ended, Ok(_)) => drop(connection),
            (fate @ (Fate::Begins | Fate::Left | Fate::Rests), Ok(runtime)) => {
                drop(runtime.spawn(roll_back(connection, fate, self.turn.take())))
            }
            (Fate::Unproved, _) | (_, Err(_)) => drop(connection.detach()),
        }
    }
}

/// Rolls back a transaction, and closes the connection unless it can be used again.
async fn roll_back(
    mut connection: PoolConnection<Postgres>,
    fate: Fate,
    _turn: Option<HandlersTurn>,
) {
    let check = async {
        // Otherwise sqlx has queued the rollback, and sends it first.
        if fate == Fate::Begins {
            sqlx::raw_sql("ROLLBACK").execute(&mut *connection).await?;
        }
        let row = sqlx::raw_sql("SHOW transaction_read_only")
            .fetch_one(&mut *connection)
            .await?;
        row.try_get::<String, _>(0)
    };
    let limit = match fate {
        Fate::Rests => CHECK_TIMEOUT,
        _ => ROLLBACK_TIMEOUT,
    };
    let may_write = timeout(limit, check).await;
    if !matches!(may_write, Ok(Ok(read_only)) if read_only == "off") {
        let _ = timeout(CHECK_TIMEOUT, connection.detach().close()).await;
    }
}

/// Returns whether an error is one of the connection, so that a new connection may help: it is
/// closed, or its server is stopping, starting, or read-only.
pub(super) fn is_broken(error: &(dyn Error + 'static)) -> bool {
    let error = match error.downcast_ref::<sqlx::Error>() {
        Some(sqlx::Error::Database(error)) => error,
        Some(sqlx::Error::Io(_) | sqlx::Error::Protocol(_)) => return true,
        _ => return false,
    };
    // Closed after being idle or open for too long, by an administrator, or by a crash.
    let closed = [
        "25P03", "25P04", "57P01", "57P02", "57P03", "57P04", "57P05",
    ];
    error
        .code()
        .is_some_and(|code| code == "25006" || code.starts_with("08") || closed.contains(&&*code))
}

/// A commit without an answer: it may or may not have happened, so it is not repeated.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct CommitUnanswered(sqlx::Error);

/// Commits an operation that must not be repeated: a second try would find it done, and report that
/// there was nothing to do. Reads and inserts, which return the same when repeated, are retried
/// instead.
pub(super) async fn commit_once(tx: Transaction<'_, Postgres>) -> Result<(), CommitUnanswered> {
    tx.commit().await.map_err(CommitUnanswered)
}

/// Returns whether an error that is not the driver's says that the server did not answer.
fn is_unanswered(error: &(dyn Error + 'static)) -> bool {
    is_unreachable(error) || error.is::<CommitUnanswered>()
}
