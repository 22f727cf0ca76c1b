//! Counts of what is not done, and the removal of what was done long ago.

use std::time::Duration;

use super::{Inbox, in_time};
use crate::error::InboxError;
use crate::stats::Stats;

impl Inbox {
    /// Removes the rows of events that were done longer ago than this, in small batches; tells how
    /// many. Dead events stay.
    ///
    /// A delivery that is repeated after its row is gone is new, and is handled again. How long
    /// Ptolemy repeats is not documented, and a person can have a delivery sent again at any time: keep
    /// at least 30 days.
    ///
    /// # Errors
    ///
    /// Tells that the database did not answer.
    pub async fn prune(&self, older_than: Duration) -> Result<u64, InboxError> {
        let store = self.engine.store();
        let mut pruned = 0;
        loop {
            match in_time(store.prune(older_than)).await? {
                0 => return Ok(pruned),
                batch => pruned += batch,
            }
        }
    }

    /// Counts what is not done.
    ///
    /// It reads an index of what is not done, and nothing of what is.
    ///
    /// # Errors
    ///
    /// Tells that the database did not answer.
    pub async fn stats(&self) -> Result<Stats, InboxError> {
        in_time(self.engine.store().stats()).await
    }
}
