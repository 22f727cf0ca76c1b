use time::OffsetDateTime;

use super::resource::resource;
use super::scalar::Scalar;

resource! {
    /// Several values of an instrument's time series, for one time.
    ///
    /// Ptolemy documents the fields of the request that creates one. That an event carries the same
    /// is assumed.
    pub struct CompositeTimeSeriesValue {
        /// The id, a UUID (assumed: the request that creates one has none).
        pub id: Option<String>,
        /// The instrument: an id, or an identifier if the request used one.
        pub instrument_id: Option<String>,
        /// The time series' type: an id, or an identifier if the request used one.
        pub type_id: Option<String>,
        /// The time that the values are for.
        pub timestamp: Option<OffsetDateTime>,
        /// The values, in the order in which they were sent.
        pub items: Option<Vec<CompositeItem>>,
    }
}

resource! {
    /// One of the values of a [`CompositeTimeSeriesValue`].
    ///
    /// Both fields are those of the documented request.
    pub struct CompositeItem {
        /// Which value it is, such as `open`.
        pub field_key: Option<Box<str>>,
        /// The value.
        pub value: Option<Scalar>,
    }
}
