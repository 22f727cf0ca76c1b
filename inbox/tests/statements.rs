//! How SQLite runs each statement of the inbox: with an index, also after `ANALYZE`. A user,
//! or a tool of the host, may run it at any time, and its figures make SQLite prefer other plans.
//!
//! In a separate binary, since it captures all statements of the process.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use ptolemy_webhooks_inbox::{EventOrder, Failure, Inbox, sqlx};
use sqlx::sqlite::SqlitePool;
use sqlx::{AssertSqlSafe, Row as _};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

// Shared with the suite, which needs more of them.
#[allow(dead_code, unused_imports, unused_macros)]
#[path = "suite/database.rs"]
mod database;
#[allow(dead_code)]
#[path = "suite/delivery.rs"]
mod delivery;

use database::Database;

static STATEMENTS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Takes what the driver logs to [`STATEMENTS`].
struct Statements;

/// The statement, which is in `summary` if it is short.
#[derive(Default)]
struct Statement {
    summary: String,
    statement: String,
}

impl Visit for Statement {
    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "summary" => value.clone_into(&mut self.summary),
            "db.statement" => value.clone_into(&mut self.statement),
            _ => {}
        }
    }
}

impl<S: Subscriber> Layer<S> for Statements {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() != "sqlx::query" {
            return;
        }
        let mut seen = Statement::default();
        event.record(&mut seen);
        let sql = match seen.statement.is_empty() {
            true => seen.summary,
            false => seen.statement,
        };
        let parts = sql.split(';').map(str::trim);
        let parts = parts.filter(|part| part.contains("ptolemy_inbox"));
        STATEMENTS.lock().unwrap().extend(parts.map(str::to_owned));
    }
}

/// The states of the rows when the table was analyzed.
const SEEN: [&[&str]; 4] = [
    &[],
    &["waiting"],
    &["done"],
    &["dead", "running", "waiting"],
];

async fn fill(database: &Database, state: &str) {
    let time = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-1 hour')";
    let finished = match state {
        "done" | "dead" => time,
        _ => "NULL",
    };
    let lease = match state {
        "running" => "strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '1 hour')",
        _ => "NULL",
    };
    let fill = format!(
        "INSERT INTO ptolemy_inbox
             (dedup_key, state, event_type, event_id, resource, resource_id, received_at, run_at,
              written_at, finished_at, renewed_at, lease_until, lease_token, body)
         WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 2000)
         SELECT '{state}' || n, '{state}', 'market.updated', 'e' || n, 'market', n, {time}, {time},
                {time}, {finished}, {lease}, {lease}, 1,
                CAST('{{\"id\":\"' || n || '\",\"event_type\":\"market.updated\",\"data\":{{}}}}' AS BLOB)
         FROM numbers"
    );
    database.execute(&fill).await;
}

/// Uses all operations of an inbox.
async fn use_it(inbox: &Inbox, database: &Database) {
    for order in [EventOrder::AsDue, EventOrder::ByResource] {
        inbox.set_order(order).await.unwrap();
        for number in 0..40 {
            let id = format!("{order:?}{number}");
            let delivery = delivery::change(&id, &format!("of {}", number % 3));
            inbox.accept(&delivery).await.unwrap();
            inbox.accept(&delivery).await.unwrap();
        }
        let fail = |_, _| async { Err::<(), _>(Failure::permanent("no")) };
        let worker = inbox.worker().concurrency(8);
        let some = tokio::time::timeout(Duration::from_millis(300), worker.run(fail));
        assert!(some.await.is_err());
        let worker = inbox.worker().concurrency(8);
        let run = worker.run_in_sqlite_transaction(|_, _, _| Box::pin(async { Ok(()) }));
        let some = tokio::time::timeout(Duration::from_millis(300), run);
        assert!(some.await.is_err());
    }
    let later = |_, _| async { Err::<(), _>(Failure::retry_in(Duration::from_secs(60), "later")) };
    let some = tokio::time::timeout(Duration::from_millis(300), inbox.worker().run(later));
    assert!(some.await.is_err());
    // A worker that has died, and a suspect.
    database
        .execute("UPDATE ptolemy_inbox SET lease_until = '2026' WHERE state = 'running'")
        .await;
    let worker = inbox.worker().lease(Duration::from_secs(1));
    let fail = |_, _| async { Err::<(), _>(Failure::permanent("no")) };
    let some = tokio::time::timeout(Duration::from_secs(3), worker.run(fail));
    assert!(some.await.is_err());
    let _ = inbox.stats().await.unwrap();
    let dead = inbox.dead_letters();
    let page = dead.page(None, 10).await.unwrap();
    assert!(dead.body(page[0].id).await.unwrap().is_some());
    assert!(dead.replay(page[0].id).await.unwrap());
    assert!(dead.discard(page[1].id).await.unwrap());
    assert!(inbox.prune(Duration::from_secs(1)).await.unwrap() > 0);
    inbox.ready().await.unwrap();
}

