use std::error::Error;
use std::fmt::{self, Write as _};
use std::time::Duration;

use crate::error::BoxError;
use crate::guarded::guard;

/// Why a handler did not handle an event, and what happens to the event next.
///
/// | made by | the event | the attempt |
/// | --- | --- | --- |
/// | `?`, [`retry`](Self::retry) | is tried again after the worker's [`backoff`](crate::Worker::backoff) | counts |
/// | [`retry_in`](Self::retry_in) | is tried again after a delay that the handler chooses | counts |
/// | [`permanent`](Self::permanent) | is dead at once | counts |
/// | [`postpone`](Self::postpone) | waits for a delay, as often as the handler asks for it | does not count |
///
/// `?` converts any error into a `Failure`. An error that does not implement [`std::error::Error`],
/// such as anyhow's, becomes one through `.map_err(Failure::retry)`. `Failure` itself does not
/// implement `Error`, so that `?` works for every error type.
///
/// The text of the error and of its sources is kept in the table, truncated to 2,000 characters. It
/// is not logged, since it may quote the event. An error that panics when it is formatted or
/// dropped is a failure like any other, but without its text.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use ptolemy_webhooks::{Event, Payload};
/// use ptolemy_webhooks_inbox::{Failure, FailureKind};
///
/// fn price(event: &Event) -> Result<i64, Failure> {
///     let Ok(Payload::TimeSeriesValue(_, point)) = &event.payload else {
///         return Err(Failure::permanent("not a price")); // dead at once
///     };
///     Ok(point.value.as_str().parse()?) // tried again
/// }
///
/// let event = Event::from_trusted_json(r#"{"event_type":"webhook.deleted"}"#)?;
/// assert_eq!(price(&event).unwrap_err().kind(), FailureKind::Permanent);
///
/// // A weekend does not use up the attempts.
/// let closed = Failure::postpone(Duration::from_secs(600), "the exchange is closed");
/// assert!(matches!(closed.kind(), FailureKind::Postpone { delay, .. } if delay.as_secs() == 600));
/// assert_eq!(closed.to_string(), "the exchange is closed");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Failure {
    error: BoxError,
    kind: FailureKind,
}

/// What happens to the event after a [`Failure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FailureKind {
    /// It is tried again after the worker's backoff, unless this was the last attempt.
    Retry,
    /// It is tried again after this delay, unless this was the last attempt.
    #[non_exhaustive]
    RetryIn {
        /// The minimum delay.
        delay: Duration,
    },
    /// It is dead at once.
    Permanent,
    /// It waits, and the attempt does not count.
    #[non_exhaustive]
    Postpone {
        /// The minimum delay.
        delay: Duration,
    },
}

/// The longest error text that is kept, in characters.
const MAX_ERROR_CHARS: usize = 2_000;

/// How many errors of a chain of sources are read: one may be its own source.
const MAX_SOURCES: usize = 32;

/// Replaces the text of an error that has none.
const NO_TEXT: &str = "an error whose Display or source failed";

impl Failure {
    /// Retries after the worker's backoff; the same as `?`.
    #[must_use]
    pub fn retry(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::with(error.into(), FailureKind::Retry)
    }

    /// Retries after this delay, from 100 ms to a year, unless this was the last attempt.
    #[must_use]
    pub fn retry_in(delay: Duration, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::with(error.into(), FailureKind::RetryIn { delay })
    }

    /// Does not retry: the event is dead at once.
    #[must_use]
    pub fn permanent(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::with(error.into(), FailureKind::Permanent)
    }

    /// Waits for this delay, from 100 ms to a year, and does not count the attempt.
    ///
    /// Use it for work that must wait but has not failed, for example while an exchange is closed
    /// or a rate limit is exhausted. There is no limit on how often an event can be postponed. If
    /// the inbox's order is by resource, later events of the resource wait too.
    #[must_use]
    pub fn postpone(delay: Duration, reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::with(reason.into(), FailureKind::Postpone { delay })
    }

