//! From a request of hyper to a delivery or an event, or to the response that rejects it.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HeaderValue, WWW_AUTHENTICATE};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Frame, Incoming};
use ptolemy_webhooks::{Delivery, Event, Intake, Rejection, SIGNATURE_HEADER, Verifier};
use tokio::sync::Semaphore;
use tokio::time::timeout;

const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The limits for reading the body of a rejected request.
const DISCARD_LIMIT: usize = 16 * 1024 * 1024;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);
/// Limits how many such bodies are read at once.
static DISCARDS: Semaphore = Semaphore::const_new(256);

/// The rest of a request's body.
struct Unread {
    body: Incoming,
    /// The client sends nothing before it is asked to, and the first read makes hyper ask.
    awaits_continue: bool,
}

impl Unread {
    async fn frame(&mut self) -> Option<hyper::Result<Frame<Bytes>>> {
        self.awaits_continue = false;
        self.body.frame().await
    }
}

/// Reads a delivery. Header, timestamp and declared length are checked before the body is read.
pub(crate) async fn delivery(
    verifier: &Verifier,
    request: Request<Incoming>,
) -> Result<Delivery, Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    let awaits_continue = head.headers.contains_key(EXPECT);
    let mut unread = Unread {
        body,
        awaits_continue,
    };
    let reading = read(verifier, &head.headers, &mut unread);
    let response = match timeout(BODY_TIMEOUT, reading).await {
        Ok(Ok(delivery)) => return Ok(delivery),
        Ok(Err(rejection)) => rejected(&rejection),
        Err(_) => response(StatusCode::REQUEST_TIMEOUT, "body is too slow"),
    };
    discard(unread);
    Err(response)
}

pub(crate) async fn event(
    verifier: &Verifier,
    request: Request<Incoming>,
) -> Result<Event, Response<Full<Bytes>>> {
    let event = delivery(verifier, request).await?.event();
    event.map_err(|error| rejected(&error.into()))
}

async fn read(
    verifier: &Verifier,
    headers: &HeaderMap,
    unread: &mut Unread,
) -> Result<Delivery, Rejection> {
    let declared = headers.get(CONTENT_LENGTH);
    let declared = declared.and_then(|value| value.to_str().ok()?.parse().ok());
    // `get` would return the first of two headers; `get_all` lets `Intake` reject them.
    let signatures = headers.get_all(SIGNATURE_HEADER);
    let mut intake = Intake::begin(verifier, signatures, declared)?;
    while let Some(frame) = unread.frame().await {
        // Other frames are trailers, which are not signed.
        if let Ok(chunk) = frame.map_err(Rejection::body_incomplete)?.into_data() {
            intake.push(chunk)?;
        }
    }
    intake.finish()
}

/// Reads the rest of a body while the response is sent. If it were dropped, hyper would close the
/// connection, and a proxy that is still sending reports 502 in place of the response.
fn discard(mut unread: Unread) {
    if unread.awaits_continue || unread.body.is_end_stream() {
        return;
    }
    // Without a free place the body is dropped.
    let Ok(place) = DISCARDS.try_acquire() else {
        return;
    };
    tokio::spawn(timeout(DISCARD_TIMEOUT, async move {
        let _place = place;
        let mut left = DISCARD_LIMIT;
        while let Some(Ok(frame)) = unread.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(length) {
                Some(rest) => left = rest,
                None => break,
            }
        }
    }));
}

fn rejected(rejection: &Rejection) -> Response<Full<Bytes>> {
    let status = StatusCode::from_u16(rejection.status());
    let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = response(status, rejection.to_string());
    if let Some(challenge) = rejection.challenge() {
        let challenge = HeaderValue::from_static(challenge);
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    response.extensions_mut().insert(rejection.reason());
    response
}

pub(crate) fn response(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}
