//! A turn is one transaction of a worker: it settles what ended, renews leases, and takes events.
//! These are the nouns that the worker's loop and the stores share.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use time::OffsetDateTime;

use crate::accepted::EventState;
use crate::event_order::EventOrder;
use crate::retry::Retry;

/// A row and the token under which it was taken. Taking the row again changes the token, so a
/// worker with an older token can no longer change the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Lease {
    pub(crate) id: i64,
    pub(crate) token: i64,
}

/// A worker: the number of its process, which is random, and its own within the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct WorkerId(i64);

impl WorkerId {
    pub(crate) fn new() -> Self {
        static PROCESS: OnceLock<u32> = OnceLock::new();
        static WORKERS: AtomicU32 = AtomicU32::new(0);
        // The random keys of a hasher are the only random numbers in std.
        let process = *PROCESS.get_or_init(|| {
            let hash = RandomState::new().hash_one(std::process::id());
            u32::try_from(hash >> 33).unwrap_or_default()
        });
        Self::of(process, WORKERS.fetch_add(1, Ordering::Relaxed))
    }

    /// The process is below 2^31, so that the number is positive.
    pub(crate) fn of(process: u32, worker: u32) -> Self {
        Self(i64::from(process) << 32 | i64::from(worker))
    }

    /// Returns the number in the table.
    pub(crate) fn number(self) -> i64 {
        self.0
    }

    pub(crate) fn read(number: i64) -> Self {
        Self(number)
    }

    pub(crate) fn process(self) -> i64 {
        self.0 >> 32
    }
}

/// Which events a waiting one competes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    /// Events that no worker has taken yet.
    First,
    /// Events that wait for another attempt.
    Again,
    /// Events whose worker died before they ended; one of them may be the reason.
    Suspect,
}

impl Queue {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Again => "again",
            Self::Suspect => "suspect",
        }
    }

    pub(crate) fn other(self) -> Self {
        match self {
            Self::First => Self::Again,
            Self::Again | Self::Suspect => Self::First,
        }
    }
}

/// An event that a worker has taken.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) lease: Lease,
    pub(crate) key: String,
    pub(crate) source: Option<String>,
    pub(crate) attempts: u32,
    pub(crate) received_at: OffsetDateTime,
    pub(crate) started_at: OffsetDateTime,
    pub(crate) event_type: Option<String>,
    pub(crate) body: Bytes,
}

/// An event that has died, with the fields that are logged.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Died {
    pub(crate) id: i64,
    pub(crate) key: String,
    pub(crate) event_type: Option<String>,
    pub(crate) attempts: u32,
}

/// The result of an attempt, as it is written to the table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    Done,
    /// It waits for its next attempt.
    Again {
        delay: Duration,
        error: String,
    },
    Dead {
        error: String,
        /// It never reached a handler: this version cannot read it, but a later one may.
        malformed: bool,
    },
    /// It waits, and the attempt does not count.
    Postponed {
        delay: Duration,
        reason: String,
    },
    /// It waits as if it had not been taken, for at least this long.
    Returned {
        delay: Duration,
    },
    /// Its worker died before it ended.
    Crashed {
        delay: Duration,
        /// The maximum size of the group of suspects in which it runs next, itself included.
        group: u32,
        /// It ran alone: the attempt counts.
        alone: bool,
    },
}

pub(crate) const LEASE_EXPIRED: &str =
    "the lease expired: the worker was killed, or could not reach the database";

impl Verdict {
    /// Returns the verdict after a failure: another attempt, or dead without a delay.
    pub(crate) fn after(delay: Option<Duration>, error: String) -> Self {
        match delay {
            Some(delay) => Self::Again { delay, error },
            None => Self::Dead {
                error,
                malformed: false,
            },
        }
    }

    pub(crate) fn state(&self) -> EventState {
        match self {
            Self::Done => EventState::Done,
            Self::Again { .. }
            | Self::Postponed { .. }
            | Self::Returned { .. }
            | Self::Crashed { .. } => EventState::Waiting,
            Self::Dead { .. } => EventState::Dead,
        }
    }

    /// Whether events that wait for this one may run now.
    pub(crate) fn is_end(&self) -> bool {
        matches!(self, Self::Done | Self::Dead { .. })
    }

    pub(crate) fn delay(&self) -> Option<Duration> {
        match self {
            Self::Again { delay, .. }
            | Self::Postponed { delay, .. }
            | Self::Crashed { delay, .. }
            | Self::Returned { delay } => Some(*delay),
            Self::Done | Self::Dead { .. } => None,
        }
    }

