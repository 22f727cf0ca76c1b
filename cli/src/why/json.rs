//! JSON written again in the ways that common programs write it.

use std::fmt::{self, Write as _};

use serde::Deserializer as _;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

/// Deeper values are not written again: reading them takes a stack frame for each level.
const MAX_DEPTH: usize = 64;

/// A JSON value whose members are in the order in which they were sent, and whose numbers are the
/// text that was sent.
enum Value {
    Object(Vec<(String, Value)>),
    Array(Vec<Value>),
    Text(String),
    Other(String),
}

/// The white space.
#[derive(Clone, Copy)]
struct Layout {
    words: &'static str,
    indent: Option<&'static str>,
    comma: &'static str,
    colon: &'static str,
}

const LAYOUTS: [Layout; 5] = [
    Layout {
        words: "compact JSON",
        indent: None,
        comma: ",",
        colon: ":",
    },
    Layout {
        words: "JSON with a space after commas and colons, as Python writes it",
        indent: None,
        comma: ", ",
        colon: ": ",
    },
    Layout {
        words: "JSON indented by 2 spaces",
        indent: Some("  "),
        comma: ",",
        colon: ": ",
    },
    Layout {
        words: "JSON indented by 4 spaces",
        indent: Some("    "),
        comma: ",",
        colon: ": ",
    },
    Layout {
        words: "JSON indented by tabs",
        indent: Some("\t"),
        comma: ",",
        colon: ": ",
    },
];

/// Which characters are escaped, beside those that must be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escapes {
    None,
    NonAscii,
    Slashes,
    SlashesAndNonAscii,
    Html,
}

const ESCAPES: [(Escapes, &str); 5] = [
    (Escapes::None, ""),
    (Escapes::NonAscii, ", non-ASCII characters escaped"),
    (Escapes::Slashes, ", slashes escaped"),
    (
        Escapes::SlashesAndNonAscii,
        ", slashes and non-ASCII characters escaped, as PHP writes it",
    ),
    (Escapes::Html, ", `<`, `>` and `&` escaped, as Go writes it"),
];

const ORDERS: [(bool, &str); 2] = [(false, ""), (true, ", keys sorted")];

/// Returns the value written in each way, with words for the way; nothing if the body is not JSON.
pub(crate) fn written_again(body: &[u8]) -> Vec<(String, Vec<u8>)> {
    let raw: Option<&RawValue> = serde_json::from_slice(body).ok();
    let Some(value) = raw.and_then(|raw| parse(raw, 0)) else {
        return Vec::new();
    };
    let mut sorted = Vec::new();
    for layout in LAYOUTS {
        for (escapes, escaped_words) in ESCAPES {
            for (is_sorted, order_words) in ORDERS {
                let mut writer = Writer {
                    text: String::new(),
                    layout,
                    escapes,
                    is_sorted,
                };
                writer.value(&value, 0);
                let words = format!("{}{escaped_words}{order_words}", layout.words);
                sorted.push((words, writer.text.into_bytes()));
            }
        }
    }
    sorted
}

/// A value of JSON that has no members or items, and where it is.
pub(crate) struct Leaf {
    /// Such as `data.items[2].value`.
    pub(crate) path: String,
    /// A text without its quotation marks, or the JSON of the value as it was sent; `None` for
    /// null.
    pub(crate) value: Option<String>,
}

/// Returns the leaves in the order in which they were sent, at most so many; `None` if the body is
/// not JSON, or too deep to be read.
pub(crate) fn leaves(body: &[u8], limit: usize) -> Option<Vec<Leaf>> {
    let raw: &RawValue = serde_json::from_slice(body).ok()?;
    let mut leaves = Vec::new();
    add_leaves(&parse(raw, 0)?, String::new(), limit, &mut leaves);
    Some(leaves)
}

fn add_leaves(value: &Value, path: String, limit: usize, leaves: &mut Vec<Leaf>) {
    if leaves.len() >= limit {
        return;
    }
    let value = match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, member) in members {
                add_leaves(member, member_path(&path, name), limit, leaves);
            }
            return;
        }
        Value::Array(items) if !items.is_empty() => {
            for (at, item) in items.iter().enumerate() {
                add_leaves(item, format!("{path}[{at}]"), limit, leaves);
            }
            return;
        }
        Value::Object(_) => Some("{}".to_owned()),
        Value::Array(_) => Some("[]".to_owned()),
        Value::Text(text) => Some(text.clone()),
        Value::Other(text) if text == "null" => None,
        Value::Other(text) => Some(text.clone()),
    };
    leaves.push(Leaf { path, value });
}

/// A name with anything but plain characters stands in brackets, as JSON.
fn member_path(path: &str, name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    if name.is_empty() || !name.chars().all(plain) {
        let quoted = serde_json::to_string(name).unwrap_or_default();
        return format!("{path}[{quoted}]");
    }
    match path {
        "" => name.to_owned(),
        path => format!("{path}.{name}"),
    }
}

