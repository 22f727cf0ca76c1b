//! Lets operations begin until the inbox is closed, and waits for those that run.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{RwLock, RwLockReadGuard};

/// The error of an operation that begins after the inbox was closed.
#[derive(Debug, thiserror::Error)]
#[error("the inbox is closed")]
pub(super) struct Closed;

#[derive(Default)]
pub(super) struct Gate {
    closed: AtomicBool,
    /// Each operation that runs reads it; closing writes it.
    running: RwLock<()>,
}

impl Gate {
    /// Begins an operation, which runs until the guard is dropped.
    pub(super) fn enter(&self) -> Result<RwLockReadGuard<'_, ()>, Closed> {
        // It fails only while the gate is being closed. The flag is read after the lock was taken:
        // if the flag is not set yet, closing waits for this operation.
        let running = self.running.try_read().map_err(|_| Closed)?;
        self.check()?;
        Ok(running)
    }

    /// Fails if it was closed, also for an operation that has begun and has waited since.
    pub(super) fn check(&self) -> Result<(), Closed> {
        match self.closed.load(Ordering::SeqCst) {
            true => Err(Closed),
            false => Ok(()),
        }
    }

    /// Lets nothing begin from its first poll on, and ends when nothing runs.
    pub(super) async fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        drop(self.running.write().await);
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Future as _, poll_fn};
    use std::pin::pin;
    use std::task::Poll;

    use super::*;

    #[tokio::test]
    async fn closing_waits_for_what_runs_and_lets_nothing_begin() {
        let gate = Gate::default();
        let running = [gate.enter().unwrap(), gate.enter().unwrap()];
        let mut closing = pin!(gate.close());
        let mut is_pending =
            async || poll_fn(|cx| Poll::Ready(closing.as_mut().poll(cx).is_pending())).await;
        let [first, second] = running;
        assert!(gate.check().is_ok());
        assert!(is_pending().await);
        assert!(gate.enter().is_err() && gate.check().is_err());
        drop(first);
        assert!(is_pending().await);
        assert!(gate.enter().is_err());
        drop(second);
        assert!(!is_pending().await);
        assert!(gate.enter().is_err());
        gate.close().await;
    }

    #[tokio::test]
    async fn it_stays_closed_if_closing_was_dropped() {
        let gate = Gate::default();
        let running = gate.enter().unwrap();
        let closing = tokio::time::timeout(std::time::Duration::ZERO, gate.close());
        assert!(closing.await.is_err());
        drop(running);
        assert!(gate.enter().is_err());
        gate.close().await;
    }
}
