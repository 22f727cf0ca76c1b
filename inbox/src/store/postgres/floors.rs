//! Where the queues begin.
//!
//! Events leave a queue at its front, and their entries stay in the index until a vacuum, which an
//! older open transaction prevents. A search for due events would then read all of these entries.
//! So a worker remembers where it found the front, and reads from there. At its next upkeep it
//! reads the whole queue again, and finds events that were added before the front since.

use std::time::Duration;

use time::OffsetDateTime;

use crate::turn::Queue;

/// An event may become visible after the time from which it is due, by up to the duration of its
/// transaction. If that takes longer than this, the event is found at the next upkeep.
const MAX_LATE: Duration = Duration::from_secs(2);

/// A place in a queue: the time from which an event is due, and its id. Many may be due from the
/// same time, for example after a replay.
pub(super) type Place = (OffsetDateTime, i64);

const BEGIN: Place = (OffsetDateTime::UNIX_EPOCH, 0);

/// The places from which the queues of first attempts and of retries are read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Floors {
    first: Place,
    again: Place,
}

impl Floors {
    /// All of the queues.
    pub(super) const NONE: Self = Self {
        first: BEGIN,
        again: BEGIN,
    };

    pub(super) fn of(&self, queue: Queue) -> Place {
        match queue {
            Queue::First => self.first,
            Queue::Again => self.again,
            // There are few of them.
            Queue::Suspect => BEGIN,
        }
    }

    /// Records the front of a queue at this time.
    pub(super) fn raise(&mut self, queue: Queue, front: Option<Place>, now: OffsetDateTime) {
        let late = time::Duration::try_from(MAX_LATE).unwrap_or_default();
        let latest = (now.saturating_sub(late), 0);
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
    use sqlx::Connection as _;
    use sqlx::postgres::PgConnection;

    use super::super::steps::PostgresSteps;
    use super::*;
    use crate::store::steps::Steps as _;

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

    /// Among rows that are due from the same time too, and of both queues.
    #[tokio::test]
    #[ignore = "needs postgres"]
    async fn a_queue_is_read_from_its_floor() {
        let url = std::env::var("PTOLEMY_INBOX_POSTGRES_URL").unwrap();
        let mut connection = PgConnection::connect(&url).await.unwrap();
        sqlx::raw_sql(
            "CREATE TEMPORARY TABLE ptolemy_inbox AS
             SELECT id, now() - interval '1 hour' AS run_at, 'waiting' AS state,
                    NULL::bigint AS waits_for,
                    CASE WHEN id <= 5 THEN 'first' ELSE 'again' END AS queue
             FROM generate_series(1::bigint, 10) AS id",
        )
        .execute(&mut connection)
        .await
        .unwrap();
        let run_at: OffsetDateTime = sqlx::query_scalar("SELECT min(run_at) FROM ptolemy_inbox")
            .fetch_one(&mut connection)
            .await
            .unwrap();
        let queues = [Queue::First, Queue::Again];
        let floors = Floors {
            first: (run_at, 4),
            again: (run_at, 9),
        };
        for (floors, expected) in [
            (Floors::NONE, [vec![1, 2, 3, 4, 5], vec![6, 7, 8, 9, 10]]),
            (floors, [vec![4, 5], vec![9, 10]]),
        ] {
            let mut steps = PostgresSteps::new(&mut connection, true, floors, None);
            assert_eq!(steps.due(queues, 9).await.unwrap(), expected);
        }
    }
}
