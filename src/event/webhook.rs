use time::OffsetDateTime;

use super::fault::Fault;
use super::field::FromJson;
use super::json::Json;

/// A registration of an endpoint, such as the receiver's own.
///
/// Ptolemy documents the whole response. That an event carries it is assumed. The response to the
/// creation of a webhook carries the secret as well; no event should, so there is no field for it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Webhook {
    /// The id, a UUID.
    pub id: String,
    /// The endpoint.
    pub url: String,
    /// The label, such as `production-ingest`.
    pub label: String,
    /// Whether deliveries are made.
    pub active: bool,
    /// When it was created.
    pub created_at: OffsetDateTime,
}

impl FromJson for Webhook {
    fn from_json(json: Json<'_>) -> Result<Self, Fault> {
        let [id, url, label, active, created_at] =
            json.fields(["id", "url", "label", "active", "created_at"])?;
        Ok(Self {
            id: id.required()?,
            url: url.required()?,
            label: label.required()?,
            active: active.required()?,
            created_at: created_at.required()?,
        })
    }
}
