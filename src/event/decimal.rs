use std::borrow::Cow;
use std::fmt;

use serde::de::{Error as _, Unexpected};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// A number as text, with every digit that was sent.
///
/// Ptolemy sends numbers as strings and tells receivers never to read them as floats. Both
/// `"45.82"` and `45.82` are taken, and neither passes through a float, so nothing is rounded:
/// `0.10` stays `0.10`, and 40 digits stay 40 digits.
///
/// The text is **not** checked to be a number. Ptolemy sends values of every type as strings, so
/// the value of a time series of another type arrives here as `true` or `2026-04-15`. What turns it
/// into a number says whether it is one: with the feature `rust_decimal`, `TryFrom<&Decimal>` for
/// `rust_decimal::Decimal`.
///
/// Equality is that of the text: `1.0` is not `1.00`. `Deserialize` works with serde_json alone; it
/// reads fields of your own types that [`RawJson::decode`](super::RawJson::decode) fills.
///
/// # Examples
///
/// ```
/// use ptolemy_webhooks::{Event, Payload};
///
/// let event = Event::from_trusted_json(
///     r#"{"event_type":"market_listing.created","data":{"lot_size":0.10}}"#,
/// )?;
/// let Payload::MarketListingCreated(listing) = event.payload else { unreachable!() };
/// assert_eq!(listing.lot_size.unwrap().as_str(), "0.10");
/// # Ok::<(), ptolemy_webhooks::DecodeError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Decimal(Box<str>);

impl Decimal {
    pub(super) fn from_text(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The text as it was sent, without the quotes of a JSON string.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Raw text: serde_json would hand a number over as a float.
        let json = Box::<RawValue>::deserialize(deserializer)?;
        let text = match json.get().as_bytes() {
            [b'"', ..] => serde_json::from_str::<Cow<'_, str>>(json.get())
                .map_err(|_| D::Error::custom("expected text, found a lone surrogate"))?,
            [b'-' | b'0'..=b'9', ..] => Cow::Borrowed(json.get()),
            _ => {
                return Err(D::Error::invalid_type(
                    Unexpected::Other("another value"),
                    &"a string or a number",
                ));
            }
        };
        Ok(Self::from_text(text))
    }
}
