//! Connections between two handlers.
//!
//! Taking a connection from the pool and giving it back costs two pings. So the connection of a
//! handler that has committed, which has just answered, is kept for the next handler. It goes back
//! to the pool if no handler needs it soon, if the pool has no other connection available, and
//! after some time in any case, so that the limits and hooks of the pool apply.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use sqlx::postgres::PgPool;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::session::Session;

/// How long a connection waits for the next handler.
const KEPT_FOR: Duration = Duration::from_millis(100);

/// How long after it was taken from the pool a connection may be kept.
const MAX_AGE: Duration = Duration::from_secs(10);

/// At most one for each handler that may run: a handler has its turn before it takes one of these,
/// and keeps its turn until its connection is among them.
#[derive(Default)]
pub(super) struct Kept(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// Since when, the longest first.
    sessions: Vec<(Instant, Session)>,
    /// The task that gives back connections that wait for too long, while there are any.
    gives_back: Option<JoinHandle<()>>,
}

impl Kept {
    /// The connection that was used last, if there is one.
    pub(super) fn take(&self, pool: &PgPool) -> Option<Session> {
        if pool.is_closed() {
            self.clear();
        }
        let (_, session) = lock(&self.0).sessions.pop()?;
        Some(session)
    }

    /// Keeps a connection on which a handler has committed, or gives it back.
    pub(super) fn put(&self, session: Session, pool: &PgPool) {
        let may_wait = pool.num_idle() == 0 && pool.size() >= pool.options().get_max_connections();
        let is_old = session.age() >= MAX_AGE;
        let runtime = Handle::try_current();
        let (false, false, Ok(runtime)) = (may_wait, is_old, runtime) else {
            return session.end();
        };
        let session = session.rest();
        let mut state = lock(&self.0);
        state.sessions.push((Instant::now(), session));
        // One whose runtime has ended is finished too.
        if state
            .gives_back
            .as_ref()
            .is_none_or(JoinHandle::is_finished)
        {
            let task = runtime.spawn(give_back(Arc::downgrade(&self.0)));
            state.gives_back = Some(task);
        }
    }

