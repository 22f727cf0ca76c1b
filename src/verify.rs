//! `Verifier`: its settings and secrets, and how it checks a request.

use std::fmt;
use std::mem;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use time::OffsetDateTime;

use crate::clock::Claim;
use crate::header::{self, Candidates};
use crate::mac::{self, Key, Mac};
use crate::secret::Secret;
use crate::secret_error::{SecretError, SecretErrorKind};
use crate::verification::{Verification, Verified};
use crate::verify_error::VerifyError;

const SECRET_VARIABLE: &str = "PTOLEMY_WEBHOOK_SECRET";
const PREVIOUS_SECRET_VARIABLE: &str = "PTOLEMY_WEBHOOK_SECRET_PREVIOUS";

const DEFAULT_TOLERANCE: Duration = Duration::from_secs(300);
const DEFAULT_BODY_LIMIT: usize = 1024 * 1024;

/// Verifies that a request comes from Ptolemy, unchanged and recent.
///
/// It keeps the keyed HMAC states of one or more [`Secret`]s. A clone is cheap and shares the
/// secrets with the verifier it was cloned from, so [`replace_secrets`](Self::replace_secrets) on
/// any of them affects all. The tolerance, the body limit and the clock belong to each value.
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
    clock: Option<Arc<dyn Fn() -> OffsetDateTime + Send + Sync>>,
}

impl Verifier {
    /// Accepts requests signed with `secret`.
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

    /// Reads the secret, and during a rotation the previous one, from the environment.
    ///
    /// | Variable | Value | Required |
    /// |---|---|---|
    /// | `PTOLEMY_WEBHOOK_SECRET` | the secret | this or the next |
    /// | `PTOLEMY_WEBHOOK_SECRET_FILE` | path of a file that contains it | |
    /// | `PTOLEMY_WEBHOOK_SECRET_PREVIOUS` | the previous secret | no |
    /// | `PTOLEMY_WEBHOOK_SECRET_PREVIOUS_FILE` | path of a file that contains it | no |
    ///
    /// The first name is the one in Ptolemy's guide; the others are this library's. An empty
    /// variable counts as not set, except that an empty `PTOLEMY_WEBHOOK_SECRET` without a file is
    /// the error [`SecretErrorKind::Empty`]. An empty file of the previous secret means that there
    /// is none; a file that does not exist is an error. [`Secret::from_file`] describes how files
    /// are read.
    ///
    /// # Errors
    ///
    /// Returns an error if both forms of a secret are set, and if [`Secret::from_env`] or
    /// [`Secret::from_file`] returns one. The error names the variable.
    pub fn from_env() -> Result<Self, SecretError> {
        let verifier = Self::new(Secret::from_env_or_file(SECRET_VARIABLE)?);
        match Secret::from_env_or_file(PREVIOUS_SECRET_VARIABLE) {
            Ok(previous) => Ok(verifier.with_previous(previous)),
            // A file that is named and does not exist is a mistake.
            Err(error) if error.is_absent() && error.kind() != SecretErrorKind::Unreadable => {
                Ok(verifier)
            }
            Err(error) => Err(error),
        }
    }

    /// Also accepts requests signed with `secret`, for use during a rotation.
    ///
    /// Clones that were made before are not affected, and the returned verifier shares its secrets
    /// with none of them. Each secret costs one HMAC for each request.
    #[must_use]
    pub fn with_previous(mut self, secret: Secret) -> Self {
        let keys = self.keys();
        self.keyring = keyring(keys.iter().cloned().chain([Key::new(&secret)]));
        self
    }

    /// Sets how far `t` may lie from the clock, in the past or in the future, inclusive.
    ///
    /// Ptolemy documents 300 s. Both the tolerance and the clock are truncated to whole seconds,
    /// which is this library's choice: 300.9 s pass and 301 s do not.
    #[must_use]
    pub fn with_tolerance(mut self, tolerance: Duration) -> Self {
        self.tolerance = tolerance;
        self
    }

    /// Sets the longest body, in bytes, that [`Intake`](crate::Intake) and the extractors accept,
    /// inclusive.
    #[must_use]
    pub fn with_body_limit(mut self, limit: usize) -> Self {
        self.body_limit = limit;
        self
    }

    /// Sets the clock that is read by the extractors and by the methods without a `now`, for tests
    /// and replays.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicI64, Ordering};
    ///
    /// use ptolemy_webhooks::{Secret, Signer, Verifier};
    /// use time::OffsetDateTime;
    ///
    /// let secret = Secret::new("whsec_a3f9b2c1d4e5f6a7b8c9d0e1")?;
    /// let header = Signer::new(&secret).sign_at(b"body", OffsetDateTime::UNIX_EPOCH);
    ///
    /// let seconds = Arc::new(AtomicI64::new(300));
    /// let clock = Arc::clone(&seconds);
    /// let verifier = Verifier::new(secret).with_clock(move || {
    ///     OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(clock.load(Ordering::Relaxed))
    /// });
    /// assert!(verifier.verify(&header, b"body").is_ok());
    /// seconds.store(301, Ordering::Relaxed);
    /// assert!(verifier.verify(&header, b"body").is_err());
    /// # Ok::<(), ptolemy_webhooks::SecretError>(())
    /// ```
    #[must_use]
    pub fn with_clock(
        mut self,
        clock: impl Fn() -> OffsetDateTime + Send + Sync + 'static,
    ) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// How far `t` may lie from the clock.
    #[must_use]
    pub fn tolerance(&self) -> Duration {
        self.tolerance
    }

    /// The longest body, in bytes, that [`Intake`](crate::Intake) and the extractors accept.
    #[must_use]
    pub fn body_limit(&self) -> usize {
        self.body_limit
    }

