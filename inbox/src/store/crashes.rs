//! Decides what happens to events whose workers died, and which of them run together next.
//!
//! If a process dies, all of its events are interrupted, and one of them may be the reason. So no
//! attempt is counted for an event that ran beside others: it becomes a suspect. So does one that
//! was taken ahead and may not have begun. Suspects run without other events beside them, in groups
//! of at most half as many events as ran at the crash. Each further crash halves the group again,
//! until the event that is the reason runs alone. From then on each crash counts as an attempt of
//! that event, and after its last attempt it is dead. Events that end without a crash are no longer
//! suspects.
//!
//! Other events do not wait for a suspect that takes long, and begin beside it. If the process dies
//! then, the suspect is the reason rather than they are: it was there at each of several crashes.
//! So there is only one group of suspects in a process at a time, however long it takes. The same
//! holds for events that another worker of the process has taken beside it.

use std::collections::HashSet;
use std::time::Duration;

use crate::retry::Retry;
use crate::turn::{LEASE_EXPIRED, Running, Upkeep, Verdict, WorkerId};

/// Returns the events whose workers died, with the verdict on each.
pub(super) fn crashes(
    running: &[Running],
    upkeep: &Upkeep<'_>,
    worker: WorkerId,
    retry: &Retry,
) -> Vec<(Running, Verdict)> {
    let is_silent = |one: &Running| upkeep.silent.contains(&one.stamped);
    let (own, others): (Vec<_>, Vec<_>) =
        running.iter().partition(|one| one.worker == Some(worker));
    // A worker dies as a whole. Its leases end at different times, and the events whose leases end
    // first must not look as if they had run alone.
    let lives = others
        .iter()
        .filter(|one| !(one.is_expired && is_silent(one)));
    let living: HashSet<_> = lives.filter_map(|one| one.worker).collect();
    let is_gone = |one: &&Running| match one.worker {
        Some(worker) => !living.contains(&worker),
        None => one.is_expired && is_silent(one),
    };
    let crashed = others.iter().copied().filter(is_gone).map(|one| {
        let beside = others.iter().filter(|other| process(other) == process(one));
        (one.clone(), verdict(one, beside.copied(), retry))
    });
    // Taken in a turn whose answer was lost: its handler never began. It must be silent too, since
    // this turn may be late, and its list of tasks outdated.
    let never_begun = own
        .into_iter()
        .filter(|one| is_silent(one) && !upkeep.held.contains(&one.stamped.lease));
    let delay = Duration::ZERO;
    let returned = never_begun.map(|one| (one.clone(), Verdict::Returned { delay }));
    crashed.chain(returned).collect()
}

fn process(one: &Running) -> Option<i64> {
    one.worker.map(WorkerId::process)
}

/// Whether it runs in a group of suspects.
fn is_suspect(one: &Running) -> bool {
    one.group.is_some_and(|group| group > 0)
}

/// Whether suspects run in the process of this worker.
pub(super) fn suspects_run<'r>(
    running: impl Iterator<Item = &'r Running>,
    worker: WorkerId,
) -> bool {
    let here = Some(worker.process());
    running.filter(|one| process(one) == here).any(is_suspect)
}

/// Returns the verdict on an event whose worker died, given all events of its process, itself
/// included.
fn verdict<'r>(
    one: &Running,
    process: impl Iterator<Item = &'r Running>,
    retry: &Retry,
) -> Verdict {
    let (mut together, mut suspects) = (0, 0);
    for other in process {
        together += 1;
        suspects += u32::from(is_suspect(other));
    }
    // A group of one, perhaps beside events of the other queues.
    let was_alone = one.group == Some(1) && suspects == 1;
    let was_ahead = one.group == Some(0);
    if together <= 1 && !was_ahead || was_alone {
        return match retry.after(one.attempts) {
            Some(delay) => Verdict::Crashed {
                delay,
                group: 1,
                alone: true,
            },
            None => Verdict::after(None, LEASE_EXPIRED.to_owned()),
        };
    }
    let group = one.group.filter(|_| !was_ahead);
    let group = group.unwrap_or(u32::MAX).min(together);
    Verdict::Crashed {
        delay: Duration::ZERO,
        group: (group / 2).max(1),
        alone: false,
    }
}

