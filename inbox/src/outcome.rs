//! How an attempt ended, and what happens to the event next.

use std::error::Error;
use std::time::Duration;

use ptolemy_webhooks::{DecodeError, Malformed};

use crate::failure::{Failure, FailureKind, kept};
use crate::retry::{MAX_DELAY, MIN_DELAY, Retry};
use crate::turn::Verdict;

/// How long an event waits if its transaction could not begin: the database needs a rest.
pub(crate) const DELAY_AFTER_NOT_BEGUN: Duration = Duration::from_millis(500);

const CUT_SHORT: &str = "the worker stopped before the handler had ended";

/// How an attempt ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The handler succeeded; the table does not record it yet.
    Done,
    /// The handler's writes and "done" are committed.
    Committed,
    /// Another worker has the event; nothing was committed.
    Lost,
    /// The handler failed; this is the text that is kept.
    Failed(FailureKind, String),
    /// The database failed before the handler was called, for this reason.
    NotBegun(String),
    /// The body is not an event, so the handler was not called.
    Undecodable(DecodeError),
    /// The data of the event is malformed, so the handler was not called.
    Malformed(Malformed),
    /// The handler panicked; this is the text that is kept.
    Panicked(String),
    /// The task was aborted before the handler was called.
    Cancelled,
    /// The handler was aborted.
    CutShort,
}

impl Outcome {
    /// Reads the error of a handler, which is the handler's code: within its task, not in the loop.
    pub(crate) fn failed(failure: Failure) -> Self {
        let (kind, text) = failure.into_parts();
        Self::Failed(kind, text)
    }

    /// Same as `failed`: the error may come from a hook of the user's pool.
    pub(crate) fn not_begun(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let (_, text) = Failure::retry(error).into_parts();
        Self::NotBegun(text)
    }

    /// The handler panicked, with this text.
    pub(crate) fn panicked(text: &str) -> Self {
        Self::Panicked(kept(&format!("the handler panicked: {text}")))
    }

    /// What becomes of the event after this attempt; `None` if there is nothing to write.
    pub(crate) fn verdict(self, retry: &Retry, attempts: u32) -> Option<Verdict> {
        Some(match self {
            Self::Done => Verdict::Done,
            Self::Committed | Self::Lost => return None,
            Self::Failed(kind, error) => match kind {
                FailureKind::Retry => Verdict::after(retry.after(attempts), error),
                FailureKind::RetryIn { delay } => {
                    let delay = delay.max(MIN_DELAY);
                    Verdict::after(retry.after_in(attempts, delay), error)
                }
                FailureKind::Permanent => Verdict::after(None, error),
                FailureKind::Postpone { delay } => Verdict::Postponed {
                    delay: delay.clamp(MIN_DELAY, MAX_DELAY),
                    reason: error,
                },
            },
            Self::NotBegun(_) => Verdict::Returned {
                delay: DELAY_AFTER_NOT_BEGUN,
            },
            Self::Undecodable(error) => Verdict::Dead {
                error: error.to_string(),
                malformed: true,
            },
            Self::Malformed(error) => Verdict::Dead {
                error: error.to_string(),
                malformed: true,
            },
            Self::Panicked(error) => Verdict::after(retry.after(attempts), error),
            Self::Cancelled => Verdict::Returned {
                delay: Duration::ZERO,
            },
            // At once, since another worker may be free. The attempt counts, or an event whose
            // handler never ends would be retried forever.
            Self::CutShort => Verdict::after(
                retry.after_in(attempts, Duration::ZERO),
                CUT_SHORT.to_owned(),
            ),
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
        Some(Verdict::Dead {
            error: error.to_owned(),
            malformed: false,
        })
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
            let failed = Outcome::failed(Failure::retry("e"));
            assert_eq!(verdict(failed, attempts), expected, "{attempts}");
            let panicked = Outcome::Panicked("e".to_owned());
            assert_eq!(verdict(panicked, attempts), expected, "{attempts}");
        }
    }

    #[test]
    fn a_delay_of_the_handlers_own_replaces_the_backoff_but_not_the_last_attempt() {
        let minute = Duration::from_secs(60);
        let failed = || Outcome::failed(Failure::retry_in(minute, "e"));
        assert_eq!(verdict(failed(), 2), again(minute, "e"));
        assert_eq!(verdict(failed(), 3), dead("e"));
    }

    #[test]
    fn a_permanent_failure_is_dead_at_once() {
        assert_eq!(
            verdict(Outcome::failed(Failure::permanent("e")), 1),
            dead("e")
        );
    }

    #[test]
    fn an_event_that_cannot_be_read_is_dead_at_once_and_marked() {
        let undecodable = Event::from_trusted_json("[]").unwrap_err();
        let malformed = r#"{"event_type":"market.created","data":{"name":7}}"#;
        let malformed = Event::from_trusted_json(malformed).unwrap().payload;
        let malformed = malformed.unwrap_err();
        let texts = [undecodable.to_string(), malformed.to_string()];
        assert_eq!(texts[1], "data.name: expected a string, found a number");
        let outcomes = [
            Outcome::Undecodable(undecodable),
            Outcome::Malformed(malformed),
        ];
        for (outcome, error) in outcomes.into_iter().zip(texts) {
            let malformed = true;
            let dead = Verdict::Dead { error, malformed };
            assert_eq!(verdict(outcome, 1), Some(dead));
        }
    }

    #[test]
    fn an_event_is_postponed_as_often_as_its_handler_asks_for_it() {
        for (asked, delay) in [
            (HOUR, HOUR),
            (Duration::ZERO, MIN_DELAY),
            (Duration::MAX, MAX_DELAY),
        ] {
            let failed = Outcome::failed(Failure::postpone(asked, "closed"));
            let reason = "closed".to_owned();
            let postponed = Verdict::Postponed { delay, reason };
            assert!(!postponed.counts());
            assert_eq!(verdict(failed, 99), Some(postponed));
        }
    }

    #[test]
    fn an_attempt_that_did_not_happen_does_not_count() {
        for (outcome, delay) in [
            (Outcome::Cancelled, Duration::ZERO),
            (Outcome::not_begun("down"), DELAY_AFTER_NOT_BEGUN),
        ] {
            assert_eq!(verdict(outcome, 3), Some(Verdict::Returned { delay }));
        }
    }

    #[test]
    fn a_handler_that_was_cut_short_is_tried_again_at_once_until_the_last_attempt() {
        assert_eq!(
            verdict(Outcome::CutShort, 2),
            again(Duration::ZERO, CUT_SHORT)
        );
        assert_eq!(verdict(Outcome::CutShort, 3), dead(CUT_SHORT));
    }

    #[test]
    fn a_panic_keeps_its_text() {
        let expected = again(HOUR, "the handler panicked: ab");
        assert_eq!(verdict(Outcome::panicked("a\0b"), 1), expected);
    }
}
