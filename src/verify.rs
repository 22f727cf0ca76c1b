//! Judging a request: the header, the clock, the MAC.

use std::fmt;
use std::mem;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use time::OffsetDateTime;

use crate::delivery::Delivery;
use crate::header::{self, Candidates, MalformedHeader, Tag, Timestamp};
use crate::mac::{self, Key, Mac};
use crate::secret::{Secret, SecretError, SecretErrorKind};

const SECRET_VARIABLE: &str = "PTOLEMY_WEBHOOK_SECRET";
const PREVIOUS_SECRET_VARIABLE: &str = "PTOLEMY_WEBHOOK_SECRET_PREVIOUS";

const DEFAULT_TOLERANCE: Duration = Duration::from_secs(300);
const DEFAULT_BODY_LIMIT: usize = 1024 * 1024;

/// 9999-12-31T23:59:59Z, the last second that `OffsetDateTime` always holds.
const LAST_SECOND: i64 = 253_402_300_799;

/// Judges whether a request comes from Ptolemy, unchanged and recent.
///
/// Keeps the keyed HMAC states of one or more [`Secret`]s. A clone is cheap and shares the secrets
/// with the verifier it came from, so [`replace_secrets`](Self::replace_secrets) on any of them
/// reaches all. The tolerance, the body limit and the clock belong to each value.
///
/// # Examples
///
/// ```
/// use ptolemy_webhooks::{Secret, Verifier};
/// use time::macros::datetime;
///
/// let verifier = Verifier::new(Secret::new("whsec_a3f9b2c1d4e5f6a7b8c9d0e1")?);
///
/// let verified = verifier.verify_at(
///     "t=1776243600,v1=dc2115f6520b291ddf3ee2f6165c1a83545e4bbb8e4df9bd50282a0e7763ed95",
///     br#"{"event_type":"instrument.created"}"#,
///     datetime!(2026-04-15 09:01 UTC),
/// )?;
/// assert_eq!(verified.signed_at(), datetime!(2026-04-15 09:00 UTC));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Verifier {
    keyring: Arc<RwLock<Arc<[Key]>>>,
    tolerance: Duration,
    body_limit: usize,
    /// `None` is the host's clock.
    clock: Option<fn() -> OffsetDateTime>,
}

impl Verifier {
    /// Accepts what is signed with `secret`.
    ///
    /// The tolerance is 300 s, as Ptolemy documents it, and the body limit 1 MiB.
    #[must_use]
    pub fn new(secret: Secret) -> Self {
        Self {
            keyring: keyring([Key::new(&secret)]),
            tolerance: DEFAULT_TOLERANCE,
            body_limit: DEFAULT_BODY_LIMIT,
            clock: None,
        }
    }

    /// Reads the secret from `PTOLEMY_WEBHOOK_SECRET` and, while a secret is being rotated, the one
    /// before it from `PTOLEMY_WEBHOOK_SECRET_PREVIOUS`.
    ///
    /// The first name is the one in Ptolemy's guide; the second is this library's. A second
    /// variable that is not set or empty means that there is no previous secret.
    ///
    /// # Errors
    ///
    /// Whatever [`Secret::from_env`] refuses. The error names the variable.
    pub fn from_env() -> Result<Self, SecretError> {
        let verifier = Self::new(Secret::from_env(SECRET_VARIABLE)?);
        match Secret::from_env(PREVIOUS_SECRET_VARIABLE) {
            Ok(previous) => Ok(verifier.also_accept(previous)),
            Err(error) => match error.kind() {
                SecretErrorKind::NotSet | SecretErrorKind::Empty => Ok(verifier),
                _ => Err(error),
            },
        }
    }

    /// Accepts what is signed with `secret` too, for the time of a rotation.
    ///
    /// Clones that were made before are not affected, and the returned verifier shares its secrets
    /// with none of them. Each secret costs one HMAC for each request.
    #[must_use]
    pub fn also_accept(mut self, secret: Secret) -> Self {
        let keys = self.keys();
        self.keyring = keyring(keys.iter().cloned().chain([Key::new(&secret)]));
        self
    }

