use std::borrow::Cow;
use std::fmt;

use super::action::Action;
use crate::text::{LogText, serde_as_text, text_type};

/// What happened to what: the text `resource.action`, such as `instrument.updated`.
///
/// The list of event types is open, so any text is an event type. Two are equal if their texts are,
/// letter case included. `Display` shows the text as one word of one line (see [`LogText`]);
/// [`as_str`](Self::as_str) is the text itself.
///
/// # Examples
///
/// ```
/// use ptolemy_webhooks::{Action, EventType};
///
/// let event_type = EventType::from("market_listing.created");
/// assert_eq!(event_type.resource(), Some("market_listing"));
/// assert_eq!(event_type.action(), Some(Action::Created));
/// assert_eq!(event_type, "market_listing.created");
///
/// assert!(EventType::DOCUMENTED.contains(&event_type.as_str()));
/// assert!(!EventType::DOCUMENTED.contains(&"market.deleted"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventType(Cow<'static, str>);

impl EventType {
    /// The event types that Ptolemy's public documentation lists, as far as the page is public: it
    /// is cut off after the word `membership`.
    pub const DOCUMENTED: &'static [&'static str] = &[
        "instrument.created",
        "instrument.updated",
        "instrument.archived",
        "instrument.restored",
        "instrument.deleted",
        "market.created",
        "market.updated",
        "market.archived",
        "market.restored",
        "market_listing.created",
        "market_listing.updated",
        "market_listing.archived",
        "market_listing_suspension.created",
        "market_listing_suspension.updated",
        "market_listing_suspension.deleted",
        "time_series_value.created",
        "time_series_value.updated",
        "time_series_value.archived",
        "composite_time_series_value.created",
        "webhook.created",
        "webhook.updated",
        "webhook.deleted",
    ];

    /// The event types that this library assumes in addition to the documented ones: those of
    /// `membership`, whose actions are beyond the end of the public page.
    pub const ASSUMED: &'static [&'static str] = &[
        "membership.created",
        "membership.updated",
        "membership.deleted",
    ];

    /// The text as it was sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text before the first dot; `None` without a dot or with an empty side.
    #[must_use]
    pub fn resource(&self) -> Option<&str> {
        split(&self.0).map(|(resource, _)| resource)
    }

    /// The text after the first dot; `None` without a dot or with an empty side.
    #[must_use]
    pub fn action(&self) -> Option<Action> {
        split(&self.0).map(|(_, action)| action.into())
    }
}

/// The resource and the action of an event type.
pub(crate) fn split(event_type: &str) -> Option<(&str, &str)> {
    let (resource, action) = event_type.split_once('.')?;
    (!resource.is_empty() && !action.is_empty()).then_some((resource, action))
}

impl From<&str> for EventType {
    fn from(text: &str) -> Self {
        // Most deliveries have a listed type, whose text needs no copy.
        let mut listed = Self::DOCUMENTED.iter().chain(Self::ASSUMED);
        Self(match listed.find(|&&listed| listed == text) {
            Some(listed) => Cow::Borrowed(listed),
            None => Cow::Owned(text.to_owned()),
        })
    }
}

text_type!(EventType);
serde_as_text!(EventType);

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        LogText::new(self.as_str()).fmt(f)
    }
}
