//! Subscriptions of one webhook: list, add, remove, replace.

use serde_json::json;
use tokio::time::sleep;

use crate::attempts::Budget;
use crate::call::{
    ADD_SUBSCRIPTION, LIST_SUBSCRIPTIONS, REMOVE_SUBSCRIPTION, REPLACE_SUBSCRIPTIONS,
};
use crate::client::Client;
use crate::error::{ApiError, ApiErrorKind, Outcome};
use crate::exchange::Request;
use crate::id::{SubscriptionId, WebhookId};
use crate::pages::{PageReader, Pages};
use crate::records::Subscription;
use crate::subscription_set::Subscriptions;
use crate::webhooks::{Webhooks, deleted};

/// The subscriptions of one webhook.
#[derive(Clone, Debug)]
pub struct WebhookSubscriptions {
    client: Client,
    webhook: WebhookId,
}

impl Webhooks {
    /// Returns the subscriptions of a webhook.
    #[must_use]
    pub fn subscriptions(&self, id: impl Into<WebhookId>) -> WebhookSubscriptions {
        WebhookSubscriptions {
            client: self.client().clone(),
            webhook: id.into(),
        }
    }
}

impl WebhookSubscriptions {
    /// Lists the subscriptions: `GET /webhooks/{id}/subscriptions`.
    pub fn list(&self) -> Pages<Subscription> {
        let ids = [self.webhook.as_str()];
        Pages::new(PageReader::new(
            &self.client,
            &LIST_SUBSCRIPTIONS,
            &ids,
            None,
            Subscription::parse,
        ))
    }

    /// Adds a subscription to one event type, or to all with `*`:
    /// `POST /webhooks/{id}/subscriptions`.
    ///
    /// After an attempt that may have been carried out, the subscriptions are read: if the event
    /// type is among them, it is a success, and otherwise the call is repeated.
    ///
    /// # Errors
    ///
    /// Returns an error of the kind [`Conflict`](ApiErrorKind::Conflict) if the server rejects a
    /// subscription that already exists.
    pub async fn add(&self, event_type: impl AsRef<str>) -> Result<Subscription, ApiError> {
        let event_type = event_type.as_ref();
        let body = json!({"event_type": event_type});
        let ids = [self.webhook.as_str()];
        let request = self.client.request(&ADD_SUBSCRIPTION, &ids, Some(&body))?;
        let mut budget = Budget::new(&self.client);
        loop {
            let error = match self.post(&request, &mut budget).await {
                Ok(subscription) => return Ok(subscription),
                Err(error) if error.outcome() != Outcome::Unknown => return Err(error),
                Err(error) => error,
            };
            match self.find(event_type).await {
                Ok(Some(subscription)) => return Ok(subscription),
                Ok(None) if is_repeatable(&error) => {}
                // The first error is more helpful than one of the list.
                Ok(None) | Err(_) => return Err(error),
            }
            match budget.delay(error.retry_after()) {
                Ok(delay) => sleep(delay).await,
                Err(stop) => return Err(error.stopped_by(stop)),
            }
        }
    }

    async fn post(&self, request: &Request, budget: &mut Budget) -> Result<Subscription, ApiError> {
        let mut answer = self.client.send(request, budget).await?;
        let json = answer.json()?;
        Subscription::parse(json)
            .map_err(|detail| answer.unreadable(ApiErrorKind::Unreadable, detail))
    }

    async fn find(&self, event_type: &str) -> Result<Option<Subscription>, ApiError> {
        let mut list = self.list().limited();
        while let Some(subscription) = list.try_next().await? {
            if subscription
                .event_type
                .as_ref()
                .is_some_and(|text| *text == event_type)
            {
                return Ok(Some(subscription));
            }
        }
        Ok(None)
    }

    /// Removes a subscription: `DELETE /webhooks/{id}/subscriptions/{subscription}`.
    ///
    /// A 404 after an attempt that may have been carried out is a success.
    ///
    /// # Errors
    ///
    /// Returns an error of the kind [`NotFound`](ApiErrorKind::NotFound) if there is none.
    pub async fn remove(&self, subscription: impl Into<SubscriptionId>) -> Result<(), ApiError> {
        let subscription = subscription.into();
        let ids = [self.webhook.as_str(), subscription.as_str()];
        deleted(
            self.client
                .call(&REMOVE_SUBSCRIPTION, &ids, None)
                .await
                .map(drop),
        )
    }

    /// Replaces all subscriptions: `PUT /webhooks/{id}/subscriptions`.
    ///
    /// Any success status is a success, because the body of the answer is not documented.
    ///
    /// # Errors
    ///
    /// Returns an error if the server does not accept an event type.
    pub async fn replace(&self, subscriptions: impl Into<Subscriptions>) -> Result<(), ApiError> {
        let body = subscriptions.into().body();
        let ids = [self.webhook.as_str()];
        self.client
            .call(&REPLACE_SUBSCRIPTIONS, &ids, Some(&body))
            .await
            .map(drop)
    }
}

/// Whether another attempt could end differently. After an unknown outcome, a conflict is read back
/// and not repeated.
fn is_repeatable(error: &ApiError) -> bool {
    matches!(
        error.kind(),
        ApiErrorKind::Server | ApiErrorKind::Timeout | ApiErrorKind::Broken
    )
}
