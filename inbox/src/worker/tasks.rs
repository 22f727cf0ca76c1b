//! The tasks of a worker: a handler at work in each, for an event that the worker has taken.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use ptolemy_webhooks::Event;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tracing::Instrument as _;

use super::Start;
use crate::guarded::{Guarded, text_of};
use crate::outcome::Outcome;
use crate::turn::{Claim, Lease};

/// An event that a task works on.
pub(super) struct Held {
    pub(super) lease: Lease,
    pub(super) attempts: u32,
    task: AbortHandle,
    /// Another worker has taken the event over: the rest of the task counts for nothing.
    lost: bool,
}

#[derive(Default)]
pub(super) struct Tasks {
    running: JoinSet<Outcome>,
    held: HashMap<Id, Held>,
}

impl Tasks {
    pub(super) fn len(&self) -> usize {
        self.running.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// The leases of all events, in one order for all workers, so that no two of them wait for each
    /// other's rows.
    pub(super) fn leases(&self) -> Vec<Lease> {
        let mut leases: Vec<_> = self.held.values().map(|held| held.lease).collect();
        leases.sort_unstable_by_key(|lease| lease.id);
        leases
    }

    /// Starts the task of an event.
    pub(super) fn begin(&mut self, claim: Claim, start: &Arc<Start>, accepts_malformed: bool) {
        let (lease, attempts) = (claim.lease, claim.attempts);
        let event_type = claim.event_type.as_deref().unwrap_or("-");
        let span = tracing::info_span!(
            "ptolemy_inbox_handle",
            id = lease.id,
            event_type,
            attempt = attempts
        );
        let start = start.clone();
        // The handler is called within the task, and what it returns is read and dropped there, so
        // that a panic of any of it is an outcome and nothing else.
        let work = Guarded::new(async move {
            match Event::from_trusted_json(claim.body.clone()) {
                Ok(event) => match &event.payload {
                    Err(malformed) if !accepts_malformed => Outcome::Malformed(malformed.clone()),
                    _ => start(event, claim).await,
                },
                Err(error) => Outcome::Undecodable(error),
            }
        });
        let work = async { work.await.unwrap_or_else(|text| Outcome::panicked(&text)) };
        let task = self.running.spawn(work.instrument(span));
        let id = task.id();
        let held = Held {
            lease,
            attempts,
            task,
            lost: false,
        };
        self.held.insert(id, held);
    }

    /// Waits until a task has ended, and returns how it did, with all others that have ended by then;
    /// those whose leases were lost are left out. `None` if no task runs.
    ///
    /// If the future is dropped, nothing is missed.
    pub(super) async fn ended(&mut self) -> Option<Vec<(Held, Outcome)>> {
        let first = self.running.join_next_with_id().await?;
        let mut all = Vec::from_iter(self.end(first));
        all.extend(self.ended_by_now());
        Some(all)
    }

    /// Returns how those tasks ended that have ended by now, without waiting.
    pub(super) fn ended_by_now(&mut self) -> Vec<(Held, Outcome)> {
        let mut all = Vec::new();
        while let Some(ended) = self.running.try_join_next_with_id() {
            all.extend(self.end(ended));
        }
        all
    }

    fn end(&mut self, ended: Result<(Id, Outcome), JoinError>) -> Option<(Held, Outcome)> {
        let (id, outcome) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                let id = error.id();
                let outcome = match error.try_into_panic() {
                    Ok(panic) => Outcome::panicked(&text_of(panic)),
                    Err(_) => Outcome::Cancelled,
                };
                (id, outcome)
            }
        };
        let held = self.held.remove(&id).filter(|held| !held.lost)?;
        log(&held, &outcome);
        Some((held, outcome))
    }

    /// Cuts the task short whose event another worker has taken over.
    pub(super) fn lose(&mut self, lease: Lease) {
        log_lost(lease);
        for held in self.held.values_mut().filter(|held| held.lease == lease) {
            held.lost = true;
            held.task.abort();
        }
    }

    /// Cuts all tasks short.
    pub(super) fn abort_all(&mut self) {
        self.running.abort_all();
    }
}

/// Logs what an operator must know of how an attempt ended. The errors of handlers are not logged,
/// since they may quote the event; the errors of this crate and of the core do not.
fn log(held: &Held, outcome: &Outcome) {
    let id = held.lease.id;
    let unread: &dyn fmt::Display = match outcome {
        Outcome::Lost => return log_lost(held.lease),
        Outcome::NotBegun(error) => {
            tracing::warn!(
                id,
                error,
                "a handler's transaction could not begin; retrying"
            );
            return;
        }
        Outcome::Undecodable(error) => error,
        Outcome::Malformed(error) => error,
        _ => return,
    };
    tracing::warn!(id, error = %unread, "the event cannot be read; replay it after an upgrade");
}

fn log_lost(lease: Lease) {
    tracing::warn!(
        id = lease.id,
        "lease lost: another worker has this event; the result of this attempt is ignored"
    );
}
