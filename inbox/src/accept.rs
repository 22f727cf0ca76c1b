use ptolemy_webhooks::{Delivery, LogText};

use crate::arrival::{Arrival, Labels};
use crate::error::{InboxError, InboxErrorKind};

/// The longest key, in bytes.
const MAX_KEY_BYTES: usize = 255;

/// The longest source, in bytes.
const MAX_SOURCE_BYTES: usize = 64;

/// Options of an [accept](crate::Inbox::accept_with).
///
/// # Examples
///
/// ```no_run
/// # async fn example(inbox: ptolemy_webhooks_inbox::Inbox, delivery: ptolemy_webhooks::Delivery) -> Result<(), Box<dyn std::error::Error>> {
/// use ptolemy_webhooks_inbox::Accept;
///
/// inbox.accept_with(&delivery, Accept::new().source("staging")).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "it is an argument of `accept_with`"]
pub struct Accept {
    key: Option<String>,
    source: Option<String>,
}

impl Accept {
    /// Returns options with nothing set, with which `accept_with` is the same as
    /// [`accept`](crate::Inbox::accept).
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the key by which duplicates are recognised, instead of
    /// [`Delivery::dedup_key`](ptolemy_webhooks::Delivery::dedup_key): 1 to 255 bytes without a
    /// NUL.
    ///
    /// Two deliveries with the same key are the same event, even if their bodies differ: the second
    /// one is not stored.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Names the webhook that the delivery came through: 1 to 64 printable bytes without a `/`.
    ///
    /// An event that arrives through two sources is two events: the key is stored as `source/key`,
    /// and [`Attempt::dedup_key`](crate::Attempt::dedup_key) returns that text. Without sources it
    /// is one event.
    pub fn source(mut self, source: impl Into<String>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Returns the row to store for a delivery; its body is read once.
    pub(crate) fn arrival(self, delivery: &Delivery) -> Result<Arrival, InboxError> {
        if self.key.as_deref().is_some_and(|key| !is_key(key)) {
            return Err(InboxError::new(InboxErrorKind::InvalidKey));
        }
        if self.source.as_deref().is_some_and(|text| !is_source(text)) {
            return Err(InboxError::new(InboxErrorKind::InvalidSource));
        }
        let read = delivery.labels();
        let labels = Labels::from(&read);
        let key = self.key.unwrap_or(read.dedup_key);
        Ok(Arrival {
            key: match &self.source {
                Some(source) => format!("{source}/{key}"),
                None => key,
            },
            source: self.source,
            labels,
            body: delivery.body().clone(),
        })
    }
}

/// PostgreSQL cannot store a NUL.
fn is_key(text: &str) -> bool {
    (1..=MAX_KEY_BYTES).contains(&text.len()) && !text.contains('\0')
}

/// Without a `/`, so that no two pairs of source and key are stored as one text.
fn is_source(text: &str) -> bool {
    (1..=MAX_SOURCE_BYTES).contains(&text.len()) && !text.contains('/') && LogText::is_plain(text)
}

#[cfg(test)]
mod tests {
    use ptolemy_webhooks::{Secret, Signer, Verifier};

    use super::*;

    fn delivery() -> Delivery {
        of(r#"{"id":"e","event_type":"market.created","data":{"id":"m"}}"#)
    }

    fn of(body: &'static str) -> Delivery {
        let secret = Secret::new("whsec_test_secret").unwrap();
        let header = Signer::new(&secret).sign(body.as_bytes());
        Verifier::new(secret).receive(header, body).unwrap()
    }

    #[test]
    fn the_key_is_the_deliverys_or_the_callers_and_begins_with_the_source() {
        let delivery = delivery();
        let dedup_key = delivery.dedup_key();
        for (accept, key, source) in [
            (Accept::new(), dedup_key.clone(), None),
            (Accept::new().key("k"), "k".to_owned(), None),
            (
                Accept::new().source("staging"),
                format!("staging/{dedup_key}"),
                Some("staging"),
            ),
            (
                Accept::new().source("a").key("b/c"),
                "a/b/c".to_owned(),
                Some("a"),
            ),
        ] {
            let arrival = accept.arrival(&delivery).unwrap();
            assert_eq!((arrival.key, arrival.source.as_deref()), (key, source));
            assert_eq!(arrival.body, delivery.body());
        }
    }

    #[test]
    fn the_labels_are_read_from_the_body_and_a_resource_has_both_parts_or_none() {
        let labels = |body| Accept::new().arrival(&of(body)).unwrap().labels;
        let all = labels(r#"{"id":"e","event_type":"market.created","data":{"id":"m"}}"#);
        assert_eq!(all.event_type.as_deref(), Some("market.created"));
        assert_eq!(all.event_id.as_deref(), Some("e"));
        assert_eq!((all.kind(), all.resource_id()), (Some("market"), Some("m")));

        let some = labels(r#"{"event_type":"market.created"}"#);
        assert_eq!(some.event_type.as_deref(), Some("market.created"));
        assert_eq!((some.kind(), some.resource_id()), (None, None));
        assert_eq!(labels("[]"), Labels::default());
    }

    #[test]
    fn a_key_or_a_source_that_cannot_be_stored_is_an_error() {
        let delivery = delivery();
        let kind = |accept: Accept| accept.arrival(&delivery).map_err(|error| error.kind());
        for key in ["", "a\0b", &"k".repeat(256), &"é".repeat(128)] {
            let error = kind(Accept::new().key(key)).unwrap_err();
            assert_eq!(error, InboxErrorKind::InvalidKey, "{key:?}");
        }
        for source in ["", "a/b", "a\nb", "a\0b", &"s".repeat(65)] {
            let error = kind(Accept::new().source(source)).unwrap_err();
            assert_eq!(error, InboxErrorKind::InvalidSource, "{source:?}");
        }
        assert!(kind(Accept::new().key("k".repeat(255)).source("s".repeat(64))).is_ok());
    }
}
