use std::time::Duration;

use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use crate::accepted::EventState;
use crate::error::BoxError;

/// Counts of the events that are not done.
///
/// Done events are not counted, so that the count stays cheap beside millions of them.
///
/// It serializes as an object with these names; `oldest_waiting` is then a number of seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Events that wait for a worker, for their first attempt or for another one.
    pub waiting: u64,
    /// Events that a worker has taken.
    pub running: u64,
    /// Events that failed for good.
    pub dead: u64,
    /// How many of the dead events no handler has seen: the body is not an event, or its data is
    /// malformed. Replay them after an upgrade.
    pub malformed: u64,
    /// For how long the oldest of the waiting events has been in the inbox; `None` if none waits.
    pub oldest_waiting: Option<Duration>,
}

impl Stats {
    pub(crate) fn new(
        counts: &[(String, i64)],
        malformed: i64,
        oldest_waiting: Option<time::Duration>,
    ) -> Result<Self, BoxError> {
        let mut stats = Self {
            malformed: u64::try_from(malformed)?,
            // A clock that was set back makes no negative age.
            oldest_waiting: oldest_waiting.map(|age| age.try_into().unwrap_or_default()),
            ..Self::default()
        };
        for (state, count) in counts {
            let count = u64::try_from(*count)?;
            match EventState::read(state)? {
                EventState::Waiting => stats.waiting = count,
                EventState::Running => stats.running = count,
                EventState::Dead => stats.dead = count,
                EventState::Done => {}
            }
        }
        Ok(stats)
    }
}

impl Serialize for Stats {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let oldest = self.oldest_waiting.map(|age| age.as_secs_f64());
        let mut stats = serializer.serialize_struct("Stats", 5)?;
        stats.serialize_field("waiting", &self.waiting)?;
        stats.serialize_field("running", &self.running)?;
        stats.serialize_field("dead", &self.dead)?;
        stats.serialize_field("malformed", &self.malformed)?;
        stats.serialize_field("oldest_waiting", &oldest)?;
        stats.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stats_serialize_with_their_names_and_the_age_in_seconds() {
        let counts = [("waiting".to_owned(), 2), ("dead".to_owned(), 3)];
        let age = time::Duration::milliseconds(1_500);
        let stats = Stats::new(&counts, 1, Some(age)).unwrap();
        let expected = r#"{"waiting":2,"running":0,"dead":3,"malformed":1,"oldest_waiting":1.5}"#;
        assert_eq!(serde_json::to_string(&stats).unwrap(), expected);
        let none = Stats::new(&[], 0, None).unwrap();
        assert!(serde_json::to_string(&none).unwrap().ends_with("null}"));
    }
}
