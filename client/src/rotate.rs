//! Rotation of a secret, which is stored before the receiver accepts it.

use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;

use ptolemy_webhooks::Verifier;

use crate::client::Client;
use crate::id::WebhookId;
use crate::issued_secret::IssuedSecret;
use crate::keeper::Keeper;
use crate::place::{NoPlace, Place, PlaceError, SecretTo};
use crate::registration_error::RegistrationError;
use crate::secret_file::SecretFile;
use crate::server_text::blank;
use crate::webhooks::Webhooks;

impl Webhooks {
    /// Rotates the secret of a webhook: `POST /webhooks/{id}/rotate-secret`, with a place for the
    /// new one.
    ///
    /// It returns a builder that needs a place, [`secret_file`](RotateSecret::secret_file) or
    /// [`secret_to`](RotateSecret::secret_to), and is then awaited. The README has the guarantees.
    pub fn rotate_secret(&self, id: impl Into<WebhookId>) -> RotateSecret<NoPlace> {
        RotateSecret {
            client: self.client().clone(),
            webhook: id.into(),
            verifier: None,
            place: NoPlace,
        }
    }
}

/// A rotation, which begins when it is awaited.
///
/// # Errors
///
/// Awaiting it returns a [`RegistrationError`]. If a secret was issued and could not be stored, the
/// error carries it.
#[must_use = "a rotation does nothing until it is awaited"]
pub struct RotateSecret<P> {
    client: Client,
    webhook: WebhookId,
    verifier: Option<Verifier>,
    place: P,
}

impl RotateSecret<NoPlace> {
    /// Stores the new secret in a file, the same as that of `ensure`, and the old one beside it, in
    /// `PATH.previous`.
    ///
    /// A run that was killed is repaired by running it again, which rotates again, or by `ensure`,
    /// which does so only if the new secret was not stored.
    pub fn secret_file(self, path: impl Into<PathBuf>) -> RotateSecret<SecretFile> {
        self.at(SecretFile::new(path.into()))
    }

    /// Gives the new secret to a callback, such as one that writes to a secret manager.
    ///
    /// If the process is killed, or the future dropped, before the callback is done, the new secret
    /// is lost: rotate again.
    pub fn secret_to<F, Fut, E>(self, store: F) -> RotateSecret<SecretTo<F>>
    where
        F: FnMut(IssuedSecret) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<PlaceError>,
    {
        self.at(SecretTo::new(store))
    }

    fn at<P>(self, place: P) -> RotateSecret<P> {
        RotateSecret {
            client: self.client,
            webhook: self.webhook,
            verifier: self.verifier,
            place,
        }
    }
}

impl<P> RotateSecret<P> {
    async fn run(self) -> Result<WebhookId, RegistrationError>
    where
        P: Place,
    {
        let mut keeper = Keeper::open(self.client, self.place).await?;
        // A slug, or an id in another case, names the same webhook; only the id as the server
        // writes it can be compared and noted.
        let webhook = keeper.client().webhooks().get(&self.webhook).await?.id;
        let state = keeper.state();
        if let Some(owner) = state.webhook.as_ref().or(state.rotating.as_ref())
            && *owner != webhook
        {
            return Err(RegistrationError::other_webhook(&webhook, owner));
        }
        let stored = keeper.rotate(&webhook).await?;
        // It is swapped even if the note failed: the secret is live and stored.
        if let Some(verifier) = self.verifier {
            match stored.secret.to_secret() {
                Ok(current) => verifier.rotate_secret(current),
                Err(error) => {
                    return Err(RegistrationError::not_a_secret(
                        &webhook,
                        stored.secret,
                        error.into(),
                    ));
                }
            }
        }
        stored.noted.map(|()| webhook)
    }

    fn swap_in(mut self, verifier: &Verifier) -> Self {
        self.verifier = Some(verifier.clone());
        self
    }
}

impl RotateSecret<SecretFile> {
    /// Makes this verifier and its clones accept the new secret after it is stored, beside the old
    /// one.
    pub fn swap(self, verifier: &Verifier) -> Self {
        self.swap_in(verifier)
    }
}

impl<F> RotateSecret<SecretTo<F>> {
    /// Makes this verifier and its clones accept the new secret after the callback is done, beside
    /// the old one.
    pub fn swap(self, verifier: &Verifier) -> Self {
        self.swap_in(verifier)
    }
}

type Rotating = Pin<Box<dyn Future<Output = Result<WebhookId, RegistrationError>> + Send>>;

impl IntoFuture for RotateSecret<SecretFile> {
    type Output = Result<WebhookId, RegistrationError>;
    type IntoFuture = Rotating;

    fn into_future(self) -> Rotating {
        Box::pin(self.run())
    }
}

impl<F, Fut, E> IntoFuture for RotateSecret<SecretTo<F>>
where
    F: FnMut(IssuedSecret) -> Fut + Send + 'static,
    Fut: Future<Output = Result<(), E>> + Send + 'static,
    E: Into<PlaceError>,
{
    type Output = Result<WebhookId, RegistrationError>;
    type IntoFuture = Rotating;

    fn into_future(self) -> Rotating {
        Box::pin(self.run())
    }
}

impl<P> fmt::Debug for RotateSecret<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RotateSecret")
            .field("webhook", &blank(self.webhook.as_str()))
            .finish_non_exhaustive()
    }
}
