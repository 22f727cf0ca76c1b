//! Webhooks: list, get, create, update, delete.

use serde_json::{Map, Value, json};

use crate::call::{
    CREATE_WEBHOOK, DELETE_WEBHOOK, FILTER_WEBHOOKS, GET_WEBHOOK, LIST_WEBHOOKS, UPDATE_WEBHOOK,
};
use crate::client::Client;
use crate::error::{ApiError, ApiErrorKind, Outcome};
use crate::filter::Filter;
use crate::id::WebhookId;
use crate::pages::{PageReader, Pages};
use crate::records::{CreatedWebhook, Webhook, created};

/// The webhooks of a workspace.
///
/// To register an endpoint, use [`ensure`](Self::ensure), which survives lost answers and killed
/// processes. The other methods are the API's calls, one each.
#[derive(Clone, Debug)]
pub struct Webhooks {
    client: Client,
}

impl Client {
    /// Returns the webhooks of the workspace.
    #[must_use]
    pub fn webhooks(&self) -> Webhooks {
        Webhooks {
            client: self.clone(),
        }
    }
}

impl Webhooks {
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Lists all webhooks: `GET /webhooks`.
    pub fn list(&self) -> Pages<Webhook> {
        Pages::new(PageReader::new(
            &self.client,
            &LIST_WEBHOOKS,
            &[],
            None,
            Webhook::parse,
        ))
    }

    /// Lists the webhooks that pass a filter: `POST /webhooks/filter`.
    pub fn filter(&self, filter: Filter) -> Pages<Webhook> {
        let filter = Some(filter);
        Pages::new(PageReader::new(
            &self.client,
            &FILTER_WEBHOOKS,
            &[],
            filter,
            Webhook::parse,
        ))
    }

    /// Returns one webhook: `GET /webhooks/{id}`.
    ///
    /// # Errors
    ///
    /// Returns an error of the kind [`NotFound`](ApiErrorKind::NotFound) if there is none.
    pub async fn get(&self, id: impl Into<WebhookId>) -> Result<Webhook, ApiError> {
        let id = id.into();
        let mut answer = self.client.call(&GET_WEBHOOK, &[id.as_str()], None).await?;
        let json = answer.json()?;
        Webhook::parse(json).map_err(|detail| answer.unreadable(ApiErrorKind::Unreadable, detail))
    }

    /// Creates a webhook: `POST /webhooks`. It has no subscriptions yet.
    ///
    /// It is repeated only if it was certainly not carried out, because a second call would create
    /// a second webhook.
    ///
    /// # Errors
    ///
    /// If the outcome is [`Unknown`](Outcome::Unknown), there may be a webhook whose secret is
    /// lost. [`ensure`](Self::ensure) finds it and rotates its secret.
    pub async fn create(&self, webhook: NewWebhook) -> Result<CreatedWebhook, ApiError> {
        let body = webhook.body();
        let answer = self.client.call(&CREATE_WEBHOOK, &[], Some(&body)).await?;
        created(answer.secret_body())
            .map_err(|detail| answer.unreadable(ApiErrorKind::NoSecret, detail))
    }

    /// Changes a webhook: `PATCH /webhooks/{id}`. That this call accepts any of the fields is
    /// assumed.
    ///
    /// # Errors
    ///
    /// Returns an error if the server does not accept the changes.
    pub async fn update(
        &self,
        id: impl Into<WebhookId>,
        changes: WebhookChanges,
    ) -> Result<Webhook, ApiError> {
        let (id, body) = (id.into(), Value::Object(changes.0));
        let mut answer = self
            .client
            .call(&UPDATE_WEBHOOK, &[id.as_str()], Some(&body))
            .await?;
        // The body is assumed. The status says success, so the changes are made.
        let unreadable = match answer.json().map(Webhook::parse) {
            Ok(Ok(webhook)) => return Ok(webhook),
            Ok(Err(detail)) => answer.unreadable(ApiErrorKind::Unreadable, detail),
            Err(error) => error,
        };
        // An error of the second call must not say that the changes were not made.
        self.get(id).await.map_err(|_| unreadable)
    }

    /// Deletes a webhook: `DELETE /webhooks/{id}`.
    ///
    /// A 404 after an attempt that may have been carried out is a success.
    ///
    /// # Errors
    ///
    /// Returns an error of the kind [`NotFound`](ApiErrorKind::NotFound) if there is none.
    pub async fn delete(&self, id: impl Into<WebhookId>) -> Result<(), ApiError> {
        let id = id.into();
        deleted(
            self.client
                .call(&DELETE_WEBHOOK, &[id.as_str()], None)
                .await
                .map(drop),
        )
    }
}

/// A record that is missing after an attempt with an unknown outcome was deleted by that attempt.
pub(crate) fn deleted(result: Result<(), ApiError>) -> Result<(), ApiError> {
    match result {
        Err(error)
            if error.kind() == ApiErrorKind::NotFound && error.outcome() == Outcome::Unknown =>
        {
            Ok(())
        }
        result => result,
    }
}

/// A webhook to be created.
#[derive(Clone, Debug)]
#[must_use]
pub struct NewWebhook {
    url: String,
    label: Option<String>,
    active: bool,
}

impl NewWebhook {
    /// Takes the URL to which events are to be sent. The webhook is active.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            label: None,
            active: true,
        }
    }

    /// Sets the label, a name for people.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Creates it without sending events.
    pub fn inactive(mut self) -> Self {
        self.active = false;
        self
    }

    fn body(&self) -> Value {
        let mut body = json!({"url": self.url, "active": self.active});
        if let (Some(label), Some(fields)) = (&self.label, body.as_object_mut()) {
            fields.insert("label".to_owned(), Value::from(label.as_str()));
        }
        body
    }
}

/// Changes of a webhook. Fields that are not set stay as they are.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct WebhookChanges(Map<String, Value>);

impl WebhookChanges {
    /// Returns no changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Changes the URL.
    pub fn url(self, url: impl Into<String>) -> Self {
        self.set("url", Value::from(url.into()))
    }

    /// Changes the label.
    pub fn label(self, label: impl Into<String>) -> Self {
        self.set("label", Value::from(label.into()))
    }

    /// Begins to send events.
    pub fn activate(self) -> Self {
        self.set("active", Value::from(true))
    }

    /// Stops sending events.
    pub fn deactivate(self) -> Self {
        self.set("active", Value::from(false))
    }

    fn set(mut self, name: &str, value: Value) -> Self {
        self.0.insert(name.to_owned(), value);
        self
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
