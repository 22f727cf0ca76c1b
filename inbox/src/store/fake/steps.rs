//! The steps of a turn, on a copy of the rows.

use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::Instant;

use super::{Change, Row, What, micros};
use crate::accepted::EventState;
use crate::error::BoxError;
use crate::event_order::EventOrder;
use crate::store::choice::{Due, Resource};
use crate::store::steps::{MAX_AHEAD, Steps, Terms};
use crate::turn::{Claim, Lease, Queue, Running, Stamped, Verdict, WorkerId};

pub(super) struct Transaction {
    /// `None` while another worker chooses.
    pub(super) order: Option<EventOrder>,
    pub(super) at: Instant,
    pub(super) now: i64,
    pub(super) rows: Vec<Row>,
    /// The leases whose workers died.
    pub(super) gone: Vec<Lease>,
    pub(super) changes: Vec<Change>,
}

impl Transaction {
    fn row(&mut self, id: i64) -> &mut Row {
        &mut self.rows[usize::try_from(id).unwrap()]
    }

    /// The rows with their ids.
    fn all(&self) -> impl Iterator<Item = (i64, &Row)> {
        (0..).zip(&self.rows)
    }

    fn held(&mut self, lease: Lease) -> Option<&mut Row> {
        let row = self.row(lease.id);
        (row.state == EventState::Running && row.token == lease.token).then_some(row)
    }

    fn change(&mut self, lease: Lease, what: What) {
        let at = self.at;
        self.changes.push(Change { at, lease, what });
    }

    /// The events that are due, the longest due first.
    fn queue(&self, queue: Queue) -> Vec<(i64, i64)> {
        let mut due: Vec<_> = self
            .all()
            .filter(|(_, row)| row.state == EventState::Waiting && row.waits_for.is_none())
            .filter(|(_, row)| row.queue == queue)
            .map(|(id, row)| (row.run_at, id))
            .filter(|(run_at, _)| *run_at <= self.now)
            .collect();
        due.sort_unstable();
        due
    }

    /// Returns an event with the attributes that decide about its order.
    fn due_of(&self, at: i64, id: i64) -> Due<i64> {
        let resource = self.rows[usize::try_from(id).unwrap()]
            .arrival
            .labels
            .resource
            .clone();
        let earlier = resource.as_ref().and_then(|of| self.earlier(id, of));
        let later_runs = resource.as_ref().is_some_and(|of| self.later_runs(id, of));
        let (kind, name) = resource.unzip();
        (at, id, kind, name, earlier, later_runs)
    }

    /// Returns the last unfinished event of the resource before this one.
    fn earlier(&self, id: i64, resource: &Resource) -> Option<i64> {
        let same = |row: &Row| row.arrival.labels.resource.as_ref() == Some(resource);
        let earlier = self.all().filter(|(other, _)| *other < id);
        let unfinished = earlier.filter(|(_, row)| same(row) && !row.is_ended());
        unfinished.map(|(other, _)| other).last()
    }

    fn later_runs(&self, id: i64, resource: &Resource) -> bool {
        let mut later = self.all().filter(|(other, _)| *other > id);
        later.any(|(_, row)| {
            let same = row.arrival.labels.resource.as_ref() == Some(resource);
            same && row.state == EventState::Running
        })
    }
}

impl Steps for Transaction {
    type Time = i64;

    async fn settle(&mut self, verdicts: &[(Lease, Verdict)]) -> Result<Vec<Lease>, BoxError> {
        let (now, mut lost) = (self.now, Vec::new());
        for (lease, verdict) in verdicts {
            let Some(row) = self.held(*lease) else {
                lost.push(*lease);
                continue;
            };
            row.state = verdict.state();
            row.run_at = now + micros(verdict.delay().unwrap_or_default());
            row.written_at = now;
            row.attempts -= u32::from(!verdict.counts());
            if let Some(queue) = verdict.queue() {
                row.queue = queue;
                row.group = verdict.group();
            }
            row.finished_at = verdict.is_end().then_some(now);
            let error = verdict.error().map(str::to_owned);
            match row.state {
                EventState::Done => row.last_error = None,
                _ => row.last_error = error.or(row.last_error.take()),
            }
            if verdict.is_end() {
                for row in &mut self.rows {
                    row.waits_for = row.waits_for.filter(|earlier| *earlier != lease.id);
                }
            }
            let what = if self.gone.contains(lease) {
                What::Expired(verdict.clone())
            } else {
                What::Settled(verdict.clone())
            };
            self.change(*lease, what);
        }
        Ok(lost)
    }

    async fn renew(&mut self, leases: &[Lease], lease: Duration) -> Result<Vec<Lease>, BoxError> {
        let (now, mut lost) = (self.now, Vec::new());
        for one in leases {
            match self.held(*one) {
                Some(row) => (row.renewed_at, row.lease_until) = (now, now + micros(lease)),
                None => lost.push(*one),
            }
        }
        Ok(lost)
    }

