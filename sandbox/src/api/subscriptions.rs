//! Calls of the subscriptions of a webhook.

use serde_json::Value;

use super::filter::{Item, object};
use super::page;
use super::reply::Reply;
use super::view;
use crate::record::{EVERYTHING, Subscription, Webhook};
use crate::shape::Shape;
use crate::state::State;

/// More than there are event types, and a bound for a client that never stops.
const MAX_SUBSCRIPTIONS: usize = 1_000;

pub(crate) fn items(state: &State, id: &str) -> Result<Vec<Item>, Reply> {
    let webhook = state.webhook(id).ok_or_else(no_webhook)?;
    let subscriptions = webhook.subscriptions.iter();
    Ok(subscriptions
        .map(|subscription| view::subscription(&state.settings, subscription))
        .collect())
}

pub(crate) fn add(state: &mut State, id: &str, body: &[u8]) -> Result<Reply, Reply> {
    let mut map = object(body)?;
    let event_type = event_type(&map.remove("event_type").unwrap_or_default())?;
    if !map.is_empty() {
        return Err(Reply::invalid(
            "the body has a field that subscriptions lack",
        ));
    }
    let subscription = Subscription {
        number: state.number(),
        id: state.random.uuid(),
        event_type,
    };
    let shown = view::subscription(&state.settings, &subscription).shown;
    let webhook = state.webhook_mut(id).ok_or_else(no_webhook)?;
    if find(webhook, &subscription.event_type).is_some() {
        // 409 is documented as "conflict"; it is assumed that a second subscription is one.
        return Err(Reply::conflict("the webhook is subscribed to this already"));
    }
    if webhook.subscriptions.len() >= MAX_SUBSCRIPTIONS {
        return Err(too_many());
    }
    webhook.subscriptions.push(subscription);
    if state.settings.has(Shape::WritesAnswerNothing) {
        return Ok(Reply::created_silently());
    }
    Ok(Reply::created(shown))
}

/// Replaces all subscriptions; those that stay keep their id.
pub(crate) fn replace(state: &mut State, id: &str, body: &[u8]) -> Result<Reply, Reply> {
    let Ok(Value::Array(list)) = serde_json::from_slice(body) else {
        return Err(Reply::invalid("the body is not a JSON array"));
    };
    if list.len() > MAX_SUBSCRIPTIONS {
        return Err(too_many());
    }
    let mut wanted: Vec<Subscription> = Vec::new();
    for value in &list {
        let event_type = event_type(value)?;
        if wanted.iter().all(|known| known.event_type != event_type) {
            wanted.push(Subscription {
                number: state.number(),
                id: state.random.uuid(),
                event_type,
            });
        }
    }
    let webhook = state.webhook_mut(id).ok_or_else(no_webhook)?;
    for subscription in &mut wanted {
        if let Some(old) = find(webhook, &subscription.event_type) {
            subscription.clone_from(old);
        }
    }
    webhook.subscriptions = wanted;
    if state.settings.has(Shape::ReplaceAnswersNothing) {
        return Ok(Reply::no_content());
    }
    let shown: Value = items(state, id)?
        .into_iter()
        .map(|item| item.shown)
        .collect();
    if state.settings.has(Shape::BareArrays) {
        return Ok(Reply::ok(shown));
    }
    Ok(page::envelope(shown, None))
}

pub(crate) fn remove(state: &mut State, id: &str, subscription: &str) -> Result<Reply, Reply> {
    // A list of event types does not show ids, so the event type identifies the subscription there.
    let by_type = state.settings.has(Shape::SubscriptionsAsText);
    let webhook = state.webhook_mut(id).ok_or_else(no_webhook)?;
    let before = webhook.subscriptions.len();
    webhook
        .subscriptions
        .retain(|known| known.id != subscription && !(by_type && known.event_type == subscription));
    if webhook.subscriptions.len() == before {
        return Err(Reply::not_found("subscription"));
    }
    Ok(Reply::no_content())
}

fn find<'a>(webhook: &'a Webhook, event_type: &str) -> Option<&'a Subscription> {
    let mut subscriptions = webhook.subscriptions.iter();
    subscriptions.find(|subscription| subscription.event_type == event_type)
}

fn no_webhook() -> Reply {
    Reply::not_found("webhook")
}

fn too_many() -> Reply {
    Reply::invalid("a webhook has at most 1,000 subscriptions")
}

/// Reads `*` or `resource.action`. The list of event types is open, so any name in that form is
/// accepted.
fn event_type(value: &Value) -> Result<String, Reply> {
    let named = |text: &str| {
        text.split_once('.')
            .is_some_and(|(resource, action)| !resource.is_empty() && !action.is_empty())
    };
    match value.as_str() {
        Some(text) if text == EVERYTHING => Ok(text.to_owned()),
        Some(text) if text.contains('*') => Err(Reply::not_documented(
            "a pattern of event types other than `*`",
        )),
        Some(text) if named(text) => Ok(text.to_owned()),
        _ => Err(Reply::invalid(
            "an event type is `*` or a string such as `instrument.created`",
        )),
    }
}
