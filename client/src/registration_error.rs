//! Why an endpoint could not be registered, or its secret not be rotated.

use std::error::Error;
use std::fmt;

use ptolemy_webhooks::LogText;
use reqwest::Url;

use crate::error::ApiError;
use crate::id::WebhookId;
use crate::issued_secret::IssuedSecret;
use crate::records::Webhook;
use crate::server_text::{OneLine, blank, shown_url};

type Cause = Box<dyn Error + Send + Sync>;

/// What went wrong with [`ensure`](crate::Webhooks::ensure) or
/// [`rotate_secret`](crate::Webhooks::rotate_secret).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RegistrationErrorKind {
    /// The URL of the endpoint is not a URL.
    InvalidUrl,
    /// A call failed: see [`RegistrationError::api_error`]. Run it again to repair what was begun.
    Api,
    /// A file beside the secret cannot be read or written. No secret is lost.
    Place,
    /// The file belongs to another webhook, or to one with another URL. Nothing was changed.
    OtherWebhook,
    /// The webhook exists, and its secret is missing. Nothing was changed.
    SecretLost,
    /// Several webhooks have the URL and the label. Nothing was changed.
    SeveralMatch,
    /// No webhook is known to have the URL, but some are listed without one. Nothing was changed.
    UrlUnknown,
    /// A secret was issued, but could not be stored. The error carries it: see
    /// [`RegistrationError::into_issued_secret`].
    NotStored,
    /// A secret was issued and stored, and a verifier accepts it if one was given, but the note
    /// beside it could not be written. Run it again when the file can be written.
    NotNoted,
    /// A secret was issued and stored, but it is not in the documented form, so no receiver can use
    /// it. The error carries it.
    NotASecret,
}

/// Why an endpoint could not be registered, or its secret not be rotated.
///
/// `Display` is one line that names the webhook and the next step. Neither it nor `Debug` shows a
/// secret.
pub struct RegistrationError(Box<Parts>);

struct Parts {
    kind: RegistrationErrorKind,
    detail: String,
    webhook: Option<WebhookId>,
    secret: Option<IssuedSecret>,
    api: Option<ApiError>,
    cause: Option<Cause>,
}

