//! The extractors of all frameworks, and the order of their checks.
//!
//! 1. There is exactly one signature header, and it is well-formed; its timestamp lies within the
//!    tolerance; the declared length of the body lies within the limit. [`Intake::begin`] checks
//!    this before the body is polled for the first time.
//! 2. The body arrives and stays within the limit: [`Intake::push`].
//! 3. The signature is valid: [`Intake::finish`], after the last chunk and not before.
//! 4. For an `Event`, the body is an event: [`Delivery::event`].
//!
//! The files of the frameworks contain transport only: where the verifier, the headers and the
//! chunks come from, and how a [`Rejection`] becomes a response.
//!
//! [`Intake::begin`]: crate::Intake::begin
//! [`Intake::push`]: crate::Intake::push
//! [`Intake::finish`]: crate::Intake::finish
//! [`Delivery::event`]: crate::Delivery::event
//! [`Rejection`]: crate::Rejection

#[cfg(feature = "actix-web")]
mod actix;
#[cfg(feature = "axum")]
mod axum;
#[cfg(feature = "axum")]
mod drain;

/// Returns the number in a `Content-Length` header; an invalid value is left to the HTTP server.
fn content_length(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}
