//! The queue between the answer and the work.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ptolemy_webhooks::Event;
use tokio::sync::Notify;

use super::background::{Background, Refused};
use super::{accepted, log};

const CAPACITY: usize = 1024;

/// How long the queue may take to empty after a signal to stop.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Queue {
    events: Background<Event>,
    accepted: AtomicUsize,
    handled: Arc<AtomicUsize>,
    failed: Arc<Notify>,
}

impl Queue {
    pub(crate) fn start() -> Arc<Self> {
        let handled = Arc::new(AtomicUsize::new(0));
        let failed = Arc::new(Notify::new());
        let done = handled.clone();
        let work = move |event| {
            handle(&event)?;
            done.fetch_add(1, Ordering::Release);
            Ok(())
        };
        let stop = failed.clone();
        let on_failure = move |error| {
            log::line(format_args!("error: standard output: {error}"));
            stop.notify_one();
        };
        Arc::new(Self {
            events: Background::start(CAPACITY, work, on_failure),
            accepted: AtomicUsize::new(0),
            handled,
            failed,
        })
    }

    /// Takes an event in, or tells why not.
    pub(crate) fn offer(&self, event: Event) -> Result<(), &'static str> {
        self.events.offer(event).map_err(|refused| match refused {
            Refused::Full => "queue is full",
            Refused::Closed => "receiver is stopping",
        })?;
        self.accepted.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Ends when no event can be handled any more.
    pub(crate) async fn failed(&self) {
        self.failed.notified().await;
    }

    /// Takes in no more, handles what is there, and tells how that went.
    pub(crate) fn finish(&self) -> ExitCode {
        if !self.events.finish(PATIENCE) {
            log::line(format_args!(
                "error: the queue is not empty after {} s",
                PATIENCE.as_secs()
            ));
        }
        let handled = self.handled.load(Ordering::Acquire);
        let accepted = self.accepted.load(Ordering::Relaxed);
        let code = match accepted.saturating_sub(handled) {
            0 => ExitCode::SUCCESS,
            dropped => {
                log::line(format_args!(
                    "error: {dropped} of {accepted} acknowledged deliveries were dropped"
                ));
                ExitCode::FAILURE
            }
        };
        log::finish();
        code
    }
}

/// Stands for the work that a receiver does.
fn handle(event: &Event) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{}", accepted(event))?;
    stdout.flush()
}
