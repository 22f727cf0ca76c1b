use time::OffsetDateTime;

use super::fault::Fault;
use super::field::FromJson;
use super::json::Json;

/// A time in which a listing is not traded.
///
/// Ptolemy documents the fields of the request that creates one. That an event carries the same is
/// assumed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MarketListingSuspension {
    /// The id, a UUID.
    pub id: Option<String>,
    /// The market listing: an id, or an identifier where the request named it so.
    pub listing_id: Option<String>,
    /// The start.
    pub suspended_from: Option<OffsetDateTime>,
    /// The end; `None` if it is open.
    pub suspended_until: Option<OffsetDateTime>,
    /// The reason, as text.
    pub reason: Option<String>,
}

impl FromJson for MarketListingSuspension {
    fn from_json(json: Json<'_>) -> Result<Self, Fault> {
        let [id, listing_id, suspended_from, suspended_until, reason] = json.fields([
            "id",
            "listing_id",
            "suspended_from",
            "suspended_until",
            "reason",
        ])?;
        Ok(Self {
            id: id.optional()?,
            listing_id: listing_id.optional()?,
            suspended_from: suspended_from.optional()?,
            suspended_until: suspended_until.optional()?,
            reason: reason.optional()?,
        })
    }
}
