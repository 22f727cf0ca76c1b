//! The changes that a registration made.

use crate::records::Webhook;

/// A registration that was made, and its changes.
///
/// The flags say what this run changed. A run that repairs an earlier one, which was killed,
/// reports only its own changes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Registration {
    /// The webhook.
    pub webhook: Webhook,
    /// Whether the webhook was created.
    pub is_created: bool,
    /// Whether a secret was issued and stored.
    pub has_new_secret: bool,
    /// Whether the URL, the label or `active` was changed. It is set for a new webhook too, whose
    /// label has a nonce until its secret is stored.
    pub is_updated: bool,
    /// Whether the subscriptions were replaced.
    pub is_subscribed: bool,
}

impl Registration {
    pub(crate) fn new(webhook: Webhook) -> Self {
        Self {
            webhook,
            is_created: false,
            has_new_secret: false,
            is_updated: false,
            is_subscribed: false,
        }
    }

    /// Whether the run changed something in Ptolemy.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        self.is_created || self.has_new_secret || self.is_updated || self.is_subscribed
    }
}
