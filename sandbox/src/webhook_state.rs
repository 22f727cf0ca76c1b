//! The current webhooks, for tests to read.

/// The current state of a webhook in the sandbox.
#[derive(Clone, Debug)]
pub struct WebhookState {
    pub(crate) id: String,
    pub(crate) url: String,
    pub(crate) label: Option<String>,
    pub(crate) active: bool,
    pub(crate) subscriptions: Vec<String>,
}

impl WebhookState {
    /// Returns the id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the URL to which deliveries are sent.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the label.
    #[must_use]
    pub fn label(&self) -> Option<&str> {
        self.label.as_deref()
    }

    /// Returns whether deliveries are sent.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.active
    }

    /// Returns the event types to which the webhook is subscribed; `*` is every type.
    #[must_use]
    pub fn subscriptions(&self) -> &[String] {
        &self.subscriptions
    }
}