    /// Returns what happens to the event next.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        self.kind
    }

    fn with(error: BoxError, kind: FailureKind) -> Self {
        Self { error, kind }
    }

    /// Returns what happens to the event next, and the text of the error and its sources that is
    /// kept.
    ///
    /// The error is the user's code: if it panics when it is read or dropped, the panic ends here.
    pub(crate) fn into_parts(self) -> (FailureKind, String) {
        let Self { error, kind } = self;
        let mut text = String::new();
        if guard(|| write_chain(&*error, &mut text)) != Ok(Ok(())) {
            text.push_str(if text.is_empty() { "" } else { ": " });
            text.push_str(NO_TEXT);
        }
        let _panic = guard(|| drop(error));
        (kind, kept(&text))
    }
}

/// Writes an error and its sources; the text is complete after each of them, even if the next one
/// panics.
fn write_chain(error: &(dyn Error + 'static), text: &mut String) -> fmt::Result {
    let mut next = Some(error);
    for _ in 0..MAX_SOURCES {
        let Some(error) = next else {
            break;
        };
        let mut cause = Cut::default();
        let written = write!(cause, "{error}");
        if !cause.is_full {
            written?;
        }
        // Some errors quote their source.
        if text.is_empty() {
            *text = cause.text;
        } else if !text.ends_with(&cause.text) {
            text.push_str(": ");
            text.push_str(&cause.text);
        }
        next = error.source();
    }
    Ok(())
}

/// The part of a text that is kept; its writer is stopped there.
#[derive(Default)]
struct Cut {
    text: String,
    is_full: bool,
}

impl fmt::Write for Cut {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        // A character has at most 4 bytes.
        let room = 4 * MAX_ERROR_CHARS - self.text.len();
        let cut = more.floor_char_boundary(room);
        self.text.extend(more.get(..cut));
        self.is_full = cut < more.len();
        if self.is_full {
            Err(fmt::Error)
        } else {
            Ok(())
        }
    }
}

/// Returns the text without the characters that a column cannot hold: PostgreSQL cannot store a
/// NUL.
pub(crate) fn kept(text: &str) -> String {
    text.chars()
        .filter(|&c| c != '\0')
        .take(MAX_ERROR_CHARS)
        .collect()
}

impl<E: Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::retry(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failure")
            .field("kind", &self.kind)
            .field("error", &self.error)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Box<Layer>>,
    }

    /// An error with these causes, the outermost first.
    fn layers(texts: &[&'static str]) -> Layer {
        let (first, rest) = texts.split_first().unwrap();
        Layer {
            text: first,
            source: (!rest.is_empty()).then(|| Box::new(layers(rest))),
        }
    }

    #[test]
    fn what_is_kept_is_the_error_with_its_sources_each_once_and_cut() {
        for (texts, kept) in [
            (&["a"][..], "a"),
            (&["a", "b", "c"], "a: b: c"),
            // Some errors quote their source.
            (&["a: b", "b", "c"], "a: b: c"),
            (&["", "b"], "b"),
            (&["a\0b"], "ab"),
        ] {
            assert_eq!(
                Failure::from(layers(texts)).into_parts().1,
                kept,
                "{texts:?}"
            );
        }
        let long = "é".repeat(2_001);
        assert_eq!(Failure::retry(&*long).into_parts().1, "é".repeat(2_000));
    }

    #[test]
    fn a_failure_shows_its_error_and_its_kind() {
        let minute = Duration::from_secs(60);
        for (failure, kind) in [
            (Failure::retry("e"), FailureKind::Retry),
            (
                Failure::retry_in(minute, "e"),
                FailureKind::RetryIn { delay: minute },
            ),
            (Failure::permanent("e"), FailureKind::Permanent),
            (
                Failure::postpone(minute, "e"),
                FailureKind::Postpone { delay: minute },
            ),
        ] {
            assert_eq!(
                (failure.kind(), failure.to_string()),
                (kind, "e".to_owned())
            );
            let debug = format!("{failure:?}");
            let expected = format!("Failure {{ kind: {kind:?}, error: \"e\" }}");
            assert_eq!(debug, expected);
        }
    }
}
