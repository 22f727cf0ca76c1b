use time::OffsetDateTime;

use super::resource::resource;
use super::scalar::Scalar;

resource! {
    /// A value of an instrument's time series.
    ///
    /// Ptolemy documents the whole response. That an event carries it is assumed.
    pub struct TimeSeriesValue {
        /// The id, a UUID.
        pub id: String,
        /// The id of the instrument, a UUID.
        pub instrument_id: String,
        /// The id of the time series' type, a UUID.
        pub type_id: String,
        /// The time that the value is for.
        pub timestamp: OffsetDateTime,
        /// The value.
        pub value: Scalar,
        /// When it was archived; `None` while it is active.
        pub archived_at: Option<OffsetDateTime>,
        /// When it was created.
        pub created_at: OffsetDateTime,
    }
}
