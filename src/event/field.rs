//! Known fields, and what can be read from their values.

use std::collections::BTreeMap;

use time::OffsetDateTime;
use time::format_description::well_known::{Iso8601, Rfc3339};

use super::decimal::Decimal;
use super::fault::{Fault, Reason};
use super::json::{Json, Kind, unescape};
use super::raw_json::RawJson;

/// A member that was looked up by its name, whether it is there or not.
#[derive(Clone, Copy)]
pub(crate) struct Field<'a> {
    name: &'static str,
    value: Option<Json<'a>>,
}

impl<'a> Field<'a> {
    pub(super) fn new(name: &'static str, value: Option<Json<'a>>) -> Self {
        Self { name, value }
    }

    pub(super) fn keep(self) -> Option<RawJson> {
        self.value.map(Json::keep)
    }

    /// Reads a member that must be there.
    pub(crate) fn required<T: FromJson>(self) -> Result<T, Fault> {
        self.value
            .map_or(Err(Fault::new(Reason::Missing)), T::from_json)
            .map_err(|fault| fault.under(self.name))
    }

    /// Reads a member that may be absent or null.
    pub(crate) fn optional<T: FromJson>(self) -> Result<Option<T>, Fault> {
        self.value
            .filter(|value| value.kind() != Kind::Null)
            .map(T::from_json)
            .transpose()
            .map_err(|fault| fault.under(self.name))
    }
}

/// What can be read from one JSON value.
pub(crate) trait FromJson: Sized {
    fn from_json(json: Json<'_>) -> Result<Self, Fault>;
}

impl FromJson for String {
    fn from_json(json: Json<'_>) -> Result<Self, Fault> {
        match json.kind() {
            Kind::String => Ok(json
                .string()
                .ok_or(Fault::new(Reason::LoneSurrogate))?
                .into_owned()),
            _ => Err(json.unexpected("a string")),
        }
    }
}

impl FromJson for bool {
    fn from_json(json: Json<'_>) -> Result<Self, Fault> {
        match json.text() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(json.unexpected("a boolean")),
        }
    }
}

impl FromJson for OffsetDateTime {
    fn from_json(json: Json<'_>) -> Result<Self, Fault> {
        let Kind::String = json.kind() else {
            return Err(json.unexpected("a string with a time"));
        };
        json.string()
            .and_then(|text| parse_time(&text))
            .ok_or(Fault::new(Reason::NotATime))
    }
}

/// Reads an ISO 8601 time that tells its offset from UTC; RFC 3339, its usual form, comes first.
pub(super) fn parse_time(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text, &Rfc3339)
        .or_else(|_| OffsetDateTime::parse(text, &Iso8601::PARSING))
        .ok()
}

impl FromJson for Decimal {
    fn from_json(json: Json<'_>) -> Result<Self, Fault> {
        match json.kind() {
            Kind::Number => Ok(Decimal::from_text(json.text())),
            Kind::String => String::from_json(json).map(Decimal::from_text),
            _ => Err(json.unexpected("a string or a number")),
        }
    }
}

impl FromJson for RawJson {
    fn from_json(json: Json<'_>) -> Result<Self, Fault> {
        Ok(json.keep())
    }
}

impl FromJson for BTreeMap<String, String> {
    fn from_json(json: Json<'_>) -> Result<Self, Fault> {
        // In one go; what stands in the way is looked for only if something does.
        serde_json::from_str(json.text()).or_else(|_| {
            let mut fault = None;
            json.members(|key, value| {
                fault = fault.take().or_else(|| string_member(key, value).err());
            })?;
            Err(fault.unwrap_or(json.unexpected("an object of strings")))
        })
    }
}

fn string_member(key: &str, value: Json<'_>) -> Result<String, Fault> {
    let key = unescape(key).ok_or(Fault::new(Reason::LoneSurrogate))?;
    String::from_json(value).map_err(|fault| fault.under_key(&key))
}

impl<T: FromJson> FromJson for Vec<T> {
    fn from_json(json: Json<'_>) -> Result<Self, Fault> {
        let mut list = Self::new();
        let mut result = Ok(());
        json.elements(|element| {
            if result.is_ok() {
                match T::from_json(element) {
                    Ok(element) => list.push(element),
                    Err(fault) => result = Err(fault.at_index(list.len())),
                }
            }
        })?;
        result.map(|()| list)
    }
}
