//! Detects a pooler in transaction mode in front of the server, such as PgBouncer: then each
//! transaction of a connection may run in another process of the server, and a statement that was
//! prepared in one is not there in the next, or is another one.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection as _, Row as _};
use tokio::time::timeout;

/// How long the detection may take: two new connections, and then 55 round trips.
const LIMIT: Duration = Duration::from_secs(5);

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
/// one.
async fn has_moved(options: &PgConnectOptions) -> Result<bool, sqlx::Error> {
    let mut first = PgConnection::connect_with(options).await?;
    let mut second = PgConnection::connect_with(options).await?;
    let moved = moves(&mut first, &mut second).await?;
    second.close().await?;
    first.close().await?;
    Ok(moved)
}

/// A connection that can be asked which process of the server it has.
trait Connected {
    /// Begins a transaction, and returns its process.
    async fn begin(&mut self) -> Result<i32, sqlx::Error>;
    async fn process(&mut self) -> Result<i32, sqlx::Error>;
    async fn roll_back(&mut self) -> Result<(), sqlx::Error>;
}

impl Connected for PgConnection {
    async fn begin(&mut self) -> Result<i32, sqlx::Error> {
        let row = sqlx::raw_sql("BEGIN; SELECT pg_backend_pid()").fetch_one(self);
        row.await?.try_get(0)
    }

    async fn process(&mut self) -> Result<i32, sqlx::Error> {
        let row = sqlx::raw_sql("SELECT pg_backend_pid()").fetch_one(self);
        row.await?.try_get(0)
    }

    async fn roll_back(&mut self) -> Result<(), sqlx::Error> {
        sqlx::raw_sql("ROLLBACK").execute(self).await.map(drop)
    }
}

/// Returns whether the first connection has, or loses to the second one, another process than at
/// the beginning.
///
/// A pooler keeps its idle processes in a stack, or in a queue. With a stack, the process that the
/// second connection has just given back is the next one that the first gets. With a queue of two,
/// each gets its own one again for as long as both ask equally often, so the first asks once more
/// in every other round.
async fn moves(
    first: &mut impl Connected,
    second: &mut impl Connected,
) -> Result<bool, sqlx::Error> {
    let before = first.process().await?;
    for round in 0..ROUNDS {
        let taken = second.begin().await? == before || first.process().await? != before;
        second.roll_back().await?;
        if taken || first.process().await? != before {
            return Ok(true);
        }
        if round % 2 == 1 && first.process().await? != before {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::VecDeque;

    use super::{Connected, moves};

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Idle {
        Stack,
        Queue,
    }

    /// A pooler in transaction mode. Another user of it gives back one process after so many steps.
    struct Pooler {
        idle: VecDeque<i32>,
        order: Idle,
        steps: usize,
        given_back_at: usize,
    }

    impl Pooler {
        fn take(&mut self) -> i32 {
            let process = self.idle.pop_front().unwrap();
            self.step();
            process
        }

        fn give_back(&mut self, process: i32) {
            match self.order {
                Idle::Stack => self.idle.push_front(process),
                Idle::Queue => self.idle.push_back(process),
            }
            self.step();
        }

        fn step(&mut self) {
            self.steps += 1;
            if self.steps == self.given_back_at {
                self.give_back(9);
            }
        }
    }

    struct Pooled<'p> {
        pooler: &'p RefCell<Pooler>,
        held: Option<i32>,
    }

    impl Connected for Pooled<'_> {
        async fn begin(&mut self) -> Result<i32, sqlx::Error> {
            let process = self.pooler.borrow_mut().take();
            self.held = Some(process);
            Ok(process)
        }

        async fn process(&mut self) -> Result<i32, sqlx::Error> {
            if let Some(held) = self.held {
                return Ok(held);
            }
            let mut pooler = self.pooler.borrow_mut();
            let process = pooler.take();
            pooler.give_back(process);
            Ok(process)
        }

        async fn roll_back(&mut self) -> Result<(), sqlx::Error> {
            let held = self.held.take().unwrap();
            self.pooler.borrow_mut().give_back(held);
            Ok(())
        }
    }

    /// A connection without a pooler, or through one in session mode.
    struct Own(i32);

    impl Connected for Own {
        async fn begin(&mut self) -> Result<i32, sqlx::Error> {
            Ok(self.0)
        }

        async fn process(&mut self) -> Result<i32, sqlx::Error> {
            Ok(self.0)
        }

        async fn roll_back(&mut self) -> Result<(), sqlx::Error> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn connections_with_processes_of_their_own_do_not_move() {
        assert!(!moves(&mut Own(1), &mut Own(2)).await.unwrap());
    }

    #[tokio::test]
    async fn a_pooler_is_detected_whenever_another_user_gives_back_a_process() {
        for order in [Idle::Stack, Idle::Queue] {
            for processes in 2..6 {
                for given_back_at in 0..40 {
                    let pooler = RefCell::new(Pooler {
                        idle: (0..processes).collect(),
                        order,
                        steps: 0,
                        given_back_at,
                    });
                    let connection = || Pooled {
                        pooler: &pooler,
                        held: None,
                    };
                    let moved = moves(&mut connection(), &mut connection()).await.unwrap();
                    assert!(moved, "{order:?} of {processes}, {given_back_at}");
                }
            }
        }
    }
}
