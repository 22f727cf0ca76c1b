//! The JSON of an event, in the assumed shape or in another one.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytes::Bytes;
use ptolemy_webhooks::samples::Sample;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::settings::Settings;
use crate::shape::Shape;

/// The shapes that change the body of an event.
const OF_EVENTS: [Shape; 8] = [
    Shape::TypeName,
    Shape::OccurredAtName,
    Shape::PayloadName,
    Shape::ResourceName,
    Shape::BareResource,
    Shape::Numbers,
    Shape::ExtraFields,
    Shape::NoEventId,
];

/// An event, as it is delivered and as the API shows it.
pub(crate) struct Envelope {
    pub(crate) id: Option<String>,
    pub(crate) event_type: String,
    pub(crate) created_at: Option<String>,
    pub(crate) body: Bytes,
    pub(crate) shown: Value,
}

impl Envelope {
    /// Takes a sample, in the shapes that are switched on.
    pub(crate) fn of_sample(sample: &Sample, settings: &Settings) -> Self {
        let plain = Self::of_json(sample.to_json().into());
        if !OF_EVENTS.iter().any(|shape| settings.has(*shape)) {
            return plain;
        }
        let mut shown = plain.shown;
        if let Some(map) = shown.as_object_mut() {
            reshape(map, settings);
        }
        let sent = delivered(&shown, settings);
        let mut text = String::new();
        write(&sent, settings.has(Shape::Numbers), &mut text);
        Self {
            body: text.into(),
            shown,
            ..plain
        }
    }

    /// Takes a body as it is. Names are tried in the order of the contract.
    pub(crate) fn of_json(body: Bytes) -> Self {
        let value: Value = serde_json::from_slice(&body).unwrap_or_default();
        let text = |names: [&str; 2]| {
            let mut texts = names.iter().filter_map(|name| value.get(name)?.as_str());
            texts.find(|text| !text.is_empty()).map(str::to_owned)
        };
        Self {
            id: text(["id", "id"]),
            event_type: text(["event_type", "type"]).unwrap_or_default(),
            created_at: text(["created_at", "occurred_at"]),
            body,
            shown: value,
        }
    }
}

fn reshape(map: &mut Map<String, Value>, settings: &Settings) {
    if settings.has(Shape::ExtraFields) {
        if let Some(Value::Object(data)) = map.get_mut("data") {
            data.insert("sandbox_note".to_owned(), json!("an unknown field"));
            data.insert("sandbox_list".to_owned(), json!([1, null, { "a": [] }]));
        }
        map.insert("sandbox_revision".to_owned(), json!(3));
    }
    let names = [
        (Shape::OccurredAtName, "created_at", "occurred_at"),
        (Shape::PayloadName, "data", "payload"),
        // With both shapes on, the first one has taken the data.
        (Shape::ResourceName, "data", "resource"),
    ];
    for (shape, old, new) in names {
        if settings.has(shape)
            && let Some(value) = map.remove(old)
        {
            map.insert(new.to_owned(), value);
        }
    }
}

/// Returns the body of a delivery of an event.
fn delivered(event: &Value, settings: &Settings) -> Value {
    let mut data = ["data", "payload", "resource"].iter();
    if settings.has(Shape::BareResource)
        && let Some(data) = data.find_map(|name| event.get(name))
    {
        return data.clone();
    }
    let mut sent = event.clone();
    if let Some(map) = sent.as_object_mut() {
        if settings.has(Shape::NoEventId) {
            map.remove("id");
        }
        // Only deliveries change the name, because the documentation names the field of an event.
        if settings.has(Shape::TypeName)
            && let Some(event_type) = map.remove("event_type")
        {
            map.insert("type".to_owned(), event_type);
        }
    }
    sent
}

/// Returns the body of a redelivery, in the shapes that are switched on. A body that is not a JSON
/// object stays as it is.
pub(crate) fn again(body: &Bytes, settings: &Settings, new_id: String) -> Bytes {
    let reserialised = settings.has(Shape::ReserialisedRedelivery);
    let new = settings.has(Shape::NewIdOnRedelivery);
    if !reserialised && !new {
        return body.clone();
    }
    // Also checks the depth, so that writing cannot overflow the stack.
    let Ok(Value::Object(known)) = serde_json::from_slice(body) else {
        return body.clone();
    };
    let Ok(mut fields) = serde_json::from_slice::<Fields>(body) else {
        return body.clone();
    };
    // Without an event type it is a resource without an envelope, and its id is not the event's.
    let is_event = known.contains_key("event_type") || known.contains_key("type");
    let new = new && is_event && known.contains_key("id");
    if !new && !reserialised {
        return body.clone();
    }
    if new && let Ok(id) = serde_json::value::to_raw_value(&new_id) {
        fields.insert("id".to_owned(), id);
    }
    let mut out = String::new();
    // With white space, so that it differs even from a body whose keys are sorted.
    write_fields(&fields, if reserialised { " " } else { "" }, &mut out);
    out.into()
}

/// The fields of an object, whose values are kept as text: numbers keep all their digits.
type Fields = BTreeMap<String, Box<RawValue>>;

/// Writes an object with its keys sorted, and with `space` around every part of it, at any depth.
fn write_fields(fields: &Fields, space: &str, out: &mut String) {
    out.push('{');
    for (place, (name, value)) in fields.iter().enumerate() {
        let comma = if place == 0 { "" } else { "," };
        let _ = write!(out, "{comma}{space}{}:{space}", Value::from(&**name));
        write_raw(value, space, out);
    }
    let _ = write!(out, "{space}}}");
}

fn write_raw(value: &RawValue, space: &str, out: &mut String) {
    let text = value.get();
    if let Ok(fields) = serde_json::from_str::<Fields>(text) {
        write_fields(&fields, space, out);
    } else if let Ok(list) = serde_json::from_str::<Vec<Box<RawValue>>>(text) {
        out.push('[');
        for (place, value) in list.iter().enumerate() {
            out.push_str(if place == 0 { space } else { "," });
            write_raw(value, space, out);
        }
        let _ = write!(out, "{space}]");
    } else {
        out.push_str(text);
    }
}

/// Writes JSON. If `numbers` is set, text that is a number is written as a number, digit for digit.
fn write(value: &Value, numbers: bool, out: &mut String) {
    match value {
        Value::String(text) if numbers && is_number(text) => out.push_str(text),
        Value::Object(map) => {
            out.push('{');
            for (place, (name, value)) in map.iter().enumerate() {
                let comma = if place == 0 { "" } else { "," };
                let _ = write!(out, "{comma}{}:", Value::from(&**name));
                write(value, numbers, out);
            }
            out.push('}');
        }
        Value::Array(list) => {
            out.push('[');
            for (place, value) in list.iter().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                write(value, numbers, out);
            }
            out.push(']');
        }
        other => {
            let _ = write!(out, "{other}");
        }
    }
}

/// Returns whether a text is a number in JSON's form.
fn is_number(text: &str) -> bool {
    text.starts_with(|first: char| first == '-' || first.is_ascii_digit())
        && serde_json::from_str::<&RawValue>(text).is_ok_and(|raw| raw.get() == text)
}
