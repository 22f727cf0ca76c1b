use std::fmt;

/// Why a body is not an event: it is not one JSON object in UTF-8 with a non-empty string
/// `event_type`.
///
/// The body of a [`Delivery`](crate::Delivery) does come from Ptolemy: keep it, and look for a
/// newer version of this crate. Unknown event types and data of another shape are not errors of
/// this type: see [`Event::payload`](crate::Event::payload).
///
/// The message names a position and never quotes the body.
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

    /// Same as `new`, at the byte of `body` that follows the first `offset`.
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

    /// What is wrong.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// The body is not valid UTF-8, even if only in a field that is ignored.
    NotUtf8,
    /// The body breaks JSON's grammar. A byte order mark also counts.
    NotJson,
    /// The body ends before its JSON does. This includes an empty body.
    Incomplete,
    /// Something follows the JSON value.
    Trailing,
    /// The body is JSON, but not an object.
    NotAnObject,
    /// The object has neither `event_type` nor its alternative `type`.
    MissingEventType,
    /// `event_type` is not a string, or contains a lone surrogate.
    EventTypeNotAString,
    /// `event_type` is an empty string.
    EmptyEventType,
}

impl fmt::Display for DecodeErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotUtf8 => "body is not valid UTF-8",
            Self::NotJson => "body is not valid JSON",
            Self::Incomplete => "body ends in the middle of its JSON",
            Self::Trailing => "body continues after its JSON",
            Self::NotAnObject => "body is a JSON value that is not an object",
            Self::MissingEventType => "`event_type` is missing from the object",
            Self::EventTypeNotAString => "`event_type` is not a string",
            Self::EmptyEventType => "`event_type` is empty",
        })
    }
}
