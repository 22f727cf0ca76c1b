//! A realistic delivery for each known event type, for tests and tools.
//!
//! **No delivery of Ptolemy's has been seen.** The JSON around the data, and that the data is the
//! resource as the API returns it, are assumed; the fields of the resources are documented as far
//! as their types say so. Ids and values are made up.
//!
//! # Examples
//!
//! Test a handler without a signature:
//!
//! ```
//! use ptolemy_webhooks::{Action, Event, Payload, samples};
//!
//! let event = Event::from_trusted_json(samples::instrument_created().to_json())?;
//! let Payload::Instrument(Action::Created, instrument) = event.payload? else { unreachable!() };
//! assert_eq!(instrument.identifier.as_deref(), Some("bhp.ax"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Sign one as Ptolemy does:
//!
//! ```
//! use ptolemy_webhooks::{Secret, Signer, Verifier, samples};
//!
//! let secret = Secret::new("whsec_a3f9b2c1d4e5f6a7b8c9d0e1")?;
//! let body = samples::time_series_value_updated().with_id("evt_1").to_json();
//! let header = Signer::new(&secret).sign(body.as_bytes());
//!
//! let delivery = Verifier::new(secret).receive(header, body)?;
//! assert_eq!(delivery.labels().event_id.as_deref(), Some("evt_1"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

/// The body of a delivery, to be sent or to be read.
#[derive(Clone, PartialEq, Eq)]
pub struct Sample {
    event_type: &'static str,
    id: Cow<'static, str>,
    data: &'static str,
}

impl Sample {
    /// The event type, such as `instrument.created`.
    #[must_use]
    pub fn event_type(&self) -> &'static str {
        self.event_type
    }

    /// The JSON of the resource, over several lines.
    #[must_use]
    pub fn data(&self) -> &'static str {
        self.data
    }

    /// Sets the id of the event. By default each event type has a fixed id, so a sample that is
    /// sent twice is a repetition.
    #[must_use]
    pub fn with_id(self, id: impl Into<String>) -> Self {
        Self {
            id: Cow::Owned(id.into()),
            ..self
        }
    }

    /// Returns the body: the JSON of the event, with its data.
    #[must_use]
    pub fn to_json(&self) -> String {
        format!(
            concat!(
                r#"{{"id":{id},"event_type":"{event_type}","#,
                r#""workspace_id":"6f1c2d3e-4f50-4a61-8b72-93a4b5c6d7e8","#,
                r#""created_at":"2026-04-15T09:30:00Z","#,
                r#""actor":{{"type":"robot","id":"5e0b1c2d-3e4f-4950-8a61-72839405a6b7"}},"#,
                r#""data":{data}}}"#,
            ),
            id = serde_json::Value::from(&*self.id),
            event_type = self.event_type,
            data = self.data,
        )
    }
}

impl From<Sample> for Bytes {
    fn from(sample: Sample) -> Self {
        sample.to_json().into()
    }
}

impl fmt::Debug for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sample")
            .field("event_type", &self.event_type)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Returns the sample of an event type, if it is one of
/// [`EventType::DOCUMENTED`](crate::EventType::DOCUMENTED) or
/// [`EventType::ASSUMED`](crate::EventType::ASSUMED).
#[must_use]
pub fn of(event_type: &str) -> Option<Sample> {
    all().find(|sample| sample.event_type == event_type)
}

/// Defines a function for each sample, and the list of them all.
macro_rules! samples {
    ($($name:ident: $event_type:literal, $id:literal, $file:literal;)*) => {
        $(
            #[doc = concat!("Returns a sample of `", $event_type, "`.")]
            #[must_use]
            pub fn $name() -> Sample {
                Sample {
                    event_type: $event_type,
                    id: Cow::Borrowed(concat!("0198c7a2-4a54-7c1e-9d5f-2f1c1a3b4d", $id)),
                    data: include_str!($file).trim_ascii_end(),
                }
            }
        )*

        /// Returns a sample of each documented event type, then of each assumed one.
        pub fn all() -> impl Iterator<Item = Sample> {
            [$($name),*].into_iter().map(|sample: fn() -> Sample| sample())
        }
    };
}

samples! {
    instrument_created: "instrument.created", "01", "samples/instrument.json";
    instrument_updated: "instrument.updated", "02", "samples/instrument.json";
    instrument_archived: "instrument.archived", "03", "samples/instrument.json";
    instrument_restored: "instrument.restored", "04", "samples/instrument.json";
    instrument_deleted: "instrument.deleted", "05", "samples/instrument.json";
    market_created: "market.created", "06", "samples/market.json";
    market_updated: "market.updated", "07", "samples/market.json";
    market_archived: "market.archived", "08", "samples/market.json";
    market_restored: "market.restored", "09", "samples/market.json";
    market_listing_created: "market_listing.created", "0a", "samples/market_listing.json";
    market_listing_updated: "market_listing.updated", "0b", "samples/market_listing.json";
    market_listing_archived: "market_listing.archived", "0c", "samples/market_listing.json";
    market_listing_suspension_created:
        "market_listing_suspension.created", "0d", "samples/market_listing_suspension.json";
    market_listing_suspension_updated:
        "market_listing_suspension.updated", "0e", "samples/market_listing_suspension.json";
    market_listing_suspension_deleted:
        "market_listing_suspension.deleted", "0f", "samples/market_listing_suspension.json";
    time_series_value_created: "time_series_value.created", "10", "samples/time_series_value.json";
    time_series_value_updated: "time_series_value.updated", "11", "samples/time_series_value.json";
    time_series_value_archived: "time_series_value.archived", "12", "samples/time_series_value.json";
    composite_time_series_value_created:
        "composite_time_series_value.created", "13", "samples/composite_time_series_value.json";
    webhook_created: "webhook.created", "14", "samples/webhook.json";
    webhook_updated: "webhook.updated", "15", "samples/webhook.json";
    webhook_deleted: "webhook.deleted", "16", "samples/webhook.json";
    membership_created: "membership.created", "17", "samples/membership.json";
    membership_updated: "membership.updated", "18", "samples/membership.json";
    membership_deleted: "membership.deleted", "19", "samples/membership.json";
}
