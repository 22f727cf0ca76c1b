//! Faults of one field of an answer.

use serde_json::Value;

/// Returns whether a value has the field `name`, at any depth.
pub(crate) fn is_in(value: &Value, name: &str) -> bool {
    match value {
        Value::Object(map) => {
            map.contains_key(name) || map.values().any(|inner| is_in(inner, name))
        }
        Value::Array(list) => list.iter().any(|inner| is_in(inner, name)),
        _ => false,
    }
}

/// Removes the field `name` of every object.
pub(crate) fn remove(value: &mut Value, name: &str) {
    edit(value, name, &|_| None);
}

/// Gives the field `name` of every object another type.
pub(crate) fn retype(value: &mut Value, name: &str) {
    edit(value, name, &|old| Some(other_type(old)));
}

/// Replaces the field `name` of every object with the result of `change`, or removes it.
fn edit(value: &mut Value, name: &str, change: &dyn Fn(&Value) -> Option<Value>) {
    match value {
        Value::Object(map) => {
            if let Some(old) = map.remove(name)
                && let Some(new) = change(&old)
            {
                map.insert(name.to_owned(), new);
            }
            // The new value of a field is not searched for that field again.
            let rest = map.iter_mut().filter(|(key, _)| *key != name);
            rest.for_each(|(_, inner)| edit(inner, name, change));
        }
        Value::Array(list) => list.iter_mut().for_each(|inner| edit(inner, name, change)),
        _ => {}
    }
}

fn other_type(value: &Value) -> Value {
    match value {
        Value::String(_) => 7.into(),
        Value::Array(_) | Value::Object(_) => "unexpected".into(),
        _ => Value::Array(vec!["unexpected".into()]),
    }
}
