use std::error::Error;
use std::fmt;

use crate::event::DecodeError;
use crate::verify::VerifyError;

/// Why an extractor did not hand over a [`Delivery`](crate::Delivery) or an
/// [`Event`](crate::Event), and the response to that.
///
/// The response has the [`status`](Self::status) of the [`kind`](Self::kind) and, as
/// `text/plain; charset=utf-8`, the one line that `Display` prints. A 401 carries
/// `WWW-Authenticate: Ptolemy-Signature`. The line never quotes the request.
///
/// To count or log rejections, or to answer in another way, take a `Result<Event, Rejection>` as
/// the argument of the handler. A handler that takes a [`Delivery`](crate::Delivery) can return a
/// `Rejection` as its error, and write `delivery.event()?`.
#[derive(Debug)]
pub struct Rejection {
    kind: RejectionKind,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// What an extractor objects to, and the status of the response.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RejectionKind {
    /// 401: the request is not proved to be Ptolemy's.
    Verify(VerifyError),
    /// 413: the body is longer than the verifier's
    /// [`body_limit`](crate::Verifier::body_limit), or than a limit that a layer around the
    /// handler sets.
    #[non_exhaustive]
    BodyTooLarge {
        /// The limit in bytes; `None` if it is that of a layer.
        limit: Option<usize>,
    },
    /// 400: the body broke off before its end.
    BodyIncomplete,
    /// 422: the signature holds, and the body is not an event.
    Decode(DecodeError),
    /// 500: actix-web's app data holds no [`Verifier`](crate::Verifier), so nothing can be judged.
    /// (In axum, such a program does not compile.)
    NotConfigured,
}

impl Rejection {
    /// Tells what the extractor objects to.
    #[must_use]
    pub fn kind(&self) -> &RejectionKind {
        &self.kind
    }

    /// The status code of the response.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self.kind {
            RejectionKind::Verify(_) => 401,
            RejectionKind::BodyTooLarge { .. } => 413,
            RejectionKind::BodyIncomplete => 400,
            RejectionKind::Decode(_) => 422,
            RejectionKind::NotConfigured => 500,
        }
    }

    /// The scheme for the `WWW-Authenticate` header of the response, if it has one.
    pub(super) fn challenge(&self) -> Option<&'static str> {
        (self.status() == 401).then_some("Ptolemy-Signature")
    }

    fn new(kind: RejectionKind) -> Self {
        Self { kind, source: None }
    }

    pub(super) fn body_too_large(limit: impl Into<Option<usize>>) -> Self {
        let limit = limit.into();
        Self::new(RejectionKind::BodyTooLarge { limit })
    }

    #[cfg(feature = "actix-web")]
    pub(super) fn not_configured() -> Self {
        Self::new(RejectionKind::NotConfigured)
    }

    pub(super) fn body_incomplete(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            kind: RejectionKind::BodyIncomplete,
            source: Some(source.into()),
        }
    }
}

impl From<VerifyError> for Rejection {
    fn from(error: VerifyError) -> Self {
        Self::new(RejectionKind::Verify(error))
    }
}

impl From<DecodeError> for Rejection {
    fn from(error: DecodeError) -> Self {
        Self::new(RejectionKind::Decode(error))
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            RejectionKind::Verify(error) => error.fmt(f),
            RejectionKind::BodyTooLarge { limit: Some(limit) } => {
                write!(f, "body is longer than {limit} bytes")
            }
            RejectionKind::BodyTooLarge { limit: None } => {
                f.write_str("body is longer than the server allows")
            }
            RejectionKind::BodyIncomplete => f.write_str("body broke off before its end"),
            RejectionKind::Decode(error) => error.fmt(f),
            RejectionKind::NotConfigured => f.write_str(
                "no `Verifier` is registered: call `.app_data(verifier)` on the `App` or the scope",
            ),
        }
    }
}

impl Error for Rejection {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source
            .as_deref()
            .map(|source| source as &(dyn Error + 'static))
    }
}
