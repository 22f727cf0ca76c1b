//! The extractors for actix-web.

mod unread;

use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_LENGTH, ContentType, HeaderMap, WWW_AUTHENTICATE};
use actix_web::{FromRequest, HttpRequest, HttpResponse, ResponseError, web};
use futures_core::future::LocalBoxFuture;

use super::content_length;
use crate::delivery::Delivery;
use crate::event::Event;
use crate::header::SIGNATURE_HEADER;
use crate::intake::Intake;
use crate::metrics::rejected;
use crate::rejection::Rejection;
use crate::verify::Verifier;
use unread::Unread;

/// Extracts a body whose signature is valid; rejects the request with a [`Rejection`] otherwise.
///
/// The [`Verifier`] comes from the app data, either as it is or as `web::Data`, in each form the
/// nearest one. Without any, every response is a 500, and so it is with one in each form, unless
/// they share their secrets; then the one that is registered as it is counts. Header and timestamp
/// are checked before any of the body is read, and reading stops at the verifier's
/// [`body_limit`](Verifier::body_limit); actix-web's `PayloadConfig` does not apply.
///
/// A rejection closes the connection; actix-web discards the rest of the body until its
/// `client_disconnect_timeout`.
impl FromRequest for Delivery {
    type Error = Rejection;
    type Future = LocalBoxFuture<'static, Result<Self, Rejection>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        receive(request, payload, Ok)
    }
}

/// Extracts an event whose signature is valid; rejects the request with a [`Rejection`] otherwise.
///
/// It checks the same as the extractor `Delivery`, and rejects a body that is not an event with
/// 422.
impl FromRequest for Event {
    type Error = Rejection;
    type Future = LocalBoxFuture<'static, Result<Self, Rejection>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        receive(request, payload, |delivery| Ok(delivery.event()?))
    }
}

impl ResponseError for Rejection {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let mut builder = HttpResponse::build(self.status_code());
        // On a connection that stays open, actix-web reads pipelined requests without end, even if
        // the client does not read the responses.
        builder.force_close();
        builder.content_type(ContentType::plaintext());
        if let Some(challenge) = self.challenge() {
            builder.insert_header((WWW_AUTHENTICATE, challenge));
        }
        let mut response = builder.body(self.to_string());
        response.extensions_mut().insert(self.reason());
        response
    }
}

fn receive<T: 'static>(
    request: &HttpRequest,
    payload: &mut Payload,
    read: fn(Delivery) -> Result<T, Rejection>,
) -> LocalBoxFuture<'static, Result<T, Rejection>> {
    // The stream as it arrives: `web::Bytes` may decompress it, which changes the signed bytes.
    let mut payload = Unread::new(payload.take());
    let intake = begin(request);
    Box::pin(async move {
        let mut intake = intake?;
        while let Some(chunk) = payload.chunk().await {
            let chunk = chunk.map_err(|error| intake.broken(body_error(error)))?;
            intake.push(chunk)?;
        }
        intake.finish_as(read)
    })
}

fn begin(request: &HttpRequest) -> Result<Intake, Rejection> {
    let verifier = verifier(request).map_err(rejected)?;
    let headers = request.headers();
    Intake::begin(
        verifier,
        headers.get_all(SIGNATURE_HEADER),
        declared_length(headers),
    )
}

fn verifier(request: &HttpRequest) -> Result<&Verifier, Rejection> {
    let plain = request.app_data::<Verifier>();
    let shared = request.app_data::<web::Data<Verifier>>();
    match (plain, shared.map(web::Data::get_ref)) {
        // Each is the nearest of its form, and nothing shows which of the two is nearer.
        (Some(plain), Some(shared)) if !plain.shares_secrets_with(shared) => {
            Err(Rejection::two_verifiers())
        }
        (Some(verifier), _) | (None, Some(verifier)) => Ok(verifier),
        (None, None) => Err(Rejection::not_configured()),
    }
}

fn declared_length(headers: &HeaderMap) -> Option<u64> {
    content_length(headers.get(CONTENT_LENGTH)?.as_bytes())
}

fn body_error(error: PayloadError) -> Rejection {
    match error {
        PayloadError::Overflow => Rejection::body_too_large(),
        error => Rejection::body_incomplete(error),
    }
}
