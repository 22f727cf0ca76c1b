use std::error::Error;
use std::fmt;

use super::fault::{Cause, Fault};

/// The data of a documented event type has an unknown shape: in which field, and why.
///
/// `Display` prints both, such as `data.items[2].value: expected a string, found null`, and never
/// quotes the data. The JSON is in [`Event::data`](crate::Event::data) and
/// [`Event::raw`](crate::Event::raw).
///
/// If a handler returns it with `?`, it becomes a [`Rejection`](crate::Rejection) with status 422,
/// so the event is not acknowledged.
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    path: Box<str>,
    // Boxed, so that a `Result` with it is not larger than the payload.
    cause: Box<Cause>,
}

impl Malformed {
    pub(super) fn new(fault: Fault) -> Self {
        Self {
            path: fault.path.into(),
            cause: Box::new(fault.cause),
        }
    }

    /// The path from the envelope to the field that could not be read: `data.items[2].value`.
    ///
    /// It begins with the name under which the event carries an object as its data; if it carries
    /// none, the path is `data` alone. A key that the sender chose (in `extra_fields_snapshot`) is
    /// shown if it looks like a name (up to 64 ASCII letters, digits and `_`), and as `*`
    /// otherwise.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Why it could not be read, such as `expected a string, found a number`.
    #[must_use]
    pub fn cause(&self) -> impl fmt::Display + '_ {
        *self.cause
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.cause)
    }
}

impl Error for Malformed {}
