//! Issues secrets and stores them, for `ensure` and `rotate_secret`.

use std::time::Duration;

use tokio::time::sleep;

use crate::attempts::Budget;
use crate::call::ROTATE_SECRET;
use crate::client::Client;
use crate::error::{ApiError, ApiErrorKind, Outcome};
use crate::id::WebhookId;
use crate::issued_secret::IssuedSecret;
use crate::place::{Place, PlaceError, State};
use crate::records::{Webhook, issued_secret};
use crate::registration_error::RegistrationError;
use crate::setup_label::split;

/// How often a secret is rotated again after an answer that did not arrive.
const MORE_ROTATIONS: u32 = 2;

/// The shortest delay between a rotation without an answer and the next one.
const DELAY_AFTER_TIMEOUT: Duration = Duration::from_secs(1);

/// An open place, and the client that fills it.
pub(crate) struct Keeper<P> {
    client: Client,
    place: P,
    state: State,
    has_secret: bool,
    fingerprint: Option<String>,
}

/// A secret that was issued and stored.
pub(crate) struct Stored {
    pub(crate) secret: IssuedSecret,
    /// Whether the note beside the secret could be written. If not, the secret is still right.
    pub(crate) noted: Result<(), RegistrationError>,
}

impl<P: Place> Keeper<P> {
    pub(crate) async fn open(client: Client, mut place: P) -> Result<Self, RegistrationError> {
        let contents = place
            .open()
            .await
            .map_err(|cause| RegistrationError::place(&cause))?;
        let mut keeper = Self {
            client,
            place,
            state: contents.state,
            has_secret: contents.has_secret,
            fingerprint: contents.fingerprint,
        };
        keeper.complete_store().await;
        Ok(keeper)
    }

    /// Completes a rotation that ended after the new secret was stored and before that was noted:
    /// the place has a different secret than when the rotation began. A receiver may use it
    /// already, so it must not be rotated again.
    async fn complete_store(&mut self) {
        let Some(webhook) = &self.state.rotating else {
            return;
        };
        if self.fingerprint.is_none() || self.fingerprint == self.state.before {
            return;
        }
        let stored = State::stored(webhook);
        // If it fails, the next run concludes the same.
        let _ = self.place.note(&stored).await;
        self.state = stored;
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// Returns whether the place has the live secret of this webhook, as far as is known.
    ///
    /// A secret without a note is trusted only if nothing is pending, and if the webhook is not one
    /// that is being set up: the nonce in its label stays until its secret is stored and noted.
    pub(crate) fn has_secret_of(&self, webhook: &Webhook) -> bool {
        if !self.has_secret || self.state.rotating.is_some() {
            return false;
        }
        match &self.state.webhook {
            Some(noted) => *noted == webhook.id,
            None => self.state.creating.is_none() && !is_being_set_up(webhook),
        }
    }

    pub(crate) async fn note(&mut self, state: State) -> Result<(), RegistrationError> {
        self.try_note(state)
            .await
            .map_err(|cause| RegistrationError::place(&cause))
    }

    async fn try_note(&mut self, state: State) -> Result<(), PlaceError> {
        if state != self.state {
            self.place.note(&state).await?;
            self.state = state;
        }
        Ok(())
    }

    pub(crate) async fn prepare(&mut self) -> Result<(), RegistrationError> {
        self.place
            .prepare()
            .await
            .map_err(|cause| RegistrationError::place(&cause))
    }

    /// Stores a secret that was just issued, and notes the webhook that it belongs to.
    pub(crate) async fn store(
        &mut self,
        webhook: &WebhookId,
        secret: IssuedSecret,
    ) -> Result<Stored, RegistrationError> {
        if let Err(cause) = self.place.store(&secret).await {
            return Err(RegistrationError::not_stored(webhook, secret, cause));
        }
        let noted = self.try_note(State::stored(webhook)).await;
        let noted = noted.map_err(|cause| RegistrationError::not_noted(webhook, &cause));
        match secret.to_secret() {
            Ok(_) => Ok(Stored { secret, noted }),
            Err(error) => Err(RegistrationError::not_a_secret(
                webhook,
                secret,
                error.into(),
            )),
        }
    }

    /// Rotates the secret of a webhook and stores the new one.
    ///
    /// The beginning is noted before the call: from then on the stored secret may be dead, and the
    /// next run must rotate again. The note is removed only if no attempt can have been carried
    /// out.
    pub(crate) async fn rotate(
        &mut self,
        webhook: &WebhookId,
    ) -> Result<Stored, RegistrationError> {
        self.prepare().await?;
        let before = self.state.clone();
        self.note(State {
            rotating: Some(webhook.clone()),
            before: self.fingerprint.clone(),
            ..before.clone()
        })
        .await?;
        match issue(&self.client, webhook).await {
            Ok(secret) => self.store(webhook, secret).await,
            Err(error) if error.outcome() == Outcome::Unknown => Err(error.into()),
            Err(error) => match self.try_note(before).await {
                Ok(()) => Err(error.into()),
                Err(cause) => Err(RegistrationError::still_noted(error, &cause)),
            },
        }
    }
}

fn is_being_set_up(webhook: &Webhook) -> bool {
    split(webhook.label.as_deref().unwrap_or_default())
        .1
        .is_some()
}

/// Rotates until an answer arrives. After a lost answer the live secret is lost, so another
/// rotation does no harm; it is a deliberate new call, not a repetition by HTTP.
async fn issue(client: &Client, webhook: &WebhookId) -> Result<IssuedSecret, ApiError> {
    let request = client.request(&ROTATE_SECRET, &[webhook.as_str()], None)?;
    let mut budget = Budget::new(client);
    let mut more = MORE_ROTATIONS;
    loop {
        let error = match client.send(&request, &mut budget).await {
            Ok(answer) => {
                return issued_secret(answer.secret_body())
                    .map_err(|detail| answer.unreadable(ApiErrorKind::NoSecret, detail));
            }
            Err(error) => error,
        };
        // The outcome covers all attempts, so the client waits for a burst after a lost answer too.
        if error.outcome() != Outcome::Unknown || !is_passing(error.kind()) || more == 0 {
            return Err(error);
        }
        more -= 1;
        match budget.delay(at_least(&error)) {
            Ok(delay) => sleep(delay).await,
            Err(stop) => return Err(error.stopped_by(stop)),
        }
    }
}

/// After a time limit the server may still be working on the rotation. If it completed that one
/// after the next one, the stored secret would be dead, so the client gives it time.
fn at_least(error: &ApiError) -> Option<Duration> {
    match error.kind() {
        ApiErrorKind::Timeout => error.retry_after().max(Some(DELAY_AFTER_TIMEOUT)),
        _ => error.retry_after(),
    }
}

fn is_passing(kind: ApiErrorKind) -> bool {
    matches!(
        kind,
        ApiErrorKind::Server
            | ApiErrorKind::Timeout
            | ApiErrorKind::Broken
            | ApiErrorKind::NotConnected
            | ApiErrorKind::Throttled
    )
}