    /// Sets how far `t` may lie from the clock, in the past or in the future; the bound itself
    /// passes.
    ///
    /// Ptolemy documents 300 s. That whole seconds are counted is this library's choice: fractions of
    /// a second of the tolerance and of the clock are cut off, so 300.9 s pass and 301 s do not.
    #[must_use]
    pub fn tolerance(mut self, tolerance: Duration) -> Self {
        self.tolerance = tolerance;
        self
    }

    /// Sets the longest body, in bytes, that the extractors read; the limit itself passes.
    #[must_use]
    pub fn body_limit(mut self, limit: usize) -> Self {
        self.body_limit = limit;
        self
    }

    /// Sets the clock that the short forms and the extractors read, for tests and replays.
    #[must_use]
    pub fn clock(mut self, clock: fn() -> OffsetDateTime) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Replaces the secrets of this verifier and of all clones that share them, while requests run.
    ///
    /// There is no instant without a secret. `current` becomes the secret with index 0; those of
    /// `also` follow. A [`Verification`] that has begun goes on with the secrets it began with.
    pub fn replace_secrets(&self, current: Secret, also: impl IntoIterator<Item = Secret>) {
        // All secrets first: a list of keys that grows would leave keys behind where it was.
        let secrets: Vec<_> = [current].into_iter().chain(also).collect();
        let keys: Arc<[Key]> = secrets.iter().map(Key::new).collect();
        // The lock guards one assignment, so a poisoned one still guards a whole keyring.
        let mut current = self.keyring.write().unwrap_or_else(PoisonError::into_inner);
        let replaced = mem::replace(&mut *current, keys);
        drop(current);
        drop(replaced);
    }

    /// Judges a body that is in memory, by the verifier's clock, without allocating.
    ///
    /// `header` is the value of the one `Ptolemy-Signature` header (see
    /// [`only_header`](crate::only_header)); `body` is the body as it arrived, byte for byte.
    ///
    /// # Errors
    ///
    /// Any [`VerifyError`] but [`MissingHeader`](VerifyError::MissingHeader) and
    /// [`RepeatedHeader`](VerifyError::RepeatedHeader).
    pub fn verify(&self, header: impl AsRef<[u8]>, body: &[u8]) -> Result<Verified, VerifyError> {
        self.verify_as_of(self.now(), header.as_ref(), body)
    }

    /// Judges a body that is in memory as of `now`.
    ///
    /// # Errors
    ///
    /// As for [`verify`](Self::verify).
    pub fn verify_at(
        &self,
        header: impl AsRef<[u8]>,
        body: &[u8],
        now: OffsetDateTime,
    ) -> Result<Verified, VerifyError> {
        self.verify_as_of(now.unix_timestamp(), header.as_ref(), body)
    }

