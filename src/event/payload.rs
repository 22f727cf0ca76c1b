use super::composite_time_series_value::CompositeTimeSeriesValue;
use super::event_type::EventType;
use super::fault::Fault;
use super::field::{Field, FromJson};
use super::instrument::Instrument;
use super::malformed::Malformed;
use super::market::Market;
use super::market_listing::MarketListing;
use super::market_listing_suspension::MarketListingSuspension;
use super::membership::Membership;
use super::raw_json::RawJson;
use super::time_series_value::TimeSeriesValue;
use super::webhook::Webhook;

/// The data of an event, by the event's type.
///
/// There is a variant for each known [`EventType`], which holds the resource after the change. What
/// is not understood is no error: an event of another type is [`Unknown`](Self::Unknown), and data
/// in another shape than expected is [`Malformed`](Self::Malformed). Both keep their JSON.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Payload {
    /// `instrument.created`: an instrument was created.
    InstrumentCreated(Box<Instrument>),
    /// `instrument.updated`: an instrument changed its name, its identifier or its field values.
    InstrumentUpdated(Box<Instrument>),
    /// `instrument.archived`: an instrument was archived, which can be undone.
    InstrumentArchived(Box<Instrument>),
    /// `instrument.restored`: an instrument was restored from the archive.
    InstrumentRestored(Box<Instrument>),
    /// `instrument.deleted`: an instrument was deleted for good.
    InstrumentDeleted(Box<Instrument>),
    /// `market.created`: a market was created.
    MarketCreated(Box<Market>),
    /// `market.updated`: a market was changed.
    MarketUpdated(Box<Market>),
    /// `market.archived`: a market was archived, which can be undone.
    MarketArchived(Box<Market>),
    /// `market.restored`: a market was restored from the archive.
    MarketRestored(Box<Market>),
    /// `market_listing.created`: a market listing was created.
    MarketListingCreated(Box<MarketListing>),
    /// `market_listing.updated`: a market listing was changed.
    MarketListingUpdated(Box<MarketListing>),
    /// `market_listing.archived`: a market listing was archived.
    MarketListingArchived(Box<MarketListing>),
    /// `market_listing_suspension.created`: a suspension of a market listing was created.
    MarketListingSuspensionCreated(Box<MarketListingSuspension>),
    /// `market_listing_suspension.updated`: a suspension of a market listing was changed.
    MarketListingSuspensionUpdated(Box<MarketListingSuspension>),
    /// `market_listing_suspension.deleted`: a suspension of a market listing was deleted.
    MarketListingSuspensionDeleted(Box<MarketListingSuspension>),
    /// `time_series_value.created`: a value of a time series was created.
    TimeSeriesValueCreated(Box<TimeSeriesValue>),
    /// `time_series_value.updated`: a value of a time series was changed.
    TimeSeriesValueUpdated(Box<TimeSeriesValue>),
    /// `time_series_value.archived`: a value of a time series was archived.
    TimeSeriesValueArchived(Box<TimeSeriesValue>),
    /// `composite_time_series_value.created`: a value of a composite time series was created.
    CompositeTimeSeriesValueCreated(Box<CompositeTimeSeriesValue>),
    /// `webhook.created`: a webhook was created.
    WebhookCreated(Box<Webhook>),
    /// `webhook.updated`: a webhook was changed.
    WebhookUpdated(Box<Webhook>),
    /// `webhook.deleted`: a webhook was deleted.
    WebhookDeleted(Box<Webhook>),
    /// `membership.created` (assumed): a membership was created.
    MembershipCreated(Box<Membership>),
    /// `membership.updated` (assumed): a membership was changed.
    MembershipUpdated(Box<Membership>),
    /// `membership.deleted` (assumed): a membership was deleted.
    MembershipDeleted(Box<Membership>),
    /// The event's type is not known here. Holds its data, if it has any.
    ///
    /// Expect new ones at any time: acknowledge what you do not handle.
    Unknown(Option<RawJson>),
    /// The event's type is known and its data has another shape than is known here.
    Malformed(Box<Malformed>),
}

impl Payload {
    pub(super) fn decode(event_type: &EventType, data: Field<'_>) -> Self {
        let payload = match event_type {
            EventType::InstrumentCreated => read(data, Self::InstrumentCreated),
            EventType::InstrumentUpdated => read(data, Self::InstrumentUpdated),
            EventType::InstrumentArchived => read(data, Self::InstrumentArchived),
            EventType::InstrumentRestored => read(data, Self::InstrumentRestored),
            EventType::InstrumentDeleted => read(data, Self::InstrumentDeleted),
            EventType::MarketCreated => read(data, Self::MarketCreated),
            EventType::MarketUpdated => read(data, Self::MarketUpdated),
            EventType::MarketArchived => read(data, Self::MarketArchived),
            EventType::MarketRestored => read(data, Self::MarketRestored),
            EventType::MarketListingCreated => read(data, Self::MarketListingCreated),
            EventType::MarketListingUpdated => read(data, Self::MarketListingUpdated),
            EventType::MarketListingArchived => read(data, Self::MarketListingArchived),
            EventType::MarketListingSuspensionCreated => {
                read(data, Self::MarketListingSuspensionCreated)
            }
            EventType::MarketListingSuspensionUpdated => {
                read(data, Self::MarketListingSuspensionUpdated)
            }
            EventType::MarketListingSuspensionDeleted => {
                read(data, Self::MarketListingSuspensionDeleted)
            }
            EventType::TimeSeriesValueCreated => read(data, Self::TimeSeriesValueCreated),
            EventType::TimeSeriesValueUpdated => read(data, Self::TimeSeriesValueUpdated),
            EventType::TimeSeriesValueArchived => read(data, Self::TimeSeriesValueArchived),
            EventType::CompositeTimeSeriesValueCreated => {
                read(data, Self::CompositeTimeSeriesValueCreated)
            }
            EventType::WebhookCreated => read(data, Self::WebhookCreated),
            EventType::WebhookUpdated => read(data, Self::WebhookUpdated),
            EventType::WebhookDeleted => read(data, Self::WebhookDeleted),
            EventType::MembershipCreated => read(data, Self::MembershipCreated),
            EventType::MembershipUpdated => read(data, Self::MembershipUpdated),
            EventType::MembershipDeleted => read(data, Self::MembershipDeleted),
            EventType::Unknown(_) => Ok(Self::Unknown(data.keep())),
        };
        payload
            .unwrap_or_else(|fault| Self::Malformed(Box::new(Malformed::new(fault, data.keep()))))
    }
}

fn read<R: FromJson>(data: Field<'_>, variant: fn(Box<R>) -> Payload) -> Result<Payload, Fault> {
    data.required().map(Box::new).map(variant)
}
