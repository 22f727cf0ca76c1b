//! JSON values that stay where they are: text within a body, cut out and not yet read.
//!
//! A value that is cut out is checked for JSON's grammar only, and is read on its own later. So one
//! field can fail without the others, an error can name its path, and serde_json's messages, which
//! quote the input, are never part of this crate's messages.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use memchr::memchr;
use serde::Deserialize;
use serde::de::{Deserializer as _, MapAccess, SeqAccess, Visitor};
use serde_json::Deserializer;
use serde_json::value::RawValue;

use super::fault::{Cause, Fault};
use super::raw_json::RawJson;

/// One JSON value: its text, and the body that the text is part of.
#[derive(Clone, Copy)]
pub(crate) struct Json<'a> {
    text: &'a str,
    body: &'a Bytes,
}

impl<'a> Json<'a> {
    /// `text` lies within `body` and is valid JSON, without white space around it.
    pub(super) fn new(text: &'a str, body: &'a Bytes) -> Self {
        Self { text, body }
    }

    pub(super) fn text(self) -> &'a str {
        self.text
    }

    pub(super) fn body(self) -> &'a Bytes {
        self.body
    }

    /// Where the text begins in the body.
    pub(super) fn offset(self) -> usize {
        self.text
            .as_ptr()
            .addr()
            .saturating_sub(self.body.as_ptr().addr())
    }

    pub(crate) fn kind(self) -> Kind {
        match self.text.as_bytes() {
            [b'"', ..] => Kind::String,
            [b'{', ..] => Kind::Object,
            [b'[', ..] => Kind::Array,
            [b't' | b'f', ..] => Kind::Boolean,
            [b'n', ..] => Kind::Null,
            _ => Kind::Number,
        }
    }

    pub(crate) fn keep(self) -> RawJson {
        RawJson::new(self.body.slice_ref(self.text.as_bytes()))
    }

    /// The text of a string value, or `None` if it contains a lone surrogate, which a Rust string
    /// cannot.
    pub(crate) fn string(self) -> Option<Cow<'a, str>> {
        unescape(self.text)
    }

    /// Visits the members of an object, in order; the key is `None` if it contains a lone
    /// surrogate.
    pub(super) fn members(self, mut visit: impl FnMut(Option<&str>, Self)) -> Result<(), Fault> {
        let body = self.body;
        members(self.text, |key, text| visit(key, Self { text, body }))
            .map_err(|_| self.unexpected("an object"))
    }

    /// Visits the elements of an array, in order.
    pub(super) fn elements(self, mut visit: impl FnMut(Self)) -> Result<(), Fault> {
        let body = self.body;
        Deserializer::from_str(self.text)
            .deserialize_seq(Elements(|text| visit(Self { text, body })))
            .map_err(|_| self.unexpected("an array"))
    }

    pub(super) fn unexpected(self, expected: &'static str) -> Fault {
        Fault::new(Cause::Unexpected {
            expected,
            found: self.kind().name(),
        })
    }
}

/// Calls `visit` with the key and the text of the value of each member of the object `text`; the
/// key is `None` if it contains a lone surrogate.
///
/// The text is checked to be one JSON value, however deep, without recursion. Members may be
/// visited twice, from the first one on, before an error is returned or a key is `None`.
pub(super) fn members<'a>(
    text: &'a str,
    mut visit: impl FnMut(Option<&str>, &'a str),
) -> Result<(), ObjectError> {
    let mut json = Deserializer::from_str(text);
    let by_text = Members::new(|Key(key), value| visit(Some(&key), value));
    if json.deserialize_map(by_text).is_ok() {
        return json.end().map_err(ObjectError::Trailing);
    }
    // It is not an object, or not JSON, or a key contains a lone surrogate: as text, such a key is
    // an error of the whole object.
    let mut json = Deserializer::from_str(text);
    let by_raw_text =
        Members::new(|key: &RawValue, value| visit(unescape(key.get()).as_deref(), value));
    match json.deserialize_map(by_raw_text) {
        Ok(()) => json.end().map_err(ObjectError::Trailing),
        Err(error) if error.is_data() => {
            let mut json = Deserializer::from_str(text);
            <&RawValue>::deserialize(&mut json).map_err(ObjectError::Grammar)?;
            json.end().map_err(ObjectError::Trailing)?;
            Err(ObjectError::NotAnObject)
        }
        Err(error) => Err(ObjectError::Grammar(error)),
    }
}

pub(super) enum ObjectError {
    /// It is not JSON.
    Grammar(serde_json::Error),
    /// It is JSON, but something follows.
    Trailing(serde_json::Error),
    /// It is JSON, but not an object.
    NotAnObject,
}

/// A key without its quotes and escapes.
pub(super) struct Key<'de>(pub(super) Cow<'de, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text).map(Key)
    }
}

/// Reads a string, borrowed if it has no escapes; serde's own `Cow` is always a copy.
pub(super) struct Text;

impl<'de> Visitor<'de> for Text {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

struct Members<K, F> {
    visit: F,
    key: PhantomData<K>,
}

impl<'de, K: Deserialize<'de>, F: FnMut(K, &'de str)> Members<K, F> {
    fn new(visit: F) -> Self {
        Self {
            visit,
            key: PhantomData,
        }
    }
}

impl<'de, K: Deserialize<'de>, F: FnMut(K, &'de str)> Visitor<'de> for Members<K, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some((key, value)) = map.next_entry::<K, &RawValue>()? {
            (self.visit)(key, value.get());
        }
        Ok(())
    }
}

struct Elements<F>(F);

impl<'de, F: FnMut(&'de str)> Visitor<'de> for Elements<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        while let Some(element) = seq.next_element::<&RawValue>()? {
            (self.0)(element.get());
        }
        Ok(())
    }
}

/// The text of a JSON string; `None` for any other value and for a lone surrogate.
pub(super) fn unescape(json: &str) -> Option<Cow<'_, str>> {
    let text = json.strip_prefix('"')?.strip_suffix('"')?;
    if memchr(b'\\', text.as_bytes()).is_some() {
        serde_json::from_str(json).ok().map(Cow::Owned)
    } else {
        // The JSON was checked when it was cut out.
        Some(Cow::Borrowed(text))
    }
}

/// The type of a JSON value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Boolean,
    Number,
    String,
    Array,
    Object,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "a boolean",
            Self::Number => "a number",
            Self::String => "a string",
            Self::Array => "an array",
            Self::Object => "an object",
        }
    }
}
