//! The order of the steps of a turn, for both engines.

use std::collections::HashSet;
use std::time::Duration;

use super::choice::{ASIDE_ROWS, Choice, Due, Pages, shares};
use super::crashes::{crashes, group_size, suspects_run};
use crate::error::BoxError;
use crate::event_order::EventOrder;
use crate::turn::{
    Claim, Lease, Look, Queue, Running, Suspects, Take, Turn, Turned, Upkeep, Verdict, WorkerId,
};

/// How many running events one turn looks at.
pub(super) const RUNNING_PER_TURN: i64 = 2_000;

/// How many waiting events one step corrects, and the maximum number of such steps in a turn.
pub(super) const MENDED_PER_STEP: i64 = 1_000;
const MAX_MENDS: usize = 20;

/// By how much a time in the table may be ahead of the clock that wrote it, as it shows now. Times
/// that are further ahead were written before the clock was set back.
pub(super) const MAX_AHEAD: Duration = Duration::from_secs(60);

/// The terms of a claim: how long, by which worker, the size of the group if they are suspects, and
/// how many begin at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) lease: Duration,
    pub(super) worker: WorkerId,
    pub(super) group: Option<u32>,
    pub(super) begin: usize,
}

impl Terms {
    /// Returns the group of the event that is claimed after this many others; 0 if it is taken
    /// ahead.
    pub(super) fn group_after(&self, others: usize) -> Option<u32> {
        if others < self.begin {
            self.group
        } else {
            Some(0)
        }
    }
}

/// The steps of a turn, within one transaction. Each engine writes them in its own SQL.
pub(super) trait Steps: Send {
    /// The type of a time in the engine's driver.
    type Time: Send;

    /// Ends leases; returns those that were lost before.
    fn settle(
        &mut self,
        verdicts: &[(Lease, Verdict)],
    ) -> impl Future<Output = Result<Vec<Lease>, BoxError>> + Send;

    /// Renews leases; returns those that were lost before. The lease of an event that its handler's
    /// own transaction has ended is not lost: its task ends soon too.
    fn renew(
        &mut self,
        leases: &[Lease],
        lease: Duration,
    ) -> impl Future<Output = Result<Vec<Lease>, BoxError>> + Send;

    /// Corrects the times that were written while the clock was ahead by more than `MAX_AHEAD`: a
    /// waiting event becomes due, and a lease starts again, since its worker may be alive. Returns
    /// how many waiting events it corrected, at most `MENDED_PER_STEP`.
    fn mend_times(&mut self) -> impl Future<Output = Result<u64, BoxError>> + Send;

    /// Returns the running events, the first to expire first.
    fn running(&mut self) -> impl Future<Output = Result<Vec<Running>, BoxError>> + Send;

    /// Locks these events against changes by others, and returns those that still have these leases
    /// and, if `expired` is set, whose leases have expired.
    fn hold(
        &mut self,
        leases: &[Lease],
        expired: bool,
    ) -> impl Future<Output = Result<Vec<Lease>, BoxError>> + Send;

    /// Locks out other workers of this process that take suspects; returns whether it did. It need
    /// not last longer than the turn.
    fn lock_suspects(
        &mut self,
        worker: WorkerId,
    ) -> impl Future<Output = Result<bool, BoxError>> + Send;

    /// Returns the group size that each due suspect allows, longest due first.
    fn suspects(&mut self, rows: usize) -> impl Future<Output = Result<Vec<u32>, BoxError>> + Send;

    /// Returns due events of these queues, longest due first, at most this many of each.
    fn due(
        &mut self,
        queues: [Queue; 2],
        rows: usize,
    ) -> impl Future<Output = Result<[Vec<i64>; 2], BoxError>> + Send;

    /// Returns the inbox's order, and excludes other workers that choose in order meanwhile; `None`
    /// if another worker excludes this one.
    fn order(&mut self) -> impl Future<Output = Result<Option<EventOrder>, BoxError>> + Send;

