//! Bodies that make an event take as much memory as a sender can cause.

use std::collections::BTreeMap;
use std::iter;

use ptolemy_webhooks::samples;
use serde_json::value::RawValue;

/// Returns deliveries of a resource with one of the values in the envelope, or in a field whose
/// sample is chosen, each with a description.
pub(crate) fn bodies(
    resource: &str,
    values: &[Value],
    is_chosen: fn(&str) -> bool,
) -> Vec<(String, String)> {
    let data = samples::all()
        .find(|sample| sample.event_type().split('.').next() == Some(resource))
        .expect("each resource has a sample")
        .data();
    let fields: BTreeMap<&str, &RawValue> = serde_json::from_str(data).expect("an object");
    let mut bodies = Vec::new();
    for (what, value) in values {
        for field in fields
            .keys()
            .filter(|&field| is_chosen(fields[field].get()))
        {
            let mut fields = fields.clone();
            fields.insert(field, value);
            let data = serde_json::to_string(&fields).expect("JSON");
            let body = format!(r#"{{"event_type":"{resource}.created","data":{data}}}"#);
            bodies.push((format!("{field}, {what}"), body));
        }
        let id = format!(r#"{{"event_type":"{resource}.created","id":{value},"data":{data}}}"#);
        bodies.push((format!("id of the event, {what}"), id));
        if let Some(action) = value.get().strip_prefix('"') {
            let event_type = format!(r#"{{"event_type":"{resource}.{action},"data":{data}}}"#);
            bodies.push((format!("action, {what}"), event_type));
        }
    }
    bodies
}

pub(crate) type Value = (&'static str, Box<RawValue>);

/// The values that take the most memory: long text, many items, many members.
pub(crate) fn worst(length: usize) -> Vec<Value> {
    raw([
        ("long text", format!("\"{}\"", "x".repeat(length))),
        ("empty objects", list("{}", length)),
        ("short keys", members(0.., length)),
    ])
}

/// Other values that might take as much.
pub(crate) fn others(length: usize) -> Vec<Value> {
    // The keys converge from both ends, so that each one goes into the middle of a full node.
    let converging = (0..length / 20).flat_map(|i| [i, (1 << 18) - i]);
    let nesting = length / 2;
    raw([
        ("all escapes", format!("\"{}\"", r"\n".repeat(length / 2))),
        ("a long number", "1".repeat(length)),
        ("objects with a value", list(r#"{"value":1}"#, length)),
        ("objects with a key", list(r#"{"field_key":""}"#, length)),
        (
            "a fault at the end",
            list("{}", length).replace("{}]", "0]"),
        ),
        ("nested", "[".repeat(nesting) + &"]".repeat(nesting)),
        ("short keys, converging", members(converging, length)),
        ("one key repeated", members(iter::repeat(0), length)),
    ])
}

fn raw<const N: usize>(values: [(&'static str, String); N]) -> Vec<Value> {
    let raw = |(what, json)| (what, RawValue::from_string(json).expect("JSON"));
    values.into_iter().map(raw).collect()
}

fn list(element: &str, length: usize) -> String {
    let count = length / (element.len() + 1);
    format!("[{}{element}]", format!("{element},").repeat(count))
}

/// Returns an object of empty strings whose keys are numbers in base 64.
fn members(keys: impl IntoIterator<Item = usize>, length: usize) -> String {
    let mut text = String::from("{");
    for key in keys {
        if text.len() > length {
            break;
        }
        let digits = (0..3).rev().map(|digit| (key >> (6 * digit)) & 63);
        text.push('"');
        text.extend(digits.skip_while(|&digit| digit == 0).map(|digit| {
            // From `0` to `o`; a backslash would be an escape.
            char::from(b'0' + digit as u8)
                .to_string()
                .replace('\\', "!")
        }));
        text.push_str(r#"":"","#);
    }
    text.pop();
    text + "}"
}
