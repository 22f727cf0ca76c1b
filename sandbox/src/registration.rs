//! A webhook that the sandbox registered for a test.

use std::fmt;

use ptolemy_webhooks::Secret;

/// A webhook that [`Sandbox::register`](crate::Sandbox::register) created, with its secret.
#[derive(Clone)]
pub struct Registration {
    pub(crate) id: String,
    pub(crate) secret: String,
}

impl Registration {
    /// Returns the id of the webhook.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the secret with which deliveries are signed, for a `Verifier`.
    #[must_use]
    #[expect(clippy::expect_used, reason = "the sandbox made the text itself")]
    pub fn secret(&self) -> Secret {
        Secret::new(self.secret.as_str()).expect("the sandbox generates valid secrets")
    }

    /// Returns the text of the secret.
    #[must_use]
    pub fn secret_text(&self) -> &str {
        &self.secret
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
