//! Where the queues begin, and since when events run.
//!
//! Events leave a queue at its front, and their entries stay in the index until a vacuum, which an
//! older open transaction prevents. A search for due events would then read all of these entries.
//! So a worker remembers where it found the front, and reads from there. At its next upkeep it
//! reads the whole queue again, and finds events that were added before the front since.
//!
//! In order by resource, an event leaves the queue while it waits for an earlier one, and returns
//! to its old place, which may be before the front. Such events are found by the time of their
//! return.
//!
//! It is the same with the entries of events that ran, among which a worker in order looks for
//! those that run now. No worker takes events while another one chooses in order, so what was taken
//! since the last look began after it.

#[cfg(test)]
mod reading;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use time::OffsetDateTime;

use crate::event_order::EventOrder;
use crate::turn::Queue;

/// An event may become visible after the time from which it is due, or at which it returned, by up
/// to the duration of its transaction. If that takes longer than this, the event is found at the
/// next upkeep.
const MAX_LATE: Duration = Duration::from_secs(2);

/// By how much the clock may be set back without being noticed. Entries of events that began within
/// this time are read again, so it is short.
const MAX_STEP: Duration = Duration::from_millis(100);

/// A place in a queue: the time from which an event is due, and its id. Many may be due from the
/// same time, for example after a replay.
pub(super) type Place = (OffsetDateTime, i64);

pub(super) const BEGIN: Place = (OffsetDateTime::UNIX_EPOCH, 0);

/// The time at which the first of the running events began, and when that was seen: if the clock
/// has been set back since, it says nothing of the events that began after that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RunningSince {
    pub(super) since: OffsetDateTime,
    pub(super) seen_at: OffsetDateTime,
}

/// The places from which the queues of first attempts and of retries are read, and the times from
/// which released and running events are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Floors {
    /// `None` before the first turn that takes events.
    order: Option<EventOrder>,
    first: Place,
    again: Place,
    released: OffsetDateTime,
    running: RunningSince,
}

impl Floors {
    /// All of the queues.
    pub(super) const NONE: Self = Self {
        order: None,
        first: BEGIN,
        again: BEGIN,
        released: BEGIN.0,
        running: RunningSince {
            since: BEGIN.0,
            seen_at: BEGIN.0,
        },
    };

    pub(super) fn of(&self, queue: Queue) -> Place {
        match queue {
            Queue::First => self.first,
            Queue::Again => self.again,
            // There are few of them.
            Queue::Suspect => BEGIN,
        }
    }

    /// Begins anew if the order has changed: events that waited for others may have returned to
    /// their old places then.
    pub(super) fn keep_if(&mut self, order: EventOrder) {
        if self.order != Some(order) {
            *self = Self {
                order: Some(order),
                ..Self::NONE
            };
        }
    }

    /// The time since which events were released that have not been taken.
    pub(super) fn released(&self) -> OffsetDateTime {
        self.released
    }

    pub(super) fn running(&self) -> RunningSince {
        self.running
    }

    /// Records the front of a queue at this time.
    pub(super) fn raise(&mut self, queue: Queue, front: Option<Place>, now: OffsetDateTime) {
        let latest = (before(now, MAX_LATE), 0);
        let floor = front.map_or(latest, |front| front.min(latest));
        match queue {
            Queue::First => self.first = floor,
            Queue::Again => self.again = floor,
            Queue::Suspect => {}
        }
    }

    /// Records since when events run at this time, and since when others were released that have
    /// not been taken.
    pub(super) fn raise_in_order(
        &mut self,
        now: OffsetDateTime,
        running: OffsetDateTime,
        released: OffsetDateTime,
    ) {
        self.released = released.min(before(now, MAX_LATE));
        self.running = RunningSince {
            since: running.min(before(now, MAX_STEP)),
            seen_at: now,
        };
    }
}

fn before(now: OffsetDateTime, by: Duration) -> OffsetDateTime {
    now.saturating_sub(time::Duration::try_from(by).unwrap_or_default())
}

