//! Calls of webhooks.

use http::Uri;
use serde_json::{Map, Value, json};

use super::filter::{Item, object};
use super::reply::Reply;
use super::view;
use crate::record::Webhook;
use crate::shape::Shape;
use crate::state::State;

/// The fields of a webhook that a body sets; `None` for those that it does not mention.
struct Changes {
    url: Option<String>,
    label: Option<Option<String>>,
    active: Option<bool>,
}

pub(crate) fn items(state: &State) -> Vec<Item> {
    let webhooks = state.webhooks.iter();
    webhooks
        .map(|webhook| view::webhook(&state.settings, webhook))
        .collect()
}

pub(crate) fn show(state: &State, id: &str) -> Reply {
    match state.webhook(id) {
        Some(webhook) => Reply::ok(view::webhook(&state.settings, webhook).shown),
        None => Reply::not_found("webhook"),
    }
}

pub(crate) fn create(state: &mut State, body: &[u8]) -> Result<Reply, Reply> {
    let changes = changes(object(body)?)?;
    let url = changes
        .url
        .ok_or_else(|| Reply::invalid("`url` is missing"))?;
    if state.webhooks.len() >= state.settings.webhook_limit {
        return Err(Reply::forbidden(
            "quota: the plan allows no more registered endpoints",
        ));
    }
    let webhook = Webhook {
        number: state.number(),
        id: state.random.uuid(),
        url,
        label: changes.label.flatten(),
        active: changes.active.unwrap_or(true),
        secret: state.random.secret(),
        previous: None,
        created_at: state.clock.now(),
        // Documented: a new webhook has no subscriptions.
        subscriptions: Vec::new(),
    };
    let mut shown = view::webhook(&state.settings, &webhook).shown;
    if let Some(map) = shown.as_object_mut() {
        map.insert("secret".to_owned(), json!(webhook.secret));
    }
    state.webhooks.push(webhook);
    Ok(Reply::created(shown))
}

pub(crate) fn update(state: &mut State, id: &str, body: &[u8]) -> Result<Reply, Reply> {
    let changes = changes(object(body)?)?;
    let webhook = state
        .webhook_mut(id)
        .ok_or_else(|| Reply::not_found("webhook"))?;
    if let Some(url) = changes.url {
        webhook.url = url;
    }
    if let Some(label) = changes.label {
        webhook.label = label;
    }
    if let Some(active) = changes.active {
        webhook.active = active;
    }
    if state.settings.has(Shape::WritesAnswerNothing) {
        return Ok(Reply::no_content());
    }
    Ok(show(state, id))
}

pub(crate) fn delete(state: &mut State, id: &str) -> Reply {
    let before = state.webhooks.len();
    state.webhooks.retain(|webhook| webhook.id != id);
    if state.webhooks.len() == before {
        return Reply::not_found("webhook");
    }
    Reply::no_content()
}

/// Gives a webhook a new secret. The old one is no longer used to sign; whether Ptolemy has a grace
/// period is not documented.
pub(crate) fn rotate(state: &mut State, id: &str) -> Reply {
    let secret = state.random.secret();
    let nested = state.settings.has(Shape::NestedSecret);
    let settings = state.settings.clone();
    let Some(webhook) = state.webhook_mut(id) else {
        return Reply::not_found("webhook");
    };
    let old = std::mem::replace(&mut webhook.secret, secret.clone());
    webhook.previous = Some(old);
    let mut shown = view::webhook(&settings, webhook).shown;
    if nested {
        return Reply::ok(json!({ "webhook": shown, "credentials": { "value": secret } }));
    }
    if let Some(map) = shown.as_object_mut() {
        map.insert("secret".to_owned(), json!(secret));
    }
    Reply::ok(shown)
}

/// Reads the fields that can be set. It is assumed that an unknown field is an error.
fn changes(map: Map<String, Value>) -> Result<Changes, Reply> {
    let mut changes = Changes {
        url: None,
        label: None,
        active: None,
    };
    for (name, value) in map {
        match (&*name, value) {
            ("url", Value::String(url)) => changes.url = Some(checked_url(url)?),
            ("url", _) => return Err(Reply::invalid("`url` is not a string")),
            ("label", Value::String(label)) => changes.label = Some(Some(label)),
            ("label", Value::Null) => changes.label = Some(None),
            ("label", _) => return Err(Reply::invalid("`label` is not a string")),
            ("active", Value::Bool(active)) => changes.active = Some(active),
            ("active", _) => return Err(Reply::invalid("`active` is not a boolean")),
            _ => return Err(Reply::invalid("the body has a field that webhooks lack")),
        }
    }
    Ok(changes)
}

fn checked_url(url: String) -> Result<String, Reply> {
    let parsed: Option<Uri> = url.parse().ok();
    let scheme = parsed.as_ref().and_then(Uri::scheme_str);
    let host = parsed.as_ref().and_then(Uri::host).unwrap_or_default();
    match scheme {
        Some("http" | "https") if !host.is_empty() => Ok(url),
        _ => Err(Reply::invalid("`url` is not an absolute http or https URL")),
    }
}