    /// Replaces the secrets of this verifier and of all clones that share them, while requests run.
    ///
    /// At every moment some secret is in force. `current` becomes the secret with index 0; those of
    /// `also` follow. A [`Verification`] that has begun keeps the secrets it began with.
    pub fn replace_secrets(&self, current: Secret, also: impl IntoIterator<Item = Secret>) {
        // The secrets are collected first, because a growing list of keys would be reallocated and
        // leave key material behind.
        let secrets: Vec<_> = [current].into_iter().chain(also).collect();
        let keys: Arc<[Key]> = secrets.iter().map(Key::new).collect();
        // The lock guards one assignment, so even a poisoned lock guards a complete keyring.
        let mut current = self.keyring.write().unwrap_or_else(PoisonError::into_inner);
        let replaced = mem::replace(&mut *current, keys);
        drop(current);
        drop(replaced);
    }

    /// Makes `current` the current secret of this verifier and of all clones that share its
    /// secrets, and keeps accepting the one that was current until now.
    ///
    /// For a rotation while requests run: deliveries that were signed before it still verify.
    /// Secrets that were accepted besides the current one are dropped. If `current` is the current
    /// secret already, nothing changes, so a rotation may be repeated.
    ///
    /// # Examples
    ///
    /// ```
    /// use ptolemy_webhooks::{Secret, Signer, Verifier};
    ///
    /// let (old, new) = ("whsec_a3f9b2c1d4e5f6a7b8c9d0e1", "whsec_1e0d9c8b7a6f5e4d1c2b9f3a");
    /// let before = Signer::new(&Secret::new(old)?).sign(b"body");
    /// let after = Signer::new(&Secret::new(new)?).sign(b"body");
    ///
    /// let verifier = Verifier::new(Secret::new(old)?);
    /// verifier.rotate_secret(Secret::new(new)?);
    /// assert_eq!(verifier.verify(after, b"body")?.secret_index(), 0);
    /// assert_eq!(verifier.verify(before, b"body")?.secret_index(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn rotate_secret(&self, current: Secret) {
        let new = Key::new(&current);
        let mut keyring = self.keyring.write().unwrap_or_else(PoisonError::into_inner);
        if keyring.first().is_some_and(|key| key.is_same(&new)) {
            return;
        }
        let keys: Arc<[Key]> = [new].into_iter().chain(keyring.first().cloned()).collect();
        let replaced = mem::replace(&mut *keyring, keys);
        drop(keyring);
        drop(replaced);
    }

    /// Verifies a body that is in memory, using the verifier's clock, without allocating.
    ///
    /// `header` is the value of the one `Ptolemy-Signature` header (see
    /// [`only_header`](crate::only_header)); `body` is the body as it arrived, byte for byte.
    ///
    /// # Errors
    ///
    /// Returns the [`VerifyError`] of the first check that fails: header, timestamp, signature.
    pub fn verify(&self, header: impl AsRef<[u8]>, body: &[u8]) -> Result<Verified, VerifyError> {
        self.verify_as_of(self.now(), header.as_ref(), body)
    }

    /// Verifies a body that is in memory, using `now`.
    ///
    /// # Errors
    ///
    /// Same as [`verify`](Self::verify).
    pub fn verify_at(
        &self,
        header: impl AsRef<[u8]>,
        body: &[u8],
        now: OffsetDateTime,
    ) -> Result<Verified, VerifyError> {
        self.verify_as_of(now.unix_timestamp(), header.as_ref(), body)
    }

    /// Checks the header and the timestamp before the body arrives, using the verifier's clock.
    ///
    /// # Errors
    ///
    /// Returns the [`VerifyError`] of the first check that fails: header, timestamp.
    /// [`Verification::finish`] checks the signature.
    pub fn begin(&self, header: impl AsRef<[u8]>) -> Result<Verification, VerifyError> {
        self.begin_as_of(self.now(), header.as_ref())
    }

    /// Checks the header and the timestamp before the body arrives, using `now`.
    ///
    /// # Errors
    ///
    /// Same as [`begin`](Self::begin).
    pub fn begin_at(
        &self,
        header: impl AsRef<[u8]>,
        now: OffsetDateTime,
    ) -> Result<Verification, VerifyError> {
        self.begin_as_of(now.unix_timestamp(), header.as_ref())
    }

    /// Whether the two share their secrets, because one is a clone of the other.
    #[cfg(feature = "actix-web")]
    pub(crate) fn shares_secrets_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.keyring, &other.keyring)
    }

    fn keys(&self) -> Arc<[Key]> {
        let keys = self.keyring.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&keys)
    }

    /// The verifier's clock, in whole seconds since 1970.
    fn now(&self) -> i64 {
        self.clock
            .as_ref()
            .map_or_else(OffsetDateTime::now_utc, |clock| clock())
            .unix_timestamp()
    }

    fn verify_as_of(&self, now: i64, header: &[u8], body: &[u8]) -> Result<Verified, VerifyError> {
        let mut candidates = Candidates::none();
        let t = header::parse(header, &mut candidates)?;
        let claim = Claim::check(&t, now, self.tolerance)?;
        let keys = self.keys();
        let tags = keys.iter().map(|key| key.tag(t.text, body));
        Verified::new(claim, mac::position_of_match(tags, candidates.as_slice()))
    }

    fn begin_as_of(&self, now: i64, header: &[u8]) -> Result<Verification, VerifyError> {
        let mut candidates = Candidates::none();
        let t = header::parse(header, &mut candidates)?;
        let claim = Claim::check(&t, now, self.tolerance)?;
        let macs = Mac::begin_each(&self.keys(), t.text);
        Ok(Verification::new(claim, candidates.as_slice(), macs))
    }
}

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
