//! A turn is one transaction of a worker: it settles what ended, renews leases, and takes events.
//! These are the nouns that the worker's loop and the stores share.

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

/// What becomes of an event that a worker had taken.
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
        /// No handler saw it: this version cannot read it, and a later one may.
        malformed: bool,
    },
    /// It waits, and the attempt does not count.
    Postponed {
        delay: Duration,
        reason: String,
    },
    /// It waits as if it had not been taken, at least for this long.
    Returned {
        delay: Duration,
    },
}

impl Verdict {
    /// After a failure: another attempt, or the end if there is no delay.
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
            Self::Again { .. } | Self::Postponed { .. } | Self::Returned { .. } => {
                EventState::Waiting
            }
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
            | Self::Returned { delay } => Some(*delay),
            Self::Done | Self::Dead { .. } => None,
        }
    }

    /// Whether the attempt counts.
    pub(crate) fn counts(&self) -> bool {
        !matches!(self, Self::Postponed { .. } | Self::Returned { .. })
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

    /// What is kept as the last error; without one, an event that is done has none, and an event
    /// that waits keeps the one that it has.
    pub(crate) fn error(&self) -> Option<&str> {
        match self {
            Self::Again { error, .. } | Self::Dead { error, .. } => Some(error),
            Self::Postponed { reason, .. } => Some(reason),
            Self::Done | Self::Returned { .. } => None,
        }
    }
}

/// What a worker asks for in one transaction.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    pub(crate) settle: &'a [(Lease, Verdict)],
    pub(crate) renew: &'a [Lease],
    /// How many events to take.
    pub(crate) take: usize,
    /// For how long events are taken and leases renewed.
    pub(crate) lease: Duration,
    /// For events whose worker is gone.
    pub(crate) retry: &'a Retry,
}

/// What a turn found.
#[derive(Debug, Default)]
pub(crate) struct Turned {
    /// Those of `settle` and `renew` that another worker has taken over.
    pub(crate) lost: Vec<Lease>,
    pub(crate) claims: Vec<Claim>,
    /// The inbox's order, if events were to be taken.
    pub(crate) order: Option<EventOrder>,
    pub(crate) next: Look,
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
}
