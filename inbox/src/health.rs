use std::sync::{Arc, Mutex, PoisonError};
use std::thread::panicking;

use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use crate::guarded::guard;
use crate::metrics;

/// Whether the workers of an inbox are running in this process, and how many events died in them;
/// returned by [`Inbox::health`](crate::Inbox::health).
///
/// A worker that starts replaces one that has stopped or failed. A worker that ends when nothing is
/// due, such as [`run_until_idle`](crate::Worker::run_until_idle), replaces only one of the same
/// kind, since it ends soon. `Health` serializes as an object with these names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// Running workers, including those that end when nothing is due. The metric
    /// `ptolemy_inbox_workers_running` leaves these out: between two of their runs, its alert would
    /// fire.
    pub workers_running: u32,
    /// Workers that have ended on the signal of
    /// [`graceful_shutdown`](crate::Worker::graceful_shutdown).
    pub workers_stopped: u32,
    /// Workers that have ended in another way (their future was dropped, their task was aborted, or
    /// they panicked), or that could not start because the inbox is on the other engine.
    pub workers_failed: u32,
    /// Events that have become dead letters in these workers since the process started.
    /// [`Stats::dead`](crate::Stats::dead) is the number of events that are dead now, in all
    /// processes.
    pub events_died: u64,
}

impl Health {
    /// Returns whether no worker has stopped or failed, except those that others have replaced.
    ///
    /// If it is false, deliveries are accepted, but this process may not handle them. An inbox
    /// without workers is healthy, and so is one whose workers ended because nothing was due.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.workers_stopped == 0 && self.workers_failed == 0
    }
}

impl Serialize for Health {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut health = serializer.serialize_struct("Health", 4)?;
        health.serialize_field("workers_running", &self.workers_running)?;
        health.serialize_field("workers_stopped", &self.workers_stopped)?;
        health.serialize_field("workers_failed", &self.workers_failed)?;
        health.serialize_field("events_died", &self.events_died)?;
        health.end()
    }
}

/// How long a worker runs, and therefore which others it replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Duty {
    /// Until the shutdown signal. It replaces any worker that has ended.
    Lasting,
    /// Until nothing is due. It replaces only its own kind: after it has ended well, a lasting
    /// worker that ended is missed as before.
    UntilIdle,
}

/// Workers that have ended and were not replaced.
#[derive(Default)]
struct Missed {
    stopped: u32,
    failed: u32,
}

impl Missed {
    /// Returns whether one was missed.
    fn replace_one(&mut self) -> bool {
        let one = match self {
            Self { failed: 1.., .. } => &mut self.failed,
            Self { stopped: 1.., .. } => &mut self.stopped,
            _ => return false,
        };
        *one -= 1;
        true
    }
}

#[derive(Default)]
struct Counts {
    running: u32,
    lasting: Missed,
    until_idle: Missed,
    events_died: u64,
}

impl Counts {
    fn missed(&mut self, duty: Duty) -> &mut Missed {
        match duty {
            Duty::Lasting => &mut self.lasting,
            Duty::UntilIdle => &mut self.until_idle,
        }
    }
}

/// The health of an inbox, shared by its clones and workers.
#[derive(Clone, Default)]
pub(crate) struct Record(Arc<Mutex<Counts>>);

impl Record {
    pub(crate) fn read(&self) -> Health {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Health {
            workers_running: counts.running,
            workers_stopped: counts.lasting.stopped + counts.until_idle.stopped,
            workers_failed: counts.lasting.failed + counts.until_idle.failed,
            events_died: counts.events_died,
        }
    }

    fn change(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn count_dead(&self) {
        self.change(|counts| counts.events_died += 1);
    }

    /// Records that a worker could not start.
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub(crate) fn fail(&self, duty: Duty) {
        self.change(|counts| counts.missed(duty).failed += 1);
    }
}

/// A running worker: if this is dropped before the worker has ended by itself, the worker has
/// failed.
pub(crate) struct OnDuty {
    record: Record,
    duty: Duty,
    ended: bool,
}

impl OnDuty {
    pub(crate) fn begin(record: Record, duty: Duty) -> Self {
        record.change(|counts| {
            counts.running += 1;
            if !counts.missed(duty).replace_one() && duty == Duty::Lasting {
                counts.until_idle.replace_one();
            }
        });
        if duty == Duty::Lasting {
            metrics::worker_began();
        }
        Self {
            record,
            duty,
            ended: false,
        }
    }

