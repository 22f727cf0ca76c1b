use time::OffsetDateTime;

use super::resource::resource;

resource! {
    /// A person's or a robot's place in a workspace.
    ///
    /// Ptolemy documents the roles `Viewer`, `Member`, `Editor` and `Admin`, but no JSON, so the
    /// fields are assumed.
    pub struct Membership {
        /// The id, a UUID.
        pub id: Option<String>,
        /// The role, such as `Editor`.
        pub role: Option<String>,
        /// When it was created.
        pub created_at: Option<OffsetDateTime>,
    }
}
