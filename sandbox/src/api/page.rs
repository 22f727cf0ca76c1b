//! Lists: envelope, pages and cursors.

use serde_json::{Value, json};

use super::filter::{Item, Query};
use super::reply::Reply;
use crate::call_fault::CallFault;
use crate::shape::Shape;
use crate::state::{Place, State};

/// Answers one page of `items`, which are filtered and sorted. `call` names the list.
pub(crate) fn page(
    state: &mut State,
    call: &str,
    query: &Query,
    fault: Option<&CallFault>,
    items: Vec<Item>,
) -> Reply {
    let items = query.apply(items);
    if state.settings.has(Shape::BareArrays) {
        return Reply::ok(items.into_iter().map(|item| item.shown).collect());
    }
    let list = format!("{call} {}", query.list());
    let start = match &query.after {
        None => 0,
        Some(_) if fault == Some(&CallFault::ExpiredCursor) => return Reply::expired_cursor(),
        Some(after) => match state.cursors.find(after) {
            None => return Reply::expired_cursor(),
            Some(place) if place.list != list => {
                return Reply::invalid("the cursor in `after` belongs to another list");
            }
            Some(place) => start(&place, &items),
        },
    };
    let limit = match fault {
        Some(CallFault::EmptyPage) => 0,
        _ => query.limit,
    };
    let end = start.saturating_add(limit).min(items.len());
    let next = match (&query.after, fault) {
        (Some(after), Some(CallFault::RepeatedCursor)) => Some(after.clone()),
        _ if end < items.len() || limit == 0 => Some(cursor(state, list, &items, end)),
        _ => None,
    };
    let page = items.into_iter().skip(start).take(limit);
    envelope(page.map(|item| item.shown).collect(), next)
}

/// Answers the documented envelope of a list.
pub(crate) fn envelope(data: Value, next_cursor: Option<String>) -> Reply {
    let has_more = next_cursor.is_some();
    Reply::ok(json!({
        "data": data,
        "meta": { "next_cursor": next_cursor, "has_more": has_more },
    }))
}

/// Gives out a cursor that continues a list at `offset`.
fn cursor(state: &mut State, list: String, items: &[Item], offset: usize) -> String {
    let last = offset.checked_sub(1).and_then(|last| items.get(last));
    let last = last.map(|item| item.id.clone());
    let text = state.random.hex(32);
    let place = Place { list, last, offset };
    state.cursors.give(text.clone(), place);
    text
}

/// Returns where a page begins: behind the last item that was shown, so that a new item in front
/// shifts nothing.
fn start(place: &Place, items: &[Item]) -> usize {
    items
        .iter()
        .position(|item| Some(&item.id) == place.last.as_ref())
        .map_or(place.offset, |last| last + 1)
        .min(items.len())
}
