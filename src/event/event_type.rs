use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What happened to what: `resource.action`, such as `instrument.updated`.
///
/// The variants are the event types that Ptolemy's public documentation lists (those of
/// `membership` are assumed: the page breaks off before them). The list is open: any other text is
/// [`Unknown`](Self::Unknown) and keeps what it says.
///
/// Two event types are equal if their texts are, letter case included. `Display` shows the text
/// with its control and line-separator characters escaped, so that one event stays one line of a
/// log; [`as_str`](Self::as_str) is the text itself.
///
/// # Examples
///
/// ```
/// use ptolemy_webhooks::EventType;
///
/// let known = EventType::from("market_listing.created");
/// assert_eq!(known, EventType::MarketListingCreated);
/// assert_eq!(known.resource(), Some("market_listing"));
///
/// let unknown = EventType::from("market.deleted");
/// assert!(matches!(unknown, EventType::Unknown(_)));
/// assert_eq!(unknown.as_str(), "market.deleted");
/// assert_eq!(unknown.action(), Some("deleted"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventType {
    /// `instrument.created`
    InstrumentCreated,
    /// `instrument.updated`
    InstrumentUpdated,
    /// `instrument.archived`
    InstrumentArchived,
    /// `instrument.restored`
    InstrumentRestored,
    /// `instrument.deleted`
    InstrumentDeleted,
    /// `market.created`
    MarketCreated,
    /// `market.updated`
    MarketUpdated,
    /// `market.archived`
    MarketArchived,
    /// `market.restored`
    MarketRestored,
    /// `market_listing.created`
    MarketListingCreated,
    /// `market_listing.updated`
    MarketListingUpdated,
    /// `market_listing.archived`
    MarketListingArchived,
    /// `market_listing_suspension.created`
    MarketListingSuspensionCreated,
    /// `market_listing_suspension.updated`
    MarketListingSuspensionUpdated,
    /// `market_listing_suspension.deleted`
    MarketListingSuspensionDeleted,
    /// `time_series_value.created`
    TimeSeriesValueCreated,
    /// `time_series_value.updated`
    TimeSeriesValueUpdated,
    /// `time_series_value.archived`
    TimeSeriesValueArchived,
    /// `composite_time_series_value.created`
    CompositeTimeSeriesValueCreated,
    /// `webhook.created`
    WebhookCreated,
    /// `webhook.updated`
    WebhookUpdated,
    /// `webhook.deleted`
    WebhookDeleted,
    /// `membership.created`
    MembershipCreated,
    /// `membership.updated`
    MembershipUpdated,
    /// `membership.deleted`
    MembershipDeleted,
    /// Any other event type.
    Unknown(UnknownEventType),
}

/// The text of an event type that is not known here.
///
/// Only reading a text makes one, so no value of it stands for an event type that is known.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct UnknownEventType(Box<str>);

impl UnknownEventType {
    /// The text as it was sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for UnknownEventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl EventType {
    /// The text as it was sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::InstrumentCreated => "instrument.created",
            Self::InstrumentUpdated => "instrument.updated",
            Self::InstrumentArchived => "instrument.archived",
            Self::InstrumentRestored => "instrument.restored",
            Self::InstrumentDeleted => "instrument.deleted",
            Self::MarketCreated => "market.created",
            Self::MarketUpdated => "market.updated",
            Self::MarketArchived => "market.archived",
            Self::MarketRestored => "market.restored",
            Self::MarketListingCreated => "market_listing.created",
            Self::MarketListingUpdated => "market_listing.updated",
            Self::MarketListingArchived => "market_listing.archived",
            Self::MarketListingSuspensionCreated => "market_listing_suspension.created",
            Self::MarketListingSuspensionUpdated => "market_listing_suspension.updated",
            Self::MarketListingSuspensionDeleted => "market_listing_suspension.deleted",
            Self::TimeSeriesValueCreated => "time_series_value.created",
            Self::TimeSeriesValueUpdated => "time_series_value.updated",
            Self::TimeSeriesValueArchived => "time_series_value.archived",
            Self::CompositeTimeSeriesValueCreated => "composite_time_series_value.created",
            Self::WebhookCreated => "webhook.created",
            Self::WebhookUpdated => "webhook.updated",
            Self::WebhookDeleted => "webhook.deleted",
            Self::MembershipCreated => "membership.created",
            Self::MembershipUpdated => "membership.updated",
            Self::MembershipDeleted => "membership.deleted",
            Self::Unknown(unknown) => unknown.as_str(),
        }
    }

    /// What precedes the first dot; `None` without a dot or with nothing on one of its sides.
    #[must_use]
    pub fn resource(&self) -> Option<&str> {
        self.split().map(|(resource, _)| resource)
    }

    /// What follows the first dot; `None` without a dot or with nothing on one of its sides.
    #[must_use]
    pub fn action(&self) -> Option<&str> {
        self.split().map(|(_, action)| action)
    }

    fn split(&self) -> Option<(&str, &str)> {
        let (resource, action) = self.as_str().split_once('.')?;
        (!resource.is_empty() && !action.is_empty()).then_some((resource, action))
    }
}

impl From<&str> for EventType {
    fn from(text: &str) -> Self {
        match text {
            "instrument.created" => Self::InstrumentCreated,
            "instrument.updated" => Self::InstrumentUpdated,
            "instrument.archived" => Self::InstrumentArchived,
            "instrument.restored" => Self::InstrumentRestored,
            "instrument.deleted" => Self::InstrumentDeleted,
            "market.created" => Self::MarketCreated,
            "market.updated" => Self::MarketUpdated,
            "market.archived" => Self::MarketArchived,
            "market.restored" => Self::MarketRestored,
            "market_listing.created" => Self::MarketListingCreated,
            "market_listing.updated" => Self::MarketListingUpdated,
            "market_listing.archived" => Self::MarketListingArchived,
            "market_listing_suspension.created" => Self::MarketListingSuspensionCreated,
            "market_listing_suspension.updated" => Self::MarketListingSuspensionUpdated,
            "market_listing_suspension.deleted" => Self::MarketListingSuspensionDeleted,
            "time_series_value.created" => Self::TimeSeriesValueCreated,
            "time_series_value.updated" => Self::TimeSeriesValueUpdated,
            "time_series_value.archived" => Self::TimeSeriesValueArchived,
            "composite_time_series_value.created" => Self::CompositeTimeSeriesValueCreated,
            "webhook.created" => Self::WebhookCreated,
            "webhook.updated" => Self::WebhookUpdated,
            "webhook.deleted" => Self::WebhookDeleted,
            "membership.created" => Self::MembershipCreated,
            "membership.updated" => Self::MembershipUpdated,
            "membership.deleted" => Self::MembershipDeleted,
            _ => Self::Unknown(UnknownEventType(text.into())),
        }
    }
}

impl FromStr for EventType {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::from(text))
    }
}

impl PartialEq<str> for EventType {
    fn eq(&self, text: &str) -> bool {
        self.as_str() == text
    }
}

impl PartialEq<&str> for EventType {
    fn eq(&self, text: &&str) -> bool {
        self.as_str() == *text
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(unknown) => unknown.as_str().chars().try_for_each(|c| {
                if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') {
                    write!(f, "{}", c.escape_unicode())
                } else {
                    fmt::Write::write_char(f, c)
                }
            }),
            known => f.write_str(known.as_str()),
        }
    }
}

impl Serialize for EventType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for EventType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        Ok(Self::from(&*text))
    }
}
