//! Calls of the delivery log.

use super::filter::Item;
use super::reply::Reply;
use super::view;
use crate::state::State;

pub(crate) fn items(state: &State) -> Vec<Item> {
    let deliveries = state.deliveries.iter();
    deliveries
        .map(|delivery| view::delivery(&state.settings, delivery))
        .collect()
}

/// Sends a delivery again: one attempt, right after the answer, without retries. Until that attempt
/// has ended, the status and a planned retry stay as they are.
pub(crate) fn redeliver(state: &mut State, id: &str) -> Reply {
    let Some(delivery) = state.place_of(id).and_then(|at| state.deliveries.get(at)) else {
        return Reply::not_found("delivery");
    };
    // It is assumed that these are conflicts.
    match state.webhook(&delivery.webhook_id) {
        None => return Reply::conflict("the webhook of the delivery was deleted"),
        Some(webhook) if !webhook.active => {
            return Reply::conflict("the webhook of the delivery is inactive");
        }
        Some(_) => {}
    }
    state.redeliveries.push(id.to_owned());
    Reply::accepted()
}
