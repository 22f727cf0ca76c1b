//! A delivery: bytes whose signature is valid. `Verifier::receive` returns one.

use std::fmt;

use bytes::Bytes;
use time::OffsetDateTime;

use crate::event::{DecodeError, Event};
use crate::labels::Labels;
use crate::verification::Verified;
use crate::verify::Verifier;
use crate::verify_error::VerifyError;

/// A body whose signature is valid.
///
/// Only a [`Verifier`] creates one, through [`receive`](Verifier::receive),
/// [`Intake`](crate::Intake) or one of the extractors, so a `Delivery` in the signature of a
/// function means that its body was signed by Ptolemy. The body may be any bytes;
/// [`event`](Self::event) decodes them.
///
/// A clone shares the bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Delivery {
    body: Bytes,
    verified: Verified,
}

impl Verifier {
    /// Verifies a body and returns it as a [`Delivery`], using the verifier's clock.
    ///
    /// It neither copies the body nor limits its length: limit the body before you call this, or
    /// use [`Intake`](crate::Intake), which limits it while it arrives. A body that is borrowed
    /// must be copied first, because the delivery keeps it: pass `body.to_vec()`.
    ///
    /// # Errors
    ///
    /// Same as [`verify`](Self::verify).
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
        let body = body.into();
        let verified = self.verify(header, &body)?;
        Ok(Delivery::new(body, verified))
    }

    /// Verifies a body and returns it as a [`Delivery`], using `now`.
    ///
    /// # Errors
    ///
    /// Same as [`verify`](Self::verify).
    pub fn receive_at(
        &self,
        header: impl AsRef<[u8]>,
        body: impl Into<Bytes>,
        now: OffsetDateTime,
    ) -> Result<Delivery, VerifyError> {
        let body = body.into();
        let verified = self.verify_at(header, &body, now)?;
        Ok(Delivery::new(body, verified))
    }
}

impl Delivery {
    pub(crate) fn new(body: Bytes, verified: Verified) -> Self {
        Self { body, verified }
    }

    /// The body as it arrived, byte for byte.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Returns the body as it arrived, byte for byte.
    #[must_use]
    pub fn into_body(self) -> Bytes {
        self.body
    }

    /// The time at which the sender signed: the header's `t`.
    ///
    /// A delivery that is sent again may be signed again. The time of the event is
    /// [`Event::created_at`].
    #[must_use]
    pub fn signed_at(&self) -> OffsetDateTime {
        self.verified.signed_at()
    }

    /// The index of the secret that signed; see [`Verified::secret_index`].
    #[must_use]
    pub fn secret_index(&self) -> usize {
        self.verified.secret_index()
    }

    /// Decodes the body as an event.
    ///
    /// Unknown event types, and data of an unknown shape, are not errors of this function: see
    /// [`Event`].
    ///
    /// # Errors
    ///
    /// Returns an error if the body is not one JSON object in UTF-8 with a non-empty string
    /// `event_type`.
    pub fn event(&self) -> Result<Event, DecodeError> {
        Event::from_trusted_json(self.body.clone())
    }

    /// Returns a key under which repetitions of this delivery can be recognised: `sha256:` and 64
    /// hex digits.
    ///
    /// Deliveries can repeat. If the body names one event, the hash covers the body, so that a
    /// repetition has the same key even if it is signed again. A body names one event if it has a
    /// non-empty string as `id`, the time of the event, and an object as its data that does not
    /// have the same `id`. For any other body the hash covers the signed bytes, which are `t`, a
    /// dot and the body, so the same body signed at another second has another key.
    ///
    /// It is assumed, not documented by Ptolemy, that an `id` names one event. So the key is never
    /// built on `id` alone: two bodies with the same `id` have two keys. If the assumption is
    /// wrong, an event may be handled twice, but it is not dropped.
    #[must_use]
    pub fn dedup_key(&self) -> String {
        Labels::dedup_key_of(&self.body, || self.verified.t())
    }

    /// Returns the labels that a store keeps beside this delivery, from one reading of the body.
    ///
    /// # Examples
    ///
    /// ```
    /// use ptolemy_webhooks::{Secret, Signer, Verifier};
    ///
    /// let secret = Secret::new("whsec_a3f9b2c1d4e5f6a7b8c9d0e1")?;
    /// let body = r#"{"id":"e1","event_type":"market.created","data":{"id":"m1"}}"#;
    /// let header = Signer::new(&secret).sign(body.as_bytes());
    /// let delivery = Verifier::new(secret).receive(header, body)?;
    ///
    /// let labels = delivery.labels();
    /// assert_eq!(labels.event_id.as_deref(), Some("e1"));
    /// assert_eq!(labels.resource.as_deref(), Some("market"));
    /// assert_eq!(labels.resource_id.as_deref(), Some("m1"));
    /// assert_eq!(labels.dedup_key, delivery.dedup_key());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn labels(&self) -> Labels<'_> {
        Labels::of(&self.body, || self.verified.t())
    }
}

impl AsRef<[u8]> for Delivery {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("body", &format_args!("{} bytes", self.body.len()))
            .field("signed_at", &self.signed_at())
            .field("secret_index", &self.secret_index())
            .finish()
    }
}
