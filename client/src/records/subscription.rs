use ptolemy_webhooks::{EventType, RawJson};

use super::fields::Fields;
use crate::id::SubscriptionId;

/// A subscription of a webhook to one event type, or to all of them.
///
/// Ptolemy documents the event type in the request. Its shape in a list is assumed: an object, or
/// the event type alone as a string.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Subscription {
    /// The id, with which the subscription can be removed.
    pub id: Option<SubscriptionId>,
    /// The event type; `*` is all of them.
    pub event_type: Option<EventType>,
    /// The JSON as it was sent.
    pub raw: RawJson,
}

impl Subscription {
    pub(crate) fn parse(raw: RawJson) -> Result<Self, &'static str> {
        if let Ok(text) = raw.decode::<String>() {
            return Ok(Self {
                id: None,
                event_type: Some(EventType::from(text.as_str())),
                raw,
            });
        }
        let fields = Fields::of(&raw).ok_or("a subscription is neither an object nor a string")?;
        Ok(Self {
            id: fields.id("id").map(SubscriptionId::from),
            event_type: fields
                .text("event_type")
                .map(|text| EventType::from(text.as_str())),
            raw,
        })
    }
}
