use ptolemy_webhooks::RawJson;
use time::OffsetDateTime;

use super::fields::Fields;
use crate::id::WebhookId;

/// A webhook: an endpoint that is registered in a workspace.
///
/// Ptolemy documents all of its fields. Nevertheless only `id` is required, and any other field is
/// `None` if it is missing, null or of another type.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Webhook {
    /// The id, a UUID.
    pub id: WebhookId,
    /// The URL to which events are sent.
    pub url: Option<String>,
    /// A name for people.
    pub label: Option<String>,
    /// Whether events are sent.
    pub active: Option<bool>,
    /// When it was created.
    pub created_at: Option<OffsetDateTime>,
    /// The JSON as it was sent, without the secret of a webhook that was just created.
    pub raw: RawJson,
}

impl Webhook {
    pub(crate) fn parse(raw: RawJson) -> Result<Self, &'static str> {
        let fields = Fields::of(&raw).ok_or("a webhook is not an object")?;
        Ok(Self {
            id: fields.id("id").ok_or("a webhook has no id")?.into(),
            url: fields.text("url"),
            label: fields.text("label"),
            active: fields.decode("active"),
            created_at: fields.time("created_at"),
            raw,
        })
    }

    /// Returns whether the JSON has a label, even an empty one.
    pub(crate) fn shows_label(&self) -> bool {
        Fields::of(&self.raw).is_some_and(|fields| fields.has("label"))
    }
}
