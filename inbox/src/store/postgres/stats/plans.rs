//! How PostgreSQL counts.

use std::env;

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use super::*;

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
    let server = env::var("PTOLEMY_INBOX_POSTGRES_URL").unwrap();
    let name = format!("ptolemy_counts_{}", std::process::id());
    let mut connection = PgConnection::connect(&server).await.unwrap();
    let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
    connection.execute(create).await.unwrap();
    let (base, _) = server.rsplit_once('/').unwrap();
    let store = PostgresStore::connect(&format!("{base}/{name}"))
        .await
        .unwrap();
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
    let drop = AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"));
    connection.execute(drop).await.unwrap();
}
