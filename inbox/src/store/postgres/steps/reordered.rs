//! A turn whose order is changed after it has read it, and before it has the lock.

use sqlx::Executor as _;

use super::*;
use crate::store::postgres::PostgresStore;
use crate::store::postgres::scratch::Scratch;

const FILL: &str = "INSERT INTO ptolemy_inbox
        (dedup_key, received_at, run_at, written_at, body, resource, resource_id)
    SELECT 'key' || n, now(), now(), now(), '', 'market', 'm' FROM generate_series(1, 2) AS n";

/// Returns how many events are claimed and marked.
async fn act(store: &PostgresStore, order: EventOrder) -> (usize, i64) {
    let mut tx = store.pool.begin().await.unwrap();
    let mut steps = PostgresSteps::new(&mut tx, true, Floors::NONE, None);
    steps.order = order;
    steps.mark(&[(2, 1)]).await.unwrap();
    let terms = Terms {
        lease: Duration::from_secs(30),
        worker: WorkerId::of(1, 0),
        group: None,
        begin: 1,
    };
    let claims = steps.claim(&[1], terms).await.unwrap();
    let marked = "SELECT count(*) FROM ptolemy_inbox WHERE waits_for IS NOT NULL";
    let marked = sqlx::query_scalar(marked).fetch_one(&mut *tx).await;
    (claims.len(), marked.unwrap())
}

#[tokio::test]
#[ignore = "needs postgres"]
async fn a_turn_does_nothing_by_an_order_that_has_changed_since_it_was_read() {
    let database = Scratch::create("reordered").await;
    let store = PostgresStore::connect(&database.url).await.unwrap();
    store.pool.execute(FILL).await.unwrap();
    let (as_due, by_resource) = (EventOrder::AsDue, EventOrder::ByResource);
    // It was never set.
    assert_eq!(act(&store, as_due).await, (1, 1));
    assert_eq!(act(&store, by_resource).await, (0, 0));
    for (stored, other) in [(by_resource, as_due), (as_due, by_resource)] {
        let _before = store.write_order(stored).await.unwrap();
        assert_eq!(act(&store, stored).await, (1, 1));
        assert_eq!(act(&store, other).await, (0, 0));
    }
    store.close().await;
    database.remove().await;
}
