//! `Inbox::ready` says whether an accept would succeed, and leaves nothing behind.

use std::time::Duration;

use ptolemy_webhooks_inbox::{Accepted, Inbox, InboxErrorKind, sqlx};
use sqlx::Executor as _;
use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions};

use crate::database::{Database, on_both_engines};
use crate::delivery;

on_both_engines! {
    an_inbox_that_works_is_ready_and_stays_empty
    an_inbox_whose_table_is_gone_or_whose_disk_is_full_is_not_ready
    an_inbox_that_may_only_be_read_is_not_ready
    an_inbox_whose_pool_is_closed_is_not_ready
    a_backlog_does_not_matter
}

async fn an_inbox_that_works_is_ready_and_stays_empty(database: &Database) {
    let inbox = database.inbox().await;
    let asked = (0..8).map(|_| {
        let inbox = inbox.clone();
        tokio::spawn(async move { inbox.ready().await })
    });
    for ready in asked.collect::<Vec<_>>() {
        ready.await.unwrap().unwrap();
    }
    assert_eq!(database.states().await.len(), 0);
    let accepted = inbox.accept(&delivery::event("e")).await;
    assert_eq!(accepted.unwrap(), Accepted::New);
    inbox.ready().await.unwrap();
    assert_eq!(database.states().await, ["waiting"]);
}

/// On PostgreSQL a trigger stands for a full disk: the server answers with that code.
async fn an_inbox_whose_table_is_gone_or_whose_disk_is_full_is_not_ready(database: &Database) {
    let inbox = database.inbox().await;
    let full = match database {
        Database::Sqlite { file, .. } => {
            let pages = database
                .number("SELECT page_count FROM pragma_page_count")
                .await;
            let options = SqliteConnectOptions::new()
                .filename(file)
                .pragma("max_page_count", (pages + 2).to_string());
            let pool = SqlitePoolOptions::new()
                .connect_with(options)
                .await
                .unwrap();
            Inbox::from_sqlite_pool(pool).await.unwrap()
        }
        Database::Postgres { .. } => {
            let fail = "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
                            $$BEGIN RAISE EXCEPTION SQLSTATE '53100'; END$$;
                        CREATE TRIGGER full_disk BEFORE INSERT ON ptolemy_inbox
                            FOR EACH ROW EXECUTE FUNCTION full_disk()";
            database.execute(fail).await;
            inbox.clone()
        }
    };
    let error = full.ready().await.unwrap_err();
    assert_eq!(error.kind(), InboxErrorKind::Unavailable, "{error:?}");
    assert_eq!(error.status(), 503);
    if !database.is_sqlite() {
        database
            .execute("DROP TRIGGER full_disk ON ptolemy_inbox")
            .await;
    }
    inbox.ready().await.unwrap();
    database
        .execute("ALTER TABLE ptolemy_inbox RENAME TO away")
        .await;
    inbox.ready().await.unwrap_err();
    database
        .execute("ALTER TABLE away RENAME TO ptolemy_inbox")
        .await;
    inbox.ready().await.unwrap();
    assert_eq!(database.states().await.len(), 0);
}

async fn an_inbox_that_may_only_be_read_is_not_ready(database: &Database) {
    drop(database.inbox().await);
    let inbox = match database {
        Database::Sqlite { file, .. } => {
            let options = SqliteConnectOptions::new().filename(file);
            let pool = SqlitePoolOptions::new().max_connections(1);
            let pool = pool.connect_with(options).await.unwrap();
            let inbox = Inbox::from_sqlite_pool(pool.clone()).await.unwrap();
            inbox.ready().await.unwrap();
            pool.execute("PRAGMA query_only = ON").await.unwrap();
            inbox
        }
        Database::Postgres { url, .. } => {
            let inbox = database.inbox().await;
            inbox.ready().await.unwrap();
            let (_, name) = url.rsplit_once('/').unwrap();
            let set = format!("ALTER DATABASE {name} SET default_transaction_read_only = on");
            database.execute(&set).await;
            // Sessions begin with the setting.
            let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                       WHERE datname = current_database() AND pid <> pg_backend_pid()";
            database.execute(end).await;
            inbox
        }
    };
    let error = inbox.ready().await.unwrap_err();
    assert_eq!(error.kind(), InboxErrorKind::Unavailable, "{error:?}");
    assert_eq!(error.status(), 503);
}

async fn an_inbox_whose_pool_is_closed_is_not_ready(database: &Database) {
    drop(database.inbox().await);
    let inbox = match database {
        Database::Sqlite { file, .. } => {
            let options = SqliteConnectOptions::new().filename(file);
            let pool = SqlitePool::connect_with(options).await.unwrap();
            let inbox = Inbox::from_sqlite_pool(pool.clone()).await.unwrap();
            inbox.ready().await.unwrap();
            pool.close().await;
            inbox
        }
        Database::Postgres { url, .. } => {
            let pool = PgPoolOptions::new().connect(url).await.unwrap();
            let inbox = Inbox::from_postgres_pool(pool.clone()).await.unwrap();
            inbox.ready().await.unwrap();
            pool.close().await;
            inbox
        }
    };
    let error = inbox.ready().await.unwrap_err();
    assert_eq!(error.kind(), InboxErrorKind::Unavailable, "{error:?}");
}

async fn a_backlog_does_not_matter(database: &Database) {
    let inbox = database.inbox().await;
    for number in 0..100 {
        let event = delivery::event(&number.to_string());
        inbox.accept(&event).await.unwrap();
    }
    inbox.ready().await.unwrap();
    assert_eq!(database.states().await.len(), 100);
}

/// Its limit is that of an accept.
#[tokio::test]
async fn an_inbox_whose_database_is_locked_is_not_ready_in_time() {
    let database = Database::sqlite().await;
    let limit = Duration::from_millis(200);
    let inbox = database.inbox().await.with_accept_timeout(limit);
    let Database::Sqlite { pool, .. } = &database else {
        unreachable!()
    };
    let lock = pool.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let error = inbox.ready().await.unwrap_err();
    let timed_out = matches!(error.kind(), InboxErrorKind::TimedOut { .. });
    assert!(timed_out, "{error:?}");
    drop(lock);
    let inbox = inbox.with_accept_timeout(Duration::from_secs(30));
    inbox.ready().await.unwrap();
}
