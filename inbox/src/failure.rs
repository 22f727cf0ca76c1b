use std::error::Error;
use std::fmt;
use std::iter::successors;
use std::time::Duration;

use crate::error::BoxError;

/// Why a handler failed, and what is to become of the event.
///
/// Any error becomes one through `?`, and then the event is tried again after the worker's
/// [`backoff`](crate::Worker::backoff). Like other types that take in any error, it is none itself.
///
/// An error that is no [`std::error::Error`], such as that of anyhow, becomes one through
/// `.map_err(Failure::retry)`.
///
/// The text of the error and of its sources is kept in the table, cut to 2,000 characters. It is not
/// logged, since it may quote the event.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use ptolemy_webhooks::{Event, Payload};
/// use ptolemy_webhooks_inbox::Failure;
///
/// fn price(event: &Event) -> Result<i64, Failure> {
///     let Payload::TimeSeriesValueCreated(point) = &event.payload else {
///         return Err(Failure::never("not a price")); // dead at once
///     };
///     Ok(point.value.as_str().parse()?) // tried again
/// }
///
/// let event = Event::from_trusted_json(r#"{"event_type":"webhook.deleted"}"#)?;
/// assert!(price(&event).is_err());
///
/// let closed = Failure::retry_in(Duration::from_secs(600), "the exchange is closed");
/// assert_eq!(closed.to_string(), "the exchange is closed");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Failure {
    error: BoxError,
    pub(crate) next: Next,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Backoff,
    In(Duration),
    Never,
}

/// How much of an error is kept, in characters.
const MAX_ERROR_CHARS: usize = 2_000;

impl Failure {
    /// Tries again after the worker's backoff; the same as `?`.
    #[must_use]
    pub fn retry(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::with(error.into(), Next::Backoff)
    }

    /// Tries again after this time and not sooner, unless it was the last attempt.
    #[must_use]
    pub fn retry_in(delay: Duration, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::with(error.into(), Next::In(delay))
    }

    /// Does not try again: the event is dead at once.
    #[must_use]
    pub fn never(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::with(error.into(), Next::Never)
    }

    fn with(error: BoxError, next: Next) -> Self {
        Self { error, next }
    }

    /// What is kept of it: the error and its sources.
    pub(crate) fn text(&self) -> String {
        let error: &(dyn Error + 'static) = self.error.as_ref();
        let mut text = String::new();
        for error in successors(Some(error), |&error| error.source()) {
            let cause = error.to_string();
            // Some errors quote their source.
            if text.is_empty() {
                text = cause;
            } else if !text.ends_with(&cause) {
                text = format!("{text}: {cause}");
            }
        }
        kept(&text)
    }
}

/// What a column can hold of a text: PostgreSQL takes no NUL.
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
            .field("error", &self.error)
            .field("next", &self.next)
            .finish()
    }
}
