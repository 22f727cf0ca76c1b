//! Registration of an endpoint, which can be repeated at any time.
//!
//! The order of the steps makes it survive a lost answer and a killed process. Each step leaves a
//! state from which the next run continues:
//!
//! 1. A nonce is noted beside the secret. Nothing is known at Ptolemy yet.
//! 2. The webhook is created with the nonce in its label. From here on the next run finds it,
//!    adopts it and rotates its secret, because the one that was issued is lost.
//! 3. The secret is stored, and the nonce replaced by the id. From here on the next run reuses
//!    both.
//! 4. The label is made plain.
//! 5. The subscriptions are replaced. Only now are events sent, and the receiver has the secret.

use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;

use reqwest::Url;

use crate::client::Client;
use crate::error::{ApiError, Outcome};
use crate::issued_secret::IssuedSecret;
use crate::keeper::Keeper;
use crate::matching::{Known, Match, find, is_same_endpoint};
use crate::place::{NoPlace, Place, PlaceError, SecretTo, State};
use crate::records::{Subscription, Webhook};
use crate::registration::Registration;
use crate::registration_error::RegistrationError;
use crate::secret_file::SecretFile;
use crate::server_text::{blank, shown_url};
use crate::setup_label::{new_nonce, split, with_nonce};
use crate::subscription_set::Subscriptions;
use crate::webhooks::{NewWebhook, WebhookChanges, Webhooks};

impl Webhooks {
    /// Registers an endpoint, or makes sure that it is registered as it should be.
    ///
    /// It returns a builder that needs a place for the secret, [`secret_file`](Ensure::secret_file)
    /// or [`secret_to`](Ensure::secret_to), and is then awaited. Running it twice changes nothing.
    /// The README has the guarantees.
    pub fn ensure(&self, url: impl Into<String>) -> Ensure<NoPlace> {
        Ensure {
            client: self.client().clone(),
            wanted: Wanted {
                url: url.into(),
                label: None,
                subscriptions: None,
                may_rotate: false,
            },
            place: NoPlace,
        }
    }
}

/// A registration, which begins when it is awaited.
///
/// # Errors
///
/// Awaiting it returns a [`RegistrationError`]. After most of them, running it again continues what
/// was begun; [`RegistrationErrorKind`](crate::RegistrationErrorKind) has the others.
#[must_use = "a registration does nothing until it is awaited"]
pub struct Ensure<P> {
    client: Client,
    wanted: Wanted,
    place: P,
}

struct Wanted {
    url: String,
    label: Option<String>,
    subscriptions: Option<Subscriptions>,
    may_rotate: bool,
}

impl Ensure<NoPlace> {
    /// Keeps the secret in a file. See [`SecretFile`] for the files beside it.
    ///
    /// Use one file for each webhook. Nothing prevents two runs with one file at the same time:
    /// they can end with two webhooks, or with a secret that is not live. Run it in one place, such
    /// as a step of the deployment.
    pub fn secret_file(self, path: impl Into<PathBuf>) -> Ensure<SecretFile> {
        self.at(SecretFile::new(path.into()))
    }

    /// Gives each new secret to a callback, such as one that writes to a secret manager.
    ///
    /// A callback remembers nothing between runs. So a webhook that exists is an error, unless
    /// [`secret_already_stored`](Ensure::secret_already_stored) or
    /// [`rotate_lost_secret`](Self::rotate_lost_secret) is set; after a killed process, only the
    /// latter helps.
    pub fn secret_to<F, Fut, E>(self, store: F) -> Ensure<SecretTo<F>>
    where
        F: FnMut(IssuedSecret) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<PlaceError>,
    {
        self.at(SecretTo::new(store))
    }

    fn at<P>(self, place: P) -> Ensure<P> {
        Ensure {
            client: self.client,
            wanted: self.wanted,
            place,
        }
    }
}

impl<P> Ensure<P> {
    /// Sets the label, a name for people. It also decides between webhooks with the same URL.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.wanted.label = Some(label.into());
        self
    }

    /// Sets the exact set of event types. Without it, subscriptions stay as they are, and a new
    /// webhook has none.
    pub fn subscriptions(mut self, subscriptions: impl Into<Subscriptions>) -> Self {
        self.wanted.subscriptions = Some(subscriptions.into());
        self
    }

    /// Allows a rotation if the webhook exists and its secret is missing. Receivers that still have
    /// the old secret reject deliveries from then on.
    pub fn rotate_lost_secret(mut self) -> Self {
        self.wanted.may_rotate = true;
        self
    }
}

impl<F> Ensure<SecretTo<F>> {
    /// Declares that the secret of an existing webhook is already where the callback stores it.
    ///
    /// It does not cover a webhook that still has the label of its setup: the run that created it
    /// ended early, so its secret may not have been stored. Such a webhook is an error that offers
    /// a rotation.
    pub fn secret_already_stored(mut self) -> Self {
        self.place = self.place.already_stored();
        self
    }
}

