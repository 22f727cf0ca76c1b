//! Lists: envelope, pages and cursors.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde_json::{Value, json};

use super::filter::{Item, Query};
use super::reply::Reply;
use crate::call_fault::CallFault;
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
    let list = hash(call, query);
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

/// Answers all of `items` without an envelope.
pub(crate) fn bare(query: &Query, items: Vec<Item>) -> Reply {
    let items = query.apply(items).into_iter();
    Reply::ok(items.map(|item| item.shown).collect())
}

/// Answers the documented envelope of a list.
pub(crate) fn envelope(data: Value, next_cursor: Option<String>) -> Reply {
    let has_more = next_cursor.is_some();
    Reply::ok(json!({
        "data": data,
        "meta": { "next_cursor": next_cursor, "has_more": has_more },
    }))
}

/// Issues a cursor that continues a list at `offset`.
fn cursor(state: &mut State, list: u64, items: &[Item], offset: usize) -> String {
    let last = offset.checked_sub(1).and_then(|last| items.get(last));
    let last = last.map(|item| item.number);
    let text = state.random.hex(32);
    let place = Place { list, last, offset };
    state.cursors.give(text.clone(), place);
    text
}

/// Returns where a page begins: after the last item that was shown, so that a new item in front
/// shifts nothing.
fn start(place: &Place, items: &[Item]) -> usize {
    items
        .iter()
        .position(|item| Some(item.number) == place.last)
        .map_or(place.offset, |last| last + 1)
        .min(items.len())
}

/// Returns a number that is the same for all pages of one list, and differs for another list.
fn hash(call: &str, query: &Query) -> u64 {
    let mut hasher = DefaultHasher::new();
    (call, query.list()).hash(&mut hasher);
    hasher.finish()
}
