use std::collections::BTreeMap;

use time::OffsetDateTime;

use super::raw_json::RawJson;
use super::resource::resource;
use super::scalar::Scalar;

resource! {
    /// A trading venue.
    ///
    /// Ptolemy documents that a market has a type, custom fields, `extras` and an identifier, and
    /// that it can be archived. The names of the fields are assumed to be those of an instrument.
    pub struct Market {
        /// The id, a UUID.
        pub id: Option<String>,
        /// The identifier within the workspace, such as `asx`.
        pub identifier: Option<String>,
        /// The name.
        pub name: Option<String>,
        /// The id of its type, a UUID.
        pub type_id: Option<String>,
        /// The current values of all custom fields, each as text; `None` in place of a null, which
        /// Ptolemy does not document.
        pub extra_fields_snapshot: Option<BTreeMap<String, Option<Scalar>>>,
        /// A free-form object.
        pub extras: Option<RawJson>,
        /// When it was archived; `None` while it is active.
        pub archived_at: Option<OffsetDateTime>,
        /// When it was created.
        pub created_at: Option<OffsetDateTime>,
    }
}
