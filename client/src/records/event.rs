use ptolemy_webhooks::{DecodeError, Event, EventType, RawJson};
use time::OffsetDateTime;

use super::fields::Fields;
use crate::id::EventId;

/// An event as the API returns it.
///
/// Ptolemy documents that an event has an `event_type`. Whether its JSON equals the body of a
/// delivery is not documented: [`event`](Self::event) reads it as one, and [`raw`](Self::raw) keeps
/// it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventRecord {
    /// The id of the event.
    pub id: Option<EventId>,
    /// What happened to what, from `event_type` or `type`.
    pub event_type: Option<EventType>,
    /// When it happened, from `created_at` or `occurred_at`.
    pub created_at: Option<OffsetDateTime>,
    /// The JSON as it was sent.
    pub raw: RawJson,
}

impl EventRecord {
    pub(crate) fn parse(raw: RawJson) -> Result<Self, &'static str> {
        let fields = Fields::of(&raw).ok_or("an event is not an object")?;
        let event_type = fields.text("event_type").filter(|text| !text.is_empty());
        let event_type = event_type.or_else(|| fields.text("type"));
        Ok(Self {
            id: fields.id("id").map(EventId::from),
            event_type: event_type.map(|text| EventType::from(text.as_str())),
            created_at: fields
                .time("created_at")
                .or_else(|| fields.time("occurred_at")),
            raw,
        })
    }

    /// Reads the event as the core crate reads the body of a delivery. No signature is involved:
    /// the event comes from the API, over TLS.
    ///
    /// # Errors
    ///
    /// Returns an error if the JSON has no event type.
    pub fn event(&self) -> Result<Event, DecodeError> {
        Event::from_trusted_json(self.raw.clone().into_bytes())
    }
}