impl<P> Ensure<P> {
    async fn run(self) -> Result<Registration, RegistrationError>
    where
        P: Place,
    {
        let url = Url::parse(&self.wanted.url).map_err(RegistrationError::invalid_url)?;
        let mut keeper = Keeper::open(self.client, self.place).await?;
        self.wanted.run(&url, &mut keeper).await
    }
}

impl Wanted {
    async fn run<P: Place>(
        &self,
        url: &Url,
        keeper: &mut Keeper<P>,
    ) -> Result<Registration, RegistrationError> {
        let state = keeper.state().clone();
        match self.find(url, keeper.client(), &state).await? {
            Match::Begun(webhook) => self.complete(url, keeper, webhook).await,
            Match::Existing(webhook) => {
                let mut registration = Registration::new(webhook);
                self.take_over(keeper, &mut registration).await?;
                self.finish(keeper.client(), registration).await
            }
            Match::None => self.create(url, keeper).await,
        }
    }

    async fn find(
        &self,
        url: &Url,
        client: &Client,
        state: &State,
    ) -> Result<Match, RegistrationError> {
        let known = Known {
            url,
            label: self.label.as_deref(),
            nonce: state.creating.as_deref(),
            noted: state.webhook.as_ref(),
        };
        find(client, &known).await
    }

    /// Continues with a webhook that was created and whose secret is lost.
    async fn complete<P: Place>(
        &self,
        url: &Url,
        keeper: &mut Keeper<P>,
        webhook: Webhook,
    ) -> Result<Registration, RegistrationError> {
        keeper.rotate(&webhook.id).await?.noted?;
        let mut registration = Registration::new(webhook);
        registration.has_new_secret = true;
        let listed = registration.webhook.url.as_deref();
        if listed.is_some_and(|listed| !is_same_endpoint(listed, url)) {
            // The run that created it was asked for another URL.
            let changes = WebhookChanges::new().url(self.url.as_str());
            let webhooks = keeper.client().webhooks();
            let id = &registration.webhook.id;
            registration.webhook = webhooks.update(id, changes).await?;
            registration.is_updated = true;
        }
        self.finish(keeper.client(), registration).await
    }

    /// Makes sure that the secret of an existing webhook is stored.
    async fn take_over<P: Place>(
        &self,
        keeper: &mut Keeper<P>,
        registration: &mut Registration,
    ) -> Result<(), RegistrationError> {
        let webhook = &registration.webhook;
        if keeper.has_secret_of(webhook) {
            // The secret is right even without the note, for example in a folder that is not
            // writable.
            let _ = keeper.note(State::stored(&webhook.id)).await;
            return Ok(());
        }
        let is_rotating = keeper.state().rotating.as_ref() == Some(&webhook.id);
        if is_rotating || self.may_rotate {
            keeper.rotate(&webhook.id).await?.noted?;
            registration.has_new_secret = true;
            return Ok(());
        }
        Err(RegistrationError::secret_lost(&webhook.id))
    }

    async fn create<P: Place>(
        &self,
        url: &Url,
        keeper: &mut Keeper<P>,
    ) -> Result<Registration, RegistrationError> {
        keeper.prepare().await?;
        let begun = keeper.state().clone();
        let nonce = begun.creating.clone().unwrap_or_else(new_nonce);
        keeper
            .note(State {
                creating: Some(nonce.clone()),
                ..begun
            })
            .await?;
        let label = with_nonce(self.label.as_deref(), &nonce);
        let webhook = NewWebhook::new(self.url.as_str()).label(label);
        let created = match keeper.client().webhooks().create(webhook).await {
            Ok(created) => created,
            Err(error) if error.outcome() == Outcome::Unknown => {
                return self.adopt(url, keeper, error).await;
            }
            Err(error) => return Err(error.into()),
        };
        let stored = keeper.store(&created.webhook.id, created.secret).await?;
        stored.noted?;
        let registration = Registration {
            is_created: true,
            has_new_secret: true,
            ..Registration::new(created.webhook)
        };
        self.relabel_and_subscribe(keeper.client(), registration)
            .await
    }

    /// Looks for a webhook that may have been created although no answer arrived.
    async fn adopt<P: Place>(
        &self,
        url: &Url,
        keeper: &mut Keeper<P>,
        error: ApiError,
    ) -> Result<Registration, RegistrationError> {
        let state = keeper.state().clone();
        match self.find(url, keeper.client(), &state).await {
            Ok(Match::Begun(webhook)) => {
                let mut registration = self.complete(url, keeper, webhook).await?;
                registration.is_created = true;
                Ok(registration)
            }
            // The first error is more helpful than one of the list.
            _ => Err(error.into()),
        }
    }

    /// Completes a new webhook whose secret is stored.
    async fn relabel_and_subscribe(
        &self,
        client: &Client,
        registration: Registration,
    ) -> Result<Registration, RegistrationError> {
        let webhook = registration.webhook.id.clone();
        let completed = self.relabel_and_replace(client, registration).await;
        completed.map_err(|error| RegistrationError::from(error).of(&webhook))
    }