/// The floors that a turn has read. It may fail or be abandoned before it has written others, for
/// example because the server has disappeared; then no floors are left, since the clock of the next
/// server may be behind.
pub(super) struct Known<'a> {
    shared: &'a Mutex<Floors>,
    /// `None` once they are written.
    read: Option<Floors>,
    is_upkeep: bool,
}

impl<'a> Known<'a> {
    /// For an upkeep, all of the queues.
    pub(super) fn read(shared: &'a Mutex<Floors>, is_upkeep: bool) -> Self {
        Self {
            read: Some(*lock(shared)),
            shared,
            is_upkeep,
        }
    }

    pub(super) fn floors(&self) -> Floors {
        let floors = self.read.unwrap_or(Floors::NONE);
        if self.is_upkeep {
            Floors {
                order: floors.order,
                ..Floors::NONE
            }
        } else {
            floors
        }
    }

    /// Writes the floors that the turn has found, unless another turn of this process has written
    /// some meanwhile: they may be those of an upkeep, which are lower.
    pub(super) fn write(mut self, found: Floors) {
        let mut shared = lock(self.shared);
        let read = self.read.take();
        if self.is_upkeep || read == Some(*shared) {
            *shared = found;
        }
    }
}

impl Drop for Known<'_> {
    fn drop(&mut self) {
        if self.read.is_some() {
            *lock(self.shared) = Floors::NONE;
        }
    }
}

fn lock(floors: &Mutex<Floors>) -> MutexGuard<'_, Floors> {
    floors.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_that_does_not_end_leaves_no_floors_and_none_undoes_those_of_an_upkeep() {
        let at = |hours| Floors {
            first: (OffsetDateTime::UNIX_EPOCH + hours * time::Duration::HOUR, 1),
            ..Floors::NONE
        };
        let shared = Mutex::new(at(1));
        let known = Known::read(&shared, false);
        assert_eq!(known.floors(), at(1));
        known.write(at(2));
        assert_eq!(*lock(&shared), at(2));
        // Another turn has upkeep meanwhile, and finds an event before.
        let known = Known::read(&shared, false);
        let upkeep = Known::read(&shared, true);
        assert_eq!(upkeep.floors(), Floors::NONE);
        upkeep.write(at(1));
        known.write(at(3));
        assert_eq!(*lock(&shared), at(1));
        // An upkeep has read everything, so what others have found meanwhile does not count.
        let upkeep = Known::read(&shared, true);
        Known::read(&shared, false).write(at(4));
        upkeep.write(at(2));
        assert_eq!(*lock(&shared), at(2));
        drop(Known::read(&shared, false));
        assert_eq!(*lock(&shared), Floors::NONE);
    }

    #[test]
    fn another_order_begins_anew() {
        let mut floors = Floors::NONE;
        floors.keep_if(EventOrder::ByResource);
        let place = (OffsetDateTime::UNIX_EPOCH, 7);
        floors.raise(Queue::First, Some(place), OffsetDateTime::now_utc());
        floors.keep_if(EventOrder::ByResource);
        assert_eq!(floors.of(Queue::First), place);
        floors.keep_if(EventOrder::AsDue);
        assert_eq!(floors.of(Queue::First), BEGIN);
    }

    #[test]
    fn a_queue_begins_at_its_front_and_what_comes_late_is_still_seen() {
        let now = OffsetDateTime::UNIX_EPOCH + time::Duration::DAY;
        let old = now - time::Duration::HOUR;
        let late = now - time::Duration::try_from(MAX_LATE).unwrap();
        let mut floors = Floors::NONE;
        for (front, floor) in [
            (None, (late, 0)),
            (Some((now, 7)), (late, 0)),
            (Some((late, 7)), (late, 0)),
            (Some((old, 7)), (old, 7)),
        ] {
            floors.raise(Queue::First, front, now);
            assert_eq!(floors.of(Queue::First), floor);
        }
        assert_eq!(floors.of(Queue::Again), BEGIN);
        floors.raise(Queue::Again, Some((now, 1)), now);
        floors.raise(Queue::Suspect, Some((now, 1)), now);
        assert_eq!(floors.of(Queue::Again), (late, 0));
        assert_eq!(floors.of(Queue::Suspect), BEGIN);
    }
}
