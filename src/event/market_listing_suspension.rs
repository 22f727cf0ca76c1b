use time::OffsetDateTime;

use super::resource::resource;

resource! {
    /// A period in which a listing is not traded.
    ///
    /// Ptolemy documents the fields of the request that creates one. That an event carries the same
    /// is assumed.
    pub struct MarketListingSuspension {
        /// The id, a UUID.
        pub id: Option<String>,
        /// The market listing: an id, or an identifier if the request used one.
        pub listing_id: Option<String>,
        /// The start.
        pub suspended_from: Option<OffsetDateTime>,
        /// The end; `None` if the suspension is open-ended.
        pub suspended_until: Option<OffsetDateTime>,
        /// The reason, as text.
        pub reason: Option<String>,
    }
}
