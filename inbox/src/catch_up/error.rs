//! Why a catch-up stopped.

use std::error::Error;
use std::fmt;

use ptolemy_webhooks_client::ApiError;
use time::OffsetDateTime;

use crate::error::InboxError;

/// The reason why a catch-up could not begin, or stopped.
///
/// `Display` is one sentence that ends with the next step. An error of the API or of the inbox is
/// in [`source`](Error::source). Another run continues one that stopped: nothing is lost, and the
/// tries stay counted.
pub struct CatchUpError {
    kind: CatchUpErrorKind,
    source: Option<Source>,
}

enum Source {
    Api(ApiError),
    Inbox(InboxError),
}

/// The kind of a [`CatchUpError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CatchUpErrorKind {
    /// No run has completed for this webhook, or its checkpoint is in the future, and no start was
    /// given.
    #[error(
        "no catch-up of this webhook has completed, so the start of the gap is not known: set `since` \
         to a time before the outage"
    )]
    NoCheckpoint,
    /// The start of the gap is at or after its end.
    #[error("the gap is empty: set `since` to a time more than 2 minutes ago")]
    EmptyGap,
    /// The gap begins before the time since which the inbox knows all handled events.
    #[error(
        "the gap begins before {horizon}, up to which rows of handled events may have been removed, so \
         events could be handled again: set `since` to a later time"
    )]
    #[non_exhaustive]
    BeyondHorizon {
        /// The earliest start of a gap.
        horizon: OffsetDateTime,
    },
    /// Another run catches up with this webhook.
    #[error(
        "another catch-up of this webhook is running: wait for it; if its process died, its lease ends \
         at {until}"
    )]
    #[non_exhaustive]
    AlreadyRunning {
        /// When its lease ends unless it is renewed.
        until: OffsetDateTime,
    },
    /// This run did not renew its lease in time, and another one has begun.
    #[error("another catch-up of this webhook has taken over: wait for it")]
    LeaseLost,
    /// The host's clock is wrong by more than 300 s, so receivers reject every delivery.
    #[error(
        "the host's clock differs from the API's by {seconds} s, and receivers reject every delivery \
         above 300 s: set the clock"
    )]
    #[non_exhaustive]
    ClockWrong {
        /// By how many seconds the host is ahead; negative if it is behind.
        seconds: i64,
    },
    /// The webhook is switched off.
    #[error("the webhook is inactive, so nothing would be delivered: activate it first")]
    WebhookInactive,
    /// The delivery log shows no times, so the gap cannot be found in it.
    #[error(
        "the delivery log has entries without `delivered_at`, so it cannot be limited to the gap: allow \
         the redelivery of all failed deliveries with `all_failed`"
    )]
    NoDeliveryTimes,
    /// One more call could use the part of the quota that the floor reserves for others.
    #[error(
        "{remaining} calls are left in the month's quota and the floor is {floor}, which one more call \
         of up to {attempts} attempts could go below: lower `quota_floor`, or run again next month; over \
         quota and with overage off, Ptolemy abandons deliveries"
    )]
    #[non_exhaustive]
    QuotaFloor {
        /// How many calls are left.
        remaining: u64,
        /// The floor that was set.
        floor: u64,
        /// How often the client attempts a call at most.
        attempts: u32,
    },
    /// Several redeliveries in a row were requested and did not arrive.
    #[error(
        "{in_a_row} redeliveries in a row did not reach the inbox: check that the receiver runs, that it \
         has the webhook's secret and that it writes to this inbox; or the ids of events in deliveries \
         differ from those in the log, which are assumed to be the same"
    )]
    #[non_exhaustive]
    NothingArrives {
        /// How many.
        in_a_row: u32,
    },
    /// A call of the API failed.
    #[error("a call of the API failed; when its cause is fixed, run again to continue")]
    Api,
    /// The inbox's database failed.
    #[error("the inbox failed; when its database is back, run again to continue")]
    Inbox,
}

impl CatchUpError {
    /// Returns the kind of the error.
    #[must_use]
    pub fn kind(&self) -> CatchUpErrorKind {
        self.kind
    }

    /// Returns the error of the API that caused this one, if one did.
    #[must_use]
    pub fn api_error(&self) -> Option<&ApiError> {
        match &self.source {
            Some(Source::Api(error)) => Some(error),
            _ => None,
        }
    }

    pub(super) fn new(kind: CatchUpErrorKind) -> Self {
        Self { kind, source: None }
    }

    pub(super) fn api(error: ApiError) -> Self {
        Self::new(CatchUpErrorKind::Api).because_of(Some(error))
    }

    /// Adds an error of the API that may be the cause.
    pub(super) fn because_of(mut self, error: Option<ApiError>) -> Self {
        self.source = error.map(Source::Api);
        self
    }

    pub(super) fn inbox(error: InboxError) -> Self {
        Self {
            kind: CatchUpErrorKind::Inbox,
            source: Some(Source::Inbox(error)),
        }
    }
}

impl fmt::Display for CatchUpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

/// Prints the text of `Display` and the source, which is what a `main` that returns the error
/// shows.
impl fmt::Debug for CatchUpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)?;
        match self.source() {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl Error for CatchUpError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self.source.as_ref()? {
            Source::Api(error) => Some(error),
            Source::Inbox(error) => Some(error),
        }
    }
}