/// Returns how many of these run together, from the first one on: as many as each of them allows,
/// or `at_least` if that is more.
///
/// `at_least` is twice the size of a group that has just ended well. This way, innocent suspects
/// whose groups were halved often end in a few groups, not one by one.
pub(super) fn group_size(groups: &[u32], at_least: usize) -> usize {
    let mut size = 0;
    let mut allowed = usize::MAX;
    for group in groups {
        allowed = allowed.min(usize::try_from(*group).unwrap_or(usize::MAX).max(at_least));
        if size >= allowed.max(1) {
            break;
        }
        size += 1;
    }
    size
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;
    use crate::turn::{Lease, Stamped};

    const RETRY: Retry = Retry {
        attempts: 3,
        first: Duration::ZERO,
        longest: Duration::ZERO,
    };

    fn running(id: i64, worker: WorkerId) -> Running {
        Running {
            stamped: Stamped {
                lease: Lease { id, token: 1 },
                renewed_at: OffsetDateTime::UNIX_EPOCH,
            },
            length: Duration::from_secs(30),
            worker: Some(worker),
            attempts: 1,
            group: None,
            is_expired: true,
            key: id.to_string(),
            event_type: None,
        }
    }

    fn me() -> WorkerId {
        WorkerId::of(1, 1)
    }

    fn all(running: &[Running]) -> Vec<(i64, Verdict)> {
        let silent: Vec<_> = running.iter().map(|one| one.stamped).collect();
        let upkeep = Upkeep {
            held: &[],
            silent: &silent,
            mends: true,
        };
        let crashed = crashes(running, &upkeep, me(), &RETRY).into_iter();
        crashed
            .map(|(one, verdict)| (one.stamped.lease.id, verdict))
            .collect()
    }

    fn crashed(group: u32, alone: bool) -> Verdict {
        let delay = Duration::ZERO;
        Verdict::Crashed {
            delay,
            group,
            alone,
        }
    }

    #[test]
    fn those_that_died_together_are_halved_by_process_and_keep_their_attempts() {
        let here = [0, 1].map(|worker| WorkerId::of(2, worker));
        let mut set: Vec<_> = (0..5).map(|id| running(id, here[0])).collect();
        // Another worker of the same process, and one of another process.
        set.push(running(5, here[1]));
        set.push(running(6, WorkerId::of(3, 0)));
        let crashed_so = all(&set);
        assert_eq!(
            crashed_so[..6],
            [0, 1, 2, 3, 4, 5].map(|id| (id, crashed(3, false)))
        );
        assert_eq!(crashed_so[6], (6, crashed(1, true)));
        assert!(!crashed(3, false).counts() && crashed(1, true).counts());
    }

    #[test]
    fn a_suspect_is_halved_again_and_one_that_ran_alone_is_charged() {
        let other = WorkerId::of(2, 0);
        let mut set = [0, 1, 2].map(|id| running(id, other));
        set[1].group = Some(1);
        // One of the others was taken ahead, and one is of another queue.
        set[2].group = Some(0);
        assert_eq!(
            all(&set),
            [
                (0, crashed(1, false)),
                (1, crashed(1, true)),
                (2, crashed(1, false)),
            ]
        );
        // Another suspect may be the reason.
        set[0].group = Some(2);
        set[2].group = Some(32);
        assert_eq!(all(&set), [0, 1, 2].map(|id| (id, crashed(1, false))));
        let mut last = running(0, other);
        last.attempts = 3;
        assert_eq!(all(&[last])[0].1.error(), Some(LEASE_EXPIRED));
    }

    #[test]
    fn a_lease_that_is_not_expired_or_not_silent_is_left_alone() {
        let other = WorkerId::of(2, 0);
        let mut alive = running(0, other);
        alive.is_expired = false;
        assert_eq!(all(&[alive]), []);
        let renewed = running(1, other);
        let seen = Stamped {
            renewed_at: OffsetDateTime::UNIX_EPOCH - time::Duration::SECOND,
            ..renewed.stamped
        };
        let upkeep = Upkeep {
            held: &[],
            silent: &[seen],
            mends: true,
        };
        let mut unnamed = renewed.clone();
        unnamed.worker = None;
        assert!(crashes(&[renewed], &upkeep, me(), &RETRY).is_empty());
        // The same without a name of its worker.
        assert!(crashes(&[unnamed.clone()], &upkeep, me(), &RETRY).is_empty());
        assert_eq!(all(&[unnamed.clone()]), [(1, crashed(1, true))]);
        unnamed.is_expired = false;
        assert_eq!(all(&[unnamed]), []);
    }

    #[test]
    fn one_that_was_taken_ahead_is_not_charged_even_if_it_was_alone() {
        let other = WorkerId::of(2, 0);
        let mut set = [0, 1, 2, 3].map(|id| running(id, other));
        set[3].group = Some(0);
        assert_eq!(all(&set)[3], (3, crashed(2, false)));
        assert_eq!(all(&set[3..]), [(3, crashed(1, false))]);
        // Only once: it is a suspect from then on.
        set[3].group = Some(1);
        assert_eq!(all(&set[3..]), [(3, crashed(1, true))]);
    }

    /// One was taken after the others were renewed, so its lease ends later.
    #[test]
    fn a_worker_is_gone_as_a_whole() {
        let other = WorkerId::of(2, 0);
        let mut set = [0, 1, 2].map(|id| running(id, other));
        set[2].is_expired = false;
        assert_eq!(all(&set), []);
        // Another worker of its process is alive, and may have been the reason.
        set[2].worker = Some(WorkerId::of(2, 1));
        assert_eq!(all(&set), [0, 1].map(|id| (id, crashed(1, false))));
        set[2].worker = Some(other);
        set[2].is_expired = true;
        assert_eq!(all(&set), [0, 1, 2].map(|id| (id, crashed(1, false))));
    }

    #[test]
    fn a_worker_never_takes_what_its_tasks_hold_and_returns_what_none_does() {
        let (held, forgotten) = (running(0, me()), running(1, me()));
        let begun_since = running(2, me());
        let silent = [held.stamped, forgotten.stamped];
        let upkeep = Upkeep {
            held: &[held.stamped.lease],
            silent: &silent,
            mends: true,
        };
        let crashed = crashes(&[held, forgotten, begun_since], &upkeep, me(), &RETRY);
        assert_eq!(crashed.len(), 1);
        let delay = Duration::ZERO;
        assert_eq!(crashed[0].0.stamped.lease.id, 1);
        assert_eq!(crashed[0].1, Verdict::Returned { delay });
    }

    #[test]
    fn a_group_is_as_large_as_each_of_its_suspects_allows() {
        for (groups, at_least, size) in [
            (&[][..], 0, 0),
            (&[1, 1, 1], 0, 1),
            (&[32, 32, 1], 0, 2),
            (&[4, 2, 4, 4], 0, 2),
            (&[2, 4, 4, 4], 0, 2),
            (&[1, 1, 1, 1, 1], 4, 4),
            (&[8, 8, 1], 2, 2),
            (&[0], 0, 1),
        ] {
            assert_eq!(group_size(groups, at_least), size, "{groups:?} {at_least}");
        }
    }
}
