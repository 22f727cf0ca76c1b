//! The labels that a store keeps beside a body.

use std::borrow::Cow;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::event::{Envelope, split};

/// The labels that a store keeps beside a body, to find it and to recognise repetitions.
///
/// It comes from [`Delivery::labels`](crate::Delivery::labels), which reads the body once and
/// decodes no resource. A label is borrowed from the body if it has no escapes, and is never longer
/// than it. The sender chose the text: it may be long and hold any character (see
/// [`LogText`](crate::LogText)).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Labels<'a> {
    /// The event type, such as `instrument.updated`; `None` if the body is not an event.
    pub event_type: Option<Cow<'a, str>>,
    /// The id of the event, if it is a non-empty string.
    pub event_id: Option<Cow<'a, str>>,
    /// The part of the event type before its first dot, such as `instrument`; `None` if there is no
    /// dot, or nothing on one of its sides.
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
        let dedup_key = dedup_key(body, event_id.is_none().then(t));
        let resource_id = envelope.as_ref().and_then(Envelope::resource_id);
        let event_type = envelope.map(Envelope::into_event_type);
        Self {
            resource: event_type.as_ref().and_then(resource),
            event_type,
            event_id,
            resource_id,
            dedup_key,
        }
    }

    /// The key alone, for which the data is not read.
    pub(crate) fn dedup_key_of(body: &Bytes, t: impl FnOnce() -> String) -> String {
        let envelope = Envelope::parse(body).ok();
        let event_id = envelope.as_ref().and_then(event_id);
        dedup_key(body, event_id.is_none().then(t))
    }
}

fn event_id<'a>(envelope: &Envelope<'a>) -> Option<Cow<'a, str>> {
    envelope.id().filter(|id| !id.is_empty())
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
