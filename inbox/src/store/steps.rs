//! The order of the steps of a turn, for both engines.

use std::time::Duration;

use super::choice::{Choice, Due, Resource};
use crate::error::BoxError;
use crate::event_order::EventOrder;
use crate::retry::Retry;
use crate::turn::{Claim, Died, Expired, Lease, Look, Turn, Turned, Verdict};

/// How many expired leases one turn looks at.
pub(super) const EXPIRED_PER_TURN: i64 = 100;

const LEASE_EXPIRED: &str =
    "the lease expired: the worker was killed, or could not reach the database";

/// The steps of a turn, within one transaction. Each engine writes them in its own SQL.
pub(super) trait Steps: Send {
    /// A time as the engine's driver reads it.
    type Time: Send;

    /// Ends leases; returns those that were lost before.
    fn settle(
        &mut self,
        verdicts: &[(Lease, Verdict)],
    ) -> impl Future<Output = Result<Vec<Lease>, BoxError>> + Send;

    /// Renews leases; returns those that were lost before. The lease of an event that its handler's
    /// own transaction has ended is not lost: its task is about to end too.
    fn renew(
        &mut self,
        leases: &[Lease],
        lease: Duration,
    ) -> impl Future<Output = Result<Vec<Lease>, BoxError>> + Send;

    /// Returns events whose leases have expired, with the attempt that each was.
    fn expired(&mut self) -> impl Future<Output = Result<Vec<Expired>, BoxError>> + Send;

    /// Returns events that are due, the longest due first.
    fn due(&mut self, take: usize) -> impl Future<Output = Result<Vec<i64>, BoxError>> + Send;

    /// Returns the inbox's order, and keeps workers out that choose in order meanwhile; `None` while
    /// another worker keeps this one out.
    fn order(&mut self) -> impl Future<Output = Result<Option<EventOrder>, BoxError>> + Send;

    /// Returns the resources with an event that runs.
    fn busy(&mut self) -> impl Future<Output = Result<Vec<Resource>, BoxError>> + Send;

    /// Same as `due`, a page at a time, with what decides about order: the events after this one.
    fn page(
        &mut self,
        after: Option<(Self::Time, i64)>,
        rows: i64,
    ) -> impl Future<Output = Result<Vec<Due<Self::Time>>, BoxError>> + Send;

    /// Takes events out of the queue until the earlier ones that they wait for have ended.
    fn mark(&mut self, waiting: &[(i64, i64)])
    -> impl Future<Output = Result<(), BoxError>> + Send;

    /// Takes waiting events: from here on the attempt counts.
    fn claim(
        &mut self,
        ids: &[i64],
        lease: Duration,
    ) -> impl Future<Output = Result<Vec<Claim>, BoxError>> + Send;
}

/// Takes the steps of a turn.
///
/// What ended is settled first, so that a result is written whatever comes after, and so that the
/// room it leaves is seen below. Leases are renewed before any is taken for expired, and expired
/// ones are settled before events are chosen: they may be due at once, and events of their
/// resources wait for them.
pub(super) async fn take_turn<S: Steps>(
    steps: &mut S,
    turn: &Turn<'_>,
) -> Result<Turned, BoxError> {
    let mut turned = Turned::default();
    if !turn.settle.is_empty() {
        turned.lost = steps.settle(turn.settle).await?;
    }
    if !turn.renew.is_empty() {
        turned
            .lost
            .extend(steps.renew(turn.renew, turn.lease).await?);
    }
    turned.died = settle_expired(steps, turn.retry).await?;
    if turn.take > 0 {
        turned.order = steps.order().await?;
        let (ids, next) = match turned.order {
            Some(order) => choose(steps, order, turn.take).await?,
            None => (Vec::new(), Look::Soon),
        };
        turned.next = next;
        if !ids.is_empty() {
            turned.claims = steps.claim(&ids, turn.lease).await?;
        }
    }
    Ok(turned)
}

