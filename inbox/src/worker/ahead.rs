//! Decides how many events a worker takes ahead: enough that handlers that end at once need not
//! wait for a turn each time, and no more, since other workers may be free to handle them.
//!
//! The number follows from the last measurement: as many as end during a few turns. With handlers
//! that take much longer than a turn it is zero.

use std::time::Duration;

use tokio::time::Instant;

/// How many turns the events that are taken ahead should last, so that taking them is a small part
/// of the work. The next turn is due when half of them have begun.
const TURNS_AHEAD: f64 = 16.0;

/// The maximum number of events that are taken ahead: their bodies are in memory.
const MAX_AHEAD_EVENTS: usize = 64;

/// How long an event may wait for its handler after it was taken ahead; then it is given back.
const MAX_WAIT: Duration = Duration::from_secs(1);

pub(super) struct Ahead {
    /// How many events to take ahead.
    target: usize,
    /// How many events have ended since the last measure began, and when that was.
    ended: u32,
    since: Instant,
}

impl Ahead {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            target: 0,
            ended: 0,
            since: now,
        }
    }

    pub(super) fn target(&self) -> usize {
        self.target
    }

    /// Whether it is time to take more, given how many have not begun.
    pub(super) fn is_low(&self, ahead: usize) -> bool {
        ahead <= self.target / 2
    }

    pub(super) fn ended(&mut self, events: usize) {
        let events = u32::try_from(events).unwrap_or(u32::MAX);
        self.ended = self.ended.saturating_add(events);
    }

    /// Records when a turn that took events was planned and when it ended.
    pub(super) fn turned(&mut self, planned_at: Instant, now: Instant) {
        let period = planned_at.saturating_duration_since(self.since);
        let turn = now.saturating_duration_since(planned_at);
        let turns = turn.as_secs_f64() / period.as_secs_f64();
        // Zero if the period is zero: the cast of NaN is 0.
        let target = (f64::from(self.ended) * turns * TURNS_AHEAD).round() as usize;
        self.target = target.min(MAX_AHEAD_EVENTS);
        self.ended = 0;
        self.since = planned_at;
    }

    /// Records that handlers take longer than expected.
    pub(super) fn stalled(&mut self) {
        self.target = 0;
    }

    /// Returns until when an event that was taken ahead at this time may wait, with this lease.
    pub(super) fn end(since: Instant, lease: Duration) -> Instant {
        since + MAX_WAIT.min(lease / 3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TURN: Duration = Duration::from_millis(10);

    /// The state after this many events have ended during ten turns.
    fn after(events: usize) -> Ahead {
        let begin = Instant::now();
        let mut ahead = Ahead::new(begin);
        ahead.ended(events);
        ahead.turned(begin + 10 * TURN, begin + 11 * TURN);
        ahead
    }

    #[test]
    fn as_many_are_taken_ahead_as_end_during_sixteen_turns_up_to_64() {
        for (ended, target) in [(0, 0), (1, 2), (2, 3), (20, 32), (80, 64), (1_000, 64)] {
            assert_eq!(after(ended).target(), target, "{ended}");
        }
        let mut ahead = after(20);
        ahead.stalled();
        assert_eq!(ahead.target(), 0);
        // Events that were counted before count once.
        let later = Instant::now() + 100 * TURN;
        let mut ahead = after(80);
        ahead.turned(later, later + TURN);
        assert_eq!(ahead.target(), 0);
        // If no time passes, there is nothing to measure.
        let begin = Instant::now();
        let mut ahead = Ahead::new(begin);
        ahead.ended(9);
        ahead.turned(begin, begin);
        assert_eq!(ahead.target(), 0);
    }

    #[test]
    fn more_are_taken_when_half_of_them_have_begun() {
        let ahead = after(20);
        assert!(ahead.is_low(16) && !ahead.is_low(17));
        let none = after(0);
        assert!(none.is_low(0) && !none.is_low(1));
    }

    #[test]
    fn an_event_waits_for_a_second_or_a_third_of_a_lease() {
        let since = Instant::now();
        for (lease, wait) in [(30_000, 1_000), (1_500, 500)] {
            let end = Ahead::end(since, Duration::from_millis(lease));
            assert_eq!(end - since, Duration::from_millis(wait));
        }
    }
}
