use time::OffsetDateTime;

use super::resource::resource;
use super::scalar::Scalar;

resource! {
    /// An instrument's listing on a market.
    ///
    /// Ptolemy documents the fields of the request that creates one. That an event carries the same
    /// is assumed.
    pub struct MarketListing {
        /// The id, a UUID.
        pub id: Option<String>,
        /// The instrument: an id, or an identifier if the request used one.
        pub instrument_id: Option<String>,
        /// The market: an id, or an identifier if the request used one.
        pub market_id: Option<String>,
        /// The code on this market, such as `BHP`.
        pub local_code: Option<String>,
        /// The currency, such as `AUD`.
        pub currency: Option<String>,
        /// The number of units in a lot.
        pub lot_size: Option<Scalar>,
        /// When it was archived; `None` while it is active.
        pub archived_at: Option<OffsetDateTime>,
    }
}
