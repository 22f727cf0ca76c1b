//! A worker against the loop of `by_hand`, in turn, on the same database.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ptolemy_webhooks_inbox::sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use ptolemy_webhooks_inbox::sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use ptolemy_webhooks_inbox::{EventOrder, Failure, Inbox};
use tokio::sync::Notify;

use crate::by_hand::{self, POSTGRES_TABLE, Pool, REFILL, SQLITE_TABLE};
use crate::{CONNECTIONS, Database, Handler, ROUNDS, Resources, Result, Server, Spread};

/// How many events wait at the beginning of a round; fewer are handled.
const WAITING: usize = 4_000;

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Form {
    Plain,
    InOrder,
    InTransactions,
}

impl Form {
    pub(crate) const ALL: [Self; 3] = [Self::Plain, Self::InOrder, Self::InTransactions];

    pub(crate) fn part(self) -> &'static str {
        match self {
            Self::Plain => "process",
            Self::InOrder => "process-order",
            Self::InTransactions => "process-transactions",
        }
    }
}

pub(crate) async fn process(server: &Server, form: Form) -> Result<()> {
    println!(
        "\n{server}: {}: events/s of a worker over those of a loop written by hand; {ROUNDS} rounds",
        form.part()
    );
    let database = server.database().await?;
    let inbox = database.inbox().await?;
    database.fill(WAITING, "waiting", Resources::Each).await?;
    let pool = match &database {
        Database::Sqlite(file) => {
            database.run(SQLITE_TABLE.to_owned()).await?;
            let options = SqliteConnectOptions::new()
                .filename(file)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full)
                .busy_timeout(Duration::from_secs(60));
            let pool = SqlitePoolOptions::new().max_connections(CONNECTIONS);
            Pool::Sqlite(pool.connect_with(options).await?)
        }
        Database::Postgres { pool, .. } => {
            for statement in POSTGRES_TABLE.split(';') {
                database.run(statement.to_owned()).await?;
            }
            Pool::Postgres(pool.clone())
        }
    };
    database.analyze().await?;
    for concurrency in [8, 64] {
        for handler in [Handler::Nothing, Handler::Takes(Duration::from_millis(5))] {
            compare(&pool, &inbox, &database, (form, concurrency, handler)).await?;
        }
    }
    if let Pool::Sqlite(pool) = pool {
        pool.close().await;
    }
    drop(inbox);
    database.drop().await
}

async fn compare(
    pool: &Pool,
    inbox: &Inbox,
    database: &Database,
    (form, concurrency, handler): (Form, usize, Handler),
) -> Result<()> {
    let (mut by_hand, mut by_worker) = (Vec::new(), Vec::new());
    let events = match handler {
        Handler::Nothing => WAITING / 2,
        Handler::Takes(_) => WAITING / 8,
    };
    for round in 0..=ROUNDS {
        let time = by_hand::work(pool, concurrency, handler, events).await?;
        let (other, handled) = work(inbox, database, form, concurrency, handler, events).await?;
        database.run(REFILL.to_owned()).await?;
        database.fill(handled, "waiting", Resources::Each).await?;
        // The first round fills caches.
        if round > 0 {
            by_hand.push(time);
            by_worker.push(other);
        }
    }
    println!(
        "  {concurrency} at a time, {handler:?}: {:.2}   ({} and {} events/s)",
        Spread::ratios(&by_hand, &by_worker),
        Spread::rates(&by_worker),
        Spread::rates(&by_hand),
    );
    Ok(())
}

/// Lets a worker handle this many events; returns the time for each, and how many it has handled.
async fn work(
    inbox: &Inbox,
    database: &Database,
    form: Form,
    concurrency: usize,
    handler: Handler,
    events: usize,
) -> Result<(f64, usize)> {
    let handled = Arc::new(AtomicUsize::new(0));
    let (enough, stop) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let stopped = stop.clone();
    inbox
        .set_order(if form == Form::InOrder {
            EventOrder::ByResource
        } else {
            EventOrder::AsDue
        })
        .await?;
    let worker = inbox
        .worker()
        .concurrency(concurrency)
        .graceful_shutdown(async move { stopped.notified().await });
    let count = {
        let (handled, enough) = (handled.clone(), enough.clone());
        move || {
            if handled.fetch_add(1, Ordering::Relaxed) + 1 == events {
                enough.notify_one();
            }
        }
    };
    let count = Arc::new(count);
    let begin = Instant::now();
    let run = async {
        match (form, database) {
            (Form::InTransactions, Database::Postgres { .. }) => {
                let run = worker.run_in_postgres_transaction(move |_, _, _| {
                    let count = count.clone();
                    Box::pin(async move {
                        handler.handle().await;
                        count();
                        Ok(())
                    })
                });
                run.await.map_err(Into::into)
            }
            (Form::InTransactions, Database::Sqlite(_)) => {
                let run = worker.run_in_sqlite_transaction(move |_, _, _| {
                    let count = count.clone();
                    Box::pin(async move {
                        handler.handle().await;
                        count();
                        Ok(())
                    })
                });
                run.await.map_err(Into::into)
            }
            _ => {
                worker
                    .run(move |_, _| {
                        let count = count.clone();
                        async move {
                            handler.handle().await;
                            count();
                            Ok::<(), Failure>(())
                        }
                    })
                    .await;
                Result::Ok(())
            }
        }
    };
    let stops = async {
        enough.notified().await;
        let time = begin.elapsed();
        stop.notify_one();
        time
    };
    let (ran, time) = tokio::join!(run, stops);
    ran?;
    Ok((
        time.as_secs_f64() / events as f64,
        handled.load(Ordering::Relaxed),
    ))
}
