use time::OffsetDateTime;

use super::fault::Fault;
use super::field::FromJson;
use super::json::Json;

/// A person's or a robot's place in a workspace.
///
/// Ptolemy documents the roles `Viewer`, `Member`, `Editor` and `Admin`, and no JSON: the fields are
/// assumed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Membership {
    /// The id, a UUID.
    pub id: Option<String>,
    /// The role, such as `Editor`.
    pub role: Option<String>,
    /// When it was created.
    pub created_at: Option<OffsetDateTime>,
}

impl FromJson for Membership {
    fn from_json(json: Json<'_>) -> Result<Self, Fault> {
        let [id, role, created_at] = json.fields(["id", "role", "created_at"])?;
        Ok(Self {
            id: id.optional()?,
            role: role.optional()?,
            created_at: created_at.optional()?,
        })
    }
}
