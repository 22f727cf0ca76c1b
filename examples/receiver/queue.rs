//! A bounded queue in memory, and the thread that empties it.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use ptolemy_webhooks::Event;

const CAPACITY: usize = 1024;

/// How long the queue may take to empty after a signal to stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// The end of the queue that the handlers have.
pub(crate) struct Queue {
    /// Empty once the queue is closed.
    sender: Mutex<Option<SyncSender<Event>>>,
    accepted: AtomicUsize,
}

/// The thread at the other end of the queue.
pub(crate) struct Worker {
    handled: Arc<AtomicUsize>,
    /// Disconnected when the thread ends.
    running: Receiver<()>,
}

impl Queue {
    pub(crate) fn start() -> (Arc<Self>, Worker) {
        let (sender, receiver) = sync_channel(CAPACITY);
        let (alive, running) = sync_channel(0);
        let handled = Arc::new(AtomicUsize::new(0));
        let queue = Arc::new(Self {
            sender: Mutex::new(Some(sender)),
            accepted: AtomicUsize::new(0),
        });
        let worker = Worker {
            handled: handled.clone(),
            running,
        };
        thread::spawn(move || {
            let _alive = alive;
            if let Err(error) = handle_all(&receiver, &handled) {
                eprintln!("error: standard output: {error}");
            }
        });
        (queue, worker)
    }

    /// Takes an event in; `false` if the queue is full or closed.
    pub(crate) fn offer(&self, event: Event) -> bool {
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = sender
            .as_ref()
            .is_some_and(|sender| sender.try_send(event).is_ok());
        if taken {
            self.accepted.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }

    /// Takes in no more, and waits for the worker to handle what is there.
    pub(crate) fn finish(&self, worker: &Worker) -> ExitCode {
        self.sender
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if worker.running.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            eprintln!(
                "error: the queue is not empty after {} s",
                PATIENCE.as_secs()
            );
        }
        let accepted = self.accepted.load(Ordering::Relaxed);
        match accepted - worker.handled.load(Ordering::Acquire) {
            0 => ExitCode::SUCCESS,
            dropped => {
                eprintln!("error: {dropped} of {accepted} acknowledged deliveries were dropped");
                ExitCode::FAILURE
            }
        }
    }
}

/// Stands for the work that a receiver does: here it prints a line.
fn handle_all(events: &Receiver<Event>, handled: &AtomicUsize) -> io::Result<()> {
    for event in events {
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{}", super::accepted(&event))?;
        stdout.flush()?;
        handled.fetch_add(1, Ordering::Release);
    }
    Ok(())
}
