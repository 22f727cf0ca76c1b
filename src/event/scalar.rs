use std::fmt;
use std::str::FromStr;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::text::text_type;

/// A value as text, with every digit that was sent.
///
/// Ptolemy sends numbers and field values of any type as strings (`"45.82"`, `"2026-04-15"`,
/// `"true"`), and says to read numbers with a decimal library, never as floats. A `Scalar` is the
/// text; its meaning depends on the type of the field or of the time series.
///
/// Within an [`Event`](crate::Event), a JSON number is accepted as well as a string, and keeps its
/// digits: `0.10` stays `0.10`, and 40 digits stay 40 digits.
///
/// [`parse`](Self::parse) reads it as any type with `FromStr`. With the feature `rust_decimal`,
/// `rust_decimal::Decimal::try_from(&scalar)` converts it exactly or returns an error.
///
/// Equality is that of the text: `1.0` is not `1.00`. It does not implement `Ord`, because the
/// order of the texts is not that of the numbers.
///
/// # In your own types
///
/// `Deserialize` takes strings, also inside `#[serde(flatten)]`, `untagged` and `tag`. From text
/// formats such as JSON it also takes integers up to 64 bits, and longer ones that the format
/// passes on in full. A fraction, an exponent or a longer integer is an error, because the format
/// passes it on as a float, which would lose digits. From binary formats it takes only strings. A
/// format that guesses types, such as CSV, passes on `007` as the integer 7: read a `String` there,
/// and convert it.
///
/// This also applies to a struct of yours that [`RawJson::decode`](crate::RawJson::decode) fills:
/// if a field may hold a JSON number with a fraction, take it from the [`Event`](crate::Event), or
/// as a `&serde_json::value::RawValue`.
///
/// # Examples
///
/// ```
/// use ptolemy_webhooks::{Event, Payload, Scalar};
///
/// let event = Event::from_trusted_json(
///     r#"{"event_type":"market_listing.created","data":{"lot_size":0.10}}"#,
/// )?;
/// let Payload::MarketListing(_, listing) = event.payload? else { unreachable!() };
/// assert_eq!(listing.lot_size.unwrap(), "0.10");
///
/// let quantity = Scalar::from("1500");
/// assert_eq!(quantity.parse::<u64>()?, 1500);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scalar(Box<str>);

impl Scalar {
    /// The text as it was sent, without the quotes of a JSON string.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads the text as a `T`.
    ///
    /// # Errors
    ///
    /// Returns the error of `T`'s `FromStr`, which may quote the text.
    pub fn parse<T: FromStr>(&self) -> Result<T, T::Err> {
        self.0.parse()
    }
}

impl From<&str> for Scalar {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<String> for Scalar {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

text_type!(Scalar);

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Serialize for Scalar {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Binary formats may not describe their values; those that do accept the hint too.
        if deserializer.is_human_readable() {
            deserializer.deserialize_any(Digits)
        } else {
            deserializer.deserialize_str(Digits)
        }
    }
}

/// Accepts values that keep all their digits.
struct Digits;

impl Visitor<'_> for Digits {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or an integer")
    }

    fn visit_str<E>(self, text: &str) -> Result<Scalar, E> {
        Ok(text.into())
    }

    fn visit_string<E>(self, text: String) -> Result<Scalar, E> {
        Ok(text.into())
    }

    fn visit_i64<E>(self, number: i64) -> Result<Scalar, E> {
        Ok(number.to_string().into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Scalar, E> {
        Ok(number.to_string().into())
    }

    fn visit_i128<E>(self, number: i128) -> Result<Scalar, E> {
        Ok(number.to_string().into())
    }

    fn visit_u128<E>(self, number: u128) -> Result<Scalar, E> {
        Ok(number.to_string().into())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Scalar, E> {
        Err(E::custom(
            "a number that is not an integer of 64 bits may have lost digits: expected a string",
        ))
    }
}
