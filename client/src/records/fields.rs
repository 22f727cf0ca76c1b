//! The fields of one JSON object, each read on its own.

use std::collections::HashMap;

use ptolemy_webhooks::RawJson;
use serde::Deserialize;
use serde_json::value::RawValue;
use time::OffsetDateTime;
use time::format_description::well_known::Iso8601;

/// The fields of an object, by name; if a name occurs twice, the last counts. A field that is not
/// read is never decoded, so its content cannot be an error.
pub(super) struct Fields<'a>(HashMap<String, &'a RawValue>);

impl<'a> Fields<'a> {
    /// Returns `None` if the value is not an object.
    pub(super) fn of(json: &'a RawJson) -> Option<Self> {
        json.decode().ok().map(Self)
    }

    pub(super) fn decode<T: Deserialize<'a>>(&self, name: &str) -> Option<T> {
        serde_json::from_str(self.0.get(name)?.get()).ok()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.decode(name)
    }

    /// An id: a string that is not empty, or a number as it is written.
    pub(super) fn id(&self, name: &str) -> Option<String> {
        if let Some(text) = self.text(name) {
            return Some(text).filter(|text| !text.is_empty());
        }
        let number = self.0.get(name)?.get();
        number
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| number.to_owned())
    }

    /// A number, also as a string: Ptolemy documents that numbers are strings.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.decode(name).or_else(|| self.text(name)?.parse().ok())
    }

    pub(super) fn time(&self, name: &str) -> Option<OffsetDateTime> {
        OffsetDateTime::parse(&self.text(name)?, &Iso8601::PARSING).ok()
    }
}

/// Reads the answer of a count: `{"count": n}` or `n`, the number also as a string.
pub(crate) fn count(json: &RawJson) -> Option<u64> {
    match Fields::of(json) {
        Some(fields) => fields.number("count"),
        None => json
            .decode()
            .ok()
            .or_else(|| json.decode::<String>().ok()?.parse().ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_read_in_every_assumed_shape() {
        for json in [r#"{"count":7}"#, r#"{"count":"7"}"#, "7", r#""7""#] {
            assert_eq!(count(&RawJson::parse(json).unwrap()), Some(7), "{json}");
        }
        for json in [
            "{}",
            r#"{"count":-7}"#,
            "[7]",
            "7.5",
            "null",
            r#"{"count":[]}"#,
        ] {
            assert_eq!(count(&RawJson::parse(json).unwrap()), None, "{json}");
        }
    }

    #[test]
    fn a_field_of_another_type_is_none_and_spoils_no_other() {
        let deep = format!(
            "{{\"a\":1,\"a\":\"x\",\"deep\":{}{}}}",
            "[".repeat(9_999),
            "]".repeat(9_999)
        );
        let json = RawJson::parse(deep).unwrap();
        let fields = Fields::of(&json).unwrap();
        assert_eq!(fields.text("a").as_deref(), Some("x"));
        assert_eq!(fields.text("deep"), None);
        assert_eq!(fields.number("a"), None);
        assert!(Fields::of(&RawJson::parse("[]").unwrap()).is_none());
    }

    #[test]
    fn an_id_is_text_or_a_whole_number() {
        let json = RawJson::parse(r#"{"a":"1-2","b":42,"c":"","d":4.2,"e":null}"#).unwrap();
        let fields = Fields::of(&json).unwrap();
        assert_eq!(fields.id("a").as_deref(), Some("1-2"));
        assert_eq!(fields.id("b").as_deref(), Some("42"));
        for name in ["c", "d", "e", "f"] {
            assert_eq!(fields.id(name), None, "{name}");
        }
    }
}