    /// Records that it has ended on the signal to stop.
    pub(crate) fn stop(mut self) {
        self.end(|missed| missed.stopped += 1);
        tracing::info!("the worker has stopped");
    }

    /// Records that it has ended because nothing was due.
    pub(crate) fn rest(mut self) {
        self.end(|_| {});
    }

    fn end(&mut self, change: impl FnOnce(&mut Missed)) {
        self.ended = true;
        if self.duty == Duty::Lasting {
            metrics::worker_ended();
        }
        self.record.change(|counts| {
            counts.running -= 1;
            change(counts.missed(self.duty));
        });
    }
}

impl Drop for OnDuty {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        self.end(|missed| missed.failed += 1);
        let reason = if panicking() {
            "it panicked"
        } else {
            "its future was dropped, or its task aborted"
        };
        // A subscriber that panics here would end the process.
        let _panic = guard(|| {
            tracing::error!(
                reason,
                "a worker ended without a signal to stop: nobody works in its place"
            );
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> (Record, impl Fn() -> (u32, u32, u32, bool)) {
        let record = Record::default();
        let read = record.clone();
        let told = move || {
            let health = read.read();
            (
                health.workers_running,
                health.workers_stopped,
                health.workers_failed,
                health.is_healthy(),
            )
        };
        (record, told)
    }

    #[test]
    fn a_worker_that_stops_or_fails_is_missed_until_another_starts() {
        let (record, told) = record();
        assert_eq!(told(), (0, 0, 0, true));
        let [first, second, third] = [(); 3].map(|()| OnDuty::begin(record.clone(), Duty::Lasting));
        assert_eq!(told(), (3, 0, 0, true));
        first.stop();
        assert_eq!(told(), (2, 1, 0, false));
        drop(second);
        assert_eq!(told(), (1, 1, 1, false));
        third.rest();
        assert_eq!(told(), (0, 1, 1, false));
        let again = OnDuty::begin(record.clone(), Duty::Lasting);
        assert_eq!(told(), (1, 1, 0, false));
        let more = OnDuty::begin(record, Duty::Lasting);
        assert_eq!(told(), (2, 0, 0, true));
        again.rest();
        more.rest();
        assert_eq!(told(), (0, 0, 0, true));
    }

    #[test]
    fn a_worker_until_idle_does_not_replace_one_that_was_to_last() {
        let (record, told) = record();
        let begin = |duty| OnDuty::begin(record.clone(), duty);
        let [stopped, failed] = [(); 2].map(|()| begin(Duty::Lasting));
        stopped.stop();
        drop(failed);
        assert_eq!(told(), (0, 1, 1, false));
        let job = begin(Duty::UntilIdle);
        assert_eq!(told(), (1, 1, 1, false));
        let main = begin(Duty::Lasting);
        job.rest();
        assert_eq!(told(), (1, 1, 0, false));
        let second = begin(Duty::Lasting);
        assert_eq!(told(), (2, 0, 0, true));
        // A failed job is missed until the next job or a lasting worker starts.
        drop(begin(Duty::UntilIdle));
        assert_eq!(told(), (2, 0, 1, false));
        begin(Duty::UntilIdle).rest();
        assert_eq!(told(), (2, 0, 0, true));
        drop(begin(Duty::UntilIdle));
        let third = begin(Duty::Lasting);
        assert_eq!(told(), (3, 0, 0, true));
        for worker in [main, second, third] {
            worker.rest();
        }
    }

    #[test]
    fn a_worker_that_panics_has_failed() {
        let (record, told) = record();
        let panicked = guard(|| {
            let _worker = OnDuty::begin(record, Duty::Lasting);
            std::panic::resume_unwind(Box::new("a panic"));
        });
        assert!(panicked.is_err());
        assert_eq!(told(), (0, 0, 1, false));
    }

    #[test]
    fn health_serializes_with_its_names() {
        let expected =
            r#"{"workers_running":1,"workers_stopped":2,"workers_failed":3,"events_died":4}"#;
        let health = Health {
            workers_running: 1,
            workers_stopped: 2,
            workers_failed: 3,
            events_died: 4,
        };
        let health = serde_json::to_string(&health).unwrap();
        assert_eq!(health, expected);
    }
}