impl RegistrationError {
    fn new(kind: RegistrationErrorKind, detail: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            kind,
            detail: detail.into(),
            webhook: None,
            secret: None,
            api: None,
            cause: None,
        }))
    }

    /// Adds the webhook.
    pub(crate) fn of(mut self, webhook: &WebhookId) -> Self {
        self.0.webhook = Some(webhook.clone());
        self
    }

    pub(crate) fn invalid_url(fault: impl fmt::Display) -> Self {
        let detail = format!("the URL of the endpoint is not valid: {fault}");
        Self::new(RegistrationErrorKind::InvalidUrl, detail)
    }

    /// The line shows the cause, because it names the file.
    pub(crate) fn place(cause: &Cause) -> Self {
        let detail = format!("the secret's storage cannot be used: {cause}");
        Self::new(RegistrationErrorKind::Place, detail)
    }

    pub(crate) fn other_webhook(wanted: &WebhookId, owner: &WebhookId) -> Self {
        let detail = format!(
            "the file has the secret of webhook {owner}, not of {wanted}; use one file for each webhook"
        );
        Self::new(RegistrationErrorKind::OtherWebhook, detail).of(wanted)
    }

    pub(crate) fn other_url(noted: &WebhookId, listed: &str, wanted: &Url) -> Self {
        let listed = Url::parse(listed).map_or_else(|_| blank(listed), |url| shown_url(&url));
        let detail = format!(
            "the file has the secret of webhook {noted} with the URL {}, not {}; change the URL of the webhook, or use another file",
            OneLine(&listed),
            OneLine(&shown_url(wanted)),
        );
        Self::new(RegistrationErrorKind::OtherWebhook, detail).of(noted)
    }

    pub(crate) fn secret_lost(webhook: &WebhookId) -> Self {
        let detail = format!(
            "webhook {webhook} exists, but its secret is missing; store the secret, or issue a new one with rotate_lost_secret()"
        );
        Self::new(RegistrationErrorKind::SecretLost, detail).of(webhook)
    }

    pub(crate) fn several_match(webhooks: &[&Webhook]) -> Self {
        let listed: Vec<String> = webhooks
            .iter()
            .map(|webhook| {
                let label = webhook.label.as_deref().unwrap_or_default();
                format!(
                    "{} ({})",
                    webhook.id,
                    LogText::new(label).with_max_chars(80)
                )
            })
            .collect();
        let detail = format!(
            "several webhooks have this URL, and the label does not distinguish them: {}; delete those that are not used",
            listed.join(", ")
        );
        Self::new(RegistrationErrorKind::SeveralMatch, detail)
    }

    pub(crate) fn url_unknown(webhook: &WebhookId) -> Self {
        let detail =
            format!("webhook {webhook} is listed without its URL, so it could be the endpoint");
        Self::new(RegistrationErrorKind::UrlUnknown, detail).of(webhook)
    }

    pub(crate) fn not_stored(webhook: &WebhookId, secret: IssuedSecret, cause: Cause) -> Self {
        let detail = format!(
            "the new secret of webhook {webhook} could not be stored; it is in this error, and the next run issues another"
        );
        let mut error = Self::new(RegistrationErrorKind::NotStored, detail).of(webhook);
        error.0.secret = Some(secret);
        error.0.cause = Some(cause);
        error
    }

    pub(crate) fn not_noted(webhook: &WebhookId, cause: &Cause) -> Self {
        let detail = format!(
            "the new secret of webhook {webhook} is live and stored, but the note beside it was not written: {cause}; run again when it can be written"
        );
        Self::new(RegistrationErrorKind::NotNoted, detail).of(webhook)
    }

    /// A rotation that was not carried out, and whose note could not be removed.
    pub(crate) fn still_noted(error: ApiError, cause: &Cause) -> Self {
        let mut registration = Self::from(error);
        registration.0.detail += &format!(
            "; the note that a rotation was begun could not be removed ({cause}), so the next run rotates the secret"
        );
        registration
    }

    pub(crate) fn not_a_secret(webhook: &WebhookId, secret: IssuedSecret, cause: Cause) -> Self {
        let detail =
            format!("the new secret of webhook {webhook} is not in the documented form, whsec_…");
        let mut error = Self::new(RegistrationErrorKind::NotASecret, detail).of(webhook);
        error.0.secret = Some(secret);
        error.0.cause = Some(cause);
        error
    }

    /// Returns what went wrong.
    #[must_use]
    pub fn kind(&self) -> RegistrationErrorKind {
        self.0.kind
    }

    /// Returns the call that failed.
    #[must_use]
    pub fn api_error(&self) -> Option<&ApiError> {
        self.0.api.as_ref()
    }

    /// Returns the webhook, if it is known. For a failed call ([`Api`](RegistrationErrorKind::Api))
    /// it is the webhook whose secret is stored: only its settings or its subscriptions are not yet
    /// as requested.
    #[must_use]
    pub fn webhook_id(&self) -> Option<&WebhookId> {
        self.0.webhook.as_ref()
    }

    /// Returns the secret that was issued and could not be stored. It is the live secret of
    /// [`webhook_id`](Self::webhook_id), and the only copy is in this error.
    #[must_use]
    pub fn into_issued_secret(self) -> Option<IssuedSecret> {
        self.0.secret
    }
}

/// A failed call.
impl From<ApiError> for RegistrationError {
    fn from(error: ApiError) -> Self {
        let mut registration = Self::new(RegistrationErrorKind::Api, error.to_string());
        registration.0.api = Some(error);
        registration
    }
}

impl fmt::Display for RegistrationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.detail)
    }
}

impl fmt::Debug for RegistrationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistrationError")
            .field("kind", &self.0.kind)
            .field("detail", &self.0.detail)
            .field("webhook", &self.0.webhook)
            .field("secret", &self.0.secret)
            .field("source", &self.source().map(ToString::to_string))
            .finish()
    }
}

impl Error for RegistrationError {
    /// Returns the error of the file or of the callback that did not store the secret; for a failed
    /// call, the cause of its error, because `Display` shows the call. `Display` contains other
    /// errors of files.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match (&self.0.api, &self.0.cause) {
            (Some(api), _) => api.source(),
            (None, Some(cause)) => Some(cause.as_ref()),
            (None, None) => None,
        }
    }
}
