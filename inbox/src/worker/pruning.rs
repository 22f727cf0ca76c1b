//! Removes rows that were done long ago, while a worker runs.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::guarded::Guarded;
use crate::store::{PRUNE_INTERVAL, Pruning, Store, TURN_TIMEOUT};

/// Between two batches, so that accepts and turns go first.
const PAUSE_BETWEEN_BATCHES: Duration = Duration::from_millis(100);

/// Prunes now and every hour, for as long as it is polled; never if nothing is to be removed.
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
    // A pool of the user's calls the user's code, and so may its errors.
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
