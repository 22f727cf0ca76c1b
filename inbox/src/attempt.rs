use time::OffsetDateTime;

use crate::turn::Claim;

/// Information about the current attempt at an event.
///
/// A worker passes it to the handler. To call a handler from a test, start with
/// [`for_test`](Self::for_test) and set the values that the handler uses.
///
/// # Examples
///
/// ```
/// use ptolemy_webhooks::Event;
/// use ptolemy_webhooks_inbox::{Attempt, Failure};
///
/// async fn apply(event: Event, attempt: Attempt) -> Result<(), Failure> {
///     if attempt.is_last() {
///         // page somebody
///     }
///     Err(Failure::retry("the exchange is down"))
/// }
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let event = Event::from_trusted_json(r#"{"event_type":"market.created"}"#)?;
/// let attempt = Attempt::for_test().with_number(20);
/// assert!(attempt.is_last());
/// assert!(apply(event, attempt).await.is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    number: u32,
    max_attempts: u32,
    started_at: OffsetDateTime,
    received_at: OffsetDateTime,
    dedup_key: String,
    source: Option<String>,
}

impl Attempt {
    pub(crate) fn new(claim: &Claim, max_attempts: u32) -> Self {
        Self {
            number: claim.attempts,
            max_attempts,
            started_at: claim.started_at,
            received_at: claim.received_at,
            dedup_key: claim.key.clone(),
            source: claim.source.clone(),
        }
    }

    /// Returns an attempt for the test of a handler: the first of 20, at an event that was received
    /// just now, with the key `test` and without a source.
    #[must_use]
    pub fn for_test() -> Self {
        let now = OffsetDateTime::now_utc();
        Self {
            number: 1,
            max_attempts: 20,
            started_at: now,
            received_at: now,
            dedup_key: "test".to_owned(),
            source: None,
        }
    }

    /// Sets the number, counted from 1.
    #[must_use]
    pub fn with_number(mut self, number: u32) -> Self {
        self.number = number;
        self
    }

    /// Sets how many attempts there are.
    #[must_use]
    pub fn with_max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// Sets when the attempt began.
    #[must_use]
    pub fn with_started_at(mut self, time: OffsetDateTime) -> Self {
        self.started_at = time;
        self
    }

    /// Sets when the delivery was accepted.
    #[must_use]
    pub fn with_received_at(mut self, time: OffsetDateTime) -> Self {
        self.received_at = time;
        self
    }

    /// Sets the key.
    #[must_use]
    pub fn with_dedup_key(mut self, key: impl Into<String>) -> Self {
        self.dedup_key = key.into();
        self
    }

    /// Sets the source.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<String>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Returns the number of the attempt, counted from 1. An attempt is counted when it begins,
    /// even if the process then dies.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Returns how many attempts the worker makes; see
    /// [`Worker::max_attempts`](crate::Worker::max_attempts).
    #[must_use]
    pub fn max_attempts(&self) -> u32 {
        self.max_attempts
    }

    /// Returns whether the event is dead if this attempt fails.
    #[must_use]
    pub fn is_last(&self) -> bool {
        self.number >= self.max_attempts
    }

    /// Returns when the attempt began, by the database's clock.
    #[must_use]
    pub fn started_at(&self) -> OffsetDateTime {
        self.started_at
    }

    /// Returns when the delivery was accepted, by the database's clock.
    #[must_use]
    pub fn received_at(&self) -> OffsetDateTime {
        self.received_at
    }

    /// Returns the key under which the delivery was accepted. It is the same in every attempt, so
    /// it serves as an idempotency key for the services that a handler calls.
    #[must_use]
    pub fn dedup_key(&self) -> &str {
        &self.dedup_key
    }

    /// Returns the webhook that the delivery came through, if it was
    /// [named](crate::Accept::source).
    #[must_use]
    pub fn source(&self) -> Option<&str> {
        self.source.as_deref()
    }
}