    /// Gives all of them back; those that do not answer are closed.
    pub(super) fn clear(&self) {
        let sessions = std::mem::take(&mut lock(&self.0).sessions);
        drop(sessions);
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives back connections that wait for too long, until all are gone.
async fn give_back(state: Weak<Mutex<State>>) {
    loop {
        sleep(KEPT_FOR).await;
        let Some(state) = state.upgrade() else {
            return;
        };
        let mut state = lock(&state);
        let now = Instant::now();
        let waits = |(since, _): &(Instant, Session)| now.duration_since(*since) < KEPT_FOR;
        let old = state.sessions.iter().take_while(|one| !waits(one)).count();
        state.sessions.drain(..old);
        if state.sessions.is_empty() {
            state.gives_back = None;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI32, Ordering};

    use bytes::Bytes;
    use sqlx::postgres::PgConnection;
    use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

    use super::super::PostgresStore;
    use super::super::scratch::Scratch;
    use crate::arrival::{Arrival, Labels};
    use crate::outcome::Outcome;
    use crate::retry::Retry;
    use crate::store::{Store, TURN_TIMEOUT};
    use crate::turn::{Lease, Queue, Take, Turn, WorkerId};

    const EVENTS: usize = 4;

    /// A store whose events are all taken, four at once and the others ahead; and another
    /// connection.
    async fn taken(name: &str) -> (PostgresStore, Vec<Lease>, PgConnection) {
        let url = Scratch::create(&format!("kept_{name}")).await.url;
        let store = PostgresStore::connect(&url).await.unwrap();
        let arrivals: Vec<_> = (0..2 * EVENTS)
            .map(|number| Arrival {
                key: number.to_string(),
                source: None,
                labels: Labels::default(),
                body: Bytes::from_static(b"{}"),
            })
            .collect();
        let _ = store.insert(&arrivals).await.unwrap();
        let turn = Turn {
            worker: WorkerId::new(),
            settle: &[],
            renew: &[],
            take: Take::Due {
                rows: 2 * EVENTS,
                begin: EVENTS,
                prefer: Queue::First,
            },
            upkeep: None,
            lease: TURN_TIMEOUT,
            retry: &Retry {
                attempts: 1,
                first: TURN_TIMEOUT,
                longest: TURN_TIMEOUT,
            },
        };
        let claims = Store::turn(&store, turn).await.unwrap().claims;
        let leases = claims.into_iter().map(|claim| claim.lease).collect();
        (store, leases, PgConnection::connect(&url).await.unwrap())
    }

    /// Handles an event; returns the process of the server that did, 0 if none did.
    async fn handle(store: &PostgresStore, lease: Lease) -> (Outcome, i32) {
        let process = Arc::new(AtomicI32::new(0));
        let noted = process.clone();
        let outcome = store
            .handle(lease, |connection| {
                Box::pin(async move {
                    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()")
                        .fetch_one(connection)
                        .await?;
                    noted.store(pid, Ordering::Relaxed);
                    Ok(())
                })
            })
            .await;
        (outcome, process.load(Ordering::Relaxed))
    }

    async fn until(what: &str, holds: impl Fn() -> bool) {
        for _ in 0..1_000 {
            if holds() {
                return;
            }
            tokio::time::sleep(super::KEPT_FOR / 10).await;
        }
        panic!("not within 10 s: {what}");
    }

    #[tokio::test]
    #[ignore = "needs postgres"]
    async fn the_next_handler_has_the_connection_of_the_last_one_until_the_pool_has_it_back() {
        let (store, leases, _) = taken("next").await;
        let (first, one) = handle(&store, leases[0]).await;
        let kept = store.pool.size() as usize - store.pool.num_idle();
        let (second, other) = handle(&store, leases[1]).await;
        assert!(matches!(
            (first, second),
            (Outcome::Committed, Outcome::Committed)
        ));
        assert_eq!((one, kept >= 1), (other, true));
        let all_idle = || store.pool.num_idle() == store.pool.size() as usize;
        until("all are idle", all_idle).await;
    }

    #[tokio::test]
    #[ignore = "needs postgres"]
    async fn a_kept_connection_that_the_server_has_closed_costs_no_attempt() {
        let (store, leases, mut admin) = taken("closed").await;
        let (_, one) = handle(&store, leases[0]).await;
        let close = format!("SELECT pg_terminate_backend({one}, 5000)");
        admin.execute(AssertSqlSafe(close)).await.unwrap();
        let (outcome, other) = handle(&store, leases[1]).await;
        assert!(matches!(outcome, Outcome::Committed), "{outcome:?}");
        assert!(other != 0 && other != one);
    }

    /// The connection can still be used.
    #[tokio::test]
    #[ignore = "needs postgres"]
    async fn the_handler_of_a_lost_lease_is_not_called_and_its_connection_rolled_back() {
        let (store, leases, _) = taken("lost").await;
        let (_, one) = handle(&store, leases[0]).await;
        let lost = Lease {
            token: leases[1].token + 1,
            ..leases[1]
        };
        let (outcome, none) = handle(&store, lost).await;
        assert!(matches!(outcome, Outcome::Lost), "{outcome:?}");
        assert_eq!(none, 0);
        let all_idle = || store.pool.num_idle() == store.pool.size() as usize;
        until("all are idle", all_idle).await;
        let (mut open, mut processes) = (Vec::new(), Vec::new());
        for _ in 0..store.pool.size() {
            let mut connection = store.pool.acquire().await.unwrap();
            let process = sqlx::query_scalar("SELECT pg_backend_pid()");
            let process: i32 = process.fetch_one(&mut *connection).await.unwrap();
            processes.push(process);
            open.push(connection);
        }
        drop(open);
        assert!(processes.contains(&one));
        let (outcome, _) = handle(&store, leases[1]).await;
        assert!(matches!(outcome, Outcome::Committed), "{outcome:?}");
    }
}
