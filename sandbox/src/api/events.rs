//! Calls of events.

use serde_json::{Value, json};

use super::filter::{Item, Query};
use super::reply::Reply;
use super::view;
use crate::shape::Shape;
use crate::state::State;

pub(crate) fn items(state: &State) -> Vec<Item> {
    let events = state.events.iter();
    events
        .map(|event| view::event(&state.settings, event))
        .collect()
}

pub(crate) fn show(state: &State, id: &str) -> Reply {
    match state.events.iter().find(|event| event.id == id) {
        Some(event) => Reply::ok(view::event(&state.settings, event).shown),
        None => Reply::not_found("event"),
    }
}

/// Counts the events of a filter. The shape of the answer is assumed.
pub(crate) fn count(state: &State, query: &Query) -> Reply {
    let count = query.apply(items(state)).len();
    Reply::ok(if state.settings.has(Shape::BareCount) {
        json!(count)
    } else if state.settings.has(Shape::CountAsText) {
        json!({ "count": count.to_string() })
    } else {
        Value::from_iter([("count", count)])
    })
}
