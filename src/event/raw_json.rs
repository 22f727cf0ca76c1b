use std::fmt;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// A JSON value as it was sent: a slice of the delivery's own bytes, neither copied nor changed.
///
/// It keeps what this crate does not read: unknown fields, unknown event types, free-form objects.
/// A clone shares the bytes and keeps the whole body alive.
///
/// `Debug` prints the length only, so that logging an event does not reveal its content.
///
/// # Examples
///
/// Read a field that this crate does not know:
///
/// ```
/// use ptolemy_webhooks::Event;
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct Envelope {
///     region: String,
/// }
///
/// let event = Event::from_trusted_json(r#"{"event_type":"market.created","region":"apac"}"#)?;
/// let envelope: Envelope = event.raw.decode()?;
/// assert_eq!(envelope.region, "apac");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RawJson(Bytes);

impl RawJson {
    /// `json` is one JSON value in UTF-8, possibly with white space around it.
    pub(super) fn new(json: Bytes) -> Self {
        Self(json)
    }

    /// Takes one JSON value in UTF-8, such as the response of an API, without a copy.
    ///
    /// White space around the value is kept. Nothing is decoded, so any depth is accepted and every
    /// digit is kept.
    ///
    /// A text that is borrowed must be copied first: pass `json.to_vec()`, or `text.to_owned()`.
    ///
    /// # Errors
    ///
    /// Returns an error with the position at which the text stops being UTF-8 or JSON. The error
    /// does not quote the text.
    ///
    /// # Examples
    ///
    /// ```
    /// use ptolemy_webhooks::RawJson;
    ///
    /// let json = RawJson::parse(r#"{"price": 45.820}"#)?;
    /// assert_eq!(json.as_str(), r#"{"price": 45.820}"#);
    ///
    /// let error = RawJson::parse(r#"{"price": }"#).unwrap_err();
    /// assert_eq!(error.to_string(), "text is not valid JSON at line 1, column 11");
    /// # Ok::<(), ptolemy_webhooks::RawJsonError>(())
    /// ```
    pub fn parse(json: impl Into<Bytes>) -> Result<Self, RawJsonError> {
        let json = json.into();
        if let Err(error) = std::str::from_utf8(&json) {
            let valid = json.get(..error.valid_up_to()).unwrap_or_default();
            return Err(RawJsonError::not_utf8(valid));
        }
        serde_json::from_slice::<IgnoredAny>(&json).map_err(|error| RawJsonError::at(&error))?;
        Ok(Self(json))
    }

    /// The JSON text.
    ///
    /// # Panics
    ///
    /// Never: the bytes were checked to be UTF-8 when the event was read.
    #[cfg_attr(
        not(test),
        expect(clippy::expect_used, reason = "slices at the ends of JSON values")
    )]
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("the whole body was checked to be UTF-8")
    }

    pub(super) fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// The JSON text as bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the JSON text as bytes, without a copy.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// Reads the value as one of your types, which may borrow from it. A `&str` cannot hold a
    /// string with escapes: take `String` or `Cow<str>`.
    ///
    /// # Errors
    ///
    /// Returns an error with the position at which the JSON does not fit the type, or at which an
    /// object ends without a required field. The error does not quote the text, and does not name
    /// the field, since serde's message may quote a value.
    ///
    /// # Examples
    ///
    /// Put it into JSON of your own, as it was sent (with serde_json's feature `raw_value`):
    ///
    /// ```
    /// use ptolemy_webhooks::RawJson;
    /// use serde::Serialize;
    /// use serde_json::value::RawValue;
    ///
    /// #[derive(Serialize)]
    /// struct Forwarded<'a> {
    ///     data: &'a RawValue,
    /// }
    ///
    /// let data = RawJson::parse(r#"{"price":45.820}"#)?;
    /// let forwarded = Forwarded { data: data.decode()? };
    /// assert_eq!(serde_json::to_string(&forwarded)?, r#"{"data":{"price":45.820}}"#);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn decode<'a, T: Deserialize<'a>>(&'a self) -> Result<T, RawJsonError> {
        serde_json::from_slice(&self.0).map_err(|error| RawJsonError::at(&error))
    }
}

impl AsRef<[u8]> for RawJson {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<str> for RawJson {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Debug for RawJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawJson({} bytes)", self.0.len())
    }
}

/// The text of a [`RawJson`] does not fit the requested type, or is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at line {line}, column {column}")]
pub struct RawJsonError {
    kind: RawJsonErrorKind,
    line: usize,
    column: usize,
}

impl RawJsonError {
    fn at(error: &serde_json::Error) -> Self {
        Self {
            kind: if error.is_data() {
                RawJsonErrorKind::WrongShape
            } else {
                RawJsonErrorKind::NotJson
            },
            line: error.line(),
            column: error.column(),
        }
    }

    /// At the first byte after `valid`.
    fn not_utf8(valid: &[u8]) -> Self {
        let mut lines = valid.split(|&byte| byte == b'\n');
        let column = lines.next_back().map_or(0, <[u8]>::len) + 1;
        Self {
            kind: RawJsonErrorKind::NotUtf8,
            line: lines.count() + 1,
            column,
        }
    }

    /// What is wrong.
    #[must_use]
    pub fn kind(&self) -> RawJsonErrorKind {
        self.kind
    }

    /// The line within the [`RawJson`], counted from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.line
    }

    /// The column within the line, in bytes.
    #[must_use]
    pub fn column(&self) -> usize {
        self.column
    }
}

/// Why a JSON text cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RawJsonErrorKind {
    /// The text is not valid UTF-8. Only [`RawJson::parse`] returns it.
    NotUtf8,
    /// The text is not one JSON value, or ends within it. [`RawJson::decode`] returns it for what
    /// serde_json does not read, such as deep nesting.
    NotJson,
    /// The JSON does not fit the type: a required field is missing, or a value has another type or
    /// is out of range. Only [`RawJson::decode`] returns it.
    WrongShape,
}

impl fmt::Display for RawJsonErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotUtf8 => "text is not valid UTF-8",
            Self::NotJson => "text is not valid JSON",
            Self::WrongShape => "JSON does not fit the type",
        })
    }
}
