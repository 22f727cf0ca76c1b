//! A verification in progress, and its result.

use std::fmt;

use time::OffsetDateTime;

use crate::clock::Claim;
use crate::mac::{Mac, position_of_match};
use crate::tag::Tag;
use crate::verify_error::VerifyError;

/// A verification in progress: header and timestamp have passed, the body is arriving.
///
/// [`Verifier::begin`](crate::Verifier::begin) starts it, [`update`](Self::update) takes the body,
/// [`finish`](Self::finish) checks the signature. Until then nothing that was passed in is
/// authentic. To receive the body itself as a [`Delivery`](crate::Delivery), use
/// [`Intake`](crate::Intake).
///
/// # Examples
///
/// ```
/// use ptolemy_webhooks::{Secret, Signer, Verifier};
///
/// let secret = Secret::new("whsec_a3f9b2c1d4e5f6a7b8c9d0e1")?;
/// let header = Signer::new(&secret).sign(b"a body in three parts");
///
/// let mut verification = Verifier::new(secret).begin(header)?;
/// for part in ["a body ", "in three ", "parts"] {
///     verification.update(part.as_bytes());
/// }
/// assert_eq!(verification.finish()?.secret_index(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "nothing is verified before `finish`"]
pub struct Verification {
    macs: Vec<Mac>,
    candidates: Box<[Tag]>,
    claim: Claim,
}

impl Verification {
    pub(crate) fn new(claim: Claim, candidates: &[Tag], macs: Vec<Mac>) -> Self {
        Self {
            macs,
            candidates: candidates.into(),
            claim,
        }
    }

    /// Adds the next bytes of the body.
    pub fn update(&mut self, body: &[u8]) {
        for mac in &mut self.macs {
            mac.update(body);
        }
    }

    /// Checks that the header signs the bytes that were passed in.
    ///
    /// # Errors
    ///
    /// Returns [`VerifyError::Mismatch`] if it does not.
    pub fn finish(mut self) -> Result<Verified, VerifyError> {
        // In place, because a state that is moved out of the list is not wiped there.
        let tags = self.macs.iter_mut().map(Mac::finish);
        Verified::new(self.claim, position_of_match(tags, &self.candidates))
    }
}

impl fmt::Debug for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verification")
            .field("signed_at", &self.claim.signed_at())
            .finish_non_exhaustive()
    }
}

/// The result of a verification: when a request was signed, and with which secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    claim: Claim,
    secret_index: usize,
}

impl Verified {
    /// Accepts the claim if a secret matched.
    pub(crate) fn new(claim: Claim, secret_index: Option<usize>) -> Result<Self, VerifyError> {
        let secret_index = secret_index.ok_or(VerifyError::Mismatch)?;
        Ok(Self {
            claim,
            secret_index,
        })
    }

    /// The time at which the sender signed: the header's `t`.
    #[must_use]
    pub fn signed_at(&self) -> OffsetDateTime {
        self.claim.signed_at()
    }

    /// The index of the secret that signed: 0 for the first, then in the order in which they were
    /// added; the lowest if several match.
    ///
    /// A previous secret can be retired once deliveries no longer show its index.
    #[must_use]
    pub fn secret_index(&self) -> usize {
        self.secret_index
    }

    /// The text of `t` as it was sent, leading zeros included.
    pub(crate) fn t(&self) -> String {
        self.claim.t()
    }
}

impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified")
            .field("signed_at", &self.signed_at())
            .field("secret_index", &self.secret_index)
            .finish_non_exhaustive()
    }
}
