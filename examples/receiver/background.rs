//! A thread that works through a bounded queue in memory.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

pub(crate) struct Background<T> {
    /// Empty once the queue is closed.
    sender: Mutex<Option<SyncSender<T>>>,
    /// Disconnected when the thread has ended.
    running: Mutex<Receiver<()>>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Refused {
    Full,
    Closed,
}

impl<T: Send + 'static> Background<T> {
    /// Does `work` for each item in turn; when it fails, does `on_failure` and nothing more.
    pub(crate) fn start(
        capacity: usize,
        mut work: impl FnMut(T) -> io::Result<()> + Send + 'static,
        on_failure: impl FnOnce(io::Error) + Send + 'static,
    ) -> Self {
        let (sender, items) = sync_channel(capacity);
        let (alive, running) = sync_channel::<()>(0);
        thread::spawn(move || {
            let _alive = alive;
            if let Err(error) = items.into_iter().try_for_each(&mut work) {
                on_failure(error);
            }
        });
        Self {
            sender: Mutex::new(Some(sender)),
            running: Mutex::new(running),
        }
    }

    /// Takes an item in without waiting.
    pub(crate) fn offer(&self, item: T) -> Result<(), Refused> {
        match lock(&self.sender)
            .as_ref()
            .map(|sender| sender.try_send(item))
        {
            Some(Ok(())) => Ok(()),
            Some(Err(TrySendError::Full(_))) => Err(Refused::Full),
            Some(Err(TrySendError::Disconnected(_))) | None => Err(Refused::Closed),
        }
    }

    /// Takes in no more, and waits for what is there to be done; `false` if it takes too long.
    pub(crate) fn finish(&self, patience: Duration) -> bool {
        lock(&self.sender).take();
        lock(&self.running).recv_timeout(patience) != Err(RecvTimeoutError::Timeout)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
