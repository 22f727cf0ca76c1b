//! A connection of the pool while it is in use, and what becomes of it: one that is dead, or leads
//! to a server that writes no more, does not go back to the pool.
//!
//! An idle connection is asked for a sign of life, with a short limit of its own. If there is none,
//! all that are idle are closed, since what happened to one has happened to the others: a firewall
//! forgot them, or the server is another one now. Then a new one is opened. What is left, by an
//! error or because nobody waits for it any more, is rolled back beside everything else, and its
//! connection goes back to the pool only if it answers and may write. The connection of a handler
//! that has committed need not be asked again for the next one (`kept`): the message that begins
//! its transaction has the same limit.

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

/// How long an idle connection may take to give a sign of life.
pub(super) const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a connection may take to roll back before it is closed.
const ROLLBACK_TIMEOUT: Duration = Duration::from_secs(5);

/// For how long something is tried again whose connection broke: an accept has 5 s, and its error
/// is to say more than that they are over.
const TRY_AGAIN_FOR: Duration = Duration::from_secs(3);

/// Before each try but the second, which comes at once.
const PAUSE_BETWEEN_TRIES: Duration = Duration::from_millis(100);

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It gave no sign of life: it is closed.
    Unproved,
    /// Its transaction was about to begin, which the driver does not know of if it failed: it is
    /// rolled back and looked at.
    Begins,
    /// What it was used for was left: it is rolled back and looked at.
    Left,
    /// What it was used for has ended: it goes back to the pool.
    Ended,
}

pub(super) struct Session {
    /// There until the drop.
    connection: Option<PoolConnection<Postgres>>,
    fate: Fate,
    turn: Option<HandlersTurn>,
    /// When it was taken from the pool.
    since: Instant,
}

/// The turn of a handler's transaction, which lasts until its connection is free: also while it is
/// rolled back, or handlers would take the connections that are left to accepts.
pub(super) type HandlersTurn = Arc<OwnedSemaphorePermit>;

impl PostgresStore {
    /// Returns a connection that has given a sign of life, or a new one.
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
        // A pool of the user's may have asked for it itself.
        if !self.pool.options().get_test_before_acquire() {
            session.connection()?.ping().await?;
        }
        session.fate = Fate::Left;
        Ok(session)
    }

    /// Tries again, on a new connection, for as long as the connections break.
    pub(super) async fn again<T, F>(&self, attempt: impl Fn() -> F) -> Result<T, BoxError>
    where
        F: Future<Output = Result<T, BoxError>>,
    {
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
        // Not for ever, if others open connections at the same time.
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

    /// Begins a transaction with these statements, whose rows are passed over.
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

    /// How long ago it was taken from the pool.
    pub(super) fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// Keeps the turn until the connection is free again.
    pub(super) fn keep_until_its_end(&mut self, turn: HandlersTurn) {
        self.turn = Some(turn);
    }

    /// Notes that what it was used for has ended well.
    pub(super) fn end(mut self) {
        self.fate = Fate::Ended;
    }

    /// Same as `end`, but the connection stays out of the pool until the drop.
    pub(super) fn rest(mut self) -> Self {
        self.fate = Fate::Ended;
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
            (fate @ (Fate::Begins | Fate::Left), Ok(runtime)) => {
                drop(runtime.spawn(roll_back(connection, fate, self.turn.take())))
            }
            (Fate::Unproved, _) | (_, Err(_)) => drop(connection.detach()),
        }
    }
}

/// Rolls back what was left, and closes the connection unless it is as good as a new one.
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
    let may_write = timeout(ROLLBACK_TIMEOUT, check).await;
    if !matches!(may_write, Ok(Ok(read_only)) if read_only == "off") {
        let _ = timeout(CHECK_TIMEOUT, connection.detach().close()).await;
    }
}

/// Whether an error is one of the connection, so that a new one may do better: it is closed, or
/// leads to a server that ends, begins, or may not write.
pub(super) fn is_broken(error: &(dyn Error + 'static)) -> bool {
    if error.is::<ReadOnly>() {
        return true;
    }
    let error = match error.downcast_ref::<sqlx::Error>() {
        Some(sqlx::Error::Database(error)) => error,
        Some(sqlx::Error::Io(_) | sqlx::Error::Protocol(_)) => return true,
        _ => return false,
    };
    // Closed after too long without a statement or in all, and by an administrator or a crash.
    let closed = [
        "25P03", "25P04", "57P01", "57P02", "57P03", "57P04", "57P05",
    ];
    error
        .code()
        .is_some_and(|code| code == "25006" || code.starts_with("08") || closed.contains(&&*code))
}

/// The server may not write: it is a standby, or the role's transactions are read-only.
#[derive(Debug, thiserror::Error)]
#[error("transactions of this connection are read-only")]
pub(super) struct ReadOnly;

/// A commit without an answer: whether it took place is not known, so it is not repeated.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct CommitUnanswered(sqlx::Error);

/// Commits what must not be done twice: another try would find it done, and answer as if nothing
/// had been to do. What only reads, and an insert, whose answer is the same, are tried again
/// instead.
pub(super) async fn commit_once(tx: Transaction<'_, Postgres>) -> Result<(), CommitUnanswered> {
    tx.commit().await.map_err(CommitUnanswered)
}

/// Whether an error of another type than the driver's says that the server did not answer.
fn is_unanswered(error: &(dyn Error + 'static)) -> bool {
    is_unreachable(error) || error.is::<CommitUnanswered>()
}
