//! The records of the sandbox: webhooks, subscriptions, events, deliveries.

use std::collections::VecDeque;

use bytes::Bytes;
use serde_json::Value;
use time::OffsetDateTime;

use crate::log::{LoggedAttempt, Status};

/// The subscription to every event type.
pub(crate) const EVERYTHING: &str = "*";

/// One registered endpoint.
pub(crate) struct Webhook {
    /// Differs from that of every other record, even if an id repeats.
    pub(crate) number: u64,
    pub(crate) id: String,
    pub(crate) url: String,
    pub(crate) label: Option<String>,
    pub(crate) active: bool,
    pub(crate) secret: String,
    /// The secret before the last rotation.
    pub(crate) previous: Option<String>,
    pub(crate) created_at: OffsetDateTime,
    pub(crate) subscriptions: Vec<Subscription>,
}

impl Webhook {
    /// Whether an event of this type is sent to the webhook.
    pub(crate) fn wants(&self, event_type: &str) -> bool {
        self.active
            && self
                .subscriptions
                .iter()
                .any(|subscription| [EVERYTHING, event_type].contains(&&*subscription.event_type))
    }
}

/// One event type of a webhook.
#[derive(Clone)]
pub(crate) struct Subscription {
    pub(crate) number: u64,
    pub(crate) id: String,
    pub(crate) event_type: String,
}

/// One event, as the API shows it.
pub(crate) struct Event {
    pub(crate) number: u64,
    pub(crate) id: String,
    pub(crate) event_type: String,
    pub(crate) created_at: String,
    pub(crate) shown: Value,
}

/// One event on its way to one webhook.
pub(crate) struct Delivery {
    pub(crate) number: u64,
    pub(crate) id: String,
    pub(crate) webhook_id: String,
    pub(crate) event_id: String,
    pub(crate) event_type: String,
    pub(crate) body: Bytes,
    pub(crate) status: Status,
    /// The last attempts; `made` counts all of them.
    pub(crate) attempts: VecDeque<LoggedAttempt>,
    pub(crate) made: u32,
    /// The scheduled attempts that failed, redeliveries and copies left out.
    pub(crate) tried: u32,
    pub(crate) next_at: Option<OffsetDateTime>,
}
