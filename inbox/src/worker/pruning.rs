//! Removes old done rows while a worker runs.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::guarded::Guarded;
use crate::store::{PRUNE_INTERVAL, Pruning, Store, TURN_TIMEOUT};

/// Between two batches, so that accepts and turns go first.
const PAUSE_BETWEEN_BATCHES: Duration = Duration::from_millis(100);

/// Prunes now and every hour, for as long as it is polled; never if rows are kept forever.
///
/// All workers of all processes do this, and the store lets one of them at a time.
pub(super) async fn keep_pruning(store: Arc<dyn Store>, keep_done: Option<Duration>) {
    let Some(keep_done) = keep_done else {
        return std::future::pending().await;
    };
    loop {
        prune(&*store, keep_done).await;
        sleep(PRUNE_INTERVAL).await;
    }
}

/// Prunes once, unless another worker does or has just done so.
pub(super) async fn prune(store: &dyn Store, keep_done: Duration) {
    // A pool of the user may call the user's code, and so may its errors.
    let pruned = Guarded::new(prune_in_batches(store, keep_done)).await;
    if pruned.is_err() {
        tracing::warn!("old rows could not be removed: it panicked");
    }
}

async fn prune_in_batches(store: &dyn Store, keep_done: Duration) {
    let (mut turn, mut removed) = (Pruning::Begins, 0);
    loop {
        let batch = match timeout(TURN_TIMEOUT, store.prune_as_one(keep_done, turn)).await {
            Ok(Ok(Some(batch))) => batch,
            Ok(Ok(None)) => return,
            Ok(Err(error)) => return tracing::warn!(error, "old rows could not be removed"),
            Err(_) => return tracing::warn!("old rows could not be removed in time"),
        };
        removed += batch;
        if !Pruning::may_go_on(batch) {
            break;
        }
        turn = Pruning::GoesOn;
        sleep(PAUSE_BETWEEN_BATCHES).await;
    }
    if removed > 0 {
        tracing::info!(
            removed,
            "rows of events that were done long ago were removed"
        );
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Notify;

    use super::*;
    use crate::store::fake::{FakeStore, Fault};
    use crate::worker::paused::{EVENT, rounds, run, secs, taking, until_idle};

    /// A store with events that are done.
    async fn done(events: usize) -> Arc<FakeStore> {
        let store = Arc::new(FakeStore::default());
        for _ in 0..events {
            store.add(EVENT);
        }
        let mut settings = until_idle();
        settings.concurrency = 1_000;
        let worker = rounds(&store, settings, taking(Duration::ZERO));
        run(worker, &Notify::new()).await;
        store
    }

    fn left(store: &FakeStore) -> usize {
        store.rows().iter().filter(|row| !row.is_pruned).count()
    }

    #[tokio::test(start_paused = true)]
    async fn old_rows_are_removed_now_and_every_hour_in_batches() {
        let store = done(501).await;
        let pruning = keep_pruning(store.clone(), Some(secs(10.0)));
        let looks = async {
            sleep(secs(1.0)).await;
            assert_eq!(left(&store), 501, "they are young");
            sleep(secs(3_590.0)).await;
            assert_eq!(left(&store), 501, "the hour is not over");
            sleep(secs(9.05)).await;
            assert_eq!(left(&store), 1, "there is a pause between two batches");
            sleep(secs(0.2)).await;
            assert_eq!(left(&store), 0);
        };
        assert!(
            tokio::join!(timeout(secs(4_000.0), pruning), looks)
                .0
                .is_err()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_pruning_that_fails_or_hangs_is_taken_up_within_the_hour() {
        for fault in [Fault::Fails, Fault::Hangs] {
            let store = done(1).await;
            store.will(fault);
            let pruning = keep_pruning(store.clone(), Some(Duration::ZERO));
            assert!(timeout(secs(3_500.0), pruning).await.is_err());
            assert_eq!(left(&store), 1);
            let pruning = keep_pruning(store.clone(), Some(Duration::ZERO));
            assert!(timeout(secs(1.0), pruning).await.is_err());
            assert_eq!(left(&store), 0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_inbox_that_keeps_rows_for_ever_is_not_pruned() {
        let store = done(1).await;
        let pruning = keep_pruning(store.clone(), None);
        assert!(timeout(secs(10_000.0), pruning).await.is_err());
        assert_eq!(left(&store), 1);
    }
}
