use time::OffsetDateTime;

use super::decimal::Decimal;
use super::fault::Fault;
use super::field::FromJson;
use super::json::Json;

/// A value of an instrument's time series.
///
/// Ptolemy documents the whole response. That an event carries it is assumed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
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
    pub value: Decimal,
    /// When it was archived; `None` while it is active.
    pub archived_at: Option<OffsetDateTime>,
    /// When it was created.
    pub created_at: OffsetDateTime,
}

impl FromJson for TimeSeriesValue {
    fn from_json(json: Json<'_>) -> Result<Self, Fault> {
        let [
            id,
            instrument_id,
            type_id,
            timestamp,
            value,
            archived_at,
            created_at,
        ] = json.fields([
            "id",
            "instrument_id",
            "type_id",
            "timestamp",
            "value",
            "archived_at",
            "created_at",
        ])?;
        Ok(Self {
            id: id.required()?,
            instrument_id: instrument_id.required()?,
            type_id: type_id.required()?,
            timestamp: timestamp.required()?,
            value: value.required()?,
            archived_at: archived_at.optional()?,
            created_at: created_at.required()?,
        })
    }
}
