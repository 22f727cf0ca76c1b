//! The gap: the span of time that a run covers.

use std::time::Duration;

use time::OffsetDateTime;

use super::error::{CatchUpError, CatchUpErrorKind};

/// How far a gap reaches back behind the checkpoint, for entries that the log showed late.
const OVERLAP: Duration = Duration::from_secs(15 * 60);

/// How far the end of a gap is behind the current time: the log may lag.
const LAG: Duration = Duration::from_secs(2 * 60);

/// The inputs of a gap.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) now: OffsetDateTime,
    pub(super) since: Option<OffsetDateTime>,
    pub(super) until: Option<OffsetDateTime>,
    pub(super) checkpoint: Option<OffsetDateTime>,
    pub(super) keep_done: Option<Duration>,
    pub(super) pruned_to: Option<OffsetDateTime>,
}

/// From `from`, inclusive, to `until`, exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) from: OffsetDateTime,
    pub(super) until: OffsetDateTime,
    pub(super) checkpoint: Option<OffsetDateTime>,
    /// Before this time, the inbox does not know all handled events.
    pub(super) horizon: Option<OffsetDateTime>,
}

impl Gap {
    pub(super) fn of(bounds: &Bounds) -> Result<Self, CatchUpError> {
        let back = |time: OffsetDateTime, by: Duration| {
            time.saturating_sub(time::Duration::try_from(by).unwrap_or(time::Duration::MAX))
        };
        // A clock was wrong when it was set. The overlap makes up for a small error.
        let latest = bounds
            .now
            .saturating_add(time::Duration::try_from(OVERLAP).unwrap_or_default());
        let checkpoint = bounds.checkpoint.filter(|time| *time <= latest);
        let from = bounds
            .since
            .or_else(|| Some(back(checkpoint?.min(bounds.now), OVERLAP)))
            .ok_or_else(|| CatchUpError::new(CatchUpErrorKind::NoCheckpoint))?;
        let until = bounds.until.unwrap_or_else(|| back(bounds.now, LAG));
        let until = until.min(bounds.now);
        let kept_from = bounds.keep_done.map(|age| back(bounds.now, age));
        let horizon = kept_from.max(bounds.pruned_to);
        if let Some(horizon) = horizon
            && from < horizon
        {
            return Err(CatchUpError::new(CatchUpErrorKind::BeyondHorizon {
                horizon,
            }));
        }
        if from >= until {
            return Err(CatchUpError::new(CatchUpErrorKind::EmptyGap));
        }
        Ok(Self {
            from,
            until,
            checkpoint: checkpoint.map(|time| time.min(bounds.now)),
            horizon,
        })
    }

    /// The checkpoint after a run that found nothing missing: it moves only if the run has covered
    /// everything since the last one, or if no run can.
    pub(super) fn next_checkpoint(&self) -> Option<OffsetDateTime> {
        let Some(before) = self.checkpoint else {
            return Some(self.until);
        };
        let is_joined = self.from <= before || self.skipped_from().is_some();
        is_joined.then_some(self.until.max(before))
    }

    /// Returns the last checkpoint if no gap can begin there any more.
    pub(super) fn skipped_from(&self) -> Option<OffsetDateTime> {
        let horizon = self.horizon;
        let is_beyond = |time: &OffsetDateTime| horizon.is_some_and(|horizon| *time < horizon);
        self.checkpoint.filter(is_beyond)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + time::Duration::minutes(30_000_000 + minutes)
    }

    const BOUNDS: fn() -> Bounds = || Bounds {
        now: at(0),
        since: None,
        until: None,
        checkpoint: None,
        keep_done: Some(Duration::from_secs(60 * 60)),
        pruned_to: None,
    };

    fn kind(bounds: Bounds) -> CatchUpErrorKind {
        Gap::of(&bounds).unwrap_err().kind()
    }

    #[test]
    fn a_gap_begins_15_minutes_before_the_checkpoint_and_ends_2_minutes_ago() {
        let checkpoint = Some(at(-30));
        let gap = Gap::of(&Bounds {
            checkpoint,
            ..BOUNDS()
        });
        let gap = gap.unwrap();
        assert_eq!((gap.from, gap.until), (at(-45), at(-2)));
        assert_eq!(gap.next_checkpoint(), Some(at(-2)));
    }

