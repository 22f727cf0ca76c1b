//! The sender's side, for tests and tools.

use std::fmt;

use time::OffsetDateTime;

use crate::mac::Key;
use crate::secret::Secret;

/// Signs bodies as Ptolemy does, for tests of a receiver and for tools.
///
/// # Examples
///
/// ```
/// use ptolemy_webhooks::{Secret, Signer};
/// use time::macros::datetime;
///
/// let signer = Signer::new(&Secret::new("whsec_a3f9b2c1d4e5f6a7b8c9d0e1")?);
/// assert_eq!(
///     signer.sign_at(
///         br#"{"event_type":"instrument.created"}"#,
///         datetime!(2026-04-15 09:00 UTC),
///     ),
///     "t=1776243600,v1=dc2115f6520b291ddf3ee2f6165c1a83545e4bbb8e4df9bd50282a0e7763ed95",
/// );
/// # Ok::<(), ptolemy_webhooks::SecretError>(())
/// ```
pub struct Signer {
    key: Key,
}

impl Signer {
    /// Signs with `secret`.
    #[must_use]
    pub fn new(secret: &Secret) -> Self {
        Self {
            key: Key::new(secret),
        }
    }

    /// Returns the value of the `Ptolemy-Signature` header for `body`, signed now.
    #[must_use]
    pub fn sign(&self, body: &[u8]) -> String {
        self.sign_at(body, OffsetDateTime::now_utc())
    }

    /// Returns the value of the `Ptolemy-Signature` header for `body`, signed at `time`, truncated
    /// to whole seconds.
    ///
    /// A time before 1970 gives a negative `t`, which no receiver accepts.
    #[must_use]
    pub fn sign_at(&self, body: &[u8], time: OffsetDateTime) -> String {
        let t = time.unix_timestamp().to_string();
        let tag = self.key.tag(t.as_bytes(), body);
        format!("t={t},v1={}", tag.to_hex())
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer(..)")
    }
}
