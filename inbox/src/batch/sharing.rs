//! The batcher over a store in memory, on paused time.

use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing_subscriber::filter::LevelFilter;

use super::*;
use crate::accepted::EventState;
use crate::arrival::Labels;
use crate::error::InboxErrorKind;
use crate::logged::Logged;
use crate::store::fake::{FakeStore, Fault, REJECTED_KEY};

type Answered = Result<Accepted, InboxErrorKind>;

const FAILED: Answered = Err(InboxErrorKind::Unavailable);

const LIMIT: Duration = Duration::from_secs(5);

fn arrival(key: &str, bytes: usize) -> Arrival {
    Arrival {
        key: key.to_owned(),
        source: None,
        labels: Labels::default(),
        body: Bytes::from(vec![b' '; bytes]),
    }
}

struct Fixture {
    store: Arc<FakeStore>,
    arrived: Arc<Notify>,
    batcher: Arc<Batcher>,
}

impl Fixture {
    fn new() -> Self {
        let (store, arrived) = (Arc::new(FakeStore::default()), Arc::new(Notify::new()));
        let batcher = Arc::new(Batcher::new(store.clone(), arrived.clone()));
        Self {
            store,
            arrived,
            batcher,
        }
    }

    /// Accepts deliveries at the same time; returns the answers in the same order.
    async fn accept_all(&self, arrivals: impl IntoIterator<Item = Arrival>) -> Vec<Answered> {
        let mut accepts = JoinSet::new();
        for (number, arrival) in arrivals.into_iter().enumerate() {
            let batcher = self.batcher.clone();
            accepts.spawn(async move { (number, batcher.accept(arrival, LIMIT).await) });
        }
        let mut answers = accepts.join_all().await;
        answers.sort_by_key(|(number, _)| *number);
        answers
            .into_iter()
            .map(|(_, answer)| kind(answer))
            .collect()
    }

    async fn accept(&self, key: &str) -> Answered {
        kind(self.batcher.accept(arrival(key, 2), LIMIT).await)
    }

    async fn was_notified(&self) -> bool {
        timeout(Duration::from_secs(1), self.arrived.notified())
            .await
            .is_ok()
    }
}

fn kind(answer: Answer) -> Answered {
    answer.map_err(|error| error.kind())
}

#[tokio::test(start_paused = true)]
async fn accepts_that_come_at_the_same_time_share_a_commit_of_256_rows() {
    for (accepts, commits) in [(1, vec![1]), (256, vec![256]), (600, vec![256, 256, 88])] {
        let it = Fixture::new();
        let arrivals = (0..accepts).map(|number| arrival(&number.to_string(), 2));
        let answers = it.accept_all(arrivals).await;
        assert!(answers.iter().all(|answer| *answer == Ok(Accepted::New)));
        assert_eq!(it.store.inserts(), commits);
        assert_eq!(it.store.rows().len(), accepts);
    }
}