/// Settles the events whose leases have expired, and returns those that have died.
async fn settle_expired<S: Steps>(steps: &mut S, retry: &Retry) -> Result<Vec<Died>, BoxError> {
    let (mut settle, mut died) = (Vec::new(), Vec::new());
    for expired in steps.expired().await? {
        let delay = retry.after(expired.attempts);
        settle.push((
            expired.lease,
            Verdict::after(delay, LEASE_EXPIRED.to_owned()),
        ));
        if delay.is_none() {
            died.push(Died {
                id: expired.lease.id,
                key: expired.key,
                event_type: expired.event_type,
                attempts: expired.attempts,
            });
        }
    }
    if !settle.is_empty() {
        // One that is lost at this instant has another owner, who needs nothing from here.
        let lost = steps.settle(&settle).await?;
        died.retain(|died| lost.iter().all(|lease| lease.id != died.id));
    }
    Ok(died)
}

async fn choose<S: Steps>(
    steps: &mut S,
    order: EventOrder,
    take: usize,
) -> Result<(Vec<i64>, Look), BoxError> {
    match order {
        EventOrder::AsDue => {
            let ids = steps.due(take).await?;
            let next = Look::at_once(ids.len() == take);
            Ok((ids, next))
        }
        EventOrder::ByResource => choose_in_order(steps, take).await,
    }
}

