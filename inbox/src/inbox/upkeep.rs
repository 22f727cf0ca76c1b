//! Counts, pruning, and the order.

use std::time::Duration;

use super::{Inbox, in_time};
use crate::error::InboxError;
use crate::event_order::EventOrder;
use crate::stats::Stats;

impl Inbox {
    /// Sets the order in which events are handled; [`EventOrder::AsDue`] until it is set.
    ///
    /// The order is stored in the inbox. Every worker of every process follows it from its next
    /// turn on, also for events that are already waiting. Call this once, at startup or from a
    /// tool. If two processes set different orders, the last one applies, and both log a warning.
    ///
    /// # Errors
    ///
    /// Returns an error if the database does not answer; the order may have been set nevertheless.
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

    /// Returns the order in which events are handled.
    ///
    /// # Errors
    ///
    /// Returns an error if the database does not answer.
    pub async fn order(&self) -> Result<EventOrder, InboxError> {
        in_time(self.engine.store().order()).await
    }

    /// Removes the rows of events that were done longer ago than this, in small batches; returns
    /// how many. Dead events are not removed.
    ///
    /// Workers do this automatically: see [`with_keep_done`](Self::with_keep_done). A delivery that
    /// is repeated after its row was removed counts as new and is handled again. Ptolemy does not
    /// document how long it retries, and a delivery can be redelivered by hand at any time, so keep
    /// at least 30 days.
    ///
    /// Ages are computed from the earlier of two clocks, so that a wrong clock removes nothing too
    /// soon. On PostgreSQL these are the server's and this host's. On SQLite, if the host's clock
    /// jumps ahead, or is 30 days ahead of all times in the inbox at startup, it is ignored for a
    /// day; ages are then computed as if it had not jumped, or from the last event.
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

    /// Same as [`stats`](Self::stats), and records the counts as metrics: `ptolemy_inbox_events`,
    /// `ptolemy_inbox_oldest_due_age_seconds` and `ptolemy_inbox_stats_timestamp_seconds`.
    ///
    /// A worker that runs until the shutdown signal does so when it starts and then every 15 to
    /// 100 s, less often if a count takes long. Call this in a process without such a worker, at
    /// most once per scrape. It took about 1 ms with 1,000 events that are not done, 50 to 290 ms
    /// with 1,000,000 that are due, and 1 to 3 s on PostgreSQL if half of those are retrying, since
    /// their rows are read. Done events cost nothing.
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
    /// It reads an index of the events that are not done, so it stays cheap with millions of done
    /// rows.
    ///
    /// # Errors
    ///
    /// Returns an error if the database does not answer.
    pub async fn stats(&self) -> Result<Stats, InboxError> {
        in_time(self.engine.store().stats()).await
    }
}
