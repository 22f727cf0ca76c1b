//! A process: its inbox, its worker with handlers, and its line to the store.

use std::error::Error;
use std::fmt;
use std::future::pending;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use ptolemy_webhooks::Event;
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, sleep};

use super::line::Line;
use super::world::{Call, Ended, Plan, World, lock};
use crate::attempt::Attempt;
use crate::engine::Engine;
use crate::failure::Failure;
use crate::inbox::Inbox;

pub(super) struct Process {
    pub(super) number: usize,
    pub(super) line: Arc<Line>,
    pub(super) inbox: Inbox,
    pub(super) worker: Option<JoinHandle<()>>,
    /// Dropping it stops the worker, and so does sending, by a panic.
    pub(super) stop: Option<oneshot::Sender<()>>,
    /// The accepts that are under way.
    pub(super) accepts: Mutex<Vec<AbortHandle>>,
}

impl Process {
    pub(super) fn start(world: &Arc<World>, number: usize) -> Self {
        let line = Arc::new(Line::new(world.clone(), number));
        let (stop, stopped) = oneshot::channel::<()>();
        let setup = &world.setup;
        let inbox = Inbox::on(Engine::Fake(line.clone()))
            .with_accept_timeout(setup.accept_limit)
            .with_keep_done(setup.keep_done);
        let worker = inbox
            .worker()
            .of_process(u32::try_from(number).unwrap_or_default() + 1)
            .concurrency(setup.concurrency)
            .lease(setup.lease)
            .poll_interval(setup.poll)
            .max_attempts(setup.max_attempts)
            .backoff(setup.backoff.0, setup.backoff.1)
            .handler_timeout(setup.handler_timeout)
            .shutdown_timeout(setup.shutdown_timeout)
            .graceful_shutdown(async {
                if stopped.await.is_ok() {
                    resume_unwind(Box::new("the signal panics"));
                }
            });
        let handler = {
            let (world, line) = (world.clone(), line.clone());
            move |_: Event, attempt: Attempt| handle(world.clone(), line.clone(), number, attempt)
        };
        Self {
            number,
            line,
            inbox,
            worker: Some(tokio::spawn(worker.run(handler))),
            stop: Some(stop),
            accepts: Mutex::default(),
        }
    }

    /// Ends it at this instant.
    pub(super) fn kill(self) {
        self.line.cut();
        if let Some(worker) = self.worker {
            worker.abort();
        }
        for accept in lock(&self.accepts).drain(..) {
            accept.abort();
        }
    }
}

async fn handle(
    world: Arc<World>,
    line: Arc<Line>,
    process: usize,
    attempt: Attempt,
) -> Result<(), Failure> {
    let key = attempt.dedup_key().to_owned();
    let plan = world.plan(&key);
    let call = Running::begin(&world, &line, process, &attempt);
    let before = world.calls_of(&key) - 1;
    let goes_wrong = |times| u32::try_from(before).is_ok_and(|before| before < times);

    sleep(if world.chance(20) {
        world.millis(0..=20_000)
    } else {
        world.millis(0..=500)
    })
    .await;
    match plan {
        Plan::Fails(times) if goes_wrong(times) => {
            call.ends(Ended::Failed);
            Err(Failure::retry("it fails"))
        }
        Plan::AsksForADelay(times) if goes_wrong(times) => {
            call.ends(Ended::Failed);
            Err(Failure::retry_in(world.millis(0..=3_000), "it fails"))
        }
        Plan::Panics(times) if goes_wrong(times) => {
            call.ends(Ended::Panicked);
            // As a panic does, without its message on the terminal.
            resume_unwind(Box::new("it panics"))
        }
        Plan::Poisons(times) if goes_wrong(times) => {
            call.ends(Ended::Failed);
            poison(world.draw(|rng| rng.u32(..4)))
        }
        Plan::Postpones(times) if goes_wrong(times) => {
            call.ends(Ended::Postponed);
            Err(Failure::postpone(world.millis(0..=5_000), "it waits"))
        }
        Plan::Hangs(times) if goes_wrong(times) => {
            let _panics = world.chance(50).then(|| Poison::Drop);
            pending().await
        }
        Plan::FailsForGood => {
            call.ends(Ended::FailedForGood);
            Err(Failure::permanent("it fails for good"))
        }
        Plan::Unreadable => {
            world.wrong(format!(
                "a handler was called for {key}, which is unreadable"
            ));
            Ok(())
        }
        _ => {
            call.ends(Ended::Succeeded);
            Ok(())
        }
    }
}

/// An error, or the payload of a panic, that panics when it is read or dropped.
#[derive(Debug)]
enum Poison {
    Display,
    Source,
    Drop,
}

impl fmt::Display for Poison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Display => resume_unwind(Box::new(Self::Drop)),
            _ => f.write_str("poison"),
        }
    }
}

impl Error for Poison {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        // An endless chain.
        matches!(self, Self::Source).then_some(self)
    }
}

impl Drop for Poison {
    fn drop(&mut self) {
        if let Self::Drop = self {
            resume_unwind(Box::new(Self::Drop));
        }
    }
}

fn poison(kind: u32) -> Result<(), Failure> {
    Err(Failure::retry(match kind {
        0 => Poison::Display,
        1 => Poison::Source,
        2 => Poison::Drop,
        _ => resume_unwind(Box::new(Poison::Drop)),
    }))
}

/// Records when a call is over, however it ends.
struct Running {
    world: Arc<World>,
    index: usize,
}

impl Running {
    fn begin(world: &Arc<World>, line: &Line, process: usize, attempt: &Attempt) -> Self {
        let mut calls = lock(&world.calls);
        let key = attempt.dedup_key().to_owned();
        calls.push(Call {
            process,
            lease: line.lease(&key),
            key,
            attempt: attempt.number(),
            began: Instant::now(),
            over: None,
            ended: None,
        });
        Self {
            world: world.clone(),
            index: calls.len() - 1,
        }
    }

    fn ends(&self, how: Ended) {
        lock(&self.world.calls)[self.index].ended = Some(how);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        lock(&self.world.calls)[self.index].over = Some(Instant::now());
    }
}

/// How long a worker may take to stop, beyond its own limit.
pub(super) const STOP_SLACK: Duration = Duration::from_millis(2_100);
