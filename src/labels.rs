//! The labels that a store keeps beside a body.

use std::borrow::Cow;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::event::{Envelope, split};

/// The labels that a store keeps beside a body, to find it and to recognise repetitions.
///
/// It comes from [`Delivery::labels`](crate::Delivery::labels), which reads the body once and
/// decodes no resource. A label is borrowed from the body if it has no escapes, and is never longer
/// than it. The sender chose the text: it may be long and contain any character (see
/// [`LogText`](crate::LogText)).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Labels<'a> {
    /// The event type, such as `instrument.updated`; `None` if the body is not an event.
    pub event_type: Option<Cow<'a, str>>,
    /// The id of the event, if it is a non-empty string.
    pub event_id: Option<Cow<'a, str>>,
    /// The part of the event type before its first dot, such as `instrument`; `None` if there is no
    /// dot or one of its sides is empty.
    pub resource: Option<Cow<'a, str>>,
    /// The `id` of the data: a non-empty string, or a number as it was written.
    pub resource_id: Option<Cow<'a, str>>,
    /// Same as [`Delivery::dedup_key`](crate::Delivery::dedup_key).
    pub dedup_key: String,
}

impl<'a> Labels<'a> {
    /// `t` is the text of the header's `t`.
    pub(crate) fn of(body: &'a Bytes, t: impl FnOnce() -> String) -> Self {
        let envelope = Envelope::parse(body).ok();
        let event_id = envelope.as_ref().and_then(event_id);
        let resource_id = envelope.as_ref().and_then(Envelope::resource_id);
        let names_an_event = envelope
            .as_ref()
            .is_some_and(|it| names_an_event(it, event_id.as_deref(), resource_id.as_deref()));
        let dedup_key = dedup_key(body, (!names_an_event).then(t));
        let event_type = envelope.map(Envelope::into_event_type);
        Self {
            resource: event_type.as_ref().and_then(resource),
            event_type,
            event_id,
            resource_id,
            dedup_key,
        }
    }

    /// The key alone.
    pub(crate) fn dedup_key_of(body: &Bytes, t: impl FnOnce() -> String) -> String {
        let names_an_event = Envelope::parse(body).is_ok_and(|envelope| {
            let (event_id, resource_id) = (event_id(&envelope), envelope.resource_id());
            names_an_event(&envelope, event_id.as_deref(), resource_id.as_deref())
        });
        dedup_key(body, (!names_an_event).then(t))
    }
}

fn event_id<'a>(envelope: &Envelope<'a>) -> Option<Cow<'a, str>> {
    envelope.id().filter(|id| !id.is_empty())
}

/// Returns whether the body names one event, so that two events are unlikely to share it: it has an
/// id that is not the resource's, a time, and a resource separate from both.
///
/// Without the last two, if the id names the resource, two changes that lead to the same state
/// would count as one event.
fn names_an_event(
    envelope: &Envelope<'_>,
    event_id: Option<&str>,
    resource_id: Option<&str>,
) -> bool {
    event_id.is_some()
        && event_id != resource_id
        && envelope.created_at().is_some()
        && envelope.has_resource()
}

fn resource<'a>(event_type: &Cow<'a, str>) -> Option<Cow<'a, str>> {
    match event_type {
        Cow::Borrowed(text) => split(text).map(|(resource, _)| Cow::Borrowed(resource)),
        Cow::Owned(text) => split(text).map(|(resource, _)| Cow::Owned(resource.to_owned())),
    }
}

/// Hashes the body, or the signed bytes for a body that does not name an event.
fn dedup_key(body: &[u8], t: Option<String>) -> String {
    let mut hash = Sha256::new();
    if let Some(t) = t {
        hash.update(t);
        hash.update(b".");
    }
    hash.update(body);
    format!("sha256:{}", hex::encode(hash.finalize()))
}
