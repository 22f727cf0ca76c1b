//! The functions that begin and end a handler's transaction on PostgreSQL: found in every schema,
//! made again if they are missing, and planned for large tables.

use std::str::FromStr as _;
use std::time::Duration;

use ptolemy_webhooks_inbox::{BoxFuture, Failure, Inbox, sqlx};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{Connection as _, Executor as _, Row as _};

use crate::database::Database;
use crate::delivery;
use crate::logged::Logged;

/// A pool whose connections search these schemas.
async fn pool(database: &Database, schemas: &str) -> PgPool {
    let options = PgConnectOptions::from_str(&database.url()).unwrap();
    let options = options.options([("search_path", schemas)]);
    let pool = PgPoolOptions::new().max_connections(4);
    pool.connect_with(options).await.unwrap()
}

/// Accepts an event, and handles it in a transaction with this statement.
async fn handle(inbox: &Inbox, id: &str, statement: &'static str) {
    inbox.accept(&delivery::event(id)).await.unwrap();
    let worker = inbox.worker().max_attempts(1);
    let handled = worker.run_in_postgres_transaction_until_idle(move |_, _, tx| {
        let handled: BoxFuture<'_, Result<(), Failure>> = Box::pin(async move {
            sqlx::raw_sql(statement).execute(tx).await?;
            Ok(())
        });
        handled
    });
    // An event whose transaction cannot begin is given back for ever.
    let ended = tokio::time::timeout(Duration::from_secs(30), handled).await;
    ended.expect("it is handled").unwrap();
}

/// The number and the token of its event are those of a running one in the other schema.
#[tokio::test]
#[ignore = "needs postgres"]
async fn a_handler_that_searches_other_schemas_ends_its_own_event() {
    let database = Database::postgres().await;
    database.execute("CREATE SCHEMA a; CREATE SCHEMA b").await;
    let (a, b) = (pool(&database, "a").await, pool(&database, "b").await);
    let a = Inbox::from_postgres_pool(a).await.unwrap();
    let b = Inbox::from_postgres_pool(b).await.unwrap();
    b.accept(&delivery::event("of b")).await.unwrap();
    let running = "UPDATE b.ptolemy_inbox
                   SET state = 'running', attempts = 1, lease_token = 1,
                       lease_until = now() + interval '1 hour'";
    database.execute(running).await;
    handle(&a, "of a", "SET LOCAL search_path = b").await;
    let state = "SELECT state FROM a.ptolemy_inbox UNION ALL SELECT state FROM b.ptolemy_inbox";
    assert_eq!(database.texts(state).await, ["done", "running"]);
    let same = "SELECT count(*) FROM a.ptolemy_inbox AS a JOIN b.ptolemy_inbox AS b USING (id)
                WHERE a.lease_token = 1 AND b.lease_token = 1";
    assert_eq!(database.number(same).await, 1);
}

#[tokio::test]
#[ignore = "needs postgres"]
async fn a_function_with_other_types_in_another_schema_is_not_called() {
    let database = Database::postgres().await;
    let other = "CREATE SCHEMA a;
                 CREATE FUNCTION public.ptolemy_inbox_begin(integer, integer) RETURNS void
                     LANGUAGE plpgsql AS 'BEGIN RAISE ''called''; END';
                 CREATE FUNCTION public.ptolemy_inbox_end(integer, integer) RETURNS void
                     LANGUAGE plpgsql AS 'BEGIN RAISE ''called''; END'";
    database.execute(other).await;
    let pool = pool(&database, "a, public").await;
    let inbox = Inbox::from_postgres_pool(pool).await.unwrap();
    handle(&inbox, "1", "SELECT").await;
    let state = database.texts("SELECT state FROM a.ptolemy_inbox").await;
    assert_eq!(state, ["done"]);
}

/// As after a dump of the tables alone, or of the functions alone, was restored, or after the
/// schema was renamed.
#[tokio::test]
#[ignore = "needs postgres"]
async fn what_is_missing_is_made_again() {
    let database = Database::postgres().await;
    database.execute("CREATE SCHEMA a").await;
    let inbox = Inbox::from_postgres_pool(pool(&database, "a").await);
    handle(&inbox.await.unwrap(), "1", "SELECT").await;
    for (id, (broken, schemas)) in [
        ("DROP FUNCTION a.ptolemy_inbox_begin", "a"),
        ("DROP FUNCTION a.ptolemy_inbox_end", "a"),
        // The tables are found in the second schema.
        ("CREATE SCHEMA b; DROP FUNCTION a.ptolemy_inbox_end", "b, a"),
        ("ALTER SCHEMA a RENAME TO \"C d\"", "\"C d\""),
    ]
    .into_iter()
    .enumerate()
    {
        database.execute(broken).await;
        let inbox = Inbox::from_postgres_pool(pool(&database, schemas).await);
        handle(&inbox.await.unwrap(), &format!("after {id}"), "SELECT").await;
        let schema = schemas.rsplit(", ").next().unwrap();
        let done = format!("SELECT count(*) FROM {schema}.ptolemy_inbox WHERE state = 'done'");
        let events = i64::try_from(id).unwrap() + 2;
        assert_eq!(database.number(&done).await, events, "{broken}");
        // And no second inbox in a schema that comes before that of the tables.
        let tables = "SELECT count(*) FROM pg_class WHERE relname = 'ptolemy_inbox_migrations'";
        assert_eq!(database.number(tables).await, 1, "{broken}");
    }
    let tables = "DROP TABLE \"C d\".ptolemy_inbox, \"C d\".ptolemy_inbox_settings,
                  \"C d\".ptolemy_inbox_catch_up, \"C d\".ptolemy_inbox_catch_up_event,
                  \"C d\".ptolemy_inbox_migrations";
    database.execute(tables).await;
    let inbox = Inbox::from_postgres_pool(pool(&database, "\"C d\"").await);
    handle(&inbox.await.unwrap(), "again", "SELECT").await;
    let state = database.texts("SELECT state FROM \"C d\".ptolemy_inbox");
    assert_eq!(state.await, ["done"]);
}

