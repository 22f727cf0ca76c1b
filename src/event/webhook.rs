use time::OffsetDateTime;

use super::resource::resource;

resource! {
    /// A registration of an endpoint, such as the receiver's own.
    ///
    /// Ptolemy documents the whole response. That an event carries it is assumed. The response to
    /// the creation of a webhook carries the secret as well; an event should not, so it has no
    /// field here.
    pub struct Webhook {
        /// The id, a UUID.
        pub id: String,
        /// The endpoint.
        pub url: String,
        /// The label, such as `production-ingest`.
        pub label: Option<String>,
        /// Whether deliveries are made.
        pub active: bool,
        /// When it was created.
        pub created_at: OffsetDateTime,
    }
}
