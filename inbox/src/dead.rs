use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use serde::ser::{Error as _, SerializeStruct as _};
use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The number of a dead letter, which is the `id` of its row.
///
/// `Display` prints it and `FromStr` reads it back, for command lines and URLs. Ids rise in the
/// order in which deliveries were accepted.
///
/// # Examples
///
/// ```
/// use ptolemy_webhooks_inbox::DeadLetterId;
///
/// let id: DeadLetterId = "17".parse()?;
/// assert_eq!(id.to_string(), "17");
/// assert!("all".parse::<DeadLetterId>().is_err());
/// # Ok::<(), std::num::ParseIntError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeadLetterId(pub(crate) i64);

impl fmt::Display for DeadLetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for DeadLetterId {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// Serializes as a number.
impl Serialize for DeadLetterId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(self.0)
    }
}

/// An event that failed permanently, and stays until it is replayed or discarded; see
/// [`DeadLetters`](crate::DeadLetters).
///
/// It serializes as an object with these names; times are strings in RFC 3339 format.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The number of its row.
    pub id: DeadLetterId,
    /// The key by which duplicates are recognised.
    pub dedup_key: String,
    /// The webhook that it came through, if it was [named](crate::Accept::source).
    pub source: Option<String>,
    /// Its event type, or the hash of one that is very long or has control characters; `None` if
    /// the body is not an event.
    pub event_type: Option<String>,
    /// The id of the event, or its hash under the same conditions; `None` if it has no id.
    pub event_id: Option<String>,
    /// When it was accepted.
    pub received_at: OffsetDateTime,
    /// When it died.
    pub died_at: OffsetDateTime,
    /// How many attempts were counted.
    pub attempts: u32,
    /// Whether it never reached a handler: the body is not an event, or its data is malformed.
    pub malformed: bool,
    /// Why the last attempt failed, truncated to 2,000 characters. A handler's error may quote the
    /// event.
    pub last_error: String,
}

impl Serialize for DeadLetter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = |time: OffsetDateTime| time.format(&Rfc3339).map_err(S::Error::custom);
        let mut letter = serializer.serialize_struct("DeadLetter", 10)?;
        letter.serialize_field("id", &self.id)?;
        letter.serialize_field("dedup_key", &self.dedup_key)?;
        letter.serialize_field("source", &self.source)?;
        letter.serialize_field("event_type", &self.event_type)?;
        letter.serialize_field("event_id", &self.event_id)?;
        letter.serialize_field("received_at", &text(self.received_at)?)?;
        letter.serialize_field("died_at", &text(self.died_at)?)?;
        letter.serialize_field("attempts", &self.attempts)?;
        letter.serialize_field("malformed", &self.malformed)?;
        letter.serialize_field("last_error", &self.last_error)?;
        letter.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_letter_serializes_with_its_names_and_times_as_texts() {
        let time = OffsetDateTime::UNIX_EPOCH;
        let letter = DeadLetter {
            id: DeadLetterId(7),
            dedup_key: "k".to_owned(),
            source: None,
            event_type: Some("market.created".to_owned()),
            event_id: None,
            received_at: time,
            died_at: time + time::Duration::milliseconds(1_500),
            attempts: 20,
            malformed: false,
            last_error: "e".to_owned(),
        };
        assert_eq!(
            serde_json::to_string(&letter).unwrap(),
            r#"{"id":7,"dedup_key":"k","source":null,"event_type":"market.created","event_id":null,"received_at":"1970-01-01T00:00:00Z","died_at":"1970-01-01T00:00:01.5Z","attempts":20,"malformed":false,"last_error":"e"}"#
        );
    }
}