    #[test]
    fn without_a_checkpoint_and_a_start_there_is_no_gap() {
        assert_eq!(kind(BOUNDS()), CatchUpErrorKind::NoCheckpoint);
        let since = Some(at(-9));
        let gap = Gap::of(&Bounds { since, ..BOUNDS() }).unwrap();
        assert_eq!((gap.from, gap.next_checkpoint()), (at(-9), Some(at(-2))));
    }

    #[test]
    fn a_gap_that_begins_after_the_checkpoint_does_not_move_it() {
        let bounds = Bounds {
            since: Some(at(-9)),
            checkpoint: Some(at(-10)),
            ..BOUNDS()
        };
        assert_eq!(Gap::of(&bounds).unwrap().next_checkpoint(), None);
        let since = Some(at(-10));
        let joined = Gap::of(&Bounds { since, ..bounds }).unwrap();
        assert_eq!(joined.next_checkpoint(), Some(at(-2)));
    }

    #[test]
    fn a_checkpoint_that_no_gap_can_begin_at_moves_and_leaves_a_hole() {
        let bounds = Bounds {
            checkpoint: Some(at(-70)),
            ..BOUNDS()
        };
        let horizon = at(-60);
        assert_eq!(kind(bounds), CatchUpErrorKind::BeyondHorizon { horizon });
        let since = Some(at(-50));
        let gap = Gap::of(&Bounds { since, ..bounds }).unwrap();
        assert_eq!(gap.next_checkpoint(), Some(at(-2)));
        assert_eq!(gap.skipped_from(), Some(at(-70)));
    }

    #[test]
    fn a_checkpoint_in_the_future_is_repaired() {
        let a_little = Bounds {
            checkpoint: Some(at(10)),
            ..BOUNDS()
        };
        let gap = Gap::of(&a_little).unwrap();
        assert_eq!((gap.from, gap.next_checkpoint()), (at(-15), Some(at(0))));
        let far = Bounds {
            checkpoint: Some(at(16)),
            ..BOUNDS()
        };
        assert_eq!(kind(far), CatchUpErrorKind::NoCheckpoint);
        let since = Some(at(-9));
        let gap = Gap::of(&Bounds { since, ..far }).unwrap();
        assert_eq!(gap.next_checkpoint(), Some(at(-2)));
    }

    #[test]
    fn a_gap_does_not_reach_to_where_rows_were_removed() {
        let horizon = |horizon| CatchUpErrorKind::BeyondHorizon { horizon };
        let since = Some(at(-61));
        assert_eq!(kind(Bounds { since, ..BOUNDS() }), horizon(at(-60)));
        let since = Some(at(-60));
        assert!(Gap::of(&Bounds { since, ..BOUNDS() }).is_ok());
        let pruned = Bounds {
            since,
            keep_done: None,
            pruned_to: Some(at(-59)),
            ..BOUNDS()
        };
        assert_eq!(kind(pruned), horizon(at(-59)));
        let kept_longer = Bounds {
            pruned_to: Some(at(-90)),
            ..BOUNDS()
        };
        let since = Some(at(-61));
        assert_eq!(
            kind(Bounds {
                since,
                ..kept_longer
            }),
            horizon(at(-60))
        );
        let for_ever = Bounds {
            since: Some(OffsetDateTime::UNIX_EPOCH),
            keep_done: Some(Duration::MAX),
            ..BOUNDS()
        };
        assert!(Gap::of(&for_ever).is_ok());
    }

    #[test]
    fn a_gap_is_not_empty_and_does_not_end_in_the_future() {
        let since = Some(at(-2));
        assert_eq!(
            kind(Bounds { since, ..BOUNDS() }),
            CatchUpErrorKind::EmptyGap
        );
        let until = Some(at(9));
        let gap = Gap::of(&Bounds {
            since,
            until,
            ..BOUNDS()
        });
        assert_eq!(gap.unwrap().until, at(0));
    }
}
