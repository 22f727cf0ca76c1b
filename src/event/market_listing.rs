use time::OffsetDateTime;

use super::decimal::Decimal;
use super::fault::Fault;
use super::field::FromJson;
use super::json::Json;

/// An instrument's place on a market.
///
/// Ptolemy documents the fields of the request that creates one. That an event carries the same is
/// assumed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MarketListing {
    /// The id, a UUID.
    pub id: Option<String>,
    /// The instrument: an id, or an identifier where the request named it so.
    pub instrument_id: Option<String>,
    /// The market: an id, or an identifier where the request named it so.
    pub market_id: Option<String>,
    /// The code on this market, such as `BHP`.
    pub local_code: Option<String>,
    /// The currency, such as `AUD`.
    pub currency: Option<String>,
    /// The number of units in a lot.
    pub lot_size: Option<Decimal>,
    /// When it was archived; `None` while it is active.
    pub archived_at: Option<OffsetDateTime>,
}

impl FromJson for MarketListing {
    fn from_json(json: Json<'_>) -> Result<Self, Fault> {
        let [
            id,
            instrument_id,
            market_id,
            local_code,
            currency,
            lot_size,
            archived_at,
        ] = json.fields([
            "id",
            "instrument_id",
            "market_id",
            "local_code",
            "currency",
            "lot_size",
            "archived_at",
        ])?;
        Ok(Self {
            id: id.optional()?,
            instrument_id: instrument_id.optional()?,
            market_id: market_id.optional()?,
            local_code: local_code.optional()?,
            currency: currency.optional()?,
            lot_size: lot_size.optional()?,
            archived_at: archived_at.optional()?,
        })
    }
}
