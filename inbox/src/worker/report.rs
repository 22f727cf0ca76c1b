//! Reports of a worker to the log and to [`Health`](crate::Health): each fact once, when it is
//! known to be in the table.

use crate::asked::Asked;
use crate::event_order::EventOrder;
use crate::health::Record;
use crate::metrics;
use crate::reach::{Reach, WORKER};
use crate::turn::{Died, Lease, Running, Verdict};

pub(super) struct Report {
    health: Record,
    pub(super) reach: Reach,
    /// Events that the next turn marks as dead.
    dying: Vec<Died>,
    /// Whether a turn has failed since something was settled: it may have been committed without an
    /// answer.
    unsure: bool,
    asked: Asked,
    /// The inbox's order, as the last turn found it.
    order: Option<EventOrder>,
}

impl Report {
    pub(super) fn new(health: Record, asked: Asked) -> Self {
        Self {
            health,
            reach: Reach::new(WORKER),
            dying: Vec::new(),
            unsure: false,
            asked,
            order: None,
        }
    }

    /// Records that a turn had no answer or an error.
    pub(super) fn lost(&mut self, error: &dyn std::fmt::Display) {
        self.reach.lost(error);
        self.unsure = true;
    }

    /// Whether what was settled may have been committed before.
    pub(super) fn is_unsure(&self) -> bool {
        self.unsure
    }

    /// Records that an event is to be dead.
    pub(super) fn dies(&mut self, event: Died) {
        self.dying.push(event);
    }

    /// Logs and counts the events that have died, once they are dead in the table.
    pub(super) fn dead(&mut self, lost: &[Lease]) {
        let unsure = std::mem::take(&mut self.unsure);
        let mut died = std::mem::take(&mut self.dying);
        // A lease may be lost because a turn without an answer has settled it.
        died.retain(|died| unsure || lost.iter().all(|lease| lease.id != died.id));
        for Died {
            id,
            event_type,
            attempts,
            key,
        } in died
        {
            let event_type = event_type.as_deref().unwrap_or("-");
            tracing::error!(
                id,
                event_type,
                attempts,
                key,
                "an event is dead: look at its last_error, then replay or discard it"
            );
            metrics::died(event_type);
            self.health.count_dead();
        }
    }

    /// Logs a warning if the inbox has another order than this process asked for.
    pub(super) fn order(&mut self, order: Option<EventOrder>) {
        let Some(order) = order.filter(|order| self.order != Some(*order)) else {
            return;
        };
        self.order = Some(order);
        if let Some(asked) = self.asked.get().filter(|asked| *asked != order) {
            tracing::warn!(
                %asked,
                %order,
                "another process has set another order than this one asked for; it is obeyed"
            );
        }
    }

    /// Logs what happens to events whose workers died.
    pub(super) fn crashed(&self, crashed: &[(Running, Verdict)]) {
        for (running, verdict) in crashed {
            let id = running.stamped.lease.id;
            let (attempt, key) = (running.attempts, &running.key);
            let event_type = running.event_type.as_deref().unwrap_or("-");
            match verdict {
                Verdict::Crashed { alone: true, .. } => tracing::warn!(
                    id,
                    event_type,
                    attempt,
                    "the worker of an event was gone before it ended; the event ran alone, so the attempt counts"
                ),
                Verdict::Crashed { group, .. } => tracing::warn!(
                    id,
                    event_type,
                    group,
                    "the worker of an event was gone before it ended; it runs next in a group of so many at most"
                ),
                Verdict::Dead { .. } => {
                    tracing::error!(
                        id,
                        event_type,
                        attempts = attempt,
                        key,
                        "an event is dead: its worker was gone each time before it ended"
                    );
                    metrics::died(event_type);
                    self.health.count_dead();
                }
                _ => tracing::debug!(id, "an event was taken without an answer, and was returned"),
            }
        }
    }
}
