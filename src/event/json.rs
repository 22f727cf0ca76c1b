//! Reading known fields out of JSON that stays where it is.
//!
//! Every value is first cut out of the text, unread and unchecked but for JSON's grammar, and then
//! read on its own. That is what lets one field fail without the others, lets a failure name its
//! path, and keeps serde_json's messages, which quote the input, out of ours.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use memchr::memchr;
use serde::Deserialize as _;
use serde::de::{Deserializer as _, MapAccess, SeqAccess, Visitor};
use serde_json::Deserializer;
use serde_json::value::RawValue;

use super::fault::{Fault, Reason};
use super::field::Field;
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

    /// Where the text begins in the body.
    pub(super) fn offset(self) -> usize {
        self.text
            .as_ptr()
            .addr()
            .saturating_sub(self.body.as_ptr().addr())
    }

    pub(super) fn kind(self) -> Kind {
        match self.text.as_bytes() {
            [b'"', ..] => Kind::String,
            [b'{', ..] => Kind::Object,
            [b'[', ..] => Kind::Array,
            [b't' | b'f', ..] => Kind::Boolean,
            [b'n', ..] => Kind::Null,
            _ => Kind::Number,
        }
    }

    pub(super) fn keep(self) -> RawJson {
        RawJson::new(self.body.slice_ref(self.text.as_bytes()))
    }

    /// The text of a string value, or `None` if it holds a lone surrogate, which no Rust string can.
    pub(super) fn string(self) -> Option<Cow<'a, str>> {
        unescape(self.text)
    }

    /// Looks the named members up in an object.
    pub(crate) fn fields<const N: usize>(
        self,
        names: [&'static str; N],
    ) -> Result<[Field<'a>; N], Fault> {
        let mut values = [None; N];
        self.members(|key, value| {
            if let Some(slot) = slot(&names, &mut values, key) {
                *slot = Some(value);
            }
        })?;
        let mut values = values.into_iter();
        Ok(names.map(|name| Field::new(name, values.next().flatten())))
    }

    pub(super) fn members(self, mut visit: impl FnMut(&'a str, Self)) -> Result<(), Fault> {
        let body = self.body;
        members(self.text, |key, text| visit(key, Self { text, body }))
            .map_err(|_| self.unexpected("an object"))
    }

    pub(super) fn elements(self, mut visit: impl FnMut(Self)) -> Result<(), Fault> {
        let body = self.body;
        Deserializer::from_str(self.text)
            .deserialize_seq(Elements(|text| visit(Self { text, body })))
            .map_err(|_| self.unexpected("an array"))
    }

    pub(super) fn unexpected(self, expected: &'static str) -> Fault {
        Fault::new(Reason::Unexpected {
            expected,
            found: self.kind().name(),
        })
    }
}

/// Finds the slot that belongs to a key as it stands in the text, quotes and escapes included.
pub(super) fn slot<'s, T, const N: usize>(
    names: &[&str; N],
    slots: &'s mut [T; N],
    key: &str,
) -> Option<&'s mut T> {
    let find = |key: &str| names.iter().position(|name| *name == key);
    let plain = key.strip_prefix('"')?.strip_suffix('"')?;
    // No name has an escape in it, so most keys need no second look.
    let position = find(plain).or_else(|| find(&unescape(key)?))?;
    slots.get_mut(position)
}

/// Calls `visit` with the texts of the key and of the value of each member of the object `text`.
///
/// The text is checked to be one JSON value, however deep, without recursion.
pub(super) fn members<'a>(
    text: &'a str,
    visit: impl FnMut(&'a str, &'a str),
) -> Result<(), ObjectError> {
    let mut json = Deserializer::from_str(text);
    match json.deserialize_map(Members(visit)) {
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
    /// It is no JSON.
    Grammar(serde_json::Error),
    /// It is JSON, and something follows.
    Trailing(serde_json::Error),
    /// It is JSON, and no object.
    NotAnObject,
}

struct Members<F>(F);

impl<'de, F: FnMut(&'de str, &'de str)> Visitor<'de> for Members<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        // A key is taken as raw text too: as a string, one with a lone surrogate would be an error
        // of the whole object.
        while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            (self.0)(key.get(), value.get());
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

/// What kind of JSON value a text is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
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
