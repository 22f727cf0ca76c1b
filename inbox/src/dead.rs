use time::OffsetDateTime;

/// An event that failed for good and waits for a person.
///
/// [`Inbox::dead_letter_body`](crate::Inbox::dead_letter_body) has its body,
/// [`Inbox::replay`](crate::Inbox::replay) tries it again, and
/// [`Inbox::discard`](crate::Inbox::discard) gives it up.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The number of its row.
    pub id: i64,
    /// The key under which repetitions are recognised.
    pub dedup_key: String,
    /// Its event type, or the hash of one that is very long or has control characters; `None` if the
    /// body is no event.
    pub event_type: Option<String>,
    /// The event's own id, or its hash, likewise; `None` if it has none.
    pub event_id: Option<String>,
    /// When it was accepted.
    pub received_at: OffsetDateTime,
    /// When it died.
    pub died_at: OffsetDateTime,
    /// How often it was handed to a worker.
    pub attempts: u32,
    /// Why the last attempt failed, cut to 2,000 characters. A handler's error may quote the event.
    pub last_error: String,
}
