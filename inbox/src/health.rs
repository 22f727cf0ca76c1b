use std::sync::{Arc, Mutex, PoisonError};
use std::thread::panicking;

use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use crate::guarded::guard;

/// Whether the workers of an inbox run, in this process, and how many events died there; returned by
/// [`Inbox::health`](crate::Inbox::health).
///
/// A worker that starts takes the place of one that has stopped or failed. It serializes as an object
/// with these names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// Workers that run.
    pub workers_running: u32,
    /// Workers that have ended on the signal of
    /// [`graceful_shutdown`](crate::Worker::graceful_shutdown).
    pub workers_stopped: u32,
    /// Workers that have ended in another way: their futures were dropped, their tasks aborted, or they
    /// panicked; or that could not begin, since the inbox is on the other engine.
    pub workers_failed: u32,
    /// Events that have died in these workers since the process began. Those that are dead now, in all
    /// processes, are [`Stats::dead`](crate::Stats::dead).
    pub events_died: u64,
}

impl Health {
    /// Whether no worker has stopped or failed, but for those that others have replaced.
    ///
    /// If it is false, deliveries are accepted, and nobody in this process may handle them. An inbox
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

/// The health of an inbox, which its clones and workers share.
#[derive(Clone, Default)]
pub(crate) struct Record(Arc<Mutex<Health>>);

impl Record {
    pub(crate) fn read(&self) -> Health {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Health)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn count_dead(&self) {
        self.change(|health| health.events_died += 1);
    }

    /// A worker could not begin.
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub(crate) fn fail(&self) {
        self.change(|health| health.workers_failed += 1);
    }
}

/// A worker while it runs: if this is dropped before the worker has ended by itself, it has failed.
pub(crate) struct OnDuty {
    record: Record,
    ended: bool,
}

impl OnDuty {
    pub(crate) fn begin(record: Record) -> Self {
        record.change(|health| {
            health.workers_running += 1;
            if health.workers_failed > 0 {
                health.workers_failed -= 1;
            } else {
                health.workers_stopped = health.workers_stopped.saturating_sub(1);
            }
        });
        Self {
            record,
            ended: false,
        }
    }

    /// It has ended on the signal to stop.
    pub(crate) fn stop(mut self) {
        self.end(|health| health.workers_stopped += 1);
        tracing::info!("the worker has stopped");
    }

    /// It has ended because nothing was due.
    pub(crate) fn rest(mut self) {
        self.end(|_| {});
    }

    fn end(&mut self, change: impl FnOnce(&mut Health)) {
        self.ended = true;
        self.record.change(|health| {
            health.workers_running -= 1;
            change(health);
        });
    }
}

impl Drop for OnDuty {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        self.end(|health| health.workers_failed += 1);
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
        let [first, second, third] = [(); 3].map(|()| OnDuty::begin(record.clone()));
        assert_eq!(told(), (3, 0, 0, true));
        first.stop();
        assert_eq!(told(), (2, 1, 0, false));
        drop(second);
        assert_eq!(told(), (1, 1, 1, false));
        third.rest();
        assert_eq!(told(), (0, 1, 1, false));
        let again = OnDuty::begin(record.clone());
        assert_eq!(told(), (1, 1, 0, false));
        let more = OnDuty::begin(record);
        assert_eq!(told(), (2, 0, 0, true));
        again.rest();
        more.rest();
        assert_eq!(told(), (0, 0, 0, true));
    }

    #[test]
    fn a_worker_that_panics_has_failed() {
        let (record, told) = record();
        let panicked = guard(|| {
            let _worker = OnDuty::begin(record);
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
