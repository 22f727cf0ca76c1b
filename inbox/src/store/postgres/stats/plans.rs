//! How PostgreSQL counts.

use sqlx::{AssertSqlSafe, Executor as _, PgConnection};

use super::*;
use crate::store::postgres::scratch::Scratch;

/// Waiting, retrying and postponed events beside many that are done.
const FILL: &str = "INSERT INTO ptolemy_inbox
        (dedup_key, received_at, run_at, written_at, body, state, queue, postponed, finished_at)
    SELECT 'key' || n, now(), now() + CASE n % 4 WHEN 1 THEN interval '0' ELSE interval '1 h' END,
           now(), convert_to(repeat('x', 300), 'UTF8'),
           CASE n % 4 WHEN 0 THEN 'done' ELSE 'waiting' END,
           CASE n % 4 WHEN 1 THEN 'first' ELSE 'again' END, n % 4 = 3,
           CASE n % 4 WHEN 0 THEN now() END
    FROM generate_series(1, 20000) AS n";

async fn plan(tx: &mut PgConnection, sql: &str) -> String {
    let sql = AssertSqlSafe(format!("EXPLAIN {sql}"));
    let explain = sqlx::query_scalar::<_, String>(sql).persistent(false);
    explain.fetch_all(tx).await.unwrap().join("\n")
}

#[tokio::test]
#[ignore = "needs postgres"]
async fn events_are_counted_by_indexes_and_rows_are_read_once_by_page() {
    let database = Scratch::create("counts").await;
    let store = PostgresStore::connect(&database.url).await.unwrap();
    store.pool.execute(FILL).await.unwrap();
    // With and without statistics of the table; a vacuum sets the visibility map too.
    for before in ["SELECT", "ANALYZE", "VACUUM"] {
        store.pool.execute(before).await.unwrap();
        let mut tx = store.pool.begin_with(BEGIN_COUNT).await.unwrap();
        for sql in [COUNTS, OLDEST] {
            let plan = plan(&mut tx, sql).await;
            assert!(!plan.contains("Seq Scan"), "{before}:\n{plan}");
            assert!(plan.contains("ptolemy_inbox_ready"), "{before}:\n{plan}");
        }
        read_by_page(&mut tx).await.unwrap();
        let plan = plan(&mut tx, LATER).await;
        let pages = plan.matches("Bitmap Heap Scan on ptolemy_inbox").count();
        assert_eq!(pages, 1, "{before}:\n{plan}");
        assert!(plan.contains("ptolemy_inbox_ready"), "{before}:\n{plan}");
        assert!(!plan.contains("Seq Scan"), "{before}:\n{plan}");
        tx.rollback().await.unwrap();
        let stats = store.count().await.unwrap();
        let counts = (stats.due, stats.retrying, stats.postponed);
        assert_eq!(counts, (5_000, 5_000, 5_000), "{before}");
    }
    store.pool.close().await;
    database.remove().await;
}
