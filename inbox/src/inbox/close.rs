//! The end of an inbox.

use super::Inbox;

impl Inbox {
    /// Closes the connections of this inbox and its clones, at the end of a clean stop: call it
    /// after the server and the workers have ended.
    ///
    /// From the first poll on, each call that begins returns an error, such as an accept, the next
    /// turn of a worker or the next handler in a transaction; a worker that still runs retries
    /// until it is stopped. Calls that run continue, and this waits for them: 5 s for an accept
    /// unless [set](Self::with_accept_timeout), 30 s for any other call, and without a limit for a
    /// handler in a transaction, which therefore must not wait for this. If the future is dropped,
    /// the inbox stays closed for new calls; call it again to close the connections. Further calls
    /// do nothing.
    ///
    /// It closes the connections that the inbox has opened, within 10 s on PostgreSQL. If you gave
    /// the inbox a pool, that pool stays open for its other users; close it after this.
    ///
    /// When the last connection of all processes to a SQLite file closes, SQLite writes the `-wal`
    /// into the file and removes it: a copy of the file is then complete. Without this the process
    /// loses nothing either, but leaves the `-wal`, which the next start reads.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use ptolemy_webhooks_inbox::Inbox;
    /// # let file = std::env::temp_dir().join(format!("ptolemy-close-{}.db", std::process::id()));
    /// let inbox = Inbox::connect(&format!("sqlite://{}", file.display())).await?;
    /// // Here the server and the workers run, and end.
    /// inbox.close().await;
    /// assert!(inbox.stats().await.is_err());
    /// assert!(!std::fs::exists(format!("{}-wal", file.display()))?);
    /// # std::fs::remove_file(file)?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn close(&self) {
        self.engine.close().await;
    }
}
