use std::fmt;

use super::fault::{Fault, Reason};
use super::raw_json::RawJson;

/// Data of a known event type in a shape that is not known: which field, and why.
///
/// `Display` prints both, such as `data.items[2].value: expected a string, found null`.
///
/// # Examples
///
/// ```
/// use ptolemy_webhooks::{Event, Payload};
///
/// let event = Event::from_trusted_json(
///     r#"{"event_type":"instrument.updated","data":{"name":["BHP"]}}"#,
/// )?;
/// let Payload::Malformed(malformed) = event.payload else { unreachable!() };
/// assert_eq!(malformed.path(), "data.name");
/// assert_eq!(malformed.to_string(), "data.name: expected a string, found an array");
/// assert_eq!(malformed.data().unwrap().as_str(), r#"{"name":["BHP"]}"#);
/// # Ok::<(), ptolemy_webhooks::DecodeError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    path: String,
    reason: Reason,
    data: Option<RawJson>,
}

impl Malformed {
    pub(super) fn new(fault: Fault, data: Option<RawJson>) -> Self {
        Self {
            path: fault.path,
            reason: fault.reason,
            data,
        }
    }

    /// The way from the envelope to the field that could not be read: `data.items[2].value`.
    ///
    /// It begins with the name under which the event carries an object as its data; with `data`, and
    /// that alone, if it carries none. A key that is not a field's
    /// name but the sender's own is told if it could be a name (up to 64 ASCII letters, digits and
    /// `_`), and is `*` otherwise.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Why it could not be read, such as `expected a string, found a number`.
    #[must_use]
    pub fn reason(&self) -> impl fmt::Display + '_ {
        self.reason
    }

    /// The data as it was sent; `None` if the event carries none.
    #[must_use]
    pub fn data(&self) -> Option<&RawJson> {
        self.data.as_ref()
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.reason)
    }
}
