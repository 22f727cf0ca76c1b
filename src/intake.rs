//! A delivery while its body arrives: limit and MAC on the stream.

use std::fmt;

use bytes::{Bytes, BytesMut};
use time::OffsetDateTime;

use crate::delivery::Delivery;
use crate::header::only_header;
use crate::metrics::Measure;
use crate::rejection::Rejection;
use crate::verification::Verification;
use crate::verify::Verifier;

/// A body of one chunk up to this length is copied: the chunk may be a small slice of a large
/// buffer of the server, which the delivery would keep alive.
const MAX_COPY: usize = 16 * 1024;

/// The most bytes that are reserved because a request declares its length.
const LARGEST_RESERVATION: usize = 64 * 1024;

/// A delivery while its body arrives, for any server.
///
/// The extractors are built on it. [`begin`](Self::begin) checks everything that can be checked
/// before the body, [`push`](Self::push) takes the body chunk by chunk and enforces the verifier's
/// [`body_limit`](Verifier::body_limit), and [`finish`](Self::finish) checks the signature and
/// returns the [`Delivery`]. The MAC is computed while the body arrives, and the clock is read
/// once, by `begin`.
///
/// A server has two duties that `Intake` cannot take over: it limits the time that a request may
/// take, and it calls `finish` only after the whole body has arrived. If the body breaks off, drop
/// the `Intake` and respond with [`Rejection::body_incomplete`].
///
/// # Examples
///
/// ```
/// use ptolemy_webhooks::{Intake, Reason, Rejection, Secret, Signer, Verifier};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let secret = Secret::new("whsec_a3f9b2c1d4e5f6a7b8c9d0e1")?;
/// let chunks = [r#"{"event_type":"#, r#""market.created"}"#];
/// let header = Signer::new(&secret).sign(chunks.concat().as_bytes());
/// let verifier = Verifier::new(secret);
///
/// // All values of the `Ptolemy-Signature` header, and the declared length, if there is one.
/// let mut intake = Intake::begin(&verifier, [header], Some(31))?;
/// for chunk in chunks {
///     intake.push(chunk)?;
/// }
/// let delivery = intake.finish()?;
/// assert_eq!(delivery.event()?.event_type.as_str(), "market.created");
///
/// let rejection = Intake::begin(&verifier, [""; 0], Some(31)).unwrap_err();
/// assert_eq!(rejection.reason(), Reason::MissingHeader);
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing is verified before `finish`"]
pub struct Intake {
    verification: Verification,
    limit: usize,
    /// How many bytes to reserve when a second chunk arrives.
    reservation: usize,
    body: Body,
    measure: Measure,
}

enum Body {
    /// Nothing, or the only chunk so far, which is kept as it is.
    One(Bytes),
    /// All chunks, copied together.
    Many(BytesMut),
    /// The body exceeded the limit, and the part that had arrived was dropped.
    TooLarge,
}

impl Intake {
    /// Checks the header, the timestamp and the declared length, using the verifier's clock.
    ///
    /// `header_values` are **all** values of the `Ptolemy-Signature` header, so that a missing or a
    /// repeated header is rejected: `headers.get_all(SIGNATURE_HEADER)` with the `http` crate.
    /// `declared` is the length that the request declares for its body, in bytes.
    ///
    /// # Errors
    ///
    /// Returns the [`Rejection`] of the first check that fails: one header, well-formed, timestamp
    /// within the tolerance, declared length within the limit.
    pub fn begin<T: AsRef<[u8]>>(
        verifier: &Verifier,
        header_values: impl IntoIterator<Item = T>,
        declared: Option<u64>,
    ) -> Result<Self, Rejection> {
        Self::new(verifier.body_limit(), declared, || {
            Ok(verifier.begin(only_header(header_values)?)?)
        })
    }

    /// Checks the header, the timestamp and the declared length, using `now`.
    ///
    /// # Errors
    ///
    /// Same as [`begin`](Self::begin).
    pub fn begin_at<T: AsRef<[u8]>>(
        verifier: &Verifier,
        header_values: impl IntoIterator<Item = T>,
        declared: Option<u64>,
        now: OffsetDateTime,
    ) -> Result<Self, Rejection> {
        Self::new(verifier.body_limit(), declared, || {
            Ok(verifier.begin_at(only_header(header_values)?, now)?)
        })
    }

    fn new(
        limit: usize,
        declared: Option<u64>,
        begin: impl FnOnce() -> Result<Verification, Rejection>,
    ) -> Result<Self, Rejection> {
        let mut measure = Measure::begin();
        let begun = measure
            .time(begin)
            .and_then(|verification| Ok((verification, reservation(limit, declared)?)));
        match begun {
            Ok((verification, reservation)) => Ok(Self {
                verification,
                limit,
                reservation,
                body: Body::One(Bytes::new()),
                measure,
            }),
            Err(rejection) => {
                measure.ended(Some(&rejection));
                Err(rejection)
            }
        }
    }

