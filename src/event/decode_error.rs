/// Why a body is not an event: it is not one JSON object in UTF-8 with a non-empty string
/// `event_type`.
///
/// If it is that of a [`Delivery`](crate::Delivery), it does come from Ptolemy: keep it, and look for
/// a newer version of this crate. Nothing else in a body leads to this error: see
/// [`Payload`](super::Payload) for event types and data that are not understood.
///
/// The message names a place and never quotes the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at line {line}, column {column}")]
pub struct DecodeError {
    kind: DecodeErrorKind,
    line: usize,
    column: usize,
}

impl DecodeError {
    pub(super) fn new(kind: DecodeErrorKind, (line, column): (usize, usize)) -> Self {
        Self { kind, line, column }
    }

    /// As `new`, at the byte of `body` that follows the first `offset`.
    pub(super) fn at(kind: DecodeErrorKind, body: &[u8], offset: usize) -> Self {
        let before = body.get(..offset).unwrap_or(body);
        let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
        let column = before
            .iter()
            .rev()
            .take_while(|&&byte| byte != b'\n')
            .count()
            + 1;
        Self::new(kind, (line, column))
    }

    /// Tells what is wrong.
    #[must_use]
    pub fn kind(&self) -> DecodeErrorKind {
        self.kind
    }

    /// The line of the body, counted from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.line
    }

    /// The column within the line, in bytes counted from 1; 0 if the line has no byte.
    #[must_use]
    pub fn column(&self) -> usize {
        self.column
    }
}

/// What is wrong with a body that is not an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// There is a byte that is not UTF-8, be it in a field that nobody reads.
    #[error("body is not valid UTF-8")]
    NotUtf8,
    /// JSON's grammar is broken. A byte order mark breaks it too.
    #[error("body is not valid JSON")]
    NotJson,
    /// The body ends before its JSON does; an empty body does so at once.
    #[error("body ends in the middle of its JSON")]
    Incomplete,
    /// Something follows the JSON value.
    #[error("body goes on after its JSON")]
    Trailing,
    /// The body is JSON, but no object.
    #[error("body is a JSON value that is not an object")]
    NotAnObject,
    /// The object has no `event_type`, nor a `type` that could stand for it.
    #[error("`event_type` is missing from the object")]
    MissingEventType,
    /// `event_type` is no string, or none that text can hold.
    #[error("`event_type` is not a string")]
    EventTypeNotAString,
    /// `event_type` is an empty string.
    #[error("`event_type` is empty")]
    EmptyEventType,
}
