//! One attempt: sign, POST, wait for the answer.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use http::{HeaderMap, Request, Response, Uri};
use hyper::body::Incoming;
use ptolemy_webhooks::SIGNATURE_HEADER;

use crate::connection;
use crate::delivery_fault::DeliveryFault;
use crate::hosts::Hosts;
use crate::log::Outcome;
use crate::signature::Signing;
use crate::steps::Steps;

/// The maximum length of a body that a fault makes longer, in bytes.
const MAX_LARGE_BODY: usize = 16 * 1024 * 1024;

/// Everything that one attempt needs.
#[derive(Clone)]
pub(crate) struct Parcel {
    pub(crate) url: String,
    pub(crate) body: Bytes,
    pub(crate) signing: Signing,
    pub(crate) fault: Option<DeliveryFault>,
    pub(crate) timeout: Duration,
    pub(crate) hosts: Hosts,
}

/// What was sent, and the answer, as far as the attempt came.
#[derive(Default)]
pub(crate) struct Sent {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) answer: Option<Response<Incoming>>,
}

/// Makes one attempt. Redirects are not followed.
pub(crate) async fn send(parcel: Parcel, sent: &mut Sent) -> Outcome {
    match tokio::time::timeout(parcel.timeout, exchange(parcel, sent)).await {
        Ok(outcome) => outcome,
        Err(_) => Outcome::TimedOut,
    }
}

async fn exchange(parcel: Parcel, sent: &mut Sent) -> Outcome {
    let lost = parcel.fault == Some(DeliveryFault::LoseAnswer);
    let Ok(url) = parcel.url.parse::<Uri>() else {
        return Outcome::NotConnected;
    };
    if !parcel.hosts.allow(&url) {
        return Outcome::NotLoopback;
    }
    let Some(request) = request(&url, parcel, sent) else {
        return Outcome::NotConnected;
    };
    let Ok(mut connection) = connection::connect(&url).await else {
        return Outcome::NotConnected;
    };
    match connection.send_request(request).await {
        Ok(response) => {
            let status = response.status().as_u16();
            sent.answer = Some(response);
            match lost {
                true => Outcome::AnswerLost(status),
                false => Outcome::Answered(status),
            }
        }
        Err(_) => Outcome::BrokenOff,
    }
}

fn request(url: &Uri, parcel: Parcel, sent: &mut Sent) -> Option<Request<Steps>> {
    let mut body = parcel.body;
    if let Some(DeliveryFault::LargeBody(bytes)) = parcel.fault {
        body = padded(&body, bytes);
    }
    let signatures = parcel.signing.headers(&body);
    if parcel.fault == Some(DeliveryFault::Tampered) {
        body = tampered(&body);
    }
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::post(path)
        .header(HOST, url.authority()?.as_str())
        .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
        .header(
            USER_AGENT,
            concat!("ptolemy-webhooks-sandbox/", env!("CARGO_PKG_VERSION")),
        );
    for signature in signatures {
        request = request.header(SIGNATURE_HEADER, signature);
    }
    sent.body = body.clone();
    let request = request.body(Steps::new(body, parcel.fault)).ok()?;
    sent.headers = request.headers().clone();
    Some(request)
}

/// Appends spaces, which JSON allows, until the body has `bytes` bytes, at most `MAX_LARGE_BODY`.
fn padded(body: &[u8], bytes: usize) -> Bytes {
    let mut padded = BytesMut::from(body);
    padded.resize(bytes.min(MAX_LARGE_BODY).max(body.len()), b' ');
    padded.freeze()
}

/// Changes one byte in the middle.
fn tampered(body: &[u8]) -> Bytes {
    let mut changed = BytesMut::from(body);
    match changed.get_mut(body.len() / 2) {
        Some(byte) => *byte ^= 1,
        None => changed.extend_from_slice(b" "),
    }
    changed.freeze()
}