    /// Judges a body and keeps it as a [`Delivery`], by the verifier's clock.
    ///
    /// This is the way in for a server without an extractor here. It neither copies the body nor
    /// limits its length: read no more than you want to hold.
    ///
    /// # Errors
    ///
    /// As for [`verify`](Self::verify).
    ///
    /// # Examples
    ///
    /// ```
    /// use ptolemy_webhooks::{Secret, Signer, Verifier};
    ///
    /// let secret = Secret::new("whsec_a3f9b2c1d4e5f6a7b8c9d0e1")?;
    /// let body = r#"{"id":"1","event_type":"market.created","data":{"identifier":"asx"}}"#;
    /// let header = Signer::new(&secret).sign(body.as_bytes());
    ///
    /// let delivery = Verifier::new(secret).receive(header, body)?;
    /// assert_eq!(delivery.event()?.event_type.as_str(), "market.created");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn receive(
        &self,
        header: impl AsRef<[u8]>,
        body: impl Into<Bytes>,
    ) -> Result<Delivery, VerifyError> {
        self.receive_as_of(self.now(), header.as_ref(), body.into())
    }

    /// Judges a body and keeps it as a [`Delivery`], as of `now`.
    ///
    /// # Errors
    ///
    /// As for [`verify`](Self::verify).
    pub fn receive_at(
        &self,
        header: impl AsRef<[u8]>,
        body: impl Into<Bytes>,
        now: OffsetDateTime,
    ) -> Result<Delivery, VerifyError> {
        self.receive_as_of(now.unix_timestamp(), header.as_ref(), body.into())
    }

    /// Judges the header and the clock before any of the body is there, by the verifier's clock.
    ///
    /// # Errors
    ///
    /// As for [`verify`](Self::verify), but for [`Mismatch`](VerifyError::Mismatch), which
    /// [`Verification::finish`] tells.
    pub fn begin(&self, header: impl AsRef<[u8]>) -> Result<Verification, VerifyError> {
        self.begin_as_of(self.now(), header.as_ref())
    }

    /// Judges the header and the clock before any of the body is there, as of `now`.
    ///
    /// # Errors
    ///
    /// As for [`begin`](Self::begin).
    pub fn begin_at(
        &self,
        header: impl AsRef<[u8]>,
        now: OffsetDateTime,
    ) -> Result<Verification, VerifyError> {
        self.begin_as_of(now.unix_timestamp(), header.as_ref())
    }

    #[cfg(any(feature = "actix-web", feature = "axum"))]
    pub(crate) fn longest_body(&self) -> usize {
        self.body_limit
    }

    fn keys(&self) -> Arc<[Key]> {
        let keys = self.keyring.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&keys)
    }

    /// The verifier's clock, in whole seconds since 1970.
    fn now(&self) -> i64 {
        self.clock
            .map_or_else(OffsetDateTime::now_utc, |clock| clock())
            .unix_timestamp()
    }

    fn verify_as_of(&self, now: i64, header: &[u8], body: &[u8]) -> Result<Verified, VerifyError> {
        let mut candidates = Candidates::none();
        let t = parse(header, &mut candidates)?;
        let claim = self.judge(now, &t)?;
        let keys = self.keys();
        let tags = keys.iter().map(|key| key.tag(t.text, body));
        claim.prove(mac::position_of_match(tags, candidates.as_slice()))
    }

    fn receive_as_of(&self, now: i64, header: &[u8], body: Bytes) -> Result<Delivery, VerifyError> {
        let verified = self.verify_as_of(now, header, &body)?;
        Ok(Delivery::new(body, verified))
    }

    fn begin_as_of(&self, now: i64, header: &[u8]) -> Result<Verification, VerifyError> {
        let mut candidates = Candidates::none();
        let t = parse(header, &mut candidates)?;
        Ok(Verification {
            claim: self.judge(now, &t)?,
            candidates: candidates.as_slice().into(),
            macs: Mac::begin_each(&self.keys(), t.text),
        })
    }

    /// Accepts `t` if it lies within the tolerance around `now`.
    fn judge(&self, now: i64, t: &Timestamp<'_>) -> Result<Claim, VerifyError> {
        let distance = i128::from(t.seconds).abs_diff(i128::from(now));
        let distance = Duration::from_secs(u64::try_from(distance).unwrap_or(u64::MAX));
        let seconds = i64::try_from(t.seconds).ok();
        match seconds.filter(|&seconds| seconds <= LAST_SECOND) {
            Some(seconds) if distance.as_secs() <= self.tolerance.as_secs() => Ok(Claim {
                seconds,
                t_length: t.text.len(),
            }),
            Some(seconds) if seconds < now => Err(VerifyError::TooOld {
                age: distance,
                tolerance: self.tolerance,
            }),
            _ => Err(VerifyError::TooFarAhead {
                ahead: distance,
                tolerance: self.tolerance,
                in_milliseconds: MILLISECONDS.contains(&t.seconds),
            }),
        }
    }
}

fn parse<'h>(header: &'h [u8], candidates: &mut Candidates) -> Result<Timestamp<'h>, VerifyError> {
    header::parse(header, candidates).map_err(VerifyError::MalformedHeader)
}

/// A `t` in this range is a time from 1973 to 5138 if it counts milliseconds, and one after 5138
/// if it counts seconds.
const MILLISECONDS: std::ops::Range<u64> = 100_000_000_000..100_000_000_000_000;

fn keyring(keys: impl IntoIterator<Item = Key>) -> Arc<RwLock<Arc<[Key]>>> {
    Arc::new(RwLock::new(keys.into_iter().collect()))
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("secrets", &self.keys().len())
            .field("tolerance", &self.tolerance)
            .field("body_limit", &self.body_limit)
            .finish_non_exhaustive()
    }
}

