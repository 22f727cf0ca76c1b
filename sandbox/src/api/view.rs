//! The JSON of records.

use serde_json::{Value, json};

use super::filter::Item;
use crate::clock;
use crate::log::Status;
use crate::record::{Delivery, Event, Subscription, Webhook};
use crate::settings::Settings;
use crate::shape::Shape;

pub(crate) const WEBHOOK_FIELDS: [&str; 5] = ["id", "url", "label", "active", "created_at"];
pub(crate) const EVENT_FIELDS: [&str; 3] = ["id", "event_type", "created_at"];
pub(crate) const DELIVERY_FIELDS: [&str; 9] = [
    "id",
    "webhook_id",
    "event_id",
    "event_type",
    "status",
    "attempt",
    "response_status",
    "delivered_at",
    "next_attempt_at",
];

/// Returns a webhook without its secret. All of its fields are documented.
pub(crate) fn webhook(settings: &Settings, webhook: &Webhook) -> Item {
    let fields = json!({
        "id": webhook.id,
        "url": webhook.url,
        "label": webhook.label,
        "active": webhook.active,
        "created_at": clock::to_text(webhook.created_at),
    });
    Item {
        number: webhook.number,
        shown: with_extras(settings, fields.clone()),
        fields,
    }
}

/// Returns a subscription. An object with `id` and `event_type` is assumed.
pub(crate) fn subscription(settings: &Settings, subscription: &Subscription) -> Item {
    let fields = json!({ "id": subscription.id, "event_type": subscription.event_type });
    let shown = if settings.has(Shape::SubscriptionsAsText) {
        Value::from(&*subscription.event_type)
    } else {
        with_extras(settings, fields.clone())
    };
    Item {
        number: subscription.number,
        fields,
        shown,
    }
}

/// Returns an event as the API shows it: always with an envelope, an id and an `event_type`, and
/// with numbers as strings. The shapes of deliveries change neither.
pub(crate) fn event(settings: &Settings, event: &Event) -> Item {
    Item {
        number: event.number,
        fields: json!({
            "id": event.id,
            "event_type": event.event_type,
            "created_at": event.created_at,
        }),
        shown: with_extras(settings, event.shown.clone()),
    }
}

/// Returns a delivery. Every field of it is assumed.
pub(crate) fn delivery(settings: &Settings, delivery: &Delivery) -> Item {
    let last = delivery.attempts.back();
    let fields = json!({
        "id": delivery.id,
        "webhook_id": delivery.webhook_id,
        "event_id": delivery.event_id,
        "event_type": delivery.event_type,
        "status": status(settings, delivery.status),
        "attempt": delivery.made,
        "response_status": last.and_then(|attempt| attempt.response_status()),
        "delivered_at": last.map(|attempt| clock::to_text(attempt.at())),
        "next_attempt_at": delivery.next_at.map(clock::to_text),
    });
    let mut shown = with_extras(settings, fields.clone());
    if let Some(map) = shown.as_object_mut() {
        if settings.has(Shape::DeliveriesWithoutTimes) {
            map.remove("delivered_at");
            map.remove("next_attempt_at");
        }
        if settings.has(Shape::AttemptsName)
            && let Some(attempt) = map.remove("attempt")
        {
            map.insert("attempts".to_owned(), attempt);
        }
    }
    if settings.has(Shape::BareDeliveries) {
        shown = json!({ "id": delivery.id });
    }
    Item {
        number: delivery.number,
        fields,
        shown,
    }
}

fn status(settings: &Settings, status: Status) -> String {
    match status {
        Status::Pending if settings.has(Shape::OtherStatus) => "retrying".to_owned(),
        Status::Succeeded if settings.has(Shape::OtherStatus) => "delivered".to_owned(),
        known => known.to_string(),
    }
}

/// Adds unknown fields of several types, if the shape is switched on.
pub(crate) fn with_extras(settings: &Settings, mut value: Value) -> Value {
    if settings.has(Shape::ExtraFields)
        && let Some(map) = value.as_object_mut()
    {
        map.insert("sandbox_revision".to_owned(), json!(3));
        map.insert(
            "sandbox_links".to_owned(),
            json!({ "self": null, "tags": ["a", "b"] }),
        );
    }
    value
}
