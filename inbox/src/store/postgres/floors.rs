//! Where the queues begin, and since when events run.
//!
//! Events leave a queue at its front, and their entries stay in the index until a vacuum, which an
//! older open transaction prevents. A search for due events would then read all of these entries.
//! So a worker remembers where it found the front, and reads from there. At its next upkeep it
//! reads the whole queue again, and finds events that were added before the front since.
//!
//! In order by resource, an event leaves the queue while it waits for an earlier one, and returns to
//! its old place, which may be before the front. Such events are found by the time of their return.
//!
//! It is the same with the entries of events that ran, among which a worker in order looks for
//! those that run now. Workers in order take events one worker at a time, so what was taken since
//! the last look began after it.

#[cfg(test)]
mod reading;

use std::time::Duration;

use time::OffsetDateTime;

use crate::turn::Queue;

/// An event may become visible after the time from which it is due, or at which it returned, by up
/// to the duration of its transaction. If that takes longer than this, the event is found at the
/// next upkeep.
const MAX_LATE: Duration = Duration::from_secs(2);

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
#[derive(Clone, Copy, Debug)]
pub(super) struct Floors {
    first: Place,
    again: Place,
    released: OffsetDateTime,
    running: RunningSince,
}

impl Floors {
    /// All of the queues.
    pub(super) const NONE: Self = Self {
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

    /// The time since which events were released that have not been taken.
    pub(super) fn released(&self) -> OffsetDateTime {
        self.released
    }

    pub(super) fn running(&self) -> RunningSince {
        self.running
    }

    /// Records the front of a queue at this time.
    pub(super) fn raise(&mut self, queue: Queue, front: Option<Place>, now: OffsetDateTime) {
        let latest = (before(now), 0);
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
        self.released = released.min(before(now));
        self.running = RunningSince {
            since: running.min(now),
            seen_at: now,
        };
    }
}

fn before(now: OffsetDateTime) -> OffsetDateTime {
    now.saturating_sub(time::Duration::try_from(MAX_LATE).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

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