/// What may be read from its beginning to its end: a few rows, what runs, dead events that
/// are counted, or what the statement made itself.
const SMALL: [&str; 11] = [
    "CONSTANT ROW",
    "(subquery",
    "front",
    "later",
    "ptolemy_inbox USING COVERING INDEX ptolemy_inbox_dead",
    "ptolemy_inbox USING COVERING INDEX ptolemy_inbox_running",
    "ptolemy_inbox USING INDEX ptolemy_inbox_malformed",
    "ptolemy_inbox USING INDEX ptolemy_inbox_running",
    "ptolemy_inbox_migrations",
    "ptolemy_inbox_settings",
    "sqlite_schema",
];

/// Returns the steps of the plan that read a large table as a whole.
async fn scans(pool: &SqlitePool, statement: &str) -> Vec<String> {
    let explain = format!("EXPLAIN QUERY PLAN {statement}");
    let plan = sqlx::query(AssertSqlSafe(explain)).fetch_all(pool).await;
    let plan = plan.unwrap_or_else(|error| panic!("{error}: {statement}"));
    let steps = plan.iter().map(|row| row.get::<String, _>("detail"));
    let is_large = |step: &String| {
        let table = step.strip_prefix("SCAN ");
        table.is_some_and(|table| !SMALL.iter().any(|small| table.starts_with(small)))
    };
    // One of these ends after its first row.
    let first_rows = statement.matches("ORDER BY id DESC LIMIT 1").count()
        + statement
            .matches("ORDER BY finished_at DESC LIMIT 1")
            .count();
    steps.filter(is_large).skip(first_rows).collect()
}

/// Whether it can be explained, and is not one of this test's own.
fn is_of_the_inbox(statement: &str) -> bool {
    let verb = statement.split_whitespace().next().unwrap();
    let mine = ["numbers (n)", "lease_until = '2026'"];
    ["SELECT", "UPDATE", "DELETE", "INSERT", "WITH"].contains(&verb)
        && !mine.iter().any(|mine| statement.contains(mine))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_statement_on_sqlite_reads_a_whole_table_whatever_analyze_has_seen() {
    tracing_subscriber::registry().with(Statements).init();
    for seen in SEEN {
        let database = Database::sqlite().await;
        let inbox = database.inbox().await;
        for state in seen {
            fill(&database, state).await;
        }
        if !seen.is_empty() {
            database.execute("ANALYZE").await;
        }
        for state in ["waiting", "done", "running"] {
            if !seen.contains(&state) {
                fill(&database, state).await;
            }
        }
        // With the plans that these figures lead to.
        inbox.close().await;
        let inbox = database.inbox().await;
        use_it(&inbox, &database).await;

        let Database::Sqlite { pool, .. } = &database else {
            unreachable!()
        };
        let statements = STATEMENTS.lock().unwrap().clone();
        let mut explained = 0;
        for statement in statements.iter().filter(|one| is_of_the_inbox(one)) {
            let scans = scans(pool, statement).await;
            assert!(
                scans.is_empty(),
                "analyzed: {seen:?}: {scans:?}\n{statement}"
            );
            explained += 1;
        }
        assert!(explained > 25, "{explained}");
    }
}
