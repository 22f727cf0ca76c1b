use std::collections::BTreeMap;

use time::OffsetDateTime;

use super::fault::Fault;
use super::field::FromJson;
use super::json::Json;
use super::raw_json::RawJson;

/// Something that can be traded, such as a share.
///
/// Ptolemy documents the fields. That an event carries them, and all of them, is assumed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Instrument {
    /// The id, a UUID.
    pub id: Option<String>,
    /// The identifier within the workspace, such as `bhp.ax`.
    pub identifier: Option<String>,
    /// The name.
    pub name: Option<String>,
    /// The id of its type, a UUID.
    pub type_id: Option<String>,
    /// The current values of all custom fields, each as text whatever its type.
    pub extra_fields_snapshot: Option<BTreeMap<String, String>>,
    /// A free-form object.
    pub extras: Option<RawJson>,
    /// When it was archived; `None` while it is active.
    pub archived_at: Option<OffsetDateTime>,
    /// When it was created.
    pub created_at: Option<OffsetDateTime>,
}

impl FromJson for Instrument {
    fn from_json(json: Json<'_>) -> Result<Self, Fault> {
        let [
            id,
            identifier,
            name,
            type_id,
            extra_fields_snapshot,
            extras,
            archived_at,
            created_at,
        ] = json.fields([
            "id",
            "identifier",
            "name",
            "type_id",
            "extra_fields_snapshot",
            "extras",
            "archived_at",
            "created_at",
        ])?;
        Ok(Self {
            id: id.optional()?,
            identifier: identifier.optional()?,
            name: name.optional()?,
            type_id: type_id.optional()?,
            extra_fields_snapshot: extra_fields_snapshot.optional()?,
            extras: extras.optional()?,
            archived_at: archived_at.optional()?,
            created_at: created_at.optional()?,
        })
    }
}