    /// Same as `due`, for one page of one queue, with the attributes that decide about order: the
    /// events after this one.
    fn page(
        &mut self,
        queue: Queue,
        after: Option<&(Self::Time, i64)>,
        rows: i64,
    ) -> impl Future<Output = Result<Vec<Due<Self::Time>>, BoxError>> + Send;

    /// Returns due events that may be far back in a long queue: the first unfinished event of each
    /// of this many resources, in rotation over all resources; and those among the last first
    /// attempts that have no resource.
    fn aside(
        &mut self,
        rows: i64,
    ) -> impl Future<Output = Result<Vec<Due<Self::Time>>, BoxError>> + Send;

    /// Removes events from the queue until the earlier ones that they wait for have ended.
    fn mark(&mut self, waiting: &[(i64, i64)])
    -> impl Future<Output = Result<(), BoxError>> + Send;

    /// Takes waiting events: from here on the attempt counts. The last ones, which do not begin at
    /// once, get the group 0.
    fn claim(
        &mut self,
        ids: &[i64],
        terms: Terms,
    ) -> impl Future<Output = Result<Vec<Claim>, BoxError>> + Send;
}

/// Takes the steps of a turn.
///
/// Ended events are settled first, so that their results are written regardless of the later steps,
/// and so that their room is available below. Leases are renewed before any counts as expired, and
/// expired ones are settled before events are chosen: they may be due at once, and events of their
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
    if let Some(upkeep) = &turn.upkeep {
        keep_up(steps, turn, upkeep, &mut turned).await?;
    }
    if turn.take.rows() > 0 {
        take(steps, turn, &mut turned).await?;
    }
    Ok(turned)
}

async fn keep_up<S: Steps>(
    steps: &mut S,
    turn: &Turn<'_>,
    upkeep: &Upkeep<'_>,
    turned: &mut Turned,
) -> Result<(), BoxError> {
    for _ in 0..if upkeep.mends { MAX_MENDS } else { 0 } {
        if steps.mend_times().await? < MENDED_PER_STEP.unsigned_abs() {
            break;
        }
    }
    turned.running = steps.running().await?;
    let gone = crashes(&turned.running, upkeep, turn.worker, turn.retry);
    let (own, others): (Vec<_>, Vec<_>) = gone
        .into_iter()
        .partition(|(one, _)| one.worker == Some(turn.worker));
    for (gone, expired) in [(own, false), (others, true)] {
        if gone.is_empty() {
            continue;
        }
        let leases: Vec<_> = gone.iter().map(|(one, _)| one.stamped.lease).collect();
        let held = steps.hold(&leases, expired).await?;
        let mut gone = gone;
        gone.retain(|(one, _)| held.contains(&one.stamped.lease));
        let verdicts: Vec<_> = gone
            .iter()
            .map(|(one, verdict)| (one.stamped.lease, verdict.clone()))
            .collect();
        let _lost = steps.settle(&verdicts).await?;
        turned.crashed.extend(gone);
    }
    let ended: HashSet<_> = turned.crashed.iter().map(|(one, _)| one.stamped).collect();
    let left = turned.running.iter();
    let left = left.filter(|one| !ended.contains(&one.stamped));
    turned.suspects = if steps.suspects(1).await?.is_empty() {
        Suspects::None
    } else if suspects_run(left, turn.worker) {
        Suspects::Wait
    } else {
        Suspects::Due
    };
    Ok(())
}