#[tokio::test(start_paused = true)]
async fn a_commit_has_4_mib_of_bodies_at_most_unless_one_body_alone_is_longer() {
    const MIB: usize = 1024 * 1024;
    for (bodies, commits) in [
        (&[MIB; 4][..], &[4][..]),
        (&[4 * MIB, 1], &[1, 1]),
        (&[MIB, 3 * MIB, 1, 2], &[2, 2]),
        (&[5 * MIB, 5 * MIB], &[1, 1]),
    ] {
        let it = Fixture::new();
        let arrivals = (0..).zip(bodies);
        let arrivals =
            arrivals.map(|(number, bytes): (u32, _)| arrival(&number.to_string(), *bytes));
        let answers = it.accept_all(arrivals).await;
        assert!(answers.iter().all(|answer| *answer == Ok(Accepted::New)));
        assert_eq!(it.store.inserts(), commits, "{bodies:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_accept_that_is_dropped_in_the_queue_is_not_stored() {
    let it = Fixture::new();
    assert!(timeout(Duration::ZERO, it.accept("dropped")).await.is_err());
    assert_eq!(it.accept("next").await, Ok(Accepted::New));
    let rows = it.store.rows();
    let keys: Vec<_> = rows.iter().map(|row| &row.arrival.key).collect();
    assert_eq!(keys, ["next"]);
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_the_store_rejects_fails_alone() {
    let it = Fixture::new();
    let arrivals = ["a", REJECTED_KEY, "b"].map(|key| arrival(key, 2));
    let answers = it.accept_all(arrivals).await;
    let new = Ok(Accepted::New);
    assert_eq!(answers, [new, FAILED, new]);
    assert_eq!(it.store.inserts(), [3, 1, 2, 1, 1]);

    let it = Fixture::new();
    assert_eq!(it.accept(REJECTED_KEY).await, FAILED);
    assert_eq!(it.store.inserts(), [1]);
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_store_is_that_of_all_its_deliveries() {
    let it = Fixture::new();
    it.store.will(Fault::Fails);
    let answers = it.accept_all(["a", "b"].map(|key| arrival(key, 2))).await;
    assert_eq!(answers, [FAILED, FAILED]);
    assert_eq!(it.store.inserts(), [2]);
    assert_eq!(it.accept("a").await, Ok(Accepted::New));
}

#[tokio::test(start_paused = true)]
async fn an_accept_ends_within_its_limit_and_those_after_it_work() {
    let it = Fixture::new();
    it.store.will(Fault::Hangs);
    let began = Instant::now();
    let limit = LIMIT;
    assert_eq!(
        it.accept("a").await,
        Err(InboxErrorKind::TimedOut { limit })
    );
    assert_eq!(began.elapsed().as_secs(), LIMIT.as_secs());
    assert_eq!(it.accept("b").await, Ok(Accepted::New));
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_was_stored_without_an_answer_is_a_duplicate() {
    let it = Fixture::new();
    it.store.will(Fault::Forgets);
    assert_eq!(it.accept("a").await, FAILED);
    let state = EventState::Waiting;
    assert_eq!(it.accept("a").await, Ok(Accepted::Duplicate { state }));
}

#[tokio::test(start_paused = true)]
async fn the_workers_of_the_process_are_woken_for_what_is_new() {
    let it = Fixture::new();
    assert_eq!(it.accept("a").await, Ok(Accepted::New));
    assert!(it.was_notified().await);
    assert!(matches!(
        it.accept("a").await,
        Ok(Accepted::Duplicate { .. })
    ));
    assert!(!it.was_notified().await);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_leaves_a_delivery_without_an_answer_is_an_error_for_all() {
    let it = Fixture::new();
    it.store.will(Fault::Omits);
    let answers = it.accept_all(["a", "b"].map(|key| arrival(key, 2))).await;
    assert_eq!(answers, [FAILED, FAILED]);
}

/// More deliveries than fit into one commit, so that some wait.
#[tokio::test(start_paused = true)]
async fn an_insert_that_panics_fails_all_that_wait_at_once_and_none_after_them() {
    let it = Fixture::new();
    it.store.will(Fault::Panics);
    let arrivals = (0..300).map(|number| arrival(&number.to_string(), 2));
    let answers = it.accept_all(arrivals).await;
    assert!(answers.iter().all(|answer| *answer == FAILED));
    assert_eq!(it.accept("next").await, Ok(Accepted::New));
}

/// Returns the lines that are logged while these keys are accepted one after the other, without
/// their causes; the store fails for an empty key.
async fn logged(keys: &[&str]) -> Vec<String> {
    let (logs, _guard) = Logged::take(LevelFilter::INFO);
    let it = Fixture::new();
    for key in keys {
        if key.is_empty() {
            it.store.will(Fault::Fails);
        }
        let _ = it.accept(key).await;
    }
    without_causes(&logs)
}

const ALONE: &str = "WARN a delivery was not accepted";
const LOST: &str = "WARN deliveries are not accepted";
const BACK: &str = "INFO deliveries are accepted again after=0ns";

#[tokio::test(start_paused = true)]
async fn one_delivery_that_is_rejected_is_no_outage_and_two_in_a_row_are() {
    for (keys, expected) in [
        (&["a"][..], &[][..]),
        (&["", "", "a", "b"], &[LOST, BACK]),
        (&[REJECTED_KEY], &[ALONE]),
        (&[REJECTED_KEY, "a", REJECTED_KEY], &[ALONE, ALONE]),
        (&[REJECTED_KEY; 3], &[ALONE, LOST]),
        (&["", REJECTED_KEY, "a"], &[LOST, BACK]),
    ] {
        assert_eq!(logged(keys).await, expected, "{keys:?}");
    }
    let (logs, _guard) = Logged::take(LevelFilter::INFO);
    let it = Fixture::new();
    let arrivals = ["a", REJECTED_KEY, "b"].map(|key| arrival(key, 2));
    it.accept_all(arrivals).await;
    let others_were = "WARN a delivery was not accepted, and others were";
    assert_eq!(without_causes(&logs), [others_were]);
}

fn without_causes(logs: &Logged) -> Vec<String> {
    let lines = logs.lines();
    let without = |line: &String| line.split(" cause=").next().unwrap().to_owned();
    lines.iter().map(without).collect()
}
