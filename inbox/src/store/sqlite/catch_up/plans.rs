//! How SQLite runs the statements that compare an inbox with the spool, both of any size.
//!
//! `CATCH_UP_ROWS` says how many rows each has; 2,000 unless set. The times are printed.

use sqlx::{AssertSqlSafe, Row as _};

use super::*;
use crate::store::catch_up::compare::compare;

/// Every second entry is in the inbox.
async fn fill(store: &SqliteStore, rows: u32) {
    for sql in [
        "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?1)
         INSERT INTO ptolemy_inbox (dedup_key, event_id, received_at, run_at, written_at, body)
         SELECT 'key' || n, 'e' || (n * 2), '2026-04-15T09:30:00.000Z', '2026-04-15T09:30:00.000Z',
                '2026-04-15T09:30:00.000Z', randomblob(200)
         FROM numbers",
        "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?1)
         INSERT INTO ptolemy_inbox_catch_up_event
             (webhook_id, key, event_id, delivery_id, delivered_at, state)
         SELECT 'w', 'event:e' || n, 'e' || n, 'd' || n, '2026-04-15T09:30:00.000Z', 'open'
         FROM numbers",
    ] {
        let fill = sqlx::query(AssertSqlSafe(sql.to_owned())).bind(rows);
        fill.execute(&store.pool).await.unwrap();
    }
}

async fn plan(store: &SqliteStore, sql: &str) -> Vec<String> {
    let sql = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
    let rows = sqlx::query(sql).fetch_all(&store.pool).await.unwrap();
    rows.iter().map(|row| row.get("detail")).collect()
}

#[tokio::test]
async fn an_inbox_is_compared_by_indexes_alone() {
    let rows: u32 = std::env::var("CATCH_UP_ROWS").map_or(2_000, |rows| rows.parse().unwrap());
    let name = format!("ptolemy-plans-{}.db", std::process::id());
    let file = std::env::temp_dir().join(name);
    let url = format!("sqlite://{}", file.display());
    let store = SqliteStore::connect(&url).await.unwrap();
    fill(&store, rows).await;
    for (sql, index) in [
        (FIND_HERE, "SEARCH entry USING INDEX"),
        (STEP, "USING INTEGER PRIMARY KEY"),
        (ENDS, "SEARCH ptolemy_inbox"),
        (TAKE, "ptolemy_inbox_catch_up_open"),
    ] {
        // With and without what is known of the tables' sizes.
        for _ in 0..2 {
            let plan = plan(&store, sql).await;
            let is_scan = |line: &String| {
                line.starts_with("SCAN ptolemy")
                    || line.starts_with("SCAN inbox")
                    || line.starts_with("SCAN entry")
                    || line.contains("TEMP B-TREE")
            };
            assert!(!plan.iter().any(is_scan), "{sql}\n{plan:#?}");
            assert!(plan.iter().any(|line| line.contains(index)), "{plan:#?}");
            sqlx::raw_sql("ANALYZE").execute(&store.pool).await.unwrap();
        }
    }
    compare(&store, rows.into()).await;
    drop(store);
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{end}", file.display()));
    }
}
