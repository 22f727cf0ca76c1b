//! How PostgreSQL runs the statements that compare an inbox with the spool, both of any size.
//!
//! `CATCH_UP_ROWS` says how many rows each has; 50,000 unless set. The times are printed.

use std::env;

use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

use super::*;
use crate::store::catch_up::compare::compare;
use crate::store::postgres::scratch::Scratch;

/// Every second entry is in the inbox.
async fn fill(store: &PostgresStore, rows: u32) {
    for sql in [
        "INSERT INTO ptolemy_inbox (dedup_key, event_id, received_at, run_at, written_at, body)
         SELECT 'key' || n, 'e' || n * 2, now(), now(), now(), convert_to(repeat(n::text, 30), 'UTF8')
         FROM generate_series(1, $1) AS n",
        "INSERT INTO ptolemy_inbox_catch_up_event
             (webhook_id, key, event_id, delivery_id, delivered_at, state)
         SELECT 'w', 'event:e' || n, 'e' || n, 'd' || n, now(), 'open'
         FROM generate_series(1, $1) AS n",
    ] {
        let fill = sqlx::query(AssertSqlSafe(sql.to_owned()));
        let fill = fill.bind(i32::try_from(rows).unwrap());
        fill.execute(&store.pool).await.unwrap();
    }
}

/// The plans of the statements that compare, by their names.
async fn plans(store: &PostgresStore) -> Vec<(&'static str, String)> {
    let mut connection = store.pool.acquire().await.unwrap();
    let mut plans = Vec::new();
    for (name, sql) in [
        ("mark", MARK_HERE),
        ("step", STEP),
        ("ends", ENDS),
        ("take", TAKE),
    ] {
        let mut tx = connection.begin().await.unwrap();
        if name != "ends" {
            use_indexes(&mut tx).await.unwrap();
        }
        let sql = AssertSqlSafe(format!("EXPLAIN {sql}"));
        let explain = sqlx::query_scalar::<_, String>(sql).persistent(false);
        let explain = match name {
            "mark" => explain
                .bind("w")
                .bind(1_000_i64)
                .bind(1_000 + ROWS_PER_STEP)
                .bind(None::<String>),
            "step" => explain
                .bind(1_000_i64)
                .bind(40_000_i64)
                .bind(ROWS_PER_STEP - 1),
            "take" => explain.bind("w").bind(MAX_TRIES).bind(8_i64),
            _ => explain,
        };
        let lines = explain.fetch_all(&mut *tx).await.unwrap();
        plans.push((name, lines.join("\n")));
        tx.rollback().await.unwrap();
    }
    plans
}

#[tokio::test]
#[ignore = "needs postgres"]
async fn an_inbox_is_compared_by_indexes_alone() {
    let rows: u32 = env::var("CATCH_UP_ROWS").map_or(50_000, |rows| rows.parse().unwrap());
    let database = Scratch::create("plans").await;
    let store = PostgresStore::connect(&database.url).await.unwrap();
    fill(&store, rows).await;
    // With and without what is known of the tables.
    for analyze in [false, true] {
        if analyze {
            store.pool.execute("ANALYZE").await.unwrap();
        }
        for (name, plan) in plans(&store).await {
            if rows > 50_000 {
                println!("{name}:\n{plan}");
            }
            assert!(!plan.contains("Seq Scan"), "{name}, {analyze}:\n{plan}");
            let index = match name {
                "mark" => "ptolemy_inbox_catch_up_event_pkey",
                "take" => "ptolemy_inbox_catch_up_open",
                _ => "ptolemy_inbox_pkey",
            };
            assert!(plan.contains(index), "{name}, {analyze}:\n{plan}");
            // Nothing is sorted: rows and entries are read in the order of an index.
            assert!(!plan.contains("Sort"), "{name}, {analyze}:\n{plan}");
        }
    }
    compare(&store, rows.into()).await;
    store.pool.close().await;
    database.remove().await;
}
