//! What ends a receiver.

use std::io;
use std::sync::Arc;

use super::Queue;

/// SIGTERM, Ctrl-C, or a queue that cannot be worked through any more.
pub(crate) struct Stop {
    #[cfg(unix)]
    signals: [tokio::signal::unix::Signal; 2],
    queue: Arc<Queue>,
}

impl Stop {
    /// Listens from now on: a signal that comes before `requested` is awaited is not lost.
    pub(crate) fn listen(queue: Arc<Queue>) -> io::Result<Self> {
        #[cfg(unix)]
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            #[cfg(unix)]
            signals: [
                signal(SignalKind::terminate())?,
                signal(SignalKind::interrupt())?,
            ],
            queue,
        })
    }

    #[cfg(unix)]
    pub(crate) async fn requested(self) {
        let [mut terminate, mut interrupt] = self.signals;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = self.queue.failed() => {}
        }
    }

    #[cfg(not(unix))]
    pub(crate) async fn requested(self) {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            () = self.queue.failed() => {}
        }
    }
}
