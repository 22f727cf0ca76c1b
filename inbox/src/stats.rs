use std::time::Duration;

use crate::accepted::State;
use crate::error::BoxError;

/// How much of the inbox is not done.
///
/// What is done is not counted, so that the count stays cheap beside millions of done rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Events that wait for a worker, be it for their first attempt or for the next one.
    pub waiting: u64,
    /// Events that a worker has.
    pub running: u64,
    /// Events that failed for good.
    pub dead: u64,
    /// For how long the oldest of the waiting events has been in the inbox; `None` if none waits.
    pub oldest_waiting: Option<Duration>,
}

impl Stats {
    pub(crate) fn new(
        counts: &[(String, i64)],
        oldest_waiting: Option<time::Duration>,
    ) -> Result<Self, BoxError> {
        let mut stats = Self {
            // A clock that was set back makes no negative age.
            oldest_waiting: oldest_waiting.map(|age| age.try_into().unwrap_or_default()),
            ..Self::default()
        };
        for (state, count) in counts {
            let count = u64::try_from(*count)?;
            match State::read(state)? {
                State::Waiting => stats.waiting = count,
                State::Running => stats.running = count,
                State::Dead => stats.dead = count,
                State::Done => {}
            }
        }
        Ok(stats)
    }
}
