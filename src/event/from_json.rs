//! Reading one JSON value, in two ways that agree.
//!
//! Data is first read in one pass by [`FromJson::quick`], which stops at the first problem without
//! a reason. If that fails, [`FromJson::from_json`] reads it value by value: it reports where and
//! why it fails, and it accepts JSON that serde_json rejects in one pass: a repeated key,
//! a key with a lone surrogate, or deep nesting.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, Visitor};
use serde_json::value::RawValue;
use time::format_description::well_known::{Iso8601, Rfc3339};
use time::{OffsetDateTime, UtcOffset};

use super::fault::{Cause, Fault};
use super::field::Field;
use super::json::{Json, Kind, Text};
use super::raw_json::RawJson;
use super::scalar::Scalar;

/// A type that one JSON value may hold.
pub(crate) trait FromJson: Sized {
    /// Reads the value, or returns the reason why it cannot.
    fn from_json(json: Json<'_>) -> Result<Self, Fault>;

    /// Reads the value while it is parsed. If this succeeds, `from_json` returns the same value; if
    /// this fails, `from_json` may still read it.
    fn quick<'de, D: Deserializer<'de>>(json: D, body: &'de Bytes) -> Result<Self, D::Error>;

    /// The value of a missing member.
    fn absent() -> Result<Self, Fault> {
        Err(Fault::new(Cause::Missing))
    }
}

/// Reads a value in one pass if that works, and value by value otherwise.
pub(super) fn read<T: FromJson>(json: Json<'_>) -> Result<T, Fault> {
    let mut parser = serde_json::Deserializer::from_str(json.text());
    T::quick(&mut parser, json.body()).or_else(|_| T::from_json(json))
}

impl Field<'_> {
    pub(super) fn read<T: FromJson>(self) -> Result<T, Fault> {
        self.value
            .map_or_else(T::absent, T::from_json)
            .map_err(|fault| fault.under(self.name))
    }
}

/// Lets serde hand the body to [`FromJson::quick`].
pub(super) struct Quick<'de, T> {
    body: &'de Bytes,
    value: PhantomData<T>,
}

impl<'de, T> Quick<'de, T> {
    pub(super) fn new(body: &'de Bytes) -> Self {
        Self {
            body,
            value: PhantomData,
        }
    }
}

impl<'de, T: FromJson> DeserializeSeed<'de> for Quick<'de, T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<T, D::Error> {
        T::quick(json, self.body)
    }
}

/// Cuts a value out and reads it as `from_json` does.
fn cut_out<'de, T: FromJson, D: Deserializer<'de>>(
    json: D,
    body: &'de Bytes,
) -> Result<T, D::Error> {
    let json = <&RawValue>::deserialize(json)?;
    T::from_json(Json::new(json.get(), body)).map_err(|_| D::Error::custom(""))
}

/// `None` if the member is absent or null.
impl<T: FromJson> FromJson for Option<T> {
    fn from_json(json: Json<'_>) -> Result<Self, Fault> {
        match json.kind() {
            Kind::Null => Ok(None),
            _ => T::from_json(json).map(Some),
        }
    }

    fn quick<'de, D: Deserializer<'de>>(json: D, body: &'de Bytes) -> Result<Self, D::Error> {
        struct Nullable<'de, T>(Quick<'de, T>);

        impl<'de, T: FromJson> Visitor<'de> for Nullable<'de, T> {
            type Value = Option<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value or null")
            }

            fn visit_none<E>(self) -> Result<Option<T>, E> {
                Ok(None)
            }

            fn visit_some<D: Deserializer<'de>>(self, json: D) -> Result<Option<T>, D::Error> {
                self.0.deserialize(json).map(Some)
            }
        }

        json.deserialize_option(Nullable(Quick::new(body)))
    }

    fn absent() -> Result<Self, Fault> {
        Ok(None)
    }
}

impl<T: FromJson> FromJson for Box<T> {
    fn from_json(json: Json<'_>) -> Result<Self, Fault> {
        T::from_json(json).map(Box::new)
    }

    fn quick<'de, D: Deserializer<'de>>(json: D, body: &'de Bytes) -> Result<Self, D::Error> {
        T::quick(json, body).map(Box::new)
    }
}

impl FromJson for String {
    fn from_json(json: Json<'_>) -> Result<Self, Fault> {
        match json.kind() {
            Kind::String => Ok(json
                .string()
                .ok_or(Fault::new(Cause::LoneSurrogate))?
                .into_owned()),
            _ => Err(json.unexpected("a string")),
        }
    }