/// A path that is not set by a statement may have names that a statement would quote.
#[tokio::test]
#[ignore = "needs postgres"]
async fn a_schema_may_have_any_name() {
    let database = Database::postgres().await;
    for (schema, path) in [
        ("\"my-app\"", "my-app"),
        ("\"order\"", "order"),
        ("\"A, b\"\"c\"", "\"A, b\"\"c\""),
        ("\"$$\"", "$$"),
        ("\"{schema}\"", "{schema}"),
    ] {
        database.execute(&format!("CREATE SCHEMA {schema}")).await;
        let inbox = Inbox::from_postgres_pool(pool(&database, path).await);
        handle(&inbox.await.unwrap(), "1", "SELECT").await;
        let state = format!("SELECT state FROM {schema}.ptolemy_inbox");
        assert_eq!(database.texts(&state).await, ["done"], "{schema}");
    }
}

/// Only the tables were restored. Deliveries are accepted, and the warning names the error.
#[tokio::test]
#[ignore = "needs postgres"]
async fn a_role_that_may_not_create_them_accepts_without_them() {
    let (logged, _guard) = Logged::start();
    let database = Database::postgres().await;
    drop(database.inbox().await);
    let role = database.url().rsplit_once('/').unwrap().1.to_owned();
    let without = format!(
        "DROP FUNCTION ptolemy_inbox_begin; DROP FUNCTION ptolemy_inbox_end;
         REVOKE CREATE ON SCHEMA public FROM PUBLIC;
         CREATE ROLE {role} LOGIN;
         GRANT SELECT ON ptolemy_inbox_migrations TO {role};
         GRANT SELECT, INSERT, UPDATE, DELETE ON ptolemy_inbox TO {role};
         GRANT SELECT, UPDATE ON ptolemy_inbox_settings TO {role}"
    );
    database.execute(&without).await;
    let url = database.url().replace("//postgres@", &format!("//{role}@"));
    let inbox = Inbox::connect(&url).await.unwrap();
    inbox.accept(&delivery::event("e")).await.unwrap();
    let line = logged.line("the inbox's functions are missing or outdated");
    assert!(
        line.contains("WARN") && line.contains("permission denied"),
        "{line}"
    );
    // The owner creates them, and the role uses them.
    drop(database.inbox().await);
    handle(&inbox, "f", "SELECT").await;
    assert_eq!(database.states().await, ["done", "done"]);
    assert_eq!(logged.lines("functions").len(), 1);
}

/// The plans are made when the table has one page, which is cheaper to read than an index, and kept
/// when it has many.
#[tokio::test]
#[ignore = "needs postgres"]
async fn their_plans_do_not_read_the_table() {
    let database = Database::postgres().await;
    let inbox = database.inbox().await;
    for id in 0..12 {
        let delivery = delivery::event(&id.to_string());
        inbox.accept(&delivery).await.unwrap();
    }
    let running = "UPDATE ptolemy_inbox
                   SET state = 'running', attempts = 1, lease_token = 1,
                       lease_until = now() + interval '1 hour'";
    database.execute(running).await;
    database.execute("ANALYZE ptolemy_inbox").await;
    let mut connection = PgConnection::connect(&database.url()).await.unwrap();
    // Other statements read the table.
    let reads = "SELECT count(*) FROM ptolemy_inbox WHERE state = 'running'";
    for event in 1..=12 {
        let mut scanned = Vec::new();
        for statement in [
            "BEGIN",
            &format!("SELECT ptolemy_inbox_begin({event}, 1)"),
            &format!("SELECT ptolemy_inbox_end({event}, 1)"),
            reads,
        ] {
            let statement = sqlx::AssertSqlSafe(statement.to_owned());
            connection.execute(sqlx::raw_sql(statement)).await.unwrap();
            // It is reset at the end of some transactions.
            let scans = "SELECT pg_stat_get_xact_numscans('ptolemy_inbox'::regclass)";
            let row = connection.fetch_one(scans).await.unwrap();
            scanned.push(row.get::<i64, _>(0));
        }
        let before = scanned[0];
        assert_eq!(scanned, [before, before, before, before + 1], "{event}");
        connection.execute("COMMIT").await.unwrap();
    }
    let done = "SELECT count(*) FROM ptolemy_inbox WHERE state = 'done'";
    assert_eq!(database.number(done).await, 12);
}
