//! Standard error, written by its own thread.
//!
//! Anyone can send requests that are rejected. If a handler wrote a line for each and waited for
//! it, a reader of standard error that is slow or gone would hold up the receiver.

use std::io::{self, Write as _};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// How many lines may wait. Further ones are dropped.
const CAPACITY: usize = 1024;

const FINISH_TIMEOUT: Duration = Duration::from_secs(1);

struct Log {
    /// `None` once the log is closed.
    lines: Mutex<Option<SyncSender<String>>>,
    /// Disconnected when the thread has ended.
    running: Mutex<Receiver<()>>,
}

static LOG: LazyLock<Log> = LazyLock::new(|| {
    let (lines, waiting) = sync_channel::<String>(CAPACITY);
    let (alive, running) = sync_channel(0);
    thread::spawn(move || {
        let _alive: SyncSender<()> = alive;
        let mut lines = waiting.into_iter();
        lines.try_for_each(|line| writeln!(io::stderr(), "{line}"))
    });
    Log {
        lines: Mutex::new(Some(lines)),
        running: Mutex::new(running),
    }
});

/// Writes a line soon, without waiting for it.
pub(crate) fn line(line: impl ToString) {
    let lines = LOG.lines.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(lines) = &*lines {
        let _ = lines.try_send(line.to_string());
    }
}

/// Writes the waiting lines, for a second at most. Later lines are dropped.
pub(crate) fn finish() {
    LOG.lines
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    let running = LOG.running.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = running.recv_timeout(FINISH_TIMEOUT);
}
