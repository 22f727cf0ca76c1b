//! Whether an accept would succeed.

use tokio::time::timeout;

use super::Inbox;
use crate::error::InboxError;
use crate::metrics;

impl Inbox {
    /// Checks that the database can store a delivery, for a readiness probe.
    ///
    /// It does the same as [`accept`](Self::accept) without leaving anything in the inbox: it
    /// writes a row, removes it, and commits, which waits for the disk and for a synchronous
    /// standby. It ignores the number of waiting events: if every replica reported a backlog as
    /// "not ready", no replica would accept deliveries, and they would fail. Alert on
    /// [`Stats::oldest_due`] instead.
    ///
    /// Each call costs about as much as one accept, so call it every few seconds at most, and do
    /// not expose it to the internet. It takes at most [`accept_timeout`](Self::accept_timeout).
    ///
    /// [`Stats::oldest_due`]: crate::Stats::oldest_due
    ///
    /// # Errors
    ///
    /// Returns an error if the database does not answer in time, is read-only, or cannot write, for
    /// example because its disk is full; respond with 503. A delivery that does not fit on the disk
    /// may fail even after this has succeeded.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use ptolemy_webhooks_inbox::Inbox;
    /// # let file = std::env::temp_dir().join(format!("ptolemy-ready-{}.db", std::process::id()));
    /// # let inbox = Inbox::connect(&format!("sqlite://{}", file.display())).await?;
    /// let status = match inbox.ready().await {
    ///     Ok(()) => 200,
    ///     Err(error) => error.status(), // 503
    /// };
    /// assert_eq!(status, 200);
    /// # drop(inbox);
    /// # for end in ["", "-wal", "-shm"] { let _ = std::fs::remove_file(format!("{}{end}", file.display())); }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn ready(&self) -> Result<(), InboxError> {
        let store = self.engine.store();
        let limit = self.accept_timeout;
        match metrics::timed(timeout(limit, store.ready())).await {
            Ok(answer) => answer.map_err(InboxError::unavailable),
            Err(_) => Err(InboxError::timed_out(limit).because_of(store.trouble())),
        }
    }
}
