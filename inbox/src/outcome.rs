//! How an attempt ended, and what follows from it.

use std::any::Any;
use std::time::Duration;

use ptolemy_webhooks::DecodeError;

use crate::error::BoxError;
use crate::failure::{Failure, Next, kept};
use crate::retry::Retry;
use crate::turn::Verdict;

/// How long an event waits if its transaction could not begin: the database needs a rest.
pub(crate) const DELAY_AFTER_NOT_BEGUN: Duration = Duration::from_millis(500);

/// How an attempt ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The handler succeeded; the table does not say so yet.
    Done,
    /// What the handler wrote and "done" are committed.
    Committed,
    /// Another worker has the event; nothing was committed.
    Lost,
    /// The handler failed.
    Failed(Failure),
    /// The database failed before the handler was called.
    NotBegun(BoxError),
    /// The body is not an event, so the handler was not called.
    Undecodable(DecodeError),
    /// The handler panicked; this is the text that is kept.
    Panicked(String),
    /// The task was cut short.
    Cancelled,
}

impl Outcome {
    pub(crate) fn panicked(panic: &(dyn Any + Send)) -> Self {
        let text = panic
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        let text = format!("the handler panicked: {}", text.unwrap_or("-"));
        Self::Panicked(kept(&text))
    }

    /// What becomes of the event after this attempt; `None` if there is nothing to write.
    pub(crate) fn verdict(self, retry: &Retry, attempts: u32) -> Option<Verdict> {
        Some(match self {
            Self::Done => Verdict::Done,
            Self::Committed | Self::Lost => return None,
            Self::Failed(failure) => {
                let delay = match failure.next {
                    Next::Backoff => retry.after(attempts),
                    Next::In(delay) => retry.after_in(attempts, delay),
                    Next::Never => None,
                };
                Verdict::after(delay, failure.text())
            }
            Self::NotBegun(_) => Verdict::Returned {
                delay: DELAY_AFTER_NOT_BEGUN,
            },
            Self::Undecodable(error) => Verdict::after(None, error.to_string()),
            Self::Panicked(error) => Verdict::after(retry.after(attempts), error),
            Self::Cancelled => Verdict::Returned {
                delay: Duration::ZERO,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use ptolemy_webhooks::Event;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    /// Without jitter, since the longest delay is also the first one.
    const RETRY: Retry = Retry {
        attempts: 3,
        first: HOUR,
        longest: HOUR,
    };

    fn verdict(outcome: Outcome, attempts: u32) -> Option<Verdict> {
        outcome.verdict(&RETRY, attempts)
    }

    fn again(delay: Duration, error: &str) -> Option<Verdict> {
        let error = error.to_owned();
        Some(Verdict::Again { delay, error })
    }

    fn dead(error: &str) -> Option<Verdict> {
        let error = error.to_owned();
        Some(Verdict::Dead { error })
    }

    #[test]
    fn what_succeeded_is_done_and_what_is_settled_elsewhere_is_not_written() {
        assert_eq!(verdict(Outcome::Done, 1), Some(Verdict::Done));
        assert_eq!(verdict(Outcome::Done, 99), Some(Verdict::Done));
        assert_eq!(verdict(Outcome::Committed, 1), None);
        assert_eq!(verdict(Outcome::Lost, 1), None);
    }

    #[test]
    fn a_failure_is_tried_again_until_the_last_attempt() {
        for (attempts, expected) in [
            (1, again(HOUR, "e")),
            (2, again(HOUR, "e")),
            (3, dead("e")),
            (4, dead("e")),
        ] {
            let failed = Outcome::Failed(Failure::retry("e"));
            assert_eq!(verdict(failed, attempts), expected, "{attempts}");
            let panicked = Outcome::Panicked("e".to_owned());
            assert_eq!(verdict(panicked, attempts), expected, "{attempts}");
        }
    }

    #[test]
    fn a_delay_of_the_handlers_own_replaces_the_backoff_but_not_the_last_attempt() {
        let minute = Duration::from_secs(60);
        let failed = || Outcome::Failed(Failure::retry_in(minute, "e"));
        assert_eq!(verdict(failed(), 2), again(minute, "e"));
        assert_eq!(verdict(failed(), 3), dead("e"));
    }

    #[test]
    fn a_permanent_failure_and_a_body_that_is_not_an_event_are_dead_at_once() {
        let failed = Outcome::Failed(Failure::never("e"));
        assert_eq!(verdict(failed, 1), dead("e"));
        let error = Event::from_trusted_json("[]").unwrap_err();
        let text = error.to_string();
        assert_eq!(verdict(Outcome::Undecodable(error), 1), dead(&text));
    }

    #[test]
    fn an_attempt_that_did_not_happen_does_not_count() {
        for (outcome, delay) in [
            (Outcome::Cancelled, Duration::ZERO),
            (Outcome::NotBegun("down".into()), DELAY_AFTER_NOT_BEGUN),
        ] {
            assert_eq!(verdict(outcome, 3), Some(Verdict::Returned { delay }));
        }
    }

    #[test]
    fn a_panic_keeps_its_text() {
        let text = |panic: Box<dyn Any + Send>| match Outcome::panicked(&*panic) {
            Outcome::Panicked(text) => text,
            other => panic!("{other:?}"),
        };
        assert_eq!(text(Box::new("a")), "the handler panicked: a");
        assert_eq!(text(Box::new("b".to_owned())), "the handler panicked: b");
        assert_eq!(text(Box::new(7)), "the handler panicked: -");
    }
}
