//! What the extractors of all frameworks share: judging, collecting, rejecting.
//!
//! The order of judgement is fixed here: one header line, header, clock; declared length; length
//! while reading; MAC. Nothing of the body is read before header and clock have passed.

#[cfg(feature = "actix-web")]
mod actix;
#[cfg(feature = "axum")]
mod axum;
#[cfg(feature = "axum")]
mod drain;
mod rejection;

use bytes::{Bytes, BytesMut};

use crate::delivery::Delivery;
use crate::header::only_header;
use crate::verify::{Verification, Verifier};

pub use rejection::{Rejection, RejectionKind};

/// The most that is reserved because a request declares its length.
const LARGEST_RESERVATION: usize = 64 * 1024;

/// A body on its way in, its MAC computed as it arrives.
struct Incoming {
    verification: Verification,
    limit: usize,
    reservation: usize,
    body: Body,
}

enum Body {
    /// Nothing, or the only chunk so far, which is kept as it is.
    One(Bytes),
    /// All chunks, copied together.
    Many(BytesMut),
}

impl Incoming {
    /// Judges all that can be judged before the body: `headers` are the values of the signature
    /// header, `declared` is the length that the request claims for its body.
    fn begin<T: AsRef<[u8]>>(
        verifier: &Verifier,
        headers: impl IntoIterator<Item = T>,
        declared: Option<u64>,
    ) -> Result<Self, Rejection> {
        let verification = verifier.begin(only_header(headers)?)?;
        let limit = verifier.longest_body();
        let declared = declared.unwrap_or(0);
        match usize::try_from(declared) {
            Ok(declared) if declared <= limit => Ok(Self {
                verification,
                limit,
                reservation: declared.min(LARGEST_RESERVATION),
                body: Body::One(Bytes::new()),
            }),
            _ => Err(Rejection::body_too_large(limit)),
        }
    }

    fn push(&mut self, chunk: Bytes) -> Result<(), Rejection> {
        let length = match &self.body {
            Body::One(body) => body.len(),
            Body::Many(body) => body.len(),
        };
        if chunk.len() > self.limit.saturating_sub(length) {
            return Err(Rejection::body_too_large(self.limit));
        }
        self.verification.update(&chunk);
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
        }
        Ok(())
    }

    fn finish(self) -> Result<Delivery, Rejection> {
        let verified = self.verification.finish()?;
        let body = match self.body {
            Body::One(body) => body,
            Body::Many(body) => body.freeze(),
        };
        Ok(Delivery::new(body, verified))
    }
}

/// The number in a `Content-Length` header; what is no number is the HTTP server's affair.
fn content_length(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.parse().ok()
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
            let mut incoming = Incoming::begin(&verifier, [header], Some(declared)).unwrap();
            incoming.push(Bytes::from("a")).unwrap();
            assert!(matches!(incoming.body, Body::One(_)));
            incoming.push(Bytes::from("b")).unwrap();
            match &incoming.body {
                Body::Many(body) => assert_eq!(body.capacity(), reserved),
                Body::One(_) => panic!("two chunks"),
            }
            assert_eq!(incoming.finish().unwrap().body(), "ab");
        }
    }
}
