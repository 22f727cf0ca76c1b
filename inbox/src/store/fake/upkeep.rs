//! The removal of what was done long ago, and the order.

use std::time::Duration;

use tokio::time::Instant;

use super::{Change, FakeStore, What, lock, micros};
use crate::accepted::EventState;
use crate::event_order::EventOrder;
use crate::store::{Pruning, ROWS_PER_CALL};
use crate::turn::Lease;

impl FakeStore {
    pub(crate) fn prune_some(&self, older_than: Duration) -> u64 {
        let (at, before) = (Instant::now(), self.now() - micros(older_than));
        let mut rows = lock(&self.rows);
        let old = (0..).zip(rows.iter_mut()).filter(|(_, row)| {
            let finished = row.finished_at.is_some_and(|finished| finished < before);
            row.state == EventState::Done && finished && !row.is_pruned
        });
        let mut pruned = 0;
        for (id, row) in old.take(usize::try_from(ROWS_PER_CALL).unwrap()) {
            row.is_pruned = true;
            let token = row.token;
            let (lease, what) = (Lease { id, token }, What::Pruned);
            lock(&self.changes).push(Change { at, lease, what });
            pruned += 1;
        }
        pruned
    }

    pub(crate) fn prune_if_due(&self, older_than: Duration, turn: Pruning) -> Option<u64> {
        let now = self.now();
        if turn == Pruning::Begins && now < *lock(&self.prune_at) {
            return None;
        }
        let pruned = self.prune_some(older_than);
        *lock(&self.prune_at) = now + micros(Pruning::pause_after(pruned));
        Some(pruned)
    }

    pub(crate) fn order(&self) -> EventOrder {
        lock(&self.order).unwrap_or_default()
    }

    pub(crate) fn write_order(&self, order: EventOrder) -> Option<EventOrder> {
        let before = lock(&self.order).replace(order);
        if order == EventOrder::AsDue {
            for row in lock(&self.rows).iter_mut() {
                row.waits_for = None;
            }
        }
        before
    }
}