async fn take<S: Steps>(
    steps: &mut S,
    turn: &Turn<'_>,
    turned: &mut Turned,
) -> Result<(), BoxError> {
    turned.order = steps.order().await?;
    let Some(order) = turned.order else {
        turned.next = Look::Soon;
        return Ok(());
    };
    let (queues, rows) = match turn.take {
        Take::Nothing => return Ok(()),
        Take::Due { rows, prefer, .. } => ([prefer, prefer.other()], rows),
        Take::Suspects { rows, cleared } => {
            // Another worker of this process may have taken some since the last upkeep.
            if !steps.lock_suspects(turn.worker).await?
                || suspects_run(steps.running().await?.iter(), turn.worker)
            {
                return Ok(());
            }
            let groups = steps.suspects(rows).await?;
            let size = group_size(&groups, cleared.saturating_mul(2)).min(rows);
            ([Queue::Suspect; 2], size)
        }
    };
    let mut skipped = HashSet::new();
    // Once more without those that cannot be taken because others have locked them.
    for _ in 0..2 {
        let rows = rows - turned.claims.len();
        let (mut ids, next) = match order {
            EventOrder::AsDue => choose(steps, queues, rows).await?,
            EventOrder::ByResource => choose_in_order(steps, queues, rows, &skipped).await?,
        };
        turned.next = next;
        if ids.is_empty() {
            return Ok(());
        }
        // In the order in which they begin.
        ids.sort_unstable();
        let (group, begin) = match turn.take {
            Take::Suspects { .. } => {
                let group = u32::try_from(ids.len()).unwrap_or(u32::MAX);
                (Some(group), ids.len())
            }
            Take::Due { begin, .. } => (None, begin.saturating_sub(turned.claims.len())),
            Take::Nothing => (None, 0),
        };
        let terms = Terms {
            lease: turn.lease,
            worker: turn.worker,
            group,
            begin,
        };
        let claims = steps.claim(&ids, terms).await?;
        let all = claims.len() == ids.len();
        turned.claims.extend(claims);
        if all || order == EventOrder::AsDue {
            return Ok(());
        }
        turned.next = Look::Soon;
        skipped.extend(ids);
    }
    Ok(())
}

async fn choose<S: Steps>(
    steps: &mut S,
    queues: [Queue; 2],
    take: usize,
) -> Result<(Vec<i64>, Look), BoxError> {
    if take == 0 {
        return Ok((Vec::new(), Look::Later));
    }
    let [mut ids, mut others] = steps.due(queues, take).await?;
    let (preferred, other) = shares(take, ids.len(), others.len());
    ids.truncate(preferred);
    others.truncate(other);
    ids.extend(others);
    let next = Look::at_once(ids.len() == take);
    Ok((ids, next))
}

/// Chooses due events, except those that must wait for an earlier event of their resource: half of
/// them from the first queue, the others from the second, and any remainder from the first again.
async fn choose_in_order<S: Steps>(
    steps: &mut S,
    [first, second]: [Queue; 2],
    take: usize,
    skipped: &HashSet<i64>,
) -> Result<(Vec<i64>, Look), BoxError> {
    let mut choice = Choice::without(skipped);
    let mut pages = Pages::new(first);
    let mut more = false;
    if first == second {
        read(steps, &mut choice, &mut pages, take, take).await?;
    } else {
        read(steps, &mut choice, &mut pages, take.div_ceil(2), take).await?;
        let mut others = Pages::new(second);
        read(steps, &mut choice, &mut others, take, take).await?;
        read(steps, &mut choice, &mut pages, take, take).await?;
        more |= others.has_more();
    }
    more |= pages.has_more();
    // There are so many events of one resource in front that this turn does not see those behind
    // them.
    if more && first != second && choice.taken.len() < take {
        let mut aside = Pages::new(first);
        aside.add(steps.aside(ASIDE_ROWS).await?, ASIDE_ROWS);
        choice.look(&mut aside, take);
    }
    if !choice.waiting.is_empty() {
        steps.mark(&choice.waiting).await?;
    }
    let next = Look::at_once(take > 0 && (more || choice.taken.len() == take));
    Ok((choice.taken, next))
}

