//! Calls of the delivery log.

use super::filter::Item;
use super::reply::Reply;
use super::view;
use crate::log::Status;
use crate::state::State;

pub(crate) fn items(state: &State) -> Vec<Item> {
    let deliveries = state.deliveries.iter();
    deliveries
        .map(|delivery| view::delivery(&state.settings, delivery))
        .collect()
}

/// Sends a delivery again: one more attempt, right after the answer, without retries.
pub(crate) fn redeliver(state: &mut State, id: &str) -> Reply {
    let place = state
        .deliveries
        .iter()
        .position(|delivery| delivery.id == id);
    let Some(delivery) = place.and_then(|place| state.deliveries.get_mut(place)) else {
        return Reply::not_found("delivery");
    };
    // That this is a conflict is assumed.
    if !state
        .webhooks
        .iter()
        .any(|webhook| webhook.id == delivery.webhook_id)
    {
        return Reply::conflict("the webhook of the delivery was deleted");
    }
    delivery.status = Status::Pending;
    state.redeliveries.push(id.to_owned());
    Reply::accepted()
}
