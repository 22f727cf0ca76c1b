//! The steps of a turn, on a copy of the rows.

use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::Instant;

use super::{Change, Row, What, micros};
use crate::accepted::EventState;
use crate::error::BoxError;
use crate::event_order::EventOrder;
use crate::store::choice::{Due, Resource};
use crate::store::steps::Steps;
use crate::turn::{Claim, Lease, Verdict};

pub(super) struct Transaction {
    /// `None` while another worker chooses.
    pub(super) order: Option<EventOrder>,
    pub(super) at: Instant,
    pub(super) now: i64,
    pub(super) rows: Vec<Row>,
    /// The leases that this turn found expired.
    pub(super) expired: Vec<Lease>,
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
    fn queue(&self) -> Vec<(i64, i64)> {
        let mut due: Vec<_> = self
            .all()
            .filter(|(_, row)| row.state == EventState::Waiting && row.waits_for.is_none())
            .map(|(id, row)| (row.run_at, id))
            .filter(|(run_at, _)| *run_at <= self.now)
            .collect();
        due.sort_unstable();
        due
    }

    /// The last unfinished event of the resource before this one.
    fn earlier(&self, id: i64, resource: &Resource) -> Option<i64> {
        let same = |row: &Row| row.arrival.labels.resource.as_ref() == Some(resource);
        let earlier = self.all().filter(|(other, _)| *other < id);
        let unfinished = earlier.filter(|(_, row)| same(row) && !row.is_ended());
        unfinished.map(|(other, _)| other).last()
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
            row.attempts -= u32::from(!verdict.counts());
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
            let what = if self.expired.contains(lease) {
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
                Some(row) => row.lease_until = now + micros(lease),
                None => lost.push(*one),
            }
        }
        Ok(lost)
    }

    async fn expired(&mut self) -> Result<Vec<(Lease, u32)>, BoxError> {
        let now = self.now;
        let running = self
            .all()
            .filter(|(_, row)| row.state == EventState::Running);
        let expired = running.filter(|(_, row)| row.lease_until < now);
        let expired: Vec<_> = expired
            .map(|(id, row)| {
                (
                    Lease {
                        id,
                        token: row.token,
                    },
                    row.attempts,
                )
            })
            .collect();
        self.expired = expired.iter().map(|(lease, _)| *lease).collect();
        Ok(expired)
    }

    async fn due(&mut self, take: usize) -> Result<Vec<i64>, BoxError> {
        let due = self.queue().into_iter().take(take);
        Ok(due.map(|(_, id)| id).collect())
    }

    async fn order(&mut self) -> Result<Option<EventOrder>, BoxError> {
        Ok(self.order)
    }

    async fn busy(&mut self) -> Result<Vec<Resource>, BoxError> {
        let running = self
            .all()
            .filter(|(_, row)| row.state == EventState::Running);
        let busy = running.filter_map(|(_, row)| row.arrival.labels.resource.clone());
        Ok(busy.collect())
    }

    async fn page(
        &mut self,
        after: Option<(i64, i64)>,
        rows: i64,
    ) -> Result<Vec<Due<i64>>, BoxError> {
        let queue = self.queue().into_iter();
        let left = queue.filter(|place| after.is_none_or(|after| *place > after));
        let page = left.take(usize::try_from(rows).unwrap()).map(|(at, id)| {
            let resource = self.rows[usize::try_from(id).unwrap()]
                .arrival
                .labels
                .resource
                .clone();
            let earlier = resource.as_ref().and_then(|of| self.earlier(id, of));
            let (kind, name) = resource.unzip();
            (at, id, kind, name, earlier)
        });
        Ok(page.collect())
    }

    async fn mark(&mut self, waiting: &[(i64, i64)]) -> Result<(), BoxError> {
        for (id, earlier) in waiting {
            self.row(*id).waits_for = Some(*earlier);
        }
        Ok(())
    }

    async fn claim(&mut self, ids: &[i64], lease: Duration) -> Result<Vec<Claim>, BoxError> {
        let (now, mut claims) = (self.now, Vec::new());
        let order = self.order.unwrap_or_default();
        for id in ids {
            let row = self.row(*id);
            row.state = EventState::Running;
            row.attempts += 1;
            row.token += 1;
            row.lease_until = now + micros(lease);
            let claim = claim(*id, row);
            let attempt = claim.attempts;
            self.change(claim.lease, What::Claimed { attempt, order });
            claims.push(claim);
        }
        Ok(claims)
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
        event_type: None,
        body: row.arrival.body.clone(),
    }
}
