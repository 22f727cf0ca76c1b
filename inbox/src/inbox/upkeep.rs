//! Counts, pruning, and the order.

use std::time::Duration;

use super::{Inbox, in_time};
use crate::error::InboxError;
use crate::event_order::EventOrder;
use crate::stats::Stats;

impl Inbox {
    /// Sets in which order events are handled; [`EventOrder::AsDue`] until it is set.
    ///
    /// It is a setting of the inbox and stored in it: every worker of every process obeys it from
    /// its next turn on, for the rows that are waiting already too. Call it once, at the start or
    /// from a tool. If two processes set different orders, the last one counts, and both log a
    /// warning.
    ///
    /// # Errors
    ///
    /// Returns an error if the database does not answer; then the order may have been set.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use ptolemy_webhooks_inbox::Inbox;
    /// use ptolemy_webhooks_inbox::EventOrder;
    ///
    /// # let file = std::env::temp_dir().join(format!("ptolemy-order-{}.db", std::process::id()));
    /// # let inbox = Inbox::connect(&format!("sqlite://{}", file.display())).await?;
    /// assert_eq!(inbox.order().await?, EventOrder::AsDue);
    /// inbox.set_order(EventOrder::ByResource).await?;
    /// assert_eq!(inbox.order().await?, EventOrder::ByResource);
    /// # drop(inbox);
    /// # for end in ["", "-wal", "-shm"] { let _ = std::fs::remove_file(format!("{}{end}", file.display())); }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn set_order(&self, order: EventOrder) -> Result<(), InboxError> {
        self.asked.set(order);
        match in_time(self.engine.store().set_order(order)).await? {
            Some(before) if before != order => tracing::warn!(
                %before,
                %order,
                "the order of the inbox was changed, for every worker of every process"
            ),
            Some(_) => {}
            None => tracing::info!(%order, "the order of the inbox was set"),
        }
        Ok(())
    }

    /// Returns in which order events are handled.
    ///
    /// # Errors
    ///
    /// Returns an error if the database does not answer.
    pub async fn order(&self) -> Result<EventOrder, InboxError> {
        in_time(self.engine.store().order()).await
    }

    /// Removes the rows of events that were done longer ago than this, in small batches; returns
    /// how many. Dead events stay.
    ///
    /// Workers do this by themselves: see [`with_keep_done`](Self::with_keep_done). A delivery that
    /// is repeated after its row is gone is new, and is handled again. How long Ptolemy repeats is
    /// not documented, and a person can have a delivery sent again at any time: keep at least 30
    /// days.
    ///
    /// Ages are counted by the earlier one of two clocks, so that a clock that is wrong removes
    /// nothing too soon. On PostgreSQL they are the server's and this host's. On SQLite a host's
    /// clock that jumps ahead, or that is 30 days ahead of all times in the inbox at the start, is
    /// not believed for a day: until then an inbox that was idle for so long counts from its last
    /// event.
    ///
    /// # Errors
    ///
    /// Returns an error if the database does not answer.
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

    /// Same as [`stats`](Self::stats), and shows the counts as metrics: `ptolemy_inbox_events`,
    /// `ptolemy_inbox_oldest_due_age_seconds` and `ptolemy_inbox_stats_timestamp_seconds`.
    ///
    /// A worker does so when it starts and every 15 s. Call this in a process without workers, at
    /// most once for each scrape: it is one read of the database, which took about 1 ms beside
    /// 1,000 events that are not done, and 50 to 290 ms beside 1,000,000. Done events cost nothing.
    ///
    /// # Errors
    ///
    /// Returns an error if the database does not answer; then the metrics keep their values, and
    /// the timestamp shows how old they are.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use ptolemy_webhooks_inbox::Inbox;
    /// # let file = std::env::temp_dir().join(format!("ptolemy-metrics-{}.db", std::process::id()));
    /// # let inbox = Inbox::connect(&format!("sqlite://{}", file.display())).await?;
    /// let stats = inbox.record_stats().await?;
    /// assert_eq!(stats.dead, 0);
    /// # drop(inbox);
    /// # for end in ["", "-wal", "-shm"] { let _ = std::fs::remove_file(format!("{}{end}", file.display())); }
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "metrics")]
    pub async fn record_stats(&self) -> Result<Stats, InboxError> {
        let stats = self.stats().await?;
        crate::metrics::show(&stats);
        Ok(stats)
    }

    /// Counts the events that are not done.
    ///
    /// It reads an index of what is not done, so it stays cheap beside millions of done rows.
    ///
    /// # Errors
    ///
    /// Returns an error if the database does not answer.
    pub async fn stats(&self) -> Result<Stats, InboxError> {
        in_time(self.engine.store().stats()).await
    }
}