    /// Adds the next chunk of the body.
    ///
    /// A body of one chunk is kept without a copy if it is longer than 16 KiB.
    ///
    /// # Errors
    ///
    /// Returns a [`Rejection`] if the body becomes longer than the limit. From then on every `push`
    /// and `finish` returns the same error, and the body so far is dropped.
    pub fn push(&mut self, chunk: impl Into<Bytes>) -> Result<(), Rejection> {
        let chunk = chunk.into();
        match self.length() {
            Some(length) if chunk.len() <= self.limit.saturating_sub(length) => {}
            _ => {
                self.body = Body::TooLarge;
                let rejection = Rejection::over_limit(self.limit);
                self.measure.ended(Some(&rejection));
                return Err(rejection);
            }
        }
        self.measure.time(|| self.verification.update(&chunk));
        match &mut self.body {
            Body::One(body) if body.is_empty() => *body = chunk,
            Body::One(_) if chunk.is_empty() => {}
            Body::One(first) => {
                let length = first.len() + chunk.len();
                let mut body = BytesMut::with_capacity(self.reservation.max(length));
                body.extend_from_slice(first);
                body.extend_from_slice(&chunk);
                self.body = Body::Many(body);
            }
            Body::Many(body) => body.extend_from_slice(&chunk),
            Body::TooLarge => {}
        }
        Ok(())
    }

    /// Checks the signature of the whole body and returns it as a [`Delivery`].
    ///
    /// # Errors
    ///
    /// Returns a [`Rejection`] if no signature in the header is that of the body, or if a `push`
    /// failed.
    pub fn finish(self) -> Result<Delivery, Rejection> {
        self.finish_as(Ok)
    }

    /// Checks the signature, and reads the delivery: if that fails, the request is rejected too.
    pub(crate) fn finish_as<T>(
        self,
        read: impl FnOnce(Delivery) -> Result<T, Rejection>,
    ) -> Result<T, Rejection> {
        let Self {
            verification,
            limit,
            body,
            mut measure,
            ..
        } = self;
        let finished = measure.time(|| verified(verification, body, limit));
        measure.verified(finished.as_ref().ok());
        let result = finished.and_then(read);
        measure.ended(result.as_ref().err());
        result
    }

    /// Notes that the body cannot be read to its end.
    #[cfg(any(feature = "actix-web", feature = "axum"))]
    pub(crate) fn broken(&mut self, rejection: Rejection) -> Rejection {
        self.measure.ended(Some(&rejection));
        rejection
    }

    /// The number of bytes so far; `None` after a failed `push`.
    fn length(&self) -> Option<usize> {
        match &self.body {
            Body::One(body) => Some(body.len()),
            Body::Many(body) => Some(body.len()),
            Body::TooLarge => None,
        }
    }
}

fn reservation(limit: usize, declared: Option<u64>) -> Result<usize, Rejection> {
    match usize::try_from(declared.unwrap_or(0)) {
        Ok(declared) if declared <= limit => Ok(declared.min(LARGEST_RESERVATION)),
        _ => Err(Rejection::over_limit(limit)),
    }
}

fn verified(verification: Verification, body: Body, limit: usize) -> Result<Delivery, Rejection> {
    let body = match body {
        Body::One(body) if body.len() <= MAX_COPY => Bytes::copy_from_slice(&body),
        Body::One(body) => body,
        // A buffer that grew may be twice as long as the body.
        Body::Many(body) if body.capacity() > body.len() + body.len() / 4 => {
            Bytes::copy_from_slice(&body)
        }
        Body::Many(body) => body.freeze(),
        Body::TooLarge => return Err(Rejection::over_limit(limit)),
    };
    Ok(Delivery::new(body, verification.finish()?))
}

impl fmt::Debug for Intake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Intake")
            .field("length", &self.length())
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;
    use crate::sign::Signer;

    #[test]
    fn a_declared_length_reserves_no_more_than_64_kib_and_only_when_chunks_are_joined() {
        for (declared, reserved) in [(1_000_000, 65_536), (100, 100), (0, 2)] {
            let secret = Secret::new("whsec_test_secret").unwrap();
            let header = Signer::new(&secret).sign(b"ab");
            let verifier = Verifier::new(secret);
            let mut intake = Intake::begin(&verifier, [header], Some(declared)).unwrap();
            intake.push("a").unwrap();
            assert!(matches!(intake.body, Body::One(_)));
            intake.push("b").unwrap();
            match &intake.body {
                Body::Many(body) => assert_eq!(body.capacity(), reserved),
                _ => panic!("two chunks"),
            }
            assert_eq!(intake.finish().unwrap().body(), "ab");
        }
    }
}
