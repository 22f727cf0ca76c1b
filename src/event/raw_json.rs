use std::fmt;

use bytes::Bytes;
use serde::Deserialize;

/// A JSON value as it was sent: a slice of the delivery's own bytes, neither copied nor changed.
///
/// Everything that this crate does not read is still here: unknown fields, unknown event types,
/// free-form objects. A clone shares the bytes and keeps the whole body alive.
///
/// `Debug` prints the length only, so that a logged event does not spill what it carries.
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
/// let envelope: Envelope = event.raw().decode()?;
/// assert_eq!(envelope.region, "apac");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RawJson(Bytes);

impl RawJson {
    /// `json` is one JSON value in UTF-8, with white space around it or not.
    pub(super) fn new(json: Bytes) -> Self {
        Self(json)
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

    /// The JSON text as bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Reads the value as a type of your own, which may borrow from it. A `&str` cannot hold a string
    /// with escapes: take `String` or `Cow<str>`.
    ///
    /// # Errors
    ///
    /// Tells where the text does not fit the type, or where an object ends that lacks a field. It does
    /// not quote the text.
    pub fn decode<'a, T: Deserialize<'a>>(&'a self) -> Result<T, RawJsonError> {
        serde_json::from_slice(&self.0).map_err(|error| RawJsonError {
            line: error.line(),
            column: error.column(),
        })
    }
}

impl fmt::Debug for RawJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawJson({} bytes)", self.0.len())
    }
}

/// The text of a [`RawJson`] does not fit the type that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("json does not fit the type at line {line}, column {column}")]
pub struct RawJsonError {
    line: usize,
    column: usize,
}

impl RawJsonError {
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
