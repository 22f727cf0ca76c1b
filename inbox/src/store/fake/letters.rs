//! Dead letters.

use time::OffsetDateTime;
use tokio::time::Instant;

use super::{Change, FakeStore, Row, What, lock};
use crate::accepted::EventState;
use crate::dead::{DeadLetter, DeadLetterId};
use crate::store::Ids;
use crate::turn::{Lease, Queue};

// Rows are numbered from 0 here, and dead letters from 1, as `Ids::ALL` expects.

impl FakeStore {
    pub(crate) fn list_dead(&self, ids: Ids, limit: u32) -> Vec<DeadLetter> {
        let rows = self.rows();
        let dead = (0..).zip(&rows).filter(|(id, row)| is_among(ids, *id, row));
        let limit = usize::try_from(limit).unwrap();
        dead.take(limit).map(|(id, row)| letter(id, row)).collect()
    }

    pub(crate) fn replay_some(&self, ids: Ids) -> Vec<i64> {
        let now = self.now();
        self.change_dead(ids, What::Replayed, |row| {
            row.state = EventState::Waiting;
            (row.run_at, row.written_at) = (now, now);
            row.queue = Queue::Again;
            row.attempts = 0;
            row.finished_at = None;
        })
    }

    pub(crate) fn discard_some(&self, ids: Ids) -> Vec<i64> {
        let now = self.now();
        self.change_dead(ids, What::Discarded, |row| {
            row.state = EventState::Done;
            row.finished_at = Some(now);
        })
    }

    fn change_dead(&self, ids: Ids, what: What, change: impl Fn(&mut Row)) -> Vec<i64> {
        let mut changed = Vec::new();
        let (at, mut rows) = (Instant::now(), lock(&self.rows));
        let dead = (0..).zip(rows.iter_mut());
        for (id, row) in dead.filter(|(id, row)| is_among(ids, *id, row)) {
            change(row);
            let token = row.token;
            let lease = Lease { id, token };
            let what = what.clone();
            lock(&self.changes).push(Change { at, lease, what });
            changed.push(id + 1);
        }
        changed
    }
}

fn is_among(ids: Ids, id: i64, row: &Row) -> bool {
    row.state == EventState::Dead && ids.after <= id && id < ids.up_to
}

fn letter(id: i64, row: &Row) -> DeadLetter {
    DeadLetter {
        id: DeadLetterId(id + 1),
        dedup_key: row.arrival.key.clone(),
        source: None,
        event_type: None,
        event_id: None,
        received_at: OffsetDateTime::UNIX_EPOCH,
        died_at: OffsetDateTime::UNIX_EPOCH,
        attempts: row.attempts,
        malformed: false,
        last_error: row.last_error.clone().unwrap_or_default(),
    }
}