    async fn relabel_and_replace(
        &self,
        client: &Client,
        mut registration: Registration,
    ) -> Result<Registration, ApiError> {
        self.update(client, &mut registration).await?;
        if let Some(wanted) = &self.subscriptions {
            let subscriptions = client.webhooks().subscriptions(&registration.webhook.id);
            subscriptions.replace(wanted.clone()).await?;
            registration.is_subscribed = true;
        }
        Ok(registration)
    }

    /// Completes a webhook whose secret is stored.
    async fn finish(
        &self,
        client: &Client,
        registration: Registration,
    ) -> Result<Registration, RegistrationError> {
        let webhook = registration.webhook.id.clone();
        let completed = self.change_what_differs(client, registration).await;
        completed.map_err(|error| RegistrationError::from(error).of(&webhook))
    }

    async fn change_what_differs(
        &self,
        client: &Client,
        mut registration: Registration,
    ) -> Result<Registration, ApiError> {
        if !registration.webhook.shows_label() {
            // A list may leave fields out. An unknown label would be changed by every run.
            let id = &registration.webhook.id;
            registration.webhook = client.webhooks().get(id).await?;
        }
        let webhook = &registration.webhook;
        if webhook.shows_label() || webhook.active == Some(false) {
            self.update(client, &mut registration).await?;
        }
        if let Some(wanted) = &self.subscriptions {
            let subscriptions = client.webhooks().subscriptions(&registration.webhook.id);
            let mut present: Vec<Subscription> = Vec::new();
            let mut list = subscriptions.list().limited();
            while let Some(subscription) = list.try_next().await? {
                present.push(subscription);
            }
            if !wanted.equals(&present) {
                subscriptions.replace(wanted.clone()).await?;
                registration.is_subscribed = true;
            }
        }
        Ok(registration)
    }

    async fn update(
        &self,
        client: &Client,
        registration: &mut Registration,
    ) -> Result<(), ApiError> {
        let webhook = &registration.webhook;
        let mut changes = WebhookChanges::new();
        let present = webhook.label.as_deref().unwrap_or_default();
        // If no label is wanted, only the nonce is removed.
        let wanted = self.label.as_deref().unwrap_or(split(present).0);
        if present != wanted {
            changes = changes.label(wanted);
        }
        if webhook.active == Some(false) {
            changes = changes.activate();
        }
        if changes.is_empty() {
            return Ok(());
        }
        registration.webhook = client.webhooks().update(&webhook.id, changes).await?;
        registration.is_updated = true;
        Ok(())
    }
}

impl Ensure<SecretFile> {
    /// Same as awaiting it, but also returns the changes that were made.
    ///
    /// # Errors
    ///
    /// Same as awaiting it.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn register(client: ptolemy_webhooks_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let webhooks = client.webhooks();
    /// let ensure = webhooks.ensure("https://your-app.example.com/webhooks/ptolemy");
    /// let registration = ensure.secret_file("webhook.secret").register().await?;
    /// if registration.has_new_secret {
    ///     println!("webhook {}: restart the receiver", registration.webhook.id);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn register(self) -> Result<Registration, RegistrationError> {
        self.run().await
    }
}

impl<F, Fut, E> Ensure<SecretTo<F>>
where
    F: FnMut(IssuedSecret) -> Fut + Send + 'static,
    Fut: Future<Output = Result<(), E>> + Send + 'static,
    E: Into<PlaceError>,
{
    /// Same as awaiting it, but also returns the changes that were made.
    ///
    /// # Errors
    ///
    /// Same as awaiting it.
    pub async fn register(self) -> Result<Registration, RegistrationError> {
        self.run().await
    }
}

type Ensuring = Pin<Box<dyn Future<Output = Result<Webhook, RegistrationError>> + Send>>;

impl IntoFuture for Ensure<SecretFile> {
    type Output = Result<Webhook, RegistrationError>;
    type IntoFuture = Ensuring;

    fn into_future(self) -> Ensuring {
        Box::pin(async { Ok(self.run().await?.webhook) })
    }
}

impl<F, Fut, E> IntoFuture for Ensure<SecretTo<F>>
where
    F: FnMut(IssuedSecret) -> Fut + Send + 'static,
    Fut: Future<Output = Result<(), E>> + Send + 'static,
    E: Into<PlaceError>,
{
    type Output = Result<Webhook, RegistrationError>;
    type IntoFuture = Ensuring;

    fn into_future(self) -> Ensuring {
        Box::pin(async { Ok(self.run().await?.webhook) })
    }
}

impl<P> fmt::Debug for Ensure<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = &self.wanted.url;
        let url = Url::parse(url).map_or_else(|_| blank(url), |url| shown_url(&url));
        f.debug_struct("Ensure")
            .field("url", &url)
            .field("label", &self.wanted.label.as_deref().map(blank))
            .field("subscriptions", &self.wanted.subscriptions)
            .finish_non_exhaustive()
    }
}
