//! Text that both engines can store and index.

use std::borrow::Cow;

use ptolemy_webhooks::LogText;
use sha2::{Digest, Sha256};

/// The length up to which a text is a key, in bytes.
pub(crate) const LONGEST: usize = 255;

/// What is stored beside a body so that people and indexes find it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Labels {
    pub(crate) event_type: Option<String>,
    pub(crate) event_id: Option<String>,
    /// The resource's kind and its id: both or none.
    pub(crate) resource: Option<(String, String)>,
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

/// A text as it is, or its hash if it is too long to index or unsafe to print.
fn label(text: &str) -> String {
    if text.len() <= LONGEST && LogText::is_plain(text) {
        text.to_owned()
    } else {
        format!("sha256:{}", hex::encode(Sha256::digest(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_that_an_index_or_a_terminal_could_not_bear_is_a_hash() {
        for plain in ["e1", "", "é", &"x".repeat(LONGEST)] {
            assert_eq!(label(plain), plain);
        }
        let long = "x".repeat(LONGEST + 1);
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
