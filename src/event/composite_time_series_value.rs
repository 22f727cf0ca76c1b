use time::OffsetDateTime;

use super::decimal::Decimal;
use super::fault::Fault;
use super::field::FromJson;
use super::json::Json;

/// Several values of an instrument's time series, for one time.
///
/// Ptolemy documents the fields of the request that creates one. That an event carries the same is
/// assumed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompositeTimeSeriesValue {
    /// The instrument: an id, or an identifier where the request named it so.
    pub instrument_id: Option<String>,
    /// The time series' type: an id, or an identifier where the request named it so.
    pub type_id: Option<String>,
    /// The time that the values are for.
    pub timestamp: Option<OffsetDateTime>,
    /// The values, in the order in which they were sent.
    pub items: Option<Vec<CompositeItem>>,
}

impl FromJson for CompositeTimeSeriesValue {
    fn from_json(json: Json<'_>) -> Result<Self, Fault> {
        let [instrument_id, type_id, timestamp, items] =
            json.fields(["instrument_id", "type_id", "timestamp", "items"])?;
        Ok(Self {
            instrument_id: instrument_id.optional()?,
            type_id: type_id.optional()?,
            timestamp: timestamp.optional()?,
            items: items.optional()?,
        })
    }
}

/// One of the values of a [`CompositeTimeSeriesValue`].
///
/// Both fields are those of the documented request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompositeItem {
    /// Which value it is, such as `open`.
    pub field_key: Option<String>,
    /// The value.
    pub value: Option<Decimal>,
}

impl FromJson for CompositeItem {
    fn from_json(json: Json<'_>) -> Result<Self, Fault> {
        let [field_key, value] = json.fields(["field_key", "value"])?;
        Ok(Self {
            field_key: field_key.optional()?,
            value: value.optional()?,
        })
    }
}
