//! How PostgreSQL reads the events in order.

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use super::*;
use crate::store::postgres::PostgresStore;
use crate::store::postgres::scratch::Scratch;

/// Many waiting events with small bodies, so that reading the table costs little, a few of which
/// run or were released.
const FILL: &str = "INSERT INTO ptolemy_inbox
        (dedup_key, received_at, run_at, written_at, body, state, resource, resource_id, started_at,
         released_at)
    SELECT 'key' || n, now(), now(), now(), '', CASE WHEN n <= 9 THEN 'running' ELSE 'waiting' END,
           'market', n, CASE WHEN n <= 9 THEN now() END, CASE WHEN n BETWEEN 10 AND 19 THEN now() END
    FROM generate_series(1, 20000) AS n";

/// Plans for values that are not known yet, which sessions keep after a few calls.
#[tokio::test]
#[ignore = "needs postgres"]
async fn no_look_reads_the_table() {
    let database = Scratch::create("looks").await;
    let store = PostgresStore::connect(&database.url).await.unwrap();
    store.pool.execute(FILL).await.unwrap();
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    let prepare = format!(
        "SET plan_cache_mode = force_generic_plan;
         PREPARE page (timestamptz, timestamptz, timestamptz, bigint, bigint, text, timestamptz,
                       bigint, timestamptz) AS {PAGE};
         PREPARE aside (timestamptz, timestamptz, text, text, bigint) AS {ASIDE}"
    );
    let prepare = sqlx::raw_sql(AssertSqlSafe(prepare));
    prepare.execute(&mut connection).await.unwrap();
    for before in ["SELECT", "ANALYZE", "VACUUM"] {
        connection.execute(before).await.unwrap();
        for (look, indexes) in [
            (
                "page ('epoch', 'epoch', 'epoch', 0, 72, 'first', 'epoch', 0, 'epoch')",
                &["ready", "released", "running", "order"][..],
            ),
            (
                "aside ('epoch', 'epoch', '', '', 128)",
                &["order", "running"],
            ),
        ] {
            let explain = AssertSqlSafe(format!("EXPLAIN EXECUTE {look}"));
            let plan = sqlx::query_scalar::<_, String>(explain).fetch_all(&mut connection);
            let plan = plan.await.unwrap().join("\n");
            for index in indexes {
                assert!(
                    plan.contains(&format!("ptolemy_inbox_{index}")),
                    "{before}:\n{plan}"
                );
            }
            assert!(!plan.contains("Seq Scan"), "{before}:\n{plan}");
        }
    }
    store.close().await;
    connection.close().await.unwrap();
    database.remove().await;
}
