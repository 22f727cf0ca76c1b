//! The fields around the data of an event.

use std::borrow::Cow;

use bytes::Bytes;
use time::OffsetDateTime;

use super::decode_error::{DecodeError, DecodeErrorKind};
use super::field::Field;
use super::from_json::parse_time;
use super::json::{self, Json, Kind, ObjectError};

/// An event's envelope, whose values are cut out but not read, except for the event type.
///
/// Each list has the names of one field in the order in which they are tried.
pub(crate) struct Envelope<'a> {
    pub(super) event_type: Cow<'a, str>,
    pub(crate) types: [Field<'a>; 2],
    pub(crate) id: Option<Json<'a>>,
    pub(crate) workspace_id: Option<Json<'a>>,
    pub(crate) times: [Field<'a>; 2],
    pub(crate) actor: Option<Json<'a>>,
    pub(crate) resources: [Field<'a>; 3],
}

impl<'a> Envelope<'a> {
    pub(crate) fn parse(body: &'a Bytes) -> Result<Self, DecodeError> {
        let text = std::str::from_utf8(body).map_err(|error| {
            DecodeError::at(DecodeErrorKind::NotUtf8, body, error.valid_up_to())
        })?;

        let mut envelope = Self::empty();
        json::members(text, |key, value| {
            if let Some(slot) = key.and_then(|key| envelope.slot(key)) {
                *slot = Some(Json::new(value, body));
            }
        })
        .map_err(|error| not_an_object(&error, body))?;
        envelope.event_type = read_event_type(envelope.types, body)?;
        Ok(envelope)
    }

    pub(super) fn empty() -> Self {
        let absent = |name| Field::new(name, None);
        Self {
            event_type: Cow::Borrowed(""),
            types: ["event_type", "type"].map(absent),
            id: None,
            workspace_id: None,
            times: ["created_at", "occurred_at"].map(absent),
            actor: None,
            resources: ["data", "payload", "resource"].map(absent),
        }
    }

    pub(super) fn slot(&mut self, key: &str) -> Option<&mut Option<Json<'a>>> {
        match key {
            "id" => Some(&mut self.id),
            "workspace_id" => Some(&mut self.workspace_id),
            "actor" => Some(&mut self.actor),
            _ => {
                let several = self.types.iter_mut().chain(&mut self.times);
                let mut several = several.chain(&mut self.resources);
                Some(&mut several.find(|field| field.name == key)?.value)
            }
        }
    }

    pub(crate) fn event_type(&self) -> &str {
        &self.event_type
    }

    pub(crate) fn into_event_type(self) -> Cow<'a, str> {
        self.event_type
    }

    pub(crate) fn id(&self) -> Option<Cow<'a, str>> {
        string(self.id)
    }

    pub(super) fn workspace_id(&self) -> Option<Cow<'a, str>> {
        string(self.workspace_id)
    }

    /// The time under the first name that has a string, whether that string is a time or not.
    pub(crate) fn created_at(&self) -> Option<OffsetDateTime> {
        let is_string = |value: &Json<'_>| value.kind() == Kind::String;
        let time = self.times.iter().find_map(|f| f.value.filter(is_string))?;
        parse_time(&time.string()?).ok()
    }

    pub(super) fn actor(&self) -> Option<Json<'a>> {
        self.actor.filter(|actor| actor.kind() != Kind::Null)
    }

    /// The resource, under the first of its names that has an object. A value that is not an object
    /// is kept as `data` but not decoded.
    pub(crate) fn data(&self) -> Field<'a> {
        let is_object = |data: &Json<'_>| data.kind() == Kind::Object;
        self.resources
            .into_iter()
            .find(|field| field.value.as_ref().is_some_and(is_object))
            .unwrap_or_else(|| Field::new("data", self.data_of_another_type()))
    }

    /// Returns whether one of the names has an object.
    pub(crate) fn has_resource(&self) -> bool {
        let data = self.data().value;
        data.is_some_and(|data| data.kind() == Kind::Object)
    }

    fn data_of_another_type(&self) -> Option<Json<'a>> {
        let present = || self.resources.iter().filter_map(|field| field.value);
        present()
            .find(|data| data.kind() != Kind::Null)
            .or_else(|| present().next())
    }

    /// The `id` of the data: a non-empty string, or a number as it was written.
    pub(crate) fn resource_id(&self) -> Option<Cow<'a, str>> {
        resource_id(self.data().value?)
    }
}

/// The `id` of an object: a non-empty string, or a number as it was written.
pub(super) fn resource_id(data: Json<'_>) -> Option<Cow<'_, str>> {
    let id = data.member("id")?;
    match id.kind() {
        Kind::String => id.string().filter(|id| !id.is_empty()),
        Kind::Number => Some(Cow::Borrowed(id.text())),
        _ => None,
    }
}

fn string(value: Option<Json<'_>>) -> Option<Cow<'_, str>> {
    value.filter(|value| value.kind() == Kind::String)?.string()
}

/// The first name with a non-empty string wins, even if its text contains a lone surrogate.
pub(super) fn read_event_type<'a>(
    types: [Field<'a>; 2],
    body: &Bytes,
) -> Result<Cow<'a, str>, DecodeError> {
    let is_wanted = |value: &Json<'_>| value.kind() == Kind::String && value.text() != "\"\"";
    let mut values = types.into_iter().filter_map(|field| field.value);
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
