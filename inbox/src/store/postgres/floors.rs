//! Where the queues begin.
//!
//! Events leave a queue at its front, and their entries stay in the index until a vacuum, which no
//! transaction that began before lets happen. Whoever looks for what is due then reads them all. So
//! a worker remembers where it found the front, and reads from there; at its next upkeep it reads all
//! of the queue again, and finds what has come behind the front since.

use std::time::Duration;

use time::OffsetDateTime;

use crate::turn::Queue;

/// An event may come into view after the time from which it is due: as long as its transaction takes.
/// One that takes longer is seen at the next upkeep.
const MAX_LATE: Duration = Duration::from_secs(2);

/// The times from which the first attempts and the other ones are looked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Floors {
    first: OffsetDateTime,
    again: OffsetDateTime,
}

impl Floors {
    /// All of the queues.
    pub(super) const NONE: Self = Self {
        first: OffsetDateTime::UNIX_EPOCH,
        again: OffsetDateTime::UNIX_EPOCH,
    };

    pub(super) fn of(&self, queue: Queue) -> OffsetDateTime {
        match queue {
            Queue::First => self.first,
            Queue::Again => self.again,
            // There are few of them.
            Queue::Suspect => OffsetDateTime::UNIX_EPOCH,
        }
    }

    /// Notes the front of a queue as it was at this time.
    pub(super) fn raise(
        &mut self,
        queue: Queue,
        front: Option<OffsetDateTime>,
        now: OffsetDateTime,
    ) {
        let latest = now.saturating_sub(time::Duration::try_from(MAX_LATE).unwrap_or_default());
        let floor = front.map_or(latest, |front| front.min(latest));
        match queue {
            Queue::First => self.first = floor,
            Queue::Again => self.again = floor,
            Queue::Suspect => {}
        }
    }
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
        for (front, floor) in [(None, late), (Some(now), late), (Some(old), old)] {
            floors.raise(Queue::First, front, now);
            assert_eq!(floors.of(Queue::First), floor);
        }
        assert_eq!(floors.of(Queue::Again), OffsetDateTime::UNIX_EPOCH);
        floors.raise(Queue::Again, Some(now), now);
        floors.raise(Queue::Suspect, Some(now), now);
        assert_eq!(floors.of(Queue::Again), late);
        assert_eq!(floors.of(Queue::Suspect), OffsetDateTime::UNIX_EPOCH);
    }
}
