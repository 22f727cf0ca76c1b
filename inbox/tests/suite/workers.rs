//! Workers that a test can wait for and stop.

use std::future::{Ready, ready};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ptolemy_webhooks::Event;
use ptolemy_webhooks_inbox::{Attempt, BoxFuture, Failure, Inbox, Worker};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

/// A worker of a test, with the events that it handled.
pub(crate) struct Running {
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Running {
    /// Starts it; `set` sets it up.
    pub(crate) fn start<F, Fut>(
        inbox: &Inbox,
        set: impl FnOnce(Worker) -> Worker,
        handler: F,
    ) -> Self
    where
        F: Fn(Event, Attempt) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let (stop, stopped) = oneshot::channel::<()>();
        let worker = set(quick(inbox)).graceful_shutdown(async {
            let _ = stopped.await;
        });
        Self {
            stop: Some(stop),
            task: tokio::spawn(worker.run(handler)),
        }
    }

    /// Gives the signal to stop, which it sees before anything that happens later.
    pub(crate) fn signal(&mut self) {
        drop(self.stop.take());
    }

    /// Stops it, and waits until it has stopped.
    pub(crate) async fn stop(mut self) {
        self.signal();
        (&mut self.task).await.unwrap();
    }

    /// Ends it as a crash does: its events are not given back.
    pub(crate) async fn crash(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

/// Returns a worker that looks often and retries soon.
pub(crate) fn quick(inbox: &Inbox) -> Worker {
    inbox
        .worker()
        .poll_interval(Duration::from_millis(10))
        .lease(Duration::from_secs(1))
        .backoff(Duration::from_millis(1), Duration::from_millis(2))
}

/// Waits until something holds; panics after 20 s.
pub(crate) async fn until<Fut: Future<Output = bool>>(what: &str, holds: impl Fn() -> Fut) {
    for _ in 0..2_000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within 20 s: {what}");
}

/// A list that handlers write to.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn write(&self, line: impl Into<String>) {
        self.0.lock().unwrap().push(line.into());
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    /// Returns a handler that records the event's id and succeeds.
    pub(crate) fn writer(&self) -> impl Fn(Event, Attempt) -> Ready<Result<(), Failure>> + use<> {
        let log = self.clone();
        move |event, _| {
            log.write(event.id.unwrap());
            ready(Ok(()))
        }
    }

    /// Same as `writer`, but each event waits for the gate.
    pub(crate) fn writer_behind(
        &self,
        gate: &Arc<Notify>,
    ) -> impl Fn(Event, Attempt) -> BoxFuture<'static, Result<(), Failure>> + use<> {
        let (log, gate) = (self.clone(), gate.clone());
        move |event, _| {
            log.write(event.id.unwrap());
            let gate = gate.clone();
            Box::pin(async move {
                gate.notified().await;
                Ok(())
            })
        }
    }

    pub(crate) async fn until(&self, lines: usize) -> Vec<String> {
        until(&format!("{lines} lines"), async || {
            self.lines().len() >= lines
        })
        .await;
        self.lines()
    }
}
