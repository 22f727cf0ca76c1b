use std::error::Error;
use std::fmt;

use super::fault::{Cause, Fault};

/// The data of a documented event type has an unknown shape: in which field, and why.
///
/// `Display` prints both, such as `data.items[2].value: expected a string, found null`, and never
/// quotes the data. The JSON is in [`Event::data`](crate::Event::data) and
/// [`Event::raw`](crate::Event::raw).
///
/// In a handler whose error is a [`Rejection`](crate::Rejection), `event.payload?` returns one with
/// status 422, so the event is not acknowledged.
///
/// # Examples
///
/// ```
/// use ptolemy_webhooks::Event;
///
/// let event = Event::from_trusted_json(
///     r#"{"event_type":"instrument.updated","data":{"name":["BHP"]}}"#,
/// )?;
/// let malformed = event.payload.unwrap_err();
/// assert_eq!(malformed.path(), "data.name");
/// assert_eq!(malformed.to_string(), "data.name: expected a string, found an array");
/// assert_eq!(event.data.unwrap().as_str(), r#"{"name":["BHP"]}"#);
/// # Ok::<(), ptolemy_webhooks::DecodeError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Malformed {
    // Boxed, so that a `Result` with it is not larger than the payload.
    fault: Box<Fault>,
}

impl Malformed {
    pub(super) fn new(fault: Fault) -> Self {
        Self {
            fault: Box::new(fault),
        }
    }

    /// The path from the envelope to the field that could not be read: `data.items[2].value`.
    ///
    /// It begins with the name under which the event carries an object as its data; if it carries
    /// none, the path is `data` alone. In place of a key that the sender chose (in
    /// `extra_fields_snapshot`) it has a `*`; [`key`](Self::key) is that key.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.fault.path
    }

    /// The key that is a `*` in the path: the name of a custom field, as the sender chose it.
    ///
    /// It may be any text of any length, so show it as [`LogText`](crate::LogText), and cut it.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.fault.key.as_deref()
    }

    /// What is wrong with the field.
    #[must_use]
    pub fn kind(&self) -> MalformedKind {
        match self.fault.cause {
            Cause::Missing => MalformedKind::Missing,
            Cause::Unexpected { .. } => MalformedKind::WrongType,
            Cause::NotATime | Cause::TimeOutOfRange => MalformedKind::NotATime,
            Cause::LoneSurrogate => MalformedKind::NotText,
        }
    }

    /// Why it could not be read, such as `expected a string, found a number`. The text may change;
    /// [`kind`](Self::kind) is for programs.
    #[must_use]
    pub fn cause(&self) -> impl fmt::Display + '_ {
        self.fault.cause
    }
}

impl fmt::Debug for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Malformed")
            .field("path", &self.fault.path)
            .field("cause", &self.fault.cause)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.fault.path, self.fault.cause)
    }
}

impl Error for Malformed {}

/// What is wrong with a field that could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MalformedKind {
    /// A required field is absent.
    Missing,
    /// The value has another JSON type, which includes a null in a required field.
    WrongType,
    /// A string is not an ISO 8601 time with an offset from UTC, or lies outside the years
    /// -9999 to 9999 in UTC.
    NotATime,
    /// A string has a lone surrogate, so it is not Unicode text.
    NotText,
}
