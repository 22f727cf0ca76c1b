use std::time::Duration;

use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use crate::error::BoxError;

/// Counts of the events that are not done.
///
/// Done events are not counted, so that this stays cheap with millions of them.
///
/// Alert on [`oldest_due`](Self::oldest_due): it grows if no worker runs, or if the workers are too
/// slow, and for no other reason. Watch [`dead`](Self::dead) too.
///
/// It serializes as an object with these names; `oldest_due` becomes a number of seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Events that could run now and wait for a worker.
    pub due: u64,
    /// Events whose last attempt failed and whose retry is not due yet.
    pub retrying: u64,
    /// Events that their handler has postponed and that are not due yet.
    pub postponed: u64,
    /// Events that wait for an earlier event of their resource to end, in order by resource. An
    /// event is counted as due until a worker has found that it must wait.
    pub blocked: u64,
    /// Events that a worker has taken.
    pub running: u64,
    /// Events that failed permanently.
    pub dead: u64,
    /// How many of the dead events never reached a handler: the body is not an event, or its data
    /// is malformed. Replay them after an upgrade.
    pub malformed: u64,
    /// How long the first of the due events has been due; `None` if no event is due.
    pub oldest_due: Option<Duration>,
}

/// The counts as a statement returns them, in the order of the fields.
#[cfg_attr(not(any(feature = "postgres", feature = "sqlite")), allow(dead_code))]
pub(crate) type Counts = (i64, i64, i64, i64, i64, i64, i64);

impl Stats {
    /// Returns how many events wait, for any reason.
    pub fn waiting(&self) -> u64 {
        self.due + self.retrying + self.postponed + self.blocked
    }

    #[cfg_attr(not(any(feature = "postgres", feature = "sqlite")), allow(dead_code))]
    pub(crate) fn new(
        (due, retrying, postponed, blocked, running, dead, malformed): Counts,
        oldest_due: Option<time::Duration>,
    ) -> Result<Self, BoxError> {
        Ok(Self {
            due: u64::try_from(due)?,
            retrying: u64::try_from(retrying)?,
            postponed: u64::try_from(postponed)?,
            blocked: u64::try_from(blocked)?,
            running: u64::try_from(running)?,
            dead: u64::try_from(dead)?,
            malformed: u64::try_from(malformed)?,
            // A clock that was set back must not cause a negative age.
            oldest_due: oldest_due.map(|age| age.try_into().unwrap_or_default()),
        })
    }
}

impl Serialize for Stats {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let counts = [
            ("due", self.due),
            ("retrying", self.retrying),
            ("postponed", self.postponed),
            ("blocked", self.blocked),
            ("running", self.running),
            ("dead", self.dead),
            ("malformed", self.malformed),
        ];
        let mut stats = serializer.serialize_struct("Stats", counts.len() + 1)?;
        for (name, count) in counts {
            stats.serialize_field(name, &count)?;
        }
        let oldest = self.oldest_due.map(|age| age.as_secs_f64());
        stats.serialize_field("oldest_due", &oldest)?;
        stats.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stats_serialize_with_their_names_and_the_age_in_seconds() {
        let age = time::Duration::milliseconds(1_500);
        let stats = Stats::new((1, 2, 3, 4, 5, 6, 7), Some(age)).unwrap();
        assert_eq!(stats.waiting(), 10);
        let expected = r#"{"due":1,"retrying":2,"postponed":3,"blocked":4,"running":5,"dead":6,"malformed":7,"oldest_due":1.5}"#;
        assert_eq!(serde_json::to_string(&stats).unwrap(), expected);
        let none = serde_json::to_string(&Stats::default()).unwrap();
        assert!(none.ends_with(r#""oldest_due":null}"#), "{none}");
    }
}