    /// Whether the attempt counts.
    pub(crate) fn counts(&self) -> bool {
        match self {
            Self::Postponed { .. } | Self::Returned { .. } => false,
            Self::Crashed { alone, .. } => *alone,
            Self::Done | Self::Again { .. } | Self::Dead { .. } => true,
        }
    }

    /// Returns the queue in which it waits next; `None` if its queue does not change.
    pub(crate) fn queue(&self) -> Option<Queue> {
        match self {
            Self::Returned { .. } => None,
            Self::Crashed { .. } => Some(Queue::Suspect),
            Self::Done | Self::Again { .. } | Self::Dead { .. } | Self::Postponed { .. } => {
                Some(Queue::Again)
            }
        }
    }

    /// Returns the size of its group if it is a suspect.
    pub(crate) fn group(&self) -> Option<u32> {
        match self {
            Self::Crashed { group, .. } => Some(*group),
            _ => None,
        }
    }

    pub(crate) fn is_postponed(&self) -> bool {
        matches!(self, Self::Postponed { .. })
    }

    pub(crate) fn is_malformed(&self) -> bool {
        matches!(
            self,
            Self::Dead {
                malformed: true,
                ..
            }
        )
    }

    /// Returns the text to keep as the last error. If it is `None`, a done event has no last error,
    /// and a waiting one keeps its earlier one.
    pub(crate) fn error(&self) -> Option<&str> {
        match self {
            Self::Again { error, .. } | Self::Dead { error, .. } => Some(error),
            Self::Postponed { reason, .. } => Some(reason),
            Self::Crashed { .. } => Some(LEASE_EXPIRED),
            Self::Done | Self::Returned { .. } => None,
        }
    }
}

/// The requests of a worker for one transaction.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    pub(crate) worker: WorkerId,
    pub(crate) settle: &'a [(Lease, Verdict)],
    pub(crate) renew: &'a [Lease],
    pub(crate) take: Take,
    pub(crate) upkeep: Option<Upkeep<'a>>,
    /// The length of the leases that are taken and renewed.
    pub(crate) lease: Duration,
    /// Applies to events whose worker died.
    pub(crate) retry: &'a Retry,
}

/// Which events to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Take {
    Nothing,
    /// This many of the events that are due. If there are more, half of them come from each queue,
    /// and the odd one from this queue.
    Due {
        rows: usize,
        /// How many of them begin at once; the rest is taken ahead.
        begin: usize,
        prefer: Queue,
    },
    /// A group of suspects: as many as their crashes allow, or this many if that is more, but at
    /// most `rows`.
    Suspects {
        rows: usize,
        cleared: usize,
    },
}

impl Take {
    pub(crate) fn is_nothing(self) -> bool {
        self == Self::Nothing
    }

    pub(crate) fn rows(self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Due { rows, .. } | Self::Suspects { rows, .. } => rows,
        }
    }
}

/// Periodic work: the worker looks for leases of dead workers, for times that were written while
/// the clock was ahead, and for suspects.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Upkeep<'a> {
    /// The leases that the worker's tasks hold; any other one in its name was taken in a turn whose
    /// answer was lost.
    pub(crate) held: &'a [Lease],
    /// The leases that this worker has seen unchanged for so long that their workers must be dead.
    pub(crate) silent: &'a [Stamped],
    /// Whether to correct times too.
    pub(crate) mends: bool,
}

/// A lease, and when it was renewed last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Stamped {
    pub(crate) lease: Lease,
    pub(crate) renewed_at: OffsetDateTime,
}

/// A running event, in any process.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    pub(crate) stamped: Stamped,
    /// The length of its lease.
    pub(crate) length: Duration,
    pub(crate) worker: Option<WorkerId>,
    pub(crate) attempts: u32,
    /// The size of its group if it is a suspect; 0 if it was taken ahead and may not have begun.
    pub(crate) group: Option<u32>,
    /// According to the database's clock.
    pub(crate) is_expired: bool,
    pub(crate) key: String,
    pub(crate) event_type: Option<String>,
}

/// The result of a turn.
#[derive(Debug, Default)]
pub(crate) struct Turned {
    /// The leases of `settle` and `renew` that another worker has taken over.
    pub(crate) lost: Vec<Lease>,
    pub(crate) claims: Vec<Claim>,
    /// The inbox's order, if the turn was to take events.
    pub(crate) order: Option<EventOrder>,
    pub(crate) next: Look,
    /// The running events, and the verdicts on events whose workers died, if the turn had upkeep.
    pub(crate) running: Vec<Running>,
    pub(crate) crashed: Vec<(Running, Verdict)>,
    /// What suspects are due, if the turn had upkeep.
    pub(crate) suspects: Suspects,
}

