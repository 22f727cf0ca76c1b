//! An event that is read in one pass, its data with its envelope.
//!
//! This works if the event type precedes the data, as it usually does. serde_json does not report
//! where a value ends when it deserializes it, so the text of the data is cut out between its key
//! and the next.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::envelope::{Envelope, read_event_type};
use super::json::{Json, Key};
use super::payload::Payload;

/// Reads the envelope, and the payload with it if possible; `None` says nothing about the body, and
/// neither does a missing payload.
pub(super) fn read(body: &Bytes) -> Option<(Envelope<'_>, Option<Payload>)> {
    let text = std::str::from_utf8(body).ok()?;
    let mut json = serde_json::Deserializer::from_str(text);
    let (mut envelope, payload) = json.deserialize_map(Members { text, body }).ok()?;
    json.end().ok()?;
    envelope.event_type = read_event_type(envelope.types, body).ok()?;
    Some((envelope, payload))
}

struct Members<'de> {
    text: &'de str,
    body: &'de Bytes,
}

impl<'de> Visitor<'de> for Members<'de> {
    type Value = (Envelope<'de>, Option<Payload>);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut envelope = Envelope::empty();
        let mut payload = None;
        let mut key = map.next_key()?;
        while let Some(Key(name)) = key {
            // The last of a repeated key counts, so a payload read from an earlier one is dropped.
            if matches!(&*name, "data" | "event_type") {
                payload = None;
            }
            let read = match &name {
                Cow::Borrowed(name @ "data") => known_type(&envelope).zip(Some(*name)),
                _ => None,
            };
            if let Some((event_type, name)) = read {
                let body = self.body;
                payload = Some(map.next_value_seed(Data { event_type, body })?);
                key = map.next_key()?;
                let data = self.value_between(name, key.as_ref());
                let data = data.ok_or_else(|| A::Error::custom(""))?;
                set(&mut envelope, name, Json::new(data, body));
            } else {
                let value: &RawValue = map.next_value()?;
                set(&mut envelope, &name, Json::new(value.get(), self.body));
                key = map.next_key()?;
            }
        }
        Ok((envelope, payload))
    }
}

impl<'de> Members<'de> {
    /// The value between a key and the next one, or the end of the object; `None` if the next key
    /// has escapes, so that it does not occur literally in the text.
    fn value_between(&self, key: &str, next: Option<&Key<'_>>) -> Option<&'de str> {
        let start = self.offset(key) + key.len();
        let member = match next {
            None => self.text.get(start..)?.trim_end().strip_suffix('}')?,
            Some(Key(Cow::Borrowed(next))) => {
                let member = self.text.get(start..self.offset(next))?.strip_suffix('"')?;
                member.trim_end().strip_suffix(',')?
            }
            Some(Key(Cow::Owned(_))) => return None,
        };
        let value = member.strip_prefix('"')?.trim_start().strip_prefix(':')?;
        Some(value.trim())
    }

    fn offset(&self, key: &str) -> usize {
        key.as_ptr()
            .addr()
            .saturating_sub(self.text.as_ptr().addr())
    }
}

/// The event type, if it is known so far and names a resource that is decoded.
fn known_type<'de>(envelope: &Envelope<'de>) -> Option<&'de str> {
    match envelope.types[0].value?.string()? {
        Cow::Borrowed(event_type) if Payload::is_known(event_type) => Some(event_type),
        _ => None,
    }
}

fn set<'de>(envelope: &mut Envelope<'de>, key: &str, value: Json<'de>) {
    if let Some(slot) = envelope.slot(key) {
        *slot = Some(value);
    }
}

struct Data<'de> {
    event_type: &'de str,
    body: &'de Bytes,
}

impl<'de> DeserializeSeed<'de> for Data<'de> {
    type Value = Payload;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Payload, D::Error> {
        Payload::quick(self.event_type, json, self.body)
    }
}

#[cfg(test)]
mod tests;
