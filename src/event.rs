//! Events: what a delivery says.

mod composite_time_series_value;
mod decimal;
mod decode_error;
mod envelope;
mod event_type;
mod fault;
mod field;
mod instrument;
mod json;
mod malformed;
mod market;
mod market_listing;
mod market_listing_suspension;
mod membership;
mod payload;
mod raw_json;
#[cfg(feature = "rust_decimal")]
mod rust_decimal;
mod time_series_value;
mod webhook;

use std::borrow::Cow;

use bytes::Bytes;
use time::OffsetDateTime;

pub use composite_time_series_value::{CompositeItem, CompositeTimeSeriesValue};
pub use decimal::Decimal;
pub use decode_error::{DecodeError, DecodeErrorKind};
pub(crate) use envelope::Envelope;
pub use event_type::{EventType, UnknownEventType};
pub use instrument::Instrument;
pub use malformed::Malformed;
pub use market::Market;
pub use market_listing::MarketListing;
pub use market_listing_suspension::MarketListingSuspension;
pub use membership::Membership;
pub use payload::Payload;
pub use raw_json::{RawJson, RawJsonError};
pub use time_series_value::TimeSeriesValue;
pub use webhook::Webhook;

/// A change in Ptolemy: what changed, when, and who changed it.
///
/// Comes from [`Delivery::event`](crate::Delivery::event), or as an argument of a handler with the
/// features `axum` and `actix-web`, and then its signature held. It implements no `Deserialize`, so
/// that no JSON extractor can produce one without a check.
///
/// # What is documented and what is assumed
///
/// Ptolemy documents that an event has an `event_type`, and that it records what changed, when it
/// changed and who triggered the change. The names of all other fields are assumed, so each of them
/// is optional, and each is `None` if it is missing, null or of another type. Three have names that
/// are tried in turn, and the first that is present with the wanted JSON type counts: `event_type`
/// and `type`; `created_at` and `occurred_at`; `data`, `payload` and `resource`. Of a key that
/// occurs twice, the last counts. Whatever is not read stays in [`raw`](Self::raw).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Event {
    /// The id, which is assumed to name the event and to be the same in every repetition.
    ///
    /// Do not build on it alone: see [`Delivery::dedup_key`](crate::Delivery::dedup_key).
    pub id: Option<String>,
    /// What happened to what.
    pub event_type: EventType,
    /// The workspace in which it happened.
    pub workspace_id: Option<String>,
    /// When it happened.
    pub created_at: Option<OffsetDateTime>,
    /// The user or the robot that triggered the change, in whatever form it was sent.
    pub actor: Option<RawJson>,
    /// The resource after the change.
    pub payload: Payload,
    data: Option<RawJson>,
    raw: RawJson,
}

impl Event {
    /// Reads an event from a body that you know to be Ptolemy's, because you verified it before:
    /// from your own store, or in a test.
    ///
    /// **It checks no signature.** A body that comes from a request belongs in a
    /// [`Verifier`](crate::Verifier).
    ///
    /// # Errors
    ///
    /// Refuses a body that is not one JSON object in UTF-8 with a non-empty string `event_type`.
    ///
    /// # Examples
    ///
    /// ```
    /// use ptolemy_webhooks::{Event, Payload};
    ///
    /// let event = Event::from_trusted_json(
    ///     r#"{"event_type":"instrument.created","data":{"identifier":"bhp.ax"}}"#,
    /// )?;
    /// let Payload::InstrumentCreated(instrument) = event.payload else { unreachable!() };
    /// assert_eq!(instrument.identifier.as_deref(), Some("bhp.ax"));
    /// # Ok::<(), ptolemy_webhooks::DecodeError>(())
    /// ```
    pub fn from_trusted_json(json: impl Into<Bytes>) -> Result<Self, DecodeError> {
        let body = json.into();
        let envelope = Envelope::parse(&body)?;
        let event_type = EventType::from(&*envelope.event_type);
        let data = envelope.data();
        Ok(Self {
            id: envelope.id().map(Cow::into_owned),
            workspace_id: envelope.workspace_id().map(Cow::into_owned),
            created_at: envelope.created_at(),
            actor: envelope.actor().map(json::Json::keep),
            payload: Payload::decode(&event_type, data),
            event_type,
            data: data.keep(),
            raw: RawJson::new(body.clone()),
        })
    }

    /// The whole body as it was sent, byte for byte.
    #[must_use]
    pub fn raw(&self) -> &RawJson {
        &self.raw
    }

    /// The data as it was sent, with the fields that [`payload`](Self::payload) does not show;
    /// `None` if the event carries none.
    ///
    /// # Examples
    ///
    /// ```
    /// use ptolemy_webhooks::Event;
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Instrument {
    ///     isin: String,
    /// }
    ///
    /// let event = Event::from_trusted_json(
    ///     r#"{"event_type":"instrument.created","data":{"isin":"AU000000BHP4"}}"#,
    /// )?;
    /// let instrument: Instrument = event.data().unwrap().decode()?;
    /// assert_eq!(instrument.isin, "AU000000BHP4");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn data(&self) -> Option<&RawJson> {
        self.data.as_ref()
    }
}