    async fn mend_times(&mut self) -> Result<u64, BoxError> {
        let (now, limit) = (self.now, self.now + micros(MAX_AHEAD));
        for row in &mut self.rows {
            if row.state == EventState::Waiting && row.run_at > now && row.written_at > limit {
                (row.run_at, row.written_at) = (now, now);
            }
            if row.state == EventState::Running && row.renewed_at > limit {
                row.lease_until = now + (row.lease_until - row.renewed_at);
                row.renewed_at = now;
            }
        }
        Ok(0)
    }

    async fn running(&mut self) -> Result<Vec<Running>, BoxError> {
        let now = self.now;
        let running = self
            .all()
            .filter(|(_, row)| row.state == EventState::Running);
        Ok(running.map(|(id, row)| running_of(id, row, now)).collect())
    }

    async fn hold(&mut self, leases: &[Lease], expired: bool) -> Result<Vec<Lease>, BoxError> {
        let now = self.now;
        let mut held = leases.to_vec();
        held.retain(|lease| {
            let row = self.held(*lease);
            row.is_some_and(|row| !expired || row.lease_until < now)
        });
        self.gone.extend_from_slice(&held);
        Ok(held)
    }

    async fn lock_suspects(&mut self, _: WorkerId) -> Result<bool, BoxError> {
        Ok(true)
    }

    async fn suspects(&mut self, rows: usize) -> Result<Vec<u32>, BoxError> {
        let due = self.queue(Queue::Suspect).into_iter().take(rows);
        let groups = due.map(|(_, id)| self.rows[usize::try_from(id).unwrap()].group);
        Ok(groups.map(|group| group.unwrap_or(1)).collect())
    }

    async fn due(&mut self, queues: [Queue; 2], rows: usize) -> Result<[Vec<i64>; 2], BoxError> {
        let due = |queue| {
            let due = self.queue(queue).into_iter().take(rows);
            due.map(|(_, id)| id).collect()
        };
        let [first, second] = queues;
        let others = if first == second {
            Vec::new()
        } else {
            due(second)
        };
        Ok([due(first), others])
    }

    async fn order(&mut self) -> Result<Option<EventOrder>, BoxError> {
        Ok(self.order)
    }

    async fn page(
        &mut self,
        queue: Queue,
        after: Option<&(i64, i64)>,
        rows: i64,
    ) -> Result<Vec<Due<i64>>, BoxError> {
        let queue = self.queue(queue).into_iter();
        let left = queue.filter(|place| after.is_none_or(|after| place > after));
        let page = left.take(usize::try_from(rows).unwrap());
        Ok(page.map(|(at, id)| self.due_of(at, id)).collect())
    }

    /// Covers all resources, and pages reach the end of the queue.
    async fn aside(&mut self, _: i64) -> Result<Vec<Due<i64>>, BoxError> {
        let queues = [Queue::First, Queue::Again];
        let due = queues.into_iter().flat_map(|queue| self.queue(queue));
        let due: Vec<_> = due.map(|(at, id)| self.due_of(at, id)).collect();
        Ok(due.into_iter().filter(|due| due.4.is_none()).collect())
    }

    async fn mark(&mut self, waiting: &[(i64, i64)]) -> Result<(), BoxError> {
        for (id, earlier) in waiting {
            self.row(*id).waits_for = Some(*earlier);
        }
        Ok(())
    }

    async fn claim(&mut self, ids: &[i64], terms: Terms) -> Result<Vec<Claim>, BoxError> {
        let (now, mut claims) = (self.now, Vec::new());
        let order = self.order.unwrap_or_default();
        for (others, id) in ids.iter().enumerate() {
            let row = self.row(*id);
            row.state = EventState::Running;
            row.attempts += 1;
            row.token += 1;
            (row.renewed_at, row.lease_until) = (now, now + micros(terms.lease));
            (row.worker, row.group) = (Some(terms.worker), terms.group_after(others));
            let claim = claim(*id, row);
            let attempt = claim.attempts;
            self.change(claim.lease, What::Claimed { attempt, order });
            claims.push(claim);
        }
        Ok(claims)
    }
}

fn running_of(id: i64, row: &Row, now: i64) -> Running {
    let length = u64::try_from(row.lease_until - row.renewed_at).unwrap();
    let time = |micros: i64| {
        let nanos = i128::from(micros) * 1_000;
        OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap()
    };
    let token = row.token;
    Running {
        stamped: Stamped {
            lease: Lease { id, token },
            renewed_at: time(row.renewed_at),
        },
        length: Duration::from_micros(length),
        worker: row.worker,
        attempts: row.attempts,
        group: row.group,
        is_expired: row.lease_until < now,
        key: row.arrival.key.clone(),
        event_type: row.arrival.labels.event_type.clone(),
    }
}

fn claim(id: i64, row: &Row) -> Claim {
    Claim {
        lease: Lease {
            id,
            token: row.token,
        },
        key: row.arrival.key.clone(),
        source: None,
        attempts: row.attempts,
        received_at: OffsetDateTime::UNIX_EPOCH,
        started_at: OffsetDateTime::UNIX_EPOCH,
        event_type: row.arrival.labels.event_type.clone(),
        body: row.arrival.body.clone(),
    }
}
