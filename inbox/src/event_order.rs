use std::fmt;

use crate::error::BoxError;

/// The order in which the events of an inbox are handled; see
/// [`Inbox::set_order`](crate::Inbox::set_order).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventOrder {
    /// Each event as soon as it is due, regardless of what else is waiting or running.
    #[default]
    AsDue,
    /// The events of one resource in the order in which they were accepted, one at a time.
    ///
    /// A resource is the part of the event type before the dot, together with the `id` in the data;
    /// events without such an id are not ordered. An event waits while an earlier one of its
    /// resource is waiting, running, backing off or postponed, regardless of the
    /// [source](crate::Accept::source) of each. A dead event does not block later ones, and if it
    /// is replayed it may run after newer ones.
    ///
    /// Ptolemy does not promise to deliver in order, and the order of deliveries that arrive at the
    /// same time is arbitrary.
    ByResource,
}

impl EventOrder {
    /// The word in the table.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AsDue => "as_due",
            Self::ByResource => "by_resource",
        }
    }

    /// Reads the word in the table.
    pub(crate) fn read(word: &str) -> Result<Self, BoxError> {
        [Self::AsDue, Self::ByResource]
            .into_iter()
            .find(|order| order.as_str() == word)
            .ok_or_else(|| "the inbox's settings have an order that is not known".into())
    }
}

impl fmt::Display for EventOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_a_word_in_the_table_and_another_word_is_an_error() {
        for (order, word) in [
            (EventOrder::AsDue, "as_due"),
            (EventOrder::ByResource, "by_resource"),
        ] {
            assert_eq!(order.as_str(), word);
            assert_eq!(order.to_string(), word);
            assert_eq!(EventOrder::read(word).unwrap(), order);
        }
        let error = EventOrder::read("by_age").unwrap_err().to_string();
        assert_eq!(
            error,
            "the inbox's settings have an order that is not known"
        );
    }
}