fn parse(raw: &RawValue, depth: usize) -> Option<Value> {
    if depth > MAX_DEPTH {
        return None;
    }
    let text = raw.get();
    match text.bytes().next()? {
        b'{' => {
            let mut reader = serde_json::Deserializer::from_str(text);
            let members = reader.deserialize_map(Members).ok()?;
            let members = members
                .into_iter()
                .map(|(name, raw)| Some((name, parse(&raw, depth + 1)?)));
            members.collect::<Option<_>>().map(Value::Object)
        }
        b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            let items = items.into_iter().map(|raw| parse(raw, depth + 1));
            items.collect::<Option<_>>().map(Value::Array)
        }
        b'"' => serde_json::from_str(text).ok().map(Value::Text),
        _ => Some(Value::Other(text.to_owned())),
    }
}

/// Reads the members of an object in their order.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(String, Box<RawValue>)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(members)
    }
}

struct Writer {
    text: String,
    layout: Layout,
    escapes: Escapes,
    is_sorted: bool,
}

impl Writer {
    fn value(&mut self, value: &Value, depth: usize) {
        match value {
            Value::Object(members) => {
                let mut members: Vec<_> = members.iter().collect();
                if self.is_sorted {
                    members.sort_by(|(a, _), (b, _)| a.cmp(b));
                }
                self.list(['{', '}'], members, depth, |writer, (name, value)| {
                    writer.string(name);
                    writer.text.push_str(writer.layout.colon);
                    writer.value(value, depth + 1);
                });
            }
            Value::Array(items) => self.list(['[', ']'], items, depth, |writer, item| {
                writer.value(item, depth + 1);
            }),
            Value::Text(text) => self.string(text),
            Value::Other(text) => self.text.push_str(text),
        }
    }

    fn list<T>(
        &mut self,
        [open, close]: [char; 2],
        items: impl IntoIterator<Item = T>,
        depth: usize,
        mut write: impl FnMut(&mut Self, T),
    ) {
        self.text.push(open);
        let mut is_empty = true;
        for item in items {
            if !is_empty {
                self.text.push_str(self.layout.comma);
            }
            is_empty = false;
            self.line(depth + 1);
            write(self, item);
        }
        if !is_empty {
            self.line(depth);
        }
        self.text.push(close);
    }

    fn line(&mut self, depth: usize) {
        if let Some(indent) = self.layout.indent {
            self.text.push('\n');
            self.text.push_str(&indent.repeat(depth));
        }
    }

    fn string(&mut self, string: &str) {
        self.text.push('"');
        for character in string.chars() {
            match character {
                '"' => self.text.push_str("\\\""),
                '\\' => self.text.push_str("\\\\"),
                '\n' => self.text.push_str("\\n"),
                '\r' => self.text.push_str("\\r"),
                '\t' => self.text.push_str("\\t"),
                '\u{8}' => self.text.push_str("\\b"),
                '\u{c}' => self.text.push_str("\\f"),
                '/' if self.escapes_slashes() => self.text.push_str("\\/"),
                _ if self.escapes(character) => self.escape(character),
                _ => self.text.push(character),
            }
        }
        self.text.push('"');
    }

    fn escapes_slashes(&self) -> bool {
        matches!(self.escapes, Escapes::Slashes | Escapes::SlashesAndNonAscii)
    }

    fn escapes(&self, character: char) -> bool {
        let by_choice = match self.escapes {
            Escapes::NonAscii | Escapes::SlashesAndNonAscii => !character.is_ascii(),
            Escapes::Html => matches!(character, '<' | '>' | '&' | '\u{2028}' | '\u{2029}'),
            Escapes::None | Escapes::Slashes => false,
        };
        by_choice || character < ' '
    }

    fn escape(&mut self, character: char) {
        for unit in character.encode_utf16(&mut [0; 2]) {
            // A `String` takes every write.
            let _ = write!(self.text, "\\u{unit:04x}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_have_paths_and_keep_every_digit() {
        let body = r#"{"a":{"b":[1.00,null,"x"],"c d":true,"":{}},"e":[]}"#;
        let found = leaves(body.as_bytes(), 100).unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|leaf| (leaf.path.as_str(), leaf.value.as_deref()))
            .collect();
        let expected = [
            ("a.b[0]", Some("1.00")),
            ("a.b[1]", None),
            ("a.b[2]", Some("x")),
            ("a[\"c d\"]", Some("true")),
            ("a[\"\"]", Some("{}")),
            ("e", Some("[]")),
        ];
        assert_eq!(found, expected);
        assert_eq!(leaves(body.as_bytes(), 2).unwrap().len(), 2);
        assert!(leaves(b"{", 2).is_none());
    }
}
