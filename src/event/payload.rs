use bytes::Bytes;
use serde::de::{Deserializer, Error as _};

use super::action::Action;
use super::composite_time_series_value::{CompositeItem, CompositeTimeSeriesValue};
use super::event_type::{EventType, split};
use super::field::Field;
use super::from_json::{self, FromJson};
use super::instrument::Instrument;
use super::malformed::Malformed;
use super::market::Market;
use super::market_listing::MarketListing;
use super::market_listing_suspension::MarketListingSuspension;
use super::membership::Membership;
use super::resource::Resource;
use super::time_series_value::TimeSeriesValue;
use super::webhook::Webhook;

/// The data of an event: a resource after the change, and the [`Action`] that changed it.
///
/// There is a variant for each resource that Ptolemy's list of event types names. That every action
/// of a resource carries the same data is **assumed**: the documentation does not show it. If an
/// event type that is not [documented](EventType::DOCUMENTED) carries data in another shape, the
/// payload is [`Unknown`](Self::Unknown).
///
/// An action that you do not handle may appear at any time. Match the actions that you handle by
/// name, not with `_`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Payload {
    /// `instrument.*`; `created`, `updated` (name, identifier or field values), `archived`,
    /// `restored` and `deleted` are documented.
    Instrument(Action, Box<Instrument>),
    /// `market.*`; `created`, `updated`, `archived` and `restored` are documented.
    Market(Action, Box<Market>),
    /// `market_listing.*`; `created`, `updated` and `archived` are documented.
    MarketListing(Action, Box<MarketListing>),
    /// `market_listing_suspension.*`; `created`, `updated` and `deleted` are documented.
    MarketListingSuspension(Action, Box<MarketListingSuspension>),
    /// `time_series_value.*`; `created`, `updated` and `archived` are documented.
    TimeSeriesValue(Action, Box<TimeSeriesValue>),
    /// `composite_time_series_value.*`; `created` is documented.
    CompositeTimeSeriesValue(Action, Box<CompositeTimeSeriesValue>),
    /// `webhook.*`; `created`, `updated` and `deleted` are documented.
    Webhook(Action, Box<Webhook>),
    /// `membership.*`; no action is documented.
    Membership(Action, Box<Membership>),
    /// Any other event type, or an undocumented one whose data cannot be read as its resource. The
    /// data is in [`Event::data`](crate::Event::data).
    ///
    /// Expect new event types at any time, and acknowledge those that you do not handle.
    Unknown,
}

impl Payload {
    pub(super) fn decode(event_type: &EventType, data: Field<'_>) -> Result<Self, Malformed> {
        let (Some(resource), Some(action)) = (event_type.resource(), event_type.action()) else {
            return Ok(Self::Unknown);
        };
        let payload = match resource {
            "instrument" => read(data, action, Self::Instrument),
            "market" => read(data, action, Self::Market),
            "market_listing" => read(data, action, Self::MarketListing),
            "market_listing_suspension" => read(data, action, Self::MarketListingSuspension),
            "time_series_value" => read(data, action, Self::TimeSeriesValue),
            "composite_time_series_value" => read(data, action, Self::CompositeTimeSeriesValue),
            "webhook" => read(data, action, Self::Webhook),
            "membership" => read(data, action, Self::Membership),
            _ => return Ok(Self::Unknown),
        };
        match payload {
            Err(_) if !EventType::DOCUMENTED.contains(&event_type.as_str()) => Ok(Self::Unknown),
            payload => payload,
        }
    }

    /// Whether the data of this event type is decoded.
    pub(super) fn is_known(event_type: &str) -> bool {
        split(event_type).is_some_and(|(resource, _)| known(resource).is_some())
    }

    /// Reads the data of a known resource while it is parsed; fails for any other event type.
    pub(super) fn quick<'de, D: Deserializer<'de>>(
        event_type: &str,
        json: D,
        body: &'de Bytes,
    ) -> Result<Self, D::Error> {
        let (resource, action) = split(event_type).unwrap_or_default();
        let action = Action::from(action);
        Ok(match resource {
            "instrument" => Self::Instrument(action, FromJson::quick(json, body)?),
            "market" => Self::Market(action, FromJson::quick(json, body)?),
            "market_listing" => Self::MarketListing(action, FromJson::quick(json, body)?),
            "market_listing_suspension" => {
                Self::MarketListingSuspension(action, FromJson::quick(json, body)?)
            }
            "time_series_value" => Self::TimeSeriesValue(action, FromJson::quick(json, body)?),
            "composite_time_series_value" => {
                Self::CompositeTimeSeriesValue(action, FromJson::quick(json, body)?)
            }
            "webhook" => Self::Webhook(action, FromJson::quick(json, body)?),
            "membership" => Self::Membership(action, FromJson::quick(json, body)?),
            _ => return Err(D::Error::custom("")),
        })
    }

    /// The action; `None` for [`Unknown`](Self::Unknown), whose action is in the
    /// [`EventType`].
    #[must_use]
    pub fn action(&self) -> Option<&Action> {
        match self {
            Self::Instrument(action, _)
            | Self::Market(action, _)
            | Self::MarketListing(action, _)
            | Self::MarketListingSuspension(action, _)
            | Self::TimeSeriesValue(action, _)
            | Self::CompositeTimeSeriesValue(action, _)
            | Self::Webhook(action, _)
            | Self::Membership(action, _) => Some(action),
            Self::Unknown => None,
        }
    }

    /// The id of the resource; `None` if the data has none, and for [`Unknown`](Self::Unknown).
    pub(super) fn resource_id(&self) -> Option<&str> {
        match self {
            Self::Instrument(_, it) => it.id.as_deref(),
            Self::Market(_, it) => it.id.as_deref(),
            Self::MarketListing(_, it) => it.id.as_deref(),
            Self::MarketListingSuspension(_, it) => it.id.as_deref(),
            Self::TimeSeriesValue(_, it) => Some(&it.id),
            Self::CompositeTimeSeriesValue(_, it) => it.id.as_deref(),
            Self::Webhook(_, it) => Some(&it.id),
            Self::Membership(_, it) => it.id.as_deref(),
            Self::Unknown => None,
        }
    }
}

/// The resources that are decoded: the name in the event type, the fields, and those of each item.
pub(crate) type Known = (
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
);

const KNOWN: &[Known] = &[
    ("instrument", Instrument::FIELDS, &[]),
    ("market", Market::FIELDS, &[]),
    ("market_listing", MarketListing::FIELDS, &[]),
    (
        "market_listing_suspension",
        MarketListingSuspension::FIELDS,
        &[],
    ),
    ("time_series_value", TimeSeriesValue::FIELDS, &[]),
    (
        "composite_time_series_value",
        CompositeTimeSeriesValue::FIELDS,
        CompositeItem::FIELDS,
    ),
    ("webhook", Webhook::FIELDS, &[]),
    ("membership", Membership::FIELDS, &[]),
];

/// The resource of this name in the event type, if it is decoded.
pub(crate) fn known(resource: &str) -> Option<Known> {
    KNOWN.iter().find(|(name, ..)| *name == resource).copied()
}

fn read<R: FromJson>(
    data: Field<'_>,
    action: Action,
    variant: fn(Action, Box<R>) -> Payload,
) -> Result<Payload, Malformed> {
    let resource = data
        .present()
        .and_then(|json| from_json::read(json).map_err(|fault| fault.under(data.name)))
        .map_err(Malformed::new)?;
    Ok(variant(action, Box::new(resource)))
}
