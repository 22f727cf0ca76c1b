use std::collections::BTreeMap;

use time::OffsetDateTime;

use super::raw_json::RawJson;
use super::resource::resource;
use super::scalar::Scalar;

resource! {
    /// Something that can be traded, such as a share.
    ///
    /// Ptolemy documents the fields. That an event carries them, and all of them, is assumed.
    pub struct Instrument {
        /// The id, a UUID.
        pub id: Option<String>,
        /// The identifier within the workspace, such as `bhp.ax`.
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