    fn quick<'de, D: Deserializer<'de>>(json: D, _: &'de Bytes) -> Result<Self, D::Error> {
        Self::deserialize(json)
    }
}

impl FromJson for Box<str> {
    fn from_json(json: Json<'_>) -> Result<Self, Fault> {
        String::from_json(json).map(Self::from)
    }

    fn quick<'de, D: Deserializer<'de>>(json: D, _: &'de Bytes) -> Result<Self, D::Error> {
        Self::deserialize(json)
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

    fn quick<'de, D: Deserializer<'de>>(json: D, _: &'de Bytes) -> Result<Self, D::Error> {
        Self::deserialize(json)
    }
}

impl FromJson for OffsetDateTime {
    fn from_json(json: Json<'_>) -> Result<Self, Fault> {
        let Kind::String = json.kind() else {
            return Err(json.unexpected("a string with a time"));
        };
        let text = json.string().ok_or(Fault::new(Cause::NotATime))?;
        parse_time(&text).map_err(Fault::new)
    }

    fn quick<'de, D: Deserializer<'de>>(json: D, _: &'de Bytes) -> Result<Self, D::Error> {
        let text = json.deserialize_str(Text)?;
        parse_time(&text).map_err(D::Error::custom)
    }
}

/// Reads an ISO 8601 time with an offset from UTC; RFC 3339, its usual form, comes first.
///
/// A time that is out of `OffsetDateTime`'s range in UTC is rejected, because a conversion to UTC
/// would panic.
pub(super) fn parse_time(text: &str) -> Result<OffsetDateTime, Cause> {
    OffsetDateTime::parse(text, &Rfc3339)
        .or_else(|_| OffsetDateTime::parse(text, &Iso8601::PARSING))
        .map_err(|_| Cause::NotATime)
        .and_then(|time| match time.checked_to_offset(UtcOffset::UTC) {
            Some(_) => Ok(time),
            None => Err(Cause::TimeOutOfRange),
        })
}

impl FromJson for Scalar {
    fn from_json(json: Json<'_>) -> Result<Self, Fault> {
        match json.kind() {
            Kind::Number => Ok(Self::from(json.text())),
            Kind::String => String::from_json(json).map(Self::from),
            _ => Err(json.unexpected("a string or a number")),
        }
    }

    fn quick<'de, D: Deserializer<'de>>(json: D, _: &'de Bytes) -> Result<Self, D::Error> {
        // A fraction fails, because serde would hand it over as a float.
        Self::deserialize(json)
    }
}

impl FromJson for RawJson {
    fn from_json(json: Json<'_>) -> Result<Self, Fault> {
        Ok(json.keep())
    }

    fn quick<'de, D: Deserializer<'de>>(json: D, body: &'de Bytes) -> Result<Self, D::Error> {
        cut_out(json, body)
    }
}

impl FromJson for BTreeMap<String, Option<Scalar>> {
    fn from_json(json: Json<'_>) -> Result<Self, Fault> {
        let mut map = Self::new();
        let mut fault = None;
        json.members(|key, value| match member(key, value) {
            Ok((key, value)) => {
                map.insert(key, value);
            }
            Err(error) => fault = fault.take().or(Some(error)),
        })?;
        match fault {
            Some(fault) => Err(fault),
            None => Ok(map),
        }
    }

    fn quick<'de, D: Deserializer<'de>>(json: D, _: &'de Bytes) -> Result<Self, D::Error> {
        Self::deserialize(json)
    }
}

fn member(key: Option<&str>, value: Json<'_>) -> Result<(String, Option<Scalar>), Fault> {
    let key = key.ok_or(Fault::new(Cause::LoneSurrogate))?;
    let value = Option::from_json(value).map_err(|fault| fault.under_key(key))?;
    Ok((key.to_owned(), value))
}

impl<T: FromJson> FromJson for Vec<T> {
    fn from_json(json: Json<'_>) -> Result<Self, Fault> {
        // The elements are counted first, because a growing list would take twice the memory.
        let mut count = 0;
        json.elements(|_| count += 1)?;
        let mut list = Self::with_capacity(count);
        let mut result = Ok(());
        json.elements(|element| {
            if result.is_ok() {
                match read(element) {
                    Ok(element) => list.push(element),
                    Err(fault) => result = Err(fault.at_index(list.len())),
                }
            }
        })?;
        result.map(|()| list)
    }

    fn quick<'de, D: Deserializer<'de>>(json: D, body: &'de Bytes) -> Result<Self, D::Error> {
        cut_out(json, body)
    }
}

#[cfg(test)]
mod tests;
