//! The stable codes of rejections, for counters and logs.

use std::fmt;

/// Why a request was rejected, as a stable code for counters, logs and alerts.
///
/// The codes never change; a later version may add new ones. [`Rejection`](crate::Rejection) and
/// [`VerifyError`](crate::VerifyError) return theirs, and the responses of the extractors carry it
/// in their extensions, so that a layer around the handlers can count rejections.
///
/// | Code ([`as_str`](Self::as_str)) | [Status](Self::status) | Meaning |
/// |---|---|---|
/// | `missing_header` | 401 | no `Ptolemy-Signature` header |
/// | `repeated_header` | 401 | more than one `Ptolemy-Signature` header |
/// | `malformed_header` | 401 | the header does not follow the documented form |
/// | `timestamp_too_old` | 401 | `t` lies further in the past than the tolerance allows |
/// | `timestamp_too_far_ahead` | 401 | `t` lies further in the future than the tolerance allows |
/// | `signature_mismatch` | 401 | no signature in the header is that of the body under an accepted secret |
/// | `body_too_large` | 413 | the body is longer than the limit |
/// | `body_incomplete` | 400 | the body broke off before its end |
/// | `not_an_event` | 422 | the signature is valid, but the body is not an event |
/// | `malformed_data` | 422 | the signature is valid, but the data of the event could not be decoded |
/// | `not_configured` | 500 | the server has no `Verifier`, or two |
///
/// # Examples
///
/// ```
/// use ptolemy_webhooks::{Reason, Rejection, only_header};
///
/// let rejection = Rejection::from(only_header([""; 0]).unwrap_err());
/// assert_eq!(rejection.reason(), Reason::MissingHeader);
/// assert_eq!(rejection.reason().as_str(), "missing_header");
/// assert_eq!(rejection.reason().status(), 401);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The request has no `Ptolemy-Signature` header.
    MissingHeader,
    /// The request has more than one `Ptolemy-Signature` header.
    RepeatedHeader,
    /// The header does not follow the documented form.
    MalformedHeader,
    /// `t` lies further in the past than the tolerance allows.
    TimestampTooOld,
    /// `t` lies further in the future than the tolerance allows.
    TimestampTooFarAhead,
    /// No signature in the header is that of the body under an accepted secret.
    SignatureMismatch,
    /// The body is longer than the limit.
    BodyTooLarge,
    /// The body broke off before its end.
    BodyIncomplete,
    /// The signature is valid, but the body is not an event.
    NotAnEvent,
    /// The signature is valid, but the data of the event could not be decoded.
    MalformedData,
    /// The server has no [`Verifier`](crate::Verifier).
    NotConfigured,
}

impl Reason {
    /// All reasons, for example to register one counter for each.
    pub const ALL: &[Self] = &[
        Self::MissingHeader,
        Self::RepeatedHeader,
        Self::MalformedHeader,
        Self::TimestampTooOld,
        Self::TimestampTooFarAhead,
        Self::SignatureMismatch,
        Self::BodyTooLarge,
        Self::BodyIncomplete,
        Self::NotAnEvent,
        Self::MalformedData,
        Self::NotConfigured,
    ];

    /// Returns the stable code, in snake case; `Display` prints it too.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MissingHeader => "missing_header",
            Self::RepeatedHeader => "repeated_header",
            Self::MalformedHeader => "malformed_header",
            Self::TimestampTooOld => "timestamp_too_old",
            Self::TimestampTooFarAhead => "timestamp_too_far_ahead",
            Self::SignatureMismatch => "signature_mismatch",
            Self::BodyTooLarge => "body_too_large",
            Self::BodyIncomplete => "body_incomplete",
            Self::NotAnEvent => "not_an_event",
            Self::MalformedData => "malformed_data",
            Self::NotConfigured => "not_configured",
        }
    }

    /// Returns the HTTP status code of the response.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::MissingHeader
            | Self::RepeatedHeader
            | Self::MalformedHeader
            | Self::TimestampTooOld
            | Self::TimestampTooFarAhead
            | Self::SignatureMismatch => 401,
            Self::BodyTooLarge => 413,
            Self::BodyIncomplete => 400,
            Self::NotAnEvent | Self::MalformedData => 422,
            Self::NotConfigured => 500,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