/// Events that wait because they may have killed their process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Suspects {
    #[default]
    None,
    /// Some are due.
    Due,
    /// Some are due, and wait for others that run in this process.
    Wait,
}

/// When another turn may find more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Look {
    AtOnce,
    /// Another worker was choosing what to take.
    Soon,
    #[default]
    Later,
}

impl Look {
    pub(crate) fn at_once(more: bool) -> Self {
        if more { Self::AtOnce } else { Self::Later }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_from_a_verdict() {
        let delay = Duration::from_secs(60);
        let text = || "e".to_owned();
        let again = Verdict::after(Some(delay), text());
        let dead = Verdict::after(None, text());
        let (error, malformed) = (text(), true);
        let unread = Verdict::Dead { error, malformed };
        let reason = text();
        let postponed = Verdict::Postponed { delay, reason };
        let returned = Verdict::Returned { delay };
        let (delay, error) = (Some(delay), Some("e"));
        for (verdict, state, delay, counts, error) in [
            (&Verdict::Done, EventState::Done, None, true, None),
            (&again, EventState::Waiting, delay, true, error),
            (&dead, EventState::Dead, None, true, error),
            (&unread, EventState::Dead, None, true, error),
            (&postponed, EventState::Waiting, delay, false, error),
            (&returned, EventState::Waiting, delay, false, None),
        ] {
            assert_eq!(verdict.state(), state, "{verdict:?}");
            assert_eq!(verdict.is_end(), state != EventState::Waiting);
            assert_eq!(verdict.delay(), delay, "{verdict:?}");
            assert_eq!(verdict.counts(), counts, "{verdict:?}");
            assert_eq!(verdict.error(), error, "{verdict:?}");
            assert_eq!(verdict.is_malformed(), *verdict == unread);
        }
    }

    #[test]
    fn an_event_waits_where_its_verdict_puts_it() {
        let delay = Duration::from_secs(60);
        let crashed = |alone| Verdict::Crashed {
            delay,
            group: 3,
            alone,
        };
        let reason = "e".to_owned();
        let postponed = Verdict::Postponed { delay, reason };
        let again = Verdict::after(Some(delay), "e".to_owned());
        for (verdict, queue, group) in [
            (&Verdict::Done, Some(Queue::Again), None),
            (&again, Some(Queue::Again), None),
            (&postponed, Some(Queue::Again), None),
            // It stays where it was.
            (&Verdict::Returned { delay }, None, None),
            (&crashed(false), Some(Queue::Suspect), Some(3)),
            (&crashed(true), Some(Queue::Suspect), Some(3)),
        ] {
            assert_eq!((verdict.queue(), verdict.group()), (queue, group));
            assert_eq!(verdict.is_postponed(), *verdict == postponed);
        }
        assert!(crashed(true).counts() && !crashed(false).counts());
        assert_eq!(crashed(true).state(), EventState::Waiting);
        assert_eq!(crashed(true).delay(), Some(delay));
        assert_eq!(crashed(true).error(), Some(LEASE_EXPIRED));
        assert!(!crashed(true).is_end());
        let names = [Queue::First, Queue::Again, Queue::Suspect].map(Queue::as_str);
        assert_eq!(names, ["first", "again", "suspect"]);
        let others = [Queue::First, Queue::Again].map(Queue::other);
        assert_eq!(others, [Queue::Again, Queue::First]);
    }

    #[test]
    fn what_a_turn_takes_is_counted() {
        let (rows, prefer, cleared) = (3, Queue::First, 1);
        for (take, count) in [
            (Take::Nothing, 0),
            (
                Take::Due {
                    rows,
                    begin: 1,
                    prefer,
                },
                3,
            ),
            (Take::Suspects { rows, cleared }, 3),
        ] {
            assert_eq!(take.rows(), count);
            assert_eq!(take.is_nothing(), count == 0);
        }
    }

    #[test]
    fn a_worker_is_read_back_by_its_number_with_its_process() {
        let worker = WorkerId::of(3, 7);
        assert_eq!(worker.number(), 12_884_901_895);
        assert_eq!(worker.process(), 3);
        assert_eq!(WorkerId::read(worker.number()), worker);
        let (one, other) = (WorkerId::new(), WorkerId::new());
        assert_ne!(one, other);
        assert_eq!(one.process(), other.process());
        assert!(one.number() >= 0);
    }
}
