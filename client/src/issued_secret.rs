//! A secret that the API issued.

use std::fmt;

use ptolemy_webhooks::{Secret, SecretError};
use zeroize::Zeroizing;

/// The text of a new secret, which Ptolemy shows once: when a webhook is created and when its
/// secret is rotated.
///
/// `Debug` does not show it, it does not implement `Clone` or `Display`, and it is wiped on drop.
/// The buffers of the HTTP library through which it arrived are not wiped.
///
/// # Examples
///
/// ```
/// # async fn created(client: ptolemy_webhooks_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use ptolemy_webhooks::Verifier;
/// use ptolemy_webhooks_client::NewWebhook;
///
/// let created = client.webhooks().create(NewWebhook::new("https://example.com/hook")).await?;
/// let verifier = Verifier::new(created.secret.to_secret()?);
/// assert_eq!(format!("{:?}", created.secret), "IssuedSecret(..)");
/// # Ok(())
/// # }
/// ```
pub struct IssuedSecret(Zeroizing<String>);

impl IssuedSecret {
    pub(crate) fn new(text: Zeroizing<String>) -> Self {
        Self(text)
    }

    /// A second copy, for the error that carries the secret if a callback fails to store it.
    pub(crate) fn duplicate(&self) -> Self {
        Self(self.0.clone())
    }

    /// Returns the text. Copies of it are not wiped.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns the secret in the form that a `Verifier` or a `Signer` takes.
    ///
    /// # Errors
    ///
    /// Returns an error if the text is not in the documented form, `whsec_…`.
    pub fn to_secret(&self) -> Result<Secret, SecretError> {
        Secret::new(self.0.as_str())
    }
}

impl fmt::Debug for IssuedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IssuedSecret(..)")
    }
}
