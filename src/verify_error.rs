//! Why a request could not be verified to come from Ptolemy.

use std::time::Duration;

use crate::header::HeaderError;
use crate::reason::Reason;

/// Why a request was not accepted as coming from Ptolemy.
///
/// Respond to each of them with 401, as Ptolemy's guide does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The `Ptolemy-Signature` header is missing, repeated or malformed.
    #[error(transparent)]
    Header(#[from] HeaderError),

    /// `t` lies further in the past than the tolerance allows.
    ///
    /// Usual causes: the receiver's clock is ahead, the request was delayed, or it is a replay.
    #[error("timestamp is {} s old, tolerance is {} s", age.as_secs(), tolerance.as_secs())]
    #[non_exhaustive]
    TooOld {
        /// The age of `t` by the verifier's clock, in whole seconds.
        age: Duration,
        /// The verifier's tolerance.
        tolerance: Duration,
    },

    /// `t` lies further in the future than the tolerance allows.
    ///
    /// Usual causes: the receiver's clock is behind, or the sender counts milliseconds. A `t` after
    /// the year 9999 is too far ahead for any tolerance.
    #[error(
        "timestamp is {} s ahead, tolerance is {} s{}",
        ahead.as_secs(),
        tolerance.as_secs(),
        if *in_milliseconds { "; `t` must count seconds and looks like milliseconds" } else { "" },
    )]
    #[non_exhaustive]
    TooFarAhead {
        /// By how much `t` is ahead of the verifier's clock, in whole seconds.
        ahead: Duration,
        /// The verifier's tolerance.
        tolerance: Duration,
        /// Whether `t` looks like a count of milliseconds.
        in_milliseconds: bool,
    },

    /// No candidate in the header is the MAC of the request under an accepted secret.
    ///
    /// Usual causes, apart from forgery:
    ///
    /// - the secret belongs to another webhook, or it was rotated and this receiver has only the
    ///   other one;
    /// - the body was parsed and serialized again before it was verified, which changes its bytes;
    /// - the body was decompressed in front of the verifier, or a proxy changed its encoding or its
    ///   line endings.
    #[error("signature does not match the body under any accepted secret")]
    Mismatch,
}

impl VerifyError {
    /// Returns the stable code of this error, for counters and logs.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Header(HeaderError::Missing) => Reason::MissingHeader,
            Self::Header(HeaderError::Repeated) => Reason::RepeatedHeader,
            Self::Header(_) => Reason::MalformedHeader,
            Self::TooOld { .. } => Reason::TimestampTooOld,
            Self::TooFarAhead { .. } => Reason::TimestampTooFarAhead,
            Self::Mismatch => Reason::SignatureMismatch,
        }
    }
}
