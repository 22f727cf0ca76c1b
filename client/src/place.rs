//! Where a secret is kept, and what is noted beside it.

use std::error::Error;

use ptolemy_webhooks::{RawJson, Secret, Signer};
use serde_json::{Map, Value};
use time::OffsetDateTime;

use crate::id::WebhookId;
use crate::issued_secret::IssuedSecret;

pub(crate) type PlaceError = Box<dyn Error + Send + Sync>;

/// Notes beside a secret, from which the next run continues a run that was killed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// The webhook whose secret is in the place.
    pub(crate) webhook: Option<WebhookId>,
    /// The nonce of a webhook that may have been created, and whose secret is not in the place.
    pub(crate) creating: Option<String>,
    /// The webhook whose secret may have been rotated since the one in the place was stored.
    pub(crate) rotating: Option<WebhookId>,
    /// The fingerprint of the secret that was in the place when the rotation began, if there was
    /// one. A different secret in the place is the new one.
    pub(crate) before: Option<String>,
}

impl State {
    /// The state after the secret of a webhook was stored.
    pub(crate) fn stored(webhook: &WebhookId) -> Self {
        Self {
            webhook: Some(webhook.clone()),
            ..Self::default()
        }
    }

    pub(crate) fn to_json(&self) -> String {
        let fields = [
            ("webhook", self.webhook.as_ref().map(WebhookId::as_str)),
            ("creating", self.creating.as_deref()),
            ("rotating", self.rotating.as_ref().map(WebhookId::as_str)),
            ("before", self.before.as_deref()),
        ];
        let fields = fields
            .into_iter()
            .filter_map(|(name, text)| text.map(|text| (name.to_owned(), Value::from(text))));
        Value::Object(fields.collect::<Map<_, _>>()).to_string()
    }

    pub(crate) fn parse(json: Vec<u8>) -> Option<Self> {
        let fields: Map<String, Value> = RawJson::parse(json).ok()?.decode().ok()?;
        let text = |name| match fields.get(name) {
            None => Some(None),
            Some(Value::String(text)) if !text.is_empty() => Some(Some(text.clone())),
            Some(_) => None,
        };
        Some(Self {
            webhook: text("webhook")?.map(WebhookId::from),
            creating: text("creating")?,
            rotating: text("rotating")?.map(WebhookId::from),
            before: text("before")?,
        })
    }
}

/// Returns a fingerprint that shows whether two secrets are equal, and from which neither can be
/// computed. It is useless as a signature, because its time is 1970.
pub(crate) fn fingerprint(secret: &Secret) -> String {
    Signer::new(secret).sign_at(b"fingerprint", OffsetDateTime::UNIX_EPOCH)
}

/// The contents of a place when a run begins.
#[derive(Debug)]
pub(crate) struct Contents {
    pub(crate) state: State,
    /// Returns whether there is a secret that a receiver can use.
    pub(crate) has_secret: bool,
    /// The fingerprint of this secret, if the place can be read.
    pub(crate) fingerprint: Option<String>,
}

/// A place for one secret.
pub(crate) trait Place: Send {
    /// Reads the contents, and removes the half-written files of a killed process.
    fn open(&mut self) -> impl Future<Output = Result<Contents, PlaceError>> + Send;

    /// Notes a state; it is on disk when this returns.
    fn note(&mut self, state: &State) -> impl Future<Output = Result<(), PlaceError>> + Send;

    /// Makes sure that a secret can be stored, before one is issued.
    fn prepare(&mut self) -> impl Future<Output = Result<(), PlaceError>> + Send;

    /// Stores a secret, with the previous one beside it; both are on disk when this returns.
    fn store(
        &mut self,
        secret: &IssuedSecret,
    ) -> impl Future<Output = Result<(), PlaceError>> + Send;
}

/// No place yet: one must be set before the run can begin.
#[derive(Debug)]
#[non_exhaustive]
pub struct NoPlace;

/// A callback as the place. It remembers nothing between runs.
pub struct SecretTo<F> {
    store: F,
    is_stored: bool,
}

impl<F> SecretTo<F> {
    pub(crate) fn new(store: F) -> Self {
        Self {
            store,
            is_stored: false,
        }
    }

    pub(crate) fn already_stored(mut self) -> Self {
        self.is_stored = true;
        self
    }
}

impl<F> std::fmt::Debug for SecretTo<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretTo(..)")
    }
}

impl<F, Fut, E> Place for SecretTo<F>
where
    F: FnMut(IssuedSecret) -> Fut + Send,
    Fut: Future<Output = Result<(), E>> + Send,
    E: Into<PlaceError>,
{
    async fn open(&mut self) -> Result<Contents, PlaceError> {
        Ok(Contents {
            state: State::default(),
            has_secret: self.is_stored,
            fingerprint: None,
        })
    }

    async fn note(&mut self, _: &State) -> Result<(), PlaceError> {
        Ok(())
    }

    async fn prepare(&mut self) -> Result<(), PlaceError> {
        Ok(())
    }

    async fn store(&mut self, secret: &IssuedSecret) -> Result<(), PlaceError> {
        let storing = (self.store)(secret.duplicate());
        storing.await.map_err(Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_read_as_it_was_written() {
        let id = || Some(WebhookId::from("w\"1"));
        for state in [
            State::default(),
            State::stored(&"w".into()),
            State {
                webhook: id(),
                creating: Some("n".to_owned()),
                rotating: id(),
                before: Some("t=0,v1=00".to_owned()),
            },
        ] {
            assert_eq!(State::parse(state.to_json().into_bytes()), Some(state));
        }
        for json in ["", "[]", r#"{"webhook":7}"#, r#"{"creating":""}"#] {
            assert_eq!(State::parse(json.as_bytes().to_vec()), None, "{json}");
        }
    }
}
