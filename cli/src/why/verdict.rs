//! The answer of a receiver with these secrets and this tolerance.

use bytes::Bytes;
use ptolemy_webhooks::{Delivery, Event, Reason, Rejection, Verifier, only_header};
use serde::Serialize;
use time::OffsetDateTime;

use crate::why::input::Saved;

/// When the request was received.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    pub(crate) time: OffsetDateTime,
    /// Whether the time was given; if not, it is now.
    pub(crate) is_given: bool,
}

/// The answer, and the time that it is for.
pub(crate) struct Verdict {
    pub(crate) result: Result<Delivery, Rejection>,
    /// The rejection because of the time, if that is a guess and another fault was found behind it.
    pub(crate) set_aside: Option<Rejection>,
}

/// Verifies the request in the order in which the library does.
///
/// A saved request is always too old now. So if the time was not given, and the clock is what
/// rejects the request, it is also verified at the time of `t`, to see whether anything else is
/// wrong.
pub(crate) fn verdict(
    verifier: &Verifier,
    saved: &Saved,
    clock: Clock,
    signed_at: Option<OffsetDateTime>,
) -> Verdict {
    let result = verify(verifier, saved, clock.time);
    if let (Err(rejection), Some(signed_at), false) = (&result, signed_at, clock.is_given)
        && is_clock(rejection.reason())
    {
        let behind = verify(verifier, saved, signed_at);
        if behind.is_err() {
            return Verdict {
                result: behind,
                set_aside: result.err(),
            };
        }
    }
    Verdict {
        result,
        set_aside: None,
    }
}

pub(crate) fn is_clock(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::TimestampTooOld | Reason::TimestampTooFarAhead
    )
}

fn verify(verifier: &Verifier, saved: &Saved, time: OffsetDateTime) -> Result<Delivery, Rejection> {
    let header = only_header(&saved.signatures)?;
    if saved.missing_from.is_some() {
        // Header and clock are checked before the body is read.
        drop(verifier.begin_at(header, time)?);
        return Err(Rejection::body_incomplete("the saved body is shorter"));
    }
    let verifier = verifier.clone().with_clock(move || time);
    let body = Bytes::copy_from_slice(&saved.body);
    Ok(verifier.receive(header, body)?)
}

/// Whether a valid delivery is an event.
#[derive(Debug, Serialize)]
pub(crate) struct EventReport {
    pub(crate) event_type: Option<String>,
    pub(crate) id: Option<String>,
    /// The code of the rejection, if it is not an event, or its data could not be decoded.
    pub(crate) code: Option<&'static str>,
    /// The text of that rejection.
    pub(crate) reason: Option<String>,
}

impl EventReport {
    pub(crate) fn new(delivery: &Delivery) -> Self {
        let (event, rejection) = match delivery.event() {
            Ok(event) => {
                let malformed = event.payload.as_ref().err().cloned();
                (Some(event), malformed.map(Rejection::from))
            }
            Err(error) => (None, Some(Rejection::from(error))),
        };
        let id = |event: &Event| event.id.clone();
        Self {
            event_type: event
                .as_ref()
                .map(|event| event.event_type.as_str().to_owned()),
            id: event.as_ref().and_then(id),
            code: rejection.as_ref().map(|it| it.reason().as_str()),
            reason: rejection.map(|it| it.to_string()),
        }
    }
}
