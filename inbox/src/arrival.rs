//! A delivery on its way into the table, with the labels that are stored beside its body.

use std::borrow::Cow;

use bytes::Bytes;
use ptolemy_webhooks::LogText;
use sha2::{Digest, Sha256};

/// The longest label, in bytes.
const MAX_LABEL_BYTES: usize = 255;

/// A delivery on its way into the table.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) key: String,
    pub(crate) source: Option<String>,
    pub(crate) labels: Labels,
    pub(crate) body: Bytes,
}

/// The columns beside the body, by which people and indexes find an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Labels {
    pub(crate) event_type: Option<String>,
    pub(crate) event_id: Option<String>,
    /// The kind and the id of the resource: both or neither.
    pub(crate) resource: Option<(String, String)>,
}

impl Labels {
    /// The kind of the resource, such as `instrument`.
    pub(crate) fn kind(&self) -> Option<&str> {
        self.resource.as_ref().map(|(kind, _)| kind.as_str())
    }

    pub(crate) fn resource_id(&self) -> Option<&str> {
        self.resource.as_ref().map(|(_, id)| id.as_str())
    }
}

impl From<&ptolemy_webhooks::Labels<'_>> for Labels {
    fn from(labels: &ptolemy_webhooks::Labels<'_>) -> Self {
        let text = |text: &Option<Cow<'_, str>>| text.as_deref().map(label);
        Self {
            event_type: text(&labels.event_type),
            event_id: text(&labels.event_id),
            resource: text(&labels.resource).zip(text(&labels.resource_id)),
        }
    }
}

/// The text, or its hash if it is too long to index or unsafe to print.
pub(crate) fn label(text: &str) -> String {
    if text.len() <= MAX_LABEL_BYTES && LogText::is_plain(text) {
        text.to_owned()
    } else {
        format!("sha256:{}", hex::encode(Sha256::digest(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_that_is_too_long_or_unsafe_to_print_is_a_hash() {
        for plain in ["e1", "", "é", &"x".repeat(MAX_LABEL_BYTES)] {
            assert_eq!(label(plain), plain);
        }
        let long = "x".repeat(MAX_LABEL_BYTES + 1);
        for odd in [
            "a\0b",
            "a\nb",
            "\u{1b}[31m",
            "\u{85}",
            "\u{2028}",
            "\u{202e}a",
            "a b",
            &long,
        ] {
            let label = label(odd);
            assert_eq!((&label[..7], label.len()), ("sha256:", 71));
        }
        assert_ne!(label("a\0"), label("a\n"));
    }
}
