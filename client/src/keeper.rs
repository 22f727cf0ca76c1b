//! Issues secrets and stores them: what `ensure` and `rotate_secret` have in common.

use tokio::time::sleep;

use crate::attempts::Budget;
use crate::call::ROTATE_SECRET;
use crate::client::Client;
use crate::error::{ApiError, ApiErrorKind, Outcome};
use crate::id::WebhookId;
use crate::issued_secret::IssuedSecret;
use crate::place::{Place, State};
use crate::records::issued_secret;
use crate::registration_error::RegistrationError;

/// How often a secret is rotated once more after an answer that did not arrive.
const MORE_ROTATIONS: u32 = 2;

/// A place that is open, and the client that fills it.
pub(crate) struct Keeper<P> {
    client: Client,
    place: P,
    state: State,
    has_secret: bool,
}

impl<P: Place> Keeper<P> {
    pub(crate) async fn open(client: Client, mut place: P) -> Result<Self, RegistrationError> {
        let contents = place.open().await.map_err(RegistrationError::place)?;
        Ok(Self {
            client,
            place,
            state: contents.state,
            has_secret: contents.has_secret,
        })
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// Whether the place has the secret of this webhook, as far as it is known.
    pub(crate) fn has_secret_of(&self, webhook: &WebhookId) -> bool {
        let noted = self.state.webhook.as_ref();
        self.has_secret && noted.is_none_or(|noted| noted == webhook)
    }

    pub(crate) async fn note(&mut self, state: State) -> Result<(), RegistrationError> {
        if state != self.state {
            self.place
                .note(&state)
                .await
                .map_err(RegistrationError::place)?;
            self.state = state;
        }
        Ok(())
    }

    pub(crate) async fn prepare(&mut self) -> Result<(), RegistrationError> {
        self.place.prepare().await.map_err(RegistrationError::place)
    }

    /// Stores a secret that was just issued, and notes whose it is.
    pub(crate) async fn store(
        &mut self,
        webhook: &WebhookId,
        secret: IssuedSecret,
    ) -> Result<IssuedSecret, RegistrationError> {
        if let Err(cause) = self.place.store(&secret).await {
            return Err(RegistrationError::not_stored(webhook, secret, cause));
        }
        self.note(State::stored(webhook)).await?;
        match secret.to_secret() {
            Ok(_) => Ok(secret),
            Err(error) => Err(RegistrationError::not_a_secret(
                webhook,
                secret,
                error.into(),
            )),
        }
    }

    /// Rotates the secret of a webhook and stores the new one.
    ///
    /// That it was begun is noted before the call: from then on the stored secret may be dead, and
    /// the next run has to rotate again. The note is taken back only if no attempt can have been
    /// carried out.
    pub(crate) async fn rotate(
        &mut self,
        webhook: &WebhookId,
    ) -> Result<IssuedSecret, RegistrationError> {
        self.prepare().await?;
        let before = self.state.clone();
        self.note(State {
            rotating: Some(webhook.clone()),
            ..before.clone()
        })
        .await?;
        match issue(&self.client, webhook).await {
            Ok(secret) => self.store(webhook, secret).await,
            Err(error) => {
                if error.outcome() != Outcome::Unknown {
                    // If this fails, the next run rotates without need; the error of the call says more.
                    let _ = self.note(before).await;
                }
                Err(error.into())
            }
        }
    }
}

/// Rotates until an answer arrives. After a lost answer nobody has the live secret, so another
/// rotation costs nothing; it is made on purpose, and is not a repetition by HTTP.
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
        // The outcome covers all attempts, so a burst after a lost answer is waited for too.
        if error.outcome() != Outcome::Unknown || !is_passing(error.kind()) || more == 0 {
            return Err(error);
        }
        more -= 1;
        match budget.delay(error.retry_after()) {
            Ok(delay) => sleep(delay).await,
            Err(stop) => return Err(error.stopped_by(stop)),
        }
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
