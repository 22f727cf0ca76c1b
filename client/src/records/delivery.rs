use ptolemy_webhooks::{EventType, LogText, RawJson};
use std::fmt;
use time::OffsetDateTime;

use super::fields::Fields;
use crate::id::{DeliveryId, EventId, WebhookId};

/// An entry of the delivery log.
///
/// Ptolemy documents that entries can be filtered by `webhook_id` and `status`, and sorted by
/// `delivered_at`. Everything else is assumed: only `id` is required, and any other field is `None`
/// if it is missing, null or of another type.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WebhookDelivery {
    /// The id, with which the delivery can be sent again.
    pub id: DeliveryId,
    /// The webhook.
    pub webhook_id: Option<WebhookId>,
    /// The event.
    pub event_id: Option<EventId>,
    /// The type of the event.
    pub event_type: Option<EventType>,
    /// Whether it was delivered.
    pub status: Option<DeliveryStatus>,
    /// How many attempts were made.
    pub attempts: Option<u64>,
    /// The status with which the endpoint answered.
    pub response_status: Option<u16>,
    /// The time of the last attempt, by which the log is sorted.
    pub delivered_at: Option<OffsetDateTime>,
    /// When Ptolemy makes the next attempt.
    pub next_attempt_at: Option<OffsetDateTime>,
    /// The JSON as it was sent.
    pub raw: RawJson,
}

impl WebhookDelivery {
    pub(crate) fn parse(raw: RawJson) -> Result<Self, &'static str> {
        let fields = Fields::of(&raw).ok_or("a delivery is not an object")?;
        Ok(Self {
            id: fields.id("id").ok_or("a delivery has no id")?.into(),
            webhook_id: fields.id("webhook_id").map(WebhookId::from),
            event_id: fields.id("event_id").map(EventId::from),
            event_type: fields
                .text("event_type")
                .map(|text| EventType::from(text.as_str())),
            status: fields
                .text("status")
                .map(|text| DeliveryStatus::from(text.as_str())),
            attempts: fields
                .number("attempts")
                .or_else(|| fields.number("attempt")),
            response_status: fields
                .number("response_status")
                .and_then(|status| u16::try_from(status).ok()),
            delivered_at: fields.time("delivered_at"),
            next_attempt_at: fields.time("next_attempt_at"),
            raw,
        })
    }
}

/// The status of a delivery. Ptolemy documents `failed`; the set is open.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeliveryStatus {
    /// `pending` (assumed): another attempt will follow.
    Pending,
    /// `succeeded` (assumed): the endpoint answered with 2xx.
    Succeeded,
    /// `failed`: the endpoint did not answer with 2xx in time.
    Failed,
    /// Any other text.
    Other(String),
}

impl DeliveryStatus {
    /// Returns the text as the API uses it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Pending => "pending",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Other(text) => text,
        }
    }
}

impl From<&str> for DeliveryStatus {
    fn from(text: &str) -> Self {
        let known = [Self::Pending, Self::Succeeded, Self::Failed];
        known
            .into_iter()
            .find(|status| status.as_str() == text)
            .unwrap_or_else(|| Self::Other(text.to_owned()))
    }
}

impl fmt::Display for DeliveryStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        LogText::new(self.as_str()).fmt(f)
    }
}