/// A judgement under way: header and clock have passed, the body is arriving.
///
/// Begun by [`Verifier::begin`], fed with [`update`](Self::update), ended by
/// [`finish`](Self::finish). Until then nothing that was fed is authentic.
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
    /// Takes in the next bytes of the body.
    pub fn update(&mut self, body: &[u8]) {
        for mac in &mut self.macs {
            mac.update(body);
        }
    }

    /// Tells whether the header signs what was taken in.
    ///
    /// # Errors
    ///
    /// [`VerifyError::Mismatch`] if it does not.
    pub fn finish(mut self) -> Result<Verified, VerifyError> {
        // Where they are: a state that is moved out of the list is not wiped there.
        let tags = self.macs.iter_mut().map(Mac::finish);
        self.claim
            .prove(mac::position_of_match(tags, &self.candidates))
    }
}

impl fmt::Debug for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verification")
            .field("signed_at", &self.claim.signed_at())
            .finish_non_exhaustive()
    }
}

/// What the header says of the time, before the MAC has borne it out.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Claim {
    /// In seconds since 1970, not after [`LAST_SECOND`].
    seconds: i64,
    t_length: usize,
}

impl Claim {
    /// Nothing is cut off here: no claim is after [`LAST_SECOND`].
    fn signed_at(self) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH.saturating_add(time::Duration::seconds(self.seconds))
    }

    fn prove(self, secret_index: Option<usize>) -> Result<Verified, VerifyError> {
        let secret_index = secret_index.ok_or(VerifyError::Mismatch)?;
        Ok(Verified {
            claim: self,
            secret_index,
        })
    }
}

/// What is known of a request whose signature held.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    claim: Claim,
    secret_index: usize,
}

impl Verified {
    /// The time at which the sender signed: the header's `t`.
    #[must_use]
    pub fn signed_at(&self) -> OffsetDateTime {
        self.claim.signed_at()
    }

    /// Which of the verifier's secrets signed: 0 for the first, then in the order in which they
    /// were added; the lowest where several match.
    ///
    /// A previous secret can be retired once deliveries no longer show its index.
    #[must_use]
    pub fn secret_index(&self) -> usize {
        self.secret_index
    }

    /// The text of `t` as it was sent, leading zeros included.
    pub(crate) fn t(&self) -> String {
        format!("{:0>1$}", self.claim.seconds, self.claim.t_length)
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

/// Why a request was not accepted as one of Ptolemy's.
///
/// Answer 401 to any of them, as Ptolemy's guide does.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The request has no `Ptolemy-Signature` header.
    #[error("header `Ptolemy-Signature` is missing")]
    MissingHeader,

    /// The request has the header more than once, which leaves open what was signed.
    #[error("header `Ptolemy-Signature` is repeated")]
    RepeatedHeader,

    /// The header does not follow the documented form.
    #[error("header `Ptolemy-Signature` is malformed: {0}")]
    MalformedHeader(MalformedHeader),

    /// `t` lies further in the past than the tolerance allows.
    ///
    /// Usual causes: a receiver's clock that is ahead, a request that was held up, a replay.
    #[error("timestamp is {} s old, tolerance is {} s", age.as_secs(), tolerance.as_secs())]
    #[non_exhaustive]
    TooOld {
        /// By how much `t` is older than the clock, in whole seconds.
        age: Duration,
        /// What the verifier allows.
        tolerance: Duration,
    },

    /// `t` lies further in the future than the tolerance allows.
    ///
    /// Usual causes: a receiver's clock that is behind, a `t` in milliseconds. A `t` after the year
    /// 9999 is too far ahead whatever the tolerance.
    #[error(
        "timestamp is {} s ahead, tolerance is {} s{}",
        ahead.as_secs(),
        tolerance.as_secs(),
        if *in_milliseconds { "; `t` looks like milliseconds, it counts seconds" } else { "" },
    )]
    #[non_exhaustive]
    TooFarAhead {
        /// By how much `t` is ahead of the clock, in whole seconds.
        ahead: Duration,
        /// What the verifier allows.
        tolerance: Duration,
        /// Whether `t` looks like a count of milliseconds.
        in_milliseconds: bool,
    },

    /// No candidate of the header is the MAC of the request under an accepted secret.
    ///
    /// Usual causes, apart from forgery:
    ///
    /// - the secret is that of another webhook, or it was rotated and this receiver has the other one;
    /// - the body was parsed and written again before it was verified, which changes its bytes;
    /// - the body was decompressed on the way, or a proxy changed its encoding or its line ends.
    #[error("signature does not match the body under any accepted secret")]
    Mismatch,
}
