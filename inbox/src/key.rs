//! Text that both engines can store and index.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use ptolemy_webhooks::Event;
use serde_json::value::RawValue;
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

impl Labels {
    /// Reads them off a body; a body that is no event has none.
    pub(crate) fn of(body: &Bytes) -> Self {
        let Ok(event) = Event::from_trusted_json(body.clone()) else {
            return Self::default();
        };
        let resource = event
            .event_type
            .resource()
            .zip(resource_id(&event))
            .map(|(resource, id)| (label(resource.to_owned()), label(id)));
        Self {
            event_type: Some(label(event.event_type.as_str().to_owned())),
            event_id: event.id.filter(|id| !id.is_empty()).map(label),
            resource,
        }
    }
}

/// The `id` of the data: a non-empty string, or a number as it was written.
fn resource_id(event: &Event) -> Option<String> {
    let fields: BTreeMap<Cow<'_, str>, &RawValue> = event.data()?.decode().ok()?;
    let id = fields.get("id")?.get();
    if id.starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
        return Some(id.to_owned());
    }
    serde_json::from_str(id)
        .ok()
        .filter(|id: &String| !id.is_empty())
}

/// A text as it is, or its hash where an index or a terminal could not bear it.
fn label(text: String) -> String {
    // Nor those that break lines, show nothing, or turn the direction of what follows.
    let plain = |c: char| {
        !c.is_control()
            && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
            && !matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    if text.len() <= LONGEST && text.chars().all(plain) {
        text
    } else {
        format!("sha256:{}", hex::encode(Sha256::digest(&text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(body: &'static str) -> Option<(String, String)> {
        Labels::of(&Bytes::from_static(body.as_bytes())).resource
    }

    #[test]
    fn the_resource_is_what_comes_before_the_dot_and_the_id_in_the_data() {
        let both = |resource: &str, id: &str| Some((resource.to_owned(), id.to_owned()));
        assert_eq!(
            resource(r#"{"event_type":"market.created","data":{"id":"m1"}}"#),
            both("market", "m1")
        );
        // Of a key that occurs twice, the last counts.
        assert_eq!(
            resource(r#"{"event_type":"a.b","resource":{"id":1,"id":"\u0041"}}"#),
            both("a", "A")
        );
        assert_eq!(
            resource(r#"{"event_type":"a.b","data":{"id":-1.50}}"#),
            both("a", "-1.50")
        );
        for none in [
            r#"{"event_type":"a.b","data":{"id":""}}"#,
            r#"{"event_type":"a.b","data":{"id":null}}"#,
            r#"{"event_type":"a.b","data":{"id":["x"]}}"#,
            r#"{"event_type":"a.b","data":{"id":true}}"#,
            r#"{"event_type":"a.b","data":{"id":"\ud800"}}"#,
            r#"{"event_type":"a.b","data":{}}"#,
            r#"{"event_type":"a.b","id":"e"}"#,
            r#"{"event_type":"ab","data":{"id":"x"}}"#,
            "not JSON",
        ] {
            assert_eq!(resource(none), None, "{none}");
        }
    }

    #[test]
    fn a_label_that_an_index_or_a_terminal_could_not_bear_is_a_hash() {
        for plain in ["e1", "", "é", &"x".repeat(LONGEST)] {
            assert_eq!(label(plain.to_owned()), plain);
        }
        let long = "x".repeat(LONGEST + 1);
        for odd in [
            "a\0b",
            "a\nb",
            "\u{1b}[31m",
            "\u{85}",
            "\u{2028}",
            "\u{202e}a",
            &long,
        ] {
            let label = label(odd.to_owned());
            assert_eq!((&label[..7], label.len()), ("sha256:", 71));
        }
        assert_ne!(label("a\0".to_owned()), label("a\n".to_owned()));
    }
}
