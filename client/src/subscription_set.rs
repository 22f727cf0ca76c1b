//! The set of event types that a webhook should be subscribed to.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::records::Subscription;

/// The documented name of all event types.
const ALL: &str = "*";

/// A set of event types.
///
/// # Examples
///
/// ```
/// use ptolemy_webhooks_client::Subscriptions;
///
/// assert_eq!(Subscriptions::all(), Subscriptions::from(["*"]));
/// assert_eq!(
///     Subscriptions::from(["instrument.created", "instrument.updated"]),
///     Subscriptions::from(vec!["instrument.updated", "instrument.created"]),
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscriptions(BTreeSet<String>);

impl Subscriptions {
    /// Returns the set of all event types, including those that Ptolemy adds later.
    #[must_use]
    pub fn all() -> Self {
        Self::from([ALL])
    }

    pub(crate) fn body(&self) -> Value {
        self.0.iter().map(String::as_str).collect()
    }

    /// Returns whether these are the event types of the subscriptions. A subscription whose event
    /// type cannot be read counts as a difference.
    pub(crate) fn equals(&self, subscriptions: &[Subscription]) -> bool {
        let types = subscriptions
            .iter()
            .map(|subscription| subscription.event_type.as_ref());
        let types: Option<BTreeSet<&str>> = types.map(|text| text.map(AsRef::as_ref)).collect();
        types.is_some_and(|types| types.iter().eq(self.0.iter()))
    }
}

impl<T: Into<String>> FromIterator<T> for Subscriptions {
    fn from_iter<I: IntoIterator<Item = T>>(event_types: I) -> Self {
        Self(event_types.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<String>, const N: usize> From<[T; N]> for Subscriptions {
    fn from(event_types: [T; N]) -> Self {
        event_types.into_iter().collect()
    }
}

impl<T: Into<String>> From<Vec<T>> for Subscriptions {
    fn from(event_types: Vec<T>) -> Self {
        event_types.into_iter().collect()
    }
}
