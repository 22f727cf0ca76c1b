//! Events: the content of a delivery.

mod action;
mod event_type;

mod raw_json;
mod scalar;

#[cfg(feature = "rust_decimal")]
mod rust_decimal;

mod decode_error;
mod fault;

mod field;
mod from_json;
mod json;

mod composite_time_series_value;
mod instrument;
mod market;
mod market_listing;
mod market_listing_suspension;
mod membership;
mod resource;
mod time_series_value;
mod webhook;

mod envelope;
mod malformed;
mod payload;

mod one_pass;

use std::borrow::Cow;

use bytes::Bytes;
use time::OffsetDateTime;

pub use action::{Action, OtherAction};
pub use composite_time_series_value::{CompositeItem, CompositeTimeSeriesValue};
pub use decode_error::{DecodeError, DecodeErrorKind};
pub(crate) use envelope::Envelope;
pub use event_type::EventType;
pub(crate) use event_type::split;
pub(crate) use field::Field;
pub use instrument::Instrument;
pub(crate) use json::{Json, Kind};
pub use malformed::{Malformed, MalformedKind};
pub use market::Market;
pub use market_listing::MarketListing;
pub use market_listing_suspension::MarketListingSuspension;
pub use membership::Membership;
pub use payload::Payload;
pub(crate) use payload::{Known, known};
pub use raw_json::{RawJson, RawJsonError, RawJsonErrorKind};
pub use scalar::Scalar;
pub use time_series_value::TimeSeriesValue;
pub use webhook::Webhook;

/// A change in Ptolemy: what changed, when, and who changed it.
///
/// It comes from [`Delivery::event`](crate::Delivery::event), or as a handler argument with the
/// features `axum` and `actix-web`; in both cases its signature is valid. It does not implement
/// `Deserialize`, so no JSON extractor can produce one without a check.
///
/// # What is documented and what is assumed
///
/// Ptolemy documents that an event has an `event_type`, and that it records what changed, when it
/// changed and who triggered the change. The names of all other fields are assumed, so each of them
/// is optional, and is `None` if it is missing, null or of another type. Three have names that are
/// tried in turn, and the first that is present with the wanted JSON type counts: `event_type` and
/// `type`; `created_at` and `occurred_at`; `data`, `payload` and `resource`. If a key occurs twice,
/// the last counts. Everything else stays in [`raw`](Self::raw).
///
/// # Memory
///
/// The size of a body bounds the memory of its event. In the worst case found for bodies of 64 KiB
/// and more, the event and its body together take 10.6 times the size of the body for an instrument
/// or a market (many custom fields with short names), 11.7 times for a composite value (many empty
/// items), and 3 times for any other resource (a long event type).
///
/// # Examples
///
/// ```
/// use ptolemy_webhooks::{Action, Event, Payload};
///
/// let event = Event::from_trusted_json(
///     r#"{"event_type":"instrument.archived","data":{"id":"i1","isin":"AU000000BHP4"}}"#,
/// )?;
/// assert_eq!(event.resource_id().unwrap(), "i1");
/// let Ok(Payload::Instrument(Action::Archived, instrument)) = &event.payload else { unreachable!() };
/// assert_eq!(instrument.id.as_deref(), Some("i1"));
///
/// // Fields that this crate does not know:
/// #[derive(serde::Deserialize)]
/// struct Isin {
///     isin: String,
/// }
/// let Isin { isin } = event.data.unwrap().decode()?;
/// assert_eq!(isin, "AU000000BHP4");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// The id, which is assumed to name the event and to be the same in every repetition.
    ///
    /// Do not rely on it alone: see [`Delivery::dedup_key`](crate::Delivery::dedup_key).
    pub id: Option<String>,
    /// What happened to what.
    pub event_type: EventType,
    /// The workspace in which it happened.
    pub workspace_id: Option<String>,
    /// When it happened.
    pub created_at: Option<OffsetDateTime>,
    /// The user or the robot that triggered the change, as it was sent.
    pub actor: Option<RawJson>,
    /// The resource after the change, or the reason why the data of a documented event type cannot
    /// be read as its resource.
    ///
    /// Do not ignore the error: the event is genuine, and its JSON is in [`data`](Self::data). With
    /// `?`, the handler returns the error and the event is not acknowledged.
    pub payload: Result<Payload, Malformed>,
    /// The data as it was sent, with the fields that [`payload`](Self::payload) does not show;
    /// `None` if the event has none.
    pub data: Option<RawJson>,
    /// The whole body as it was sent, byte for byte.
    pub raw: RawJson,
}

impl Event {
    /// Reads an event from a body that you know to be Ptolemy's because you verified it before:
    /// from your own store, or in a test.
    ///
    /// **It does not check a signature.** Pass a body that comes from a request to a
    /// [`Verifier`](crate::Verifier) instead.
    ///
    /// The event keeps the body. One that is borrowed must be copied first: pass `body.to_vec()`,
    /// or `text.to_owned()`.
    ///
    /// # Errors
    ///
    /// Returns an error if the body is not one JSON object in UTF-8 with a non-empty string
    /// `event_type`.
    ///
    /// # Examples
    ///
    /// ```
    /// use ptolemy_webhooks::{Action, Event, Payload};
    ///
    /// let event = Event::from_trusted_json(
    ///     r#"{"event_type":"instrument.created","data":{"identifier":"bhp.ax"}}"#,
    /// )?;
    /// let Payload::Instrument(Action::Created, instrument) = event.payload? else { unreachable!() };
    /// assert_eq!(instrument.identifier.as_deref(), Some("bhp.ax"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_trusted_json(json: impl Into<Bytes>) -> Result<Self, DecodeError> {
        let body = json.into();
        match one_pass::read(&body) {
            Some((envelope, payload)) => Ok(Self::new(&body, &envelope, payload)),
            None => Ok(Self::new(&body, &Envelope::parse(&body)?, None)),
        }
    }

    fn new(body: &Bytes, envelope: &Envelope<'_>, payload: Option<Payload>) -> Self {
        let event_type = EventType::from(envelope.event_type());
        let data = envelope.data();
        Self {
            id: envelope.id().map(Cow::into_owned),
            workspace_id: envelope.workspace_id().map(Cow::into_owned),
            created_at: envelope.created_at(),
            actor: envelope.actor().map(json::Json::keep),
            payload: payload.map_or_else(|| Payload::decode(&event_type, data), Ok),
            event_type,
            data: data.keep(),
            raw: RawJson::new(body.clone()),
        }
    }

    /// The id of what changed: the `id` of the data, a non-empty string or a number as it was
    /// written; `None` if the data has neither.
    ///
    /// It is read from the data of any event, even if the type is unknown or the data is malformed.
    #[must_use]
    pub fn resource_id(&self) -> Option<Cow<'_, str>> {
        match &self.payload {
            Ok(payload) if !matches!(payload, Payload::Unknown) => payload
                .resource_id()
                .filter(|id| !id.is_empty())
                .map(Cow::Borrowed),
            _ => {
                let data = self.data.as_ref()?;
                envelope::resource_id(json::Json::new(data.as_str(), data.bytes()))
            }
        }
    }
}