/// Chooses events that are due, without those that must wait for an earlier event of their
/// resource.
async fn choose_in_order<S: Steps>(
    steps: &mut S,
    take: usize,
) -> Result<(Vec<i64>, Look), BoxError> {
    let busy = steps.busy().await?;
    let mut choice = Choice::new(take, busy);
    let mut after = None;
    while choice.goes_on() {
        let page = steps.page(after.take(), choice.page_size()).await?;
        choice.page(page.len());
        for due in page {
            let (at, id) = choice.consider(due);
            after = Some((at, id));
        }
    }
    if !choice.waiting.is_empty() {
        steps.mark(&choice.waiting).await?;
    }
    let next = choice.next();
    Ok((choice.taken, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(30);

    const RETRY: Retry = Retry {
        attempts: 2,
        first: Duration::ZERO,
        longest: Duration::ZERO,
    };

    fn lease(id: i64) -> Lease {
        Lease { id, token: 1 }
    }

    fn expired(id: i64, attempts: u32) -> Expired {
        Expired {
            lease: lease(id),
            key: "k".to_owned(),
            event_type: None,
            attempts,
        }
    }

    /// Writes down which steps are taken, and answers as it is set.
    #[derive(Default)]
    struct Fake {
        took: Vec<String>,
        expired: Vec<Expired>,
        /// `None` while another worker keeps this one out.
        order: Option<EventOrder>,
        due: Vec<i64>,
        busy: Vec<Resource>,
        /// The pages that are left.
        pages: Vec<Vec<Due<u32>>>,
    }

    impl Steps for Fake {
        type Time = u32;

        async fn settle(&mut self, verdicts: &[(Lease, Verdict)]) -> Result<Vec<Lease>, BoxError> {
            let settled = verdicts
                .iter()
                .map(|(lease, verdict)| format!("{}:{}", lease.id, verdict.state().as_str()));
            self.took
                .push(format!("settle {}", settled.collect::<Vec<_>>().join(" ")));
            let lost = verdicts.iter().map(|(lease, _)| *lease);
            Ok(lost.filter(|lease| lease.id < 0).collect())
        }

        async fn renew(&mut self, leases: &[Lease], _: Duration) -> Result<Vec<Lease>, BoxError> {
            self.took.push(format!("renew {}", leases.len()));
            let lost = leases.iter().copied();
            Ok(lost.filter(|lease| lease.id < 0).collect())
        }

        async fn expired(&mut self) -> Result<Vec<Expired>, BoxError> {
            self.took.push("expired".to_owned());
            Ok(std::mem::take(&mut self.expired))
        }

        async fn due(&mut self, take: usize) -> Result<Vec<i64>, BoxError> {
            self.took.push(format!("due {take}"));
            Ok(self.due.iter().copied().take(take).collect())
        }

        async fn order(&mut self) -> Result<Option<EventOrder>, BoxError> {
            self.took.push("order".to_owned());
            Ok(self.order)
        }

        async fn busy(&mut self) -> Result<Vec<Resource>, BoxError> {
            self.took.push("busy".to_owned());
            Ok(self.busy.clone())
        }

        async fn page(
            &mut self,
            after: Option<(u32, i64)>,
            rows: i64,
        ) -> Result<Vec<Due<u32>>, BoxError> {
            self.took.push(format!("page {after:?} {rows}"));
            Ok(if self.pages.is_empty() {
                Vec::new()
            } else {
                self.pages.remove(0)
            })
        }

        async fn mark(&mut self, waiting: &[(i64, i64)]) -> Result<(), BoxError> {
            self.took.push(format!("mark {waiting:?}"));
            Ok(())
        }

        async fn claim(&mut self, ids: &[i64], _: Duration) -> Result<Vec<Claim>, BoxError> {
            self.took.push(format!("claim {ids:?}"));
            Ok(Vec::new())
        }
    }

    async fn turn(fake: &mut Fake, turn: Turn<'_>) -> Turned {
        take_turn(fake, &turn).await.unwrap()
    }

    fn nothing(take: usize) -> Turn<'static> {
        Turn {
            settle: &[],
            renew: &[],
            take,
            lease: LEASE,
            retry: &RETRY,
        }
    }

    #[tokio::test]
    async fn what_ended_is_settled_then_leases_are_renewed_and_expire_and_then_events_are_taken() {
        let mut fake = Fake {
            expired: vec![expired(3, 1), expired(4, 2), expired(-4, 2)],
            order: Some(EventOrder::AsDue),
            due: vec![5, 6],
            ..Fake::default()
        };
        let (settle, renew) = ([(lease(-1), Verdict::Done)], [lease(2), lease(-2)]);
        let all = Turn {
            settle: &settle,
            renew: &renew,
            ..nothing(2)
        };
        let turned = turn(&mut fake, all).await;
        assert_eq!(
            fake.took,
            [
                "settle -1:done",
                "renew 2",
                "expired",
                // The second was the last attempt.
                "settle 3:waiting 4:dead -4:dead",
                "order",
                "due 2",
                "claim [5, 6]",
            ]
        );
        assert_eq!(turned.lost, [lease(-1), lease(-2)]);
        let died: Vec<_> = turned.died.iter().map(|died| died.id).collect();
        assert_eq!(died, [4], "the other one was lost at this instant");
        assert_eq!(turned.next, Look::AtOnce);
    }

    #[tokio::test]
    async fn a_step_with_nothing_to_do_is_left_out() {
        let mut fake = Fake::default();
        assert_eq!(turn(&mut fake, nothing(0)).await.next, Look::Later);
        assert_eq!(fake.took, ["expired"]);
        let mut fake = Fake {
            order: Some(EventOrder::AsDue),
            ..Fake::default()
        };
        assert_eq!(turn(&mut fake, nothing(3)).await.next, Look::Later);
        assert_eq!(fake.took, ["expired", "order", "due 3"]);
    }

    #[tokio::test]
    async fn nothing_is_chosen_while_another_worker_keeps_this_one_out() {
        let mut fake = Fake {
            due: vec![5, 6],
            ..Fake::default()
        };
        assert_eq!(turn(&mut fake, nothing(3)).await.next, Look::Soon);
        assert_eq!(fake.took, ["expired", "order"]);
    }

    #[tokio::test]
    async fn pages_are_read_until_enough_is_taken_and_what_must_wait_is_marked() {
        let due = |id: i64, of: &str, earlier| {
            let (kind, name) = ("instrument".to_owned(), of.to_owned());
            (id as u32 * 10, id, Some(kind), Some(name), earlier)
        };
        let mut fake = Fake {
            order: Some(EventOrder::ByResource),
            busy: vec![("instrument".to_owned(), "busy".to_owned())],
            pages: vec![
                vec![due(1, "a", None), due(2, "a", Some(1))],
                vec![due(3, "busy", None), due(4, "b", None)],
            ],
            ..Fake::default()
        };
        let turned = turn(&mut fake, nothing(2)).await;
        assert_eq!(
            fake.took,
            [
                "expired",
                "order",
                "busy",
                "page None 2",
                "page Some((20, 2)) 128",
                "mark [(2, 1)]",
                "claim [1, 4]",
            ]
        );
        assert_eq!(turned.next, Look::AtOnce);
        assert_eq!(turned.order, Some(EventOrder::ByResource));
    }
}
