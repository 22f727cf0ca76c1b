//! The response to a request that was rejected: status, reason and text, without a framework.

use std::error::Error;
use std::fmt;

use crate::event::{DecodeError, Malformed};
use crate::header::HeaderError;
use crate::reason::Reason;
use crate::verify_error::VerifyError;

/// Why a request was rejected, and the response to it.
///
/// The response has the [`status`](Self::status), the text that `Display` prints, one line, as
/// `text/plain; charset=utf-8`, and the [`challenge`](Self::challenge) as `WWW-Authenticate`. No
/// line quotes the request. The extractors build that response and put the [`Reason`] into its
/// extensions; on another server, build it from these methods.
///
/// To count or log rejections in a handler, or to respond in another way, take a `Result<Event,
/// Rejection>` as its argument. A handler that takes a [`Delivery`](crate::Delivery) can return a
/// `Rejection` as its error, and use `delivery.event()?`.
///
/// # Examples
///
/// ```
/// use ptolemy_webhooks::{Rejection, Secret, Verifier};
///
/// let verifier = Verifier::new(Secret::new("whsec_a3f9b2c1d4e5f6a7b8c9d0e1")?);
/// let rejection = Rejection::from(verifier.receive("t=1", "body").unwrap_err());
/// assert_eq!(rejection.status(), 401);
/// assert_eq!(rejection.reason().as_str(), "malformed_header");
/// assert_eq!(rejection.challenge(), Some("Ptolemy-Signature"));
/// assert_eq!(rejection.to_string(), "header `Ptolemy-Signature` is malformed: no `v1`");
/// # Ok::<(), ptolemy_webhooks::SecretError>(())
/// ```
#[derive(Debug)]
pub struct Rejection {
    kind: RejectionKind,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// The kind of a [`Rejection`], with its details. [`Reason`] is the same without them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RejectionKind {
    /// 401: the request is not proved to come from Ptolemy.
    Verify(VerifyError),
    /// 413: the body is longer than the verifier's [`body_limit`](crate::Verifier::body_limit), or
    /// than the limit of a layer around the handler.
    #[non_exhaustive]
    BodyTooLarge {
        /// The limit in bytes; `None` if it is the limit of a layer.
        limit: Option<usize>,
    },
    /// 400: the body broke off before its end.
    BodyIncomplete,
    /// 422: the signature is valid, but the body is not an event.
    Decode(DecodeError),
    /// 422: the signature is valid, but the data of a documented event type has an unknown shape.
    /// The extractors hand such an event to the handler, and `event.payload?` there returns this
    /// kind.
    Malformed(Malformed),
    /// 500: actix-web's app data contains no [`Verifier`](crate::Verifier), so no request can be
    /// verified. (In axum, such a program does not compile.)
    NotConfigured,
    /// 500: actix-web's app data contains one [`Verifier`](crate::Verifier) as it is and another
    /// one as `web::Data`, and does not show which of the two is nearer to the handler.
    TwoVerifiers,
}

impl Rejection {
    /// Returns the kind of the rejection, with its details.
    #[must_use]
    pub fn kind(&self) -> &RejectionKind {
        &self.kind
    }

    /// Returns the stable code of the rejection, for counters and logs.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match &self.kind {
            RejectionKind::Verify(error) => error.reason(),
            RejectionKind::BodyTooLarge { .. } => Reason::BodyTooLarge,
            RejectionKind::BodyIncomplete => Reason::BodyIncomplete,
            RejectionKind::Decode(_) => Reason::NotAnEvent,
            RejectionKind::Malformed(_) => Reason::MalformedData,
            RejectionKind::NotConfigured | RejectionKind::TwoVerifiers => Reason::NotConfigured,
        }
    }

    /// Returns the status code of the response.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.reason().status()
    }

    /// Returns the value of the response's `WWW-Authenticate` header: the scheme
    /// `Ptolemy-Signature` for status 401, `None` for any other.
    #[must_use]
    pub fn challenge(&self) -> Option<&'static str> {
        (self.status() == 401).then_some("Ptolemy-Signature")
    }

    /// Rejects a body that broke off, or that could not be read, before its end.
    ///
    /// `source` is the error of the server's body; it is returned by `source()` and never printed.
    #[must_use]
    pub fn body_incomplete(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            kind: RejectionKind::BodyIncomplete,
            source: Some(source.into()),
        }
    }

    /// Rejects a body that is longer than a limit of the server or of a layer around the handler.
    /// [`Intake`](crate::Intake) enforces the limit of the verifier itself.
    #[must_use]
    pub fn body_too_large() -> Self {
        Self::new(RejectionKind::BodyTooLarge { limit: None })
    }

    /// Rejects a request because the server has no [`Verifier`](crate::Verifier).
    #[must_use]
    pub fn not_configured() -> Self {
        Self::new(RejectionKind::NotConfigured)
    }

    #[cfg(feature = "actix-web")]
    pub(crate) fn two_verifiers() -> Self {
        Self::new(RejectionKind::TwoVerifiers)
    }

    pub(crate) fn over_limit(limit: usize) -> Self {
        let limit = Some(limit);
        Self::new(RejectionKind::BodyTooLarge { limit })
    }

    fn new(kind: RejectionKind) -> Self {
        Self { kind, source: None }
    }
}

impl From<VerifyError> for Rejection {
    fn from(error: VerifyError) -> Self {
        Self::new(RejectionKind::Verify(error))
    }
}

impl From<HeaderError> for Rejection {
    fn from(error: HeaderError) -> Self {
        VerifyError::from(error).into()
    }
}

impl From<DecodeError> for Rejection {
    fn from(error: DecodeError) -> Self {
        Self::new(RejectionKind::Decode(error))
    }
}

impl From<Malformed> for Rejection {
    fn from(malformed: Malformed) -> Self {
        Self::new(RejectionKind::Malformed(malformed))
    }
}

impl fmt::Display for RejectionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Verify(error) => error.fmt(f),
            Self::BodyTooLarge { limit: Some(limit) } => {
                write!(f, "body is longer than {limit} bytes")
            }
            Self::BodyTooLarge { limit: None } => {
                f.write_str("body is longer than the server allows")
            }
            Self::BodyIncomplete => f.write_str("body broke off before its end"),
            Self::Decode(error) => error.fmt(f),
            Self::Malformed(error) => error.fmt(f),
            Self::NotConfigured => f.write_str(
                "no `Verifier` is registered: call `.app_data(verifier)` on the `App` or the scope",
            ),
            Self::TwoVerifiers => f.write_str(
                "one `Verifier` is registered as it is and another one as `web::Data`: register \
                 both as they are",
            ),
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

impl Error for Rejection {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source
            .as_deref()
            .map(|source| source as &(dyn Error + 'static))
    }
}
