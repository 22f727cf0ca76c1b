//! The extractors for axum.

mod unread;

use std::error::Error as _;
use std::iter::successors;

use axum_core::extract::{FromRef, FromRequest, Request};
use axum_core::response::{IntoResponse, Response};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};
use http_body_util::LengthLimitError;

use super::content_length;
use crate::delivery::Delivery;
use crate::event::Event;
use crate::header::SIGNATURE_HEADER;
use crate::intake::Intake;
use crate::rejection::Rejection;
use crate::verify::Verifier;
use unread::Unread;

/// Extracts a body whose signature is valid; rejects the request with a [`Rejection`] otherwise.
///
/// The [`Verifier`] comes from the router's state: either the state is a `Verifier`, or `Verifier`
/// implements `FromRef` for it (see axum's derive). Header and timestamp are checked before any of
/// the body is read, and reading stops at the verifier's [`body_limit`](Verifier::body_limit);
/// axum's `DefaultBodyLimit` does not apply.
///
/// The rest of a rejected body is read and discarded in a tokio task, up to 16 MiB and 2 s, which
/// needs a runtime with timers (`enable_time`).
impl<S> FromRequest<S> for Delivery
where
    S: Send + Sync,
    Verifier: FromRef<S>,
{
    type Rejection = Rejection;

    async fn from_request(request: Request, state: &S) -> Result<Self, Rejection> {
        receive(request, state, Ok).await
    }
}

/// Extracts an event whose signature is valid; rejects the request with a [`Rejection`] otherwise.
///
/// It checks the same as the extractor `Delivery`, and rejects a body that is not an event with
/// 422.
impl<S> FromRequest<S> for Event
where
    S: Send + Sync,
    Verifier: FromRef<S>,
{
    type Rejection = Rejection;

    async fn from_request(request: Request, state: &S) -> Result<Self, Rejection> {
        receive(request, state, |delivery| Ok(delivery.event()?)).await
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        let mut response = (status, [(CONTENT_TYPE, text)], self.to_string()).into_response();
        if let Some(challenge) = self.challenge() {
            response
                .headers_mut()
                .insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response.extensions_mut().insert(self.reason());
        response
    }
}

async fn receive<S, T>(
    request: Request,
    state: &S,
    read: fn(Delivery) -> Result<T, Rejection>,
) -> Result<T, Rejection>
where
    Verifier: FromRef<S>,
{
    let verifier = Verifier::from_ref(state);
    let (parts, body) = request.into_parts();
    let mut body = Unread::new(&parts, body);
    let mut intake = Intake::begin(
        &verifier,
        parts.headers.get_all(SIGNATURE_HEADER),
        declared_length(&parts.headers),
    )?;
    while let Some(chunk) = body.chunk().await {
        let chunk = chunk.map_err(|error| intake.broken(body_error(error)))?;
        intake.push(chunk)?;
    }
    intake.finish_as(read)
}

fn declared_length(headers: &HeaderMap) -> Option<u64> {
    content_length(headers.get(CONTENT_LENGTH)?.as_bytes())
}

fn body_error(error: axum_core::Error) -> Rejection {
    if successors(error.source(), |&error| error.source())
        .any(|error| error.is::<LengthLimitError>())
    {
        return Rejection::body_too_large();
    }
    Rejection::body_incomplete(error)
}