/// Reads pages of a queue until the choice has this many of the events that the turn takes.
async fn read<S: Steps>(
    steps: &mut S,
    choice: &mut Choice,
    pages: &mut Pages<S::Time>,
    up_to: usize,
    take: usize,
) -> Result<(), BoxError> {
    while !choice.look(pages, up_to) {
        let Some(rows) = pages.next_page(take) else {
            break;
        };
        let page = steps.page(pages.queue, pages.after.as_ref(), rows).await?;
        pages.add(page, rows);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use time::OffsetDateTime;

    use super::*;
    use crate::retry::Retry;
    use crate::turn::Stamped;

    const LEASE: Duration = Duration::from_secs(30);

    const RETRY: Retry = Retry {
        attempts: 2,
        first: Duration::ZERO,
        longest: Duration::ZERO,
    };

    fn lease(id: i64) -> Lease {
        Lease { id, token: 1 }
    }

    /// An event of another process than the turn's.
    fn running(id: i64, attempts: u32) -> Running {
        Running {
            stamped: Stamped {
                lease: lease(id),
                renewed_at: OffsetDateTime::UNIX_EPOCH,
            },
            length: LEASE,
            worker: Some(WorkerId::of(u32::try_from(id).unwrap() + 2, 0)),
            attempts,
            group: Some(1),
            is_expired: true,
            key: id.to_string(),
            event_type: None,
        }
    }

    fn claim(id: i64) -> Claim {
        Claim {
            lease: lease(id),
            key: id.to_string(),
            source: None,
            attempts: 1,
            received_at: OffsetDateTime::UNIX_EPOCH,
            started_at: OffsetDateTime::UNIX_EPOCH,
            event_type: None,
            body: bytes::Bytes::new(),
        }
    }

    /// Records which steps are taken, and returns the answers that were set.
    #[derive(Default)]
    struct Fake {
        took: Vec<String>,
        running: Vec<Running>,
        suspects: Vec<u32>,
        suspects_are_locked: bool,
        /// How many times each step corrects.
        mended: VecDeque<u64>,
        /// `None` while another worker excludes this one.
        order: Option<EventOrder>,
        due: [Vec<i64>; 2],
        /// Those that cannot be claimed.
        locked: Vec<i64>,
        /// The pages that are left, with their queues.
        pages: Vec<(Queue, Vec<Due<u32>>)>,
        /// Events beside the pages.
        aside: Vec<Due<u32>>,
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

        async fn mend_times(&mut self) -> Result<u64, BoxError> {
            self.took.push("mend".to_owned());
            Ok(self.mended.pop_front().unwrap_or_default())
        }

        async fn running(&mut self) -> Result<Vec<Running>, BoxError> {
            self.took.push("running".to_owned());
            Ok(self.running.clone())
        }

        async fn hold(&mut self, leases: &[Lease], expired: bool) -> Result<Vec<Lease>, BoxError> {
            let ids: Vec<_> = leases.iter().map(|lease| lease.id).collect();
            self.took.push(format!("hold {ids:?} {expired}"));
            // The last one was renewed just now.
            let held = leases.iter().copied();
            Ok(held.filter(|lease| lease.id != 99).collect())
        }

        async fn lock_suspects(&mut self, _: WorkerId) -> Result<bool, BoxError> {
            self.took.push("lock suspects".to_owned());
            Ok(!self.suspects_are_locked)
        }

        async fn suspects(&mut self, rows: usize) -> Result<Vec<u32>, BoxError> {
            self.took.push(format!("suspects {rows}"));
            Ok(self.suspects.iter().copied().take(rows).collect())
        }

        async fn due(
            &mut self,
            queues: [Queue; 2],
            rows: usize,
        ) -> Result<[Vec<i64>; 2], BoxError> {
            let [one, other] = queues.map(Queue::as_str);
            self.took.push(format!("due {one} {other} {rows}"));
            Ok(self
                .due
                .each_ref()
                .map(|due| due.iter().copied().take(rows).collect()))
        }

        async fn order(&mut self) -> Result<Option<EventOrder>, BoxError> {
            self.took.push("order".to_owned());
            Ok(self.order)
        }

        async fn page(
            &mut self,
            queue: Queue,
            after: Option<&(u32, i64)>,
            rows: i64,
        ) -> Result<Vec<Due<u32>>, BoxError> {
            let name = queue.as_str();
            self.took.push(format!("page {name} {after:?} {rows}"));
            let next = self.pages.iter().position(|(of, _)| *of == queue);
            Ok(next.map_or(Vec::new(), |next| self.pages.remove(next).1))
        }

        async fn aside(&mut self, rows: i64) -> Result<Vec<Due<u32>>, BoxError> {
            self.took.push(format!("aside {rows}"));
            Ok(std::mem::take(&mut self.aside))
        }

        async fn mark(&mut self, waiting: &[(i64, i64)]) -> Result<(), BoxError> {
            self.took.push(format!("mark {waiting:?}"));
            Ok(())
        }

        async fn claim(&mut self, ids: &[i64], terms: Terms) -> Result<Vec<Claim>, BoxError> {
            self.took.push(format!("claim {ids:?} {:?}", terms.group));
            let free = ids.iter().filter(|id| !self.locked.contains(id));
            Ok(free.map(|id| claim(*id)).collect())
        }
    }

    async fn turn(fake: &mut Fake, turn: Turn<'_>) -> Turned {
        take_turn(fake, &turn).await.unwrap()
    }

    fn nothing() -> Turn<'static> {
        Turn {
            worker: WorkerId::of(1, 1),
            settle: &[],
            renew: &[],
            take: Take::Nothing,
            upkeep: None,
            lease: LEASE,
            retry: &RETRY,
        }
    }

    fn due(rows: usize) -> Turn<'static> {
        let prefer = Queue::First;
        let begin = rows;
        let take = Take::Due {
            rows,
            begin,
            prefer,
        };
        Turn { take, ..nothing() }
    }

    #[tokio::test]
    async fn what_ended_is_settled_then_leases_are_renewed_and_expire_and_then_events_are_taken() {
        let mut forgotten = running(7, 1);
        forgotten.worker = Some(WorkerId::of(1, 1));
        let mut fake = Fake {
            running: vec![running(3, 1), running(4, 2), running(99, 1), forgotten],
            suspects: vec![1],
            order: Some(EventOrder::AsDue),
            due: [vec![5, 6], Vec::new()],
            ..Fake::default()
        };
        let (settle, renew) = ([(lease(-1), Verdict::Done)], [lease(2), lease(-2)]);
        let silent: Vec<_> = fake.running.iter().map(|one| one.stamped).collect();
        let all = Turn {
            settle: &settle,
            renew: &renew,
            upkeep: Some(Upkeep {
                held: &[],
                silent: &silent,
                mends: true,
            }),
            ..due(2)
        };
        let turned = turn(&mut fake, all).await;
        assert_eq!(
            fake.took,
            [
                "settle -1:done",
                "renew 2",
                "mend",
                "running",
                "hold [7] false",
                "settle 7:waiting",
                // The second was the last attempt; the third was renewed since.
                "hold [3, 4, 99] true",
                "settle 3:waiting 4:dead",
                "suspects 1",
                "order",
                "due first again 2",
                "claim [5, 6] None",
            ]
        );
        assert_eq!(turned.lost, [lease(-1), lease(-2)]);
        assert_eq!(turned.next, Look::AtOnce);
        assert_eq!((turned.running.len(), turned.crashed.len()), (4, 3));
        assert_eq!(turned.suspects, Suspects::Due);
    }

    #[tokio::test]
    async fn a_step_with_nothing_to_do_is_left_out() {
        let mut fake = Fake::default();
        assert_eq!(turn(&mut fake, nothing()).await.next, Look::Later);
        assert_eq!(fake.took, [""; 0]);
        let upkeep = Turn {
            upkeep: Some(Upkeep {
                held: &[],
                silent: &[],
                mends: true,
            }),
            ..nothing()
        };
        assert_eq!(turn(&mut fake, upkeep).await.suspects, Suspects::None);
        assert_eq!(fake.took, ["mend", "running", "suspects 1"]);
        let mut fake = Fake {
            order: Some(EventOrder::AsDue),
            ..Fake::default()
        };
        assert_eq!(turn(&mut fake, due(3)).await.next, Look::Later);
        assert_eq!(fake.took, ["order", "due first again 3"]);
    }

    #[tokio::test]
    async fn times_are_mended_until_a_step_has_fewer_than_it_may_or_20_are_taken() {
        for (mended, steps) in [(vec![999], 1), (vec![1_000, 0], 2), (vec![1_000; 30], 20)] {
            let mut fake = Fake {
                mended: mended.into(),
                ..Fake::default()
            };
            let upkeep = |mends| Turn {
                upkeep: Some(Upkeep {
                    held: &[],
                    silent: &[],
                    mends,
                }),
                ..nothing()
            };
            turn(&mut fake, upkeep(false)).await;
            assert_eq!(fake.took, ["running", "suspects 1"]);
            turn(&mut fake, upkeep(true)).await;
            let mends = fake.took.iter().filter(|step| *step == "mend");
            assert_eq!(mends.count(), steps);
        }
    }

    #[tokio::test]
    async fn nothing_is_chosen_while_another_worker_keeps_this_one_out() {
        let mut fake = Fake {
            due: [vec![5, 6], Vec::new()],
            ..Fake::default()
        };
        assert_eq!(turn(&mut fake, due(3)).await.next, Look::Soon);
        assert_eq!(fake.took, ["order"]);
    }

    #[tokio::test]
    async fn first_attempts_and_others_share_what_is_taken() {
        let mut fake = Fake {
            order: Some(EventOrder::AsDue),
            due: [vec![1, 2, 3, 4], vec![11, 12, 13, 14]],
            ..Fake::default()
        };
        turn(&mut fake, due(3)).await;
        assert_eq!(fake.took[2], "claim [1, 2, 11] None");
    }

    #[tokio::test]
    async fn a_group_of_suspects_is_taken_alone() {
        let mut fake = Fake {
            suspects: vec![2, 2, 2],
            order: Some(EventOrder::AsDue),
            due: [vec![5, 6], Vec::new()],
            ..Fake::default()
        };
        let take = |cleared| Turn {
            take: Take::Suspects { rows: 64, cleared },
            ..nothing()
        };
        turn(&mut fake, take(0)).await;
        turn(&mut fake, take(4)).await;
        let steps = [
            "order",
            "lock suspects",
            "running",
            "suspects 64",
            "due suspect suspect 2",
            "claim [5, 6] Some(2)",
        ];
        assert_eq!(fake.took[..6], steps);
        assert_eq!(fake.took[10], "due suspect suspect 3");
    }

    /// Events that were taken ahead do not count as suspects.
    #[tokio::test]
    async fn a_process_has_one_group_of_suspects_at_a_time() {
        let here = |id, worker, group| Running {
            worker: Some(WorkerId::of(worker, 7)),
            group,
            is_expired: false,
            ..running(id, 1)
        };
        let other_process = here(1, 2, Some(1));
        let (ahead, fresh) = (here(2, 1, Some(0)), here(3, 1, None));
        let suspect = here(4, 1, Some(3));
        let harmless = vec![other_process, ahead, fresh];
        let one_runs = [harmless.clone(), vec![suspect]].concat();
        for (running, are_locked, claims, found) in [
            (harmless.clone(), false, 1, Suspects::Due),
            (harmless, true, 0, Suspects::Due),
            (one_runs, false, 0, Suspects::Wait),
        ] {
            let mut fake = Fake {
                running,
                suspects: vec![1],
                suspects_are_locked: are_locked,
                order: Some(EventOrder::AsDue),
                due: [vec![5], Vec::new()],
                ..Fake::default()
            };
            let take = Take::Suspects {
                rows: 1,
                cleared: 0,
            };
            let turned = turn(&mut fake, Turn { take, ..nothing() }).await;
            assert_eq!(
                (turned.claims.len(), turned.next),
                (claims, Look::at_once(claims > 0))
            );
            let upkeep = Some(Upkeep {
                held: &[],
                silent: &[],
                mends: false,
            });
            let turned = turn(
                &mut fake,
                Turn {
                    upkeep,
                    ..nothing()
                },
            )
            .await;
            assert_eq!(turned.suspects, found);
        }
    }

    fn page(queue: Queue, rows: &[(i64, &str, Option<i64>, bool)]) -> (Queue, Vec<Due<u32>>) {
        let due = |(id, of, earlier, later_runs): &(i64, &str, Option<i64>, bool)| {
            let (kind, name) = ("instrument".to_owned(), (*of).to_owned());
            let at = u32::try_from(*id).unwrap() * 10;
            (at, *id, Some(kind), Some(name), *earlier, *later_runs)
        };
        (queue, rows.iter().map(due).collect())
    }

    #[tokio::test]
    async fn pages_are_read_until_enough_is_taken_and_what_must_wait_is_marked() {
        let mut fake = Fake {
            order: Some(EventOrder::ByResource),
            pages: vec![
                page(
                    Queue::First,
                    &[(1, "a", None, false), (2, "a", Some(1), false)],
                ),
                page(
                    Queue::First,
                    &[(3, "busy", None, true), (4, "b", None, false)],
                ),
            ],
            ..Fake::default()
        };
        let turned = turn(&mut fake, due(2)).await;
        assert_eq!(
            fake.took,
            [
                "order",
                "page first None 2",
                "page again None 2",
                "page first Some((20, 2)) 128",
                "mark [(2, 1)]",
                "claim [1, 4] None",
            ]
        );
        assert_eq!(turned.next, Look::AtOnce);
        assert_eq!(turned.order, Some(EventOrder::ByResource));
    }

    #[tokio::test]
    async fn in_order_too_first_attempts_and_others_share_what_is_taken() {
        let free =
            |ids: [i64; 4]| ids.map(|id| (id, ["a", "b", "c", "d"][id as usize % 4], None, false));
        let mut fake = Fake {
            order: Some(EventOrder::ByResource),
            pages: vec![
                page(Queue::First, &free([4, 5, 6, 7])),
                // Of the same resources as the first ones, but not as the last.
                page(Queue::Again, &free([8, 9, 10, 11])),
            ],
            ..Fake::default()
        };
        turn(&mut fake, due(4)).await;
        assert_eq!(fake.took[3], "claim [4, 5, 10, 11] None");
    }

    /// The first one is locked by another worker; those behind it are taken, but not those of its
    /// resource.
    #[tokio::test]
    async fn in_order_an_event_that_cannot_be_had_holds_up_no_other_resource() {
        let rows = [
            (1, "a", None, false),
            (2, "a", None, false),
            (3, "b", None, false),
        ];
        let mut fake = Fake {
            order: Some(EventOrder::ByResource),
            locked: vec![1],
            pages: vec![page(Queue::First, &rows), page(Queue::First, &rows)],
            ..Fake::default()
        };
        let turned = turn(&mut fake, due(1)).await;
        let claims: Vec<_> = fake
            .took
            .iter()
            .filter(|step| step.starts_with("claim"))
            .collect();
        assert_eq!(claims, ["claim [1] None", "claim [3] None"]);
        assert_eq!((turned.claims.len(), turned.next), (1, Look::AtOnce));
        // All of them: another worker has them, and this one does not look again at once.
        fake.locked = vec![1, 3];
        fake.pages = vec![page(Queue::First, &rows), page(Queue::First, &rows)];
        assert_eq!(turn(&mut fake, due(1)).await.next, Look::Soon);
        // Some of them: there is room for as many as could not be taken.
        let free = [(4, "c", None, false), (5, "d", None, false)];
        let rows = [&rows[..], &free].concat();
        let pages = vec![page(Queue::First, &rows), page(Queue::First, &rows)];
        let mut fake = Fake {
            order: Some(EventOrder::ByResource),
            locked: vec![1],
            pages,
            ..Fake::default()
        };
        turn(&mut fake, due(2)).await;
        let claims = fake.took.iter().filter(|step| step.starts_with("claim"));
        let claims: Vec<_> = claims.collect();
        assert_eq!(claims, ["claim [1, 3] None", "claim [4] None"]);
    }

    /// One of them was in the pages too, and one of a resource of which another is taken.
    #[tokio::test]
    async fn in_order_other_resources_are_looked_at_aside_of_a_queue_that_is_not_read_to_its_end() {
        let must_wait = page(Queue::First, &[(9, "a", Some(1), false); 128]);
        let mut first = must_wait.clone();
        first.1[0] = page(Queue::First, &[(1, "a", None, false)]).1.remove(0);
        let none = (100, 10, None, None, None, false);
        first.1[1] = none.clone();
        let rows = [
            (1, "a", None, false),
            (300, "b", None, false),
            (301, "c", None, true),
            (302, "d", None, false),
        ];
        let mut aside = page(Queue::First, &rows).1;
        aside.push(none);
        let mut pages = vec![must_wait; 3];
        pages.insert(0, first);
        let fake = |pages, aside| Fake {
            order: Some(EventOrder::ByResource),
            pages,
            aside,
            ..Fake::default()
        };
        let step = |fake: &Fake, of: &str| {
            let steps = fake.took.iter().filter(|step| step.starts_with(of));
            steps.cloned().collect::<Vec<_>>()
        };
        let mut long = fake(pages.clone(), aside.clone());
        turn(&mut long, due(8)).await;
        assert_eq!(step(&long, "aside"), ["aside 128"]);
        assert_eq!(step(&long, "claim"), ["claim [1, 10, 300, 302] None"]);
        // There is room for one more than the pages have.
        let mut long = fake(pages.clone(), aside.clone());
        turn(&mut long, due(3)).await;
        assert_eq!(step(&long, "claim"), ["claim [1, 10, 300] None"]);
        // It is not needed if there is enough in the pages, or if they are all.
        let mut full = fake(pages.clone(), aside.clone());
        turn(&mut full, due(2)).await;
        assert_eq!(step(&full, "claim"), ["claim [1, 10] None"]);
        pages.pop();
        let mut short = fake(pages, aside);
        turn(&mut short, due(8)).await;
        assert_eq!([step(&full, "aside"), step(&short, "aside")], [[""; 0]; 2]);
    }

    /// A turn reads 4 pages of a queue at most. Here all that they have must wait.
    #[tokio::test]
    async fn in_order_there_is_more_at_once_if_a_queue_was_not_read_to_its_end() {
        let must_wait = [(9, "a", Some(8), false); 128];
        for queue in [Queue::First, Queue::Again] {
            let mut fake = Fake {
                order: Some(EventOrder::ByResource),
                pages: vec![page(queue, &must_wait); 4],
                ..Fake::default()
            };
            let turned = turn(&mut fake, due(1)).await;
            assert_eq!((turned.claims.len(), turned.next), (0, Look::AtOnce));
            // One page less, and all was read.
            fake.pages = vec![page(queue, &must_wait); 3];
            assert_eq!(turn(&mut fake, due(1)).await.next, Look::Later);
        }
        // No suspect is due.
        let take = Take::Suspects {
            rows: 1,
            cleared: 0,
        };
        let mut fake = Fake {
            order: Some(EventOrder::ByResource),
            ..Fake::default()
        };
        let turned = turn(&mut fake, Turn { take, ..nothing() }).await;
        assert_eq!(turned.next, Look::Later);
    }
}
