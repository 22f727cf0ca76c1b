//! What stands around the data of an event.

use std::borrow::Cow;

use bytes::Bytes;
use time::OffsetDateTime;

use super::decode_error::{DecodeError, DecodeErrorKind};
use super::field::{self, Field};
use super::json::{self, Json, Kind, ObjectError};

/// The envelope's fields by their names, where a field has several in the order in which they are
/// tried.
const NAMES: [&str; 10] = [
    "event_type",
    "type",
    "id",
    "workspace_id",
    "created_at",
    "occurred_at",
    "actor",
    "data",
    "payload",
    "resource",
];

const DATA_NAMES: [&str; 3] = ["data", "payload", "resource"];

/// An event's envelope, its values cut out and unread but for `event_type`.
pub(crate) struct Envelope<'a> {
    pub(super) event_type: Cow<'a, str>,
    id: Option<Json<'a>>,
    workspace_id: Option<Json<'a>>,
    created_at: [Option<Json<'a>>; 2],
    actor: Option<Json<'a>>,
    data: [Option<Json<'a>>; 3],
}

impl<'a> Envelope<'a> {
    pub(crate) fn parse(body: &'a Bytes) -> Result<Self, DecodeError> {
        let text = std::str::from_utf8(body).map_err(|error| {
            DecodeError::at(DecodeErrorKind::NotUtf8, body, error.valid_up_to())
        })?;

        let mut values = [None; NAMES.len()];
        json::members(text, |key, value| {
            if let Some(slot) = json::slot(&NAMES, &mut values, key) {
                *slot = Some(Json::new(value, body));
            }
        })
        .map_err(|error| not_an_object(&error, body))?;

        let [
            event_type,
            r#type,
            id,
            workspace_id,
            created_at,
            occurred_at,
            actor,
            data,
            payload,
            resource,
        ] = values;
        Ok(Self {
            event_type: read_event_type([event_type, r#type], body)?,
            id,
            workspace_id,
            created_at: [created_at, occurred_at],
            actor,
            data: [data, payload, resource],
        })
    }

    pub(crate) fn id(&self) -> Option<Cow<'a, str>> {
        first_string([self.id])
    }

    pub(super) fn workspace_id(&self) -> Option<Cow<'a, str>> {
        first_string([self.workspace_id])
    }

    pub(super) fn created_at(&self) -> Option<OffsetDateTime> {
        field::parse_time(&first_string(self.created_at)?)
    }

    pub(super) fn actor(&self) -> Option<Json<'a>> {
        self.actor.filter(|actor| actor.kind() != Kind::Null)
    }

    /// The resource, under the name that it goes by. What is no object is only there to be kept,
    /// as `data`.
    pub(super) fn data(&self) -> Field<'a> {
        DATA_NAMES
            .into_iter()
            .zip(self.data)
            .find(|(_, data)| data.is_some_and(|data| data.kind() == Kind::Object))
            .map_or_else(
                || Field::new("data", self.data_of_another_type()),
                |(name, data)| Field::new(name, data),
            )
    }

    fn data_of_another_type(&self) -> Option<Json<'a>> {
        let present = || self.data.into_iter().flatten();
        present()
            .find(|data| data.kind() != Kind::Null)
            .or_else(|| present().next())
    }
}

/// The first that is present with the wanted type wins, even if its text then cannot be held.
fn first_string<'a>(values: impl IntoIterator<Item = Option<Json<'a>>>) -> Option<Cow<'a, str>> {
    values
        .into_iter()
        .flatten()
        .find(|value| value.kind() == Kind::String)?
        .string()
}

fn read_event_type<'a>(
    values: [Option<Json<'a>>; 2],
    body: &Bytes,
) -> Result<Cow<'a, str>, DecodeError> {
    let is_wanted = |value: &Json<'_>| value.kind() == Kind::String && value.text() != "\"\"";
    let mut values = values.into_iter().flatten();
    let Some(first) = values.next() else {
        return Err(at_start(DecodeErrorKind::MissingEventType, body));
    };

    let chosen = [first].into_iter().chain(values).find(is_wanted);
    chosen.and_then(Json::string).ok_or_else(|| {
        let culprit = chosen.unwrap_or(first);
        let kind = match culprit.text() {
            "\"\"" => DecodeErrorKind::EmptyEventType,
            _ => DecodeErrorKind::EventTypeNotAString,
        };
        DecodeError::at(kind, body, culprit.offset())
    })
}

fn not_an_object(error: &ObjectError, body: &[u8]) -> DecodeError {
    let (kind, error) = match error {
        ObjectError::NotAnObject => return at_start(DecodeErrorKind::NotAnObject, body),
        ObjectError::Trailing(error) => (DecodeErrorKind::Trailing, error),
        ObjectError::Grammar(error) if error.is_eof() => (DecodeErrorKind::Incomplete, error),
        ObjectError::Grammar(error) => (DecodeErrorKind::NotJson, error),
    };
    DecodeError::new(kind, (error.line(), error.column()))
}

/// At the first byte of the JSON value.
fn at_start(kind: DecodeErrorKind, body: &[u8]) -> DecodeError {
    let space = body.iter().take_while(|byte| byte.is_ascii_whitespace());
    DecodeError::at(kind, body, space.count())
}
