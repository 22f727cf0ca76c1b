//! Receives [Ptolemy](https://www.ptolemy.cloud/docs) webhooks: checks the signature, decodes the
//! event, and hands it to your handler.
//!
//! ```
//! use ptolemy_webhooks::{Action, Payload, Secret, Signer, Verifier};
//!
//! let secret = Secret::new("whsec_a3f9b2c1d4e5f6a7b8c9d0e1")?;
//! let body = r#"{"event_type":"market.created","data":{"identifier":"asx"}}"#;
//! let header = Signer::new(&secret).sign(body.as_bytes()); // what Ptolemy does
//!
//! let verifier = Verifier::new(secret);
//! let delivery = verifier.receive(header, body)?;
//! match delivery.event()?.payload {
//!     Ok(Payload::Market(Action::Created, market)) => assert_eq!(market.identifier.unwrap(), "asx"),
//!     _ => unreachable!(),
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Three types to know
//!
//! - [`Verifier`] keeps the secrets and verifies requests.
//! - [`Delivery`] is a body whose signature is valid. Only a `Verifier` creates one.
//! - [`Event`] is what the body says. Its [`Payload`] has a variant for each known type; what is not
//!   known is kept, and is no error.
//!
//! With the features `axum` and `actix-web`, `Delivery` and `Event` are extractors: name one as the
//! argument of a handler, and put the `Verifier` into axum's state or actix-web's app data. On any
//! other server, use [`Intake`], or call [`Verifier::receive`] with the value of the signature header
//! ([`only_header`]) and a body that is in memory.
//!
//! The [README](https://docs.rs/crate/ptolemy-webhooks/latest) has a whole program for each
//! framework. The guide is part of these docs when both frameworks' features are on, as on docs.rs,
//! and lies in the folder `docs` of the package.
#![cfg_attr(
    all(feature = "actix-web", feature = "axum"),
    doc = "[Recipes](_recipes) show tests, counters, rotation and workers; [My deliveries are refused](_refused) goes from the text of an answer to its cause."
)]
//!
//! # When a request passes
//!
//! A request is checked in this order, and the first rule that it breaks decides the response:
//!
//! 1. There is exactly one `Ptolemy-Signature` header, and it is well-formed; otherwise 401.
//!    ([`HeaderError`])
//! 2. Its time lies within the tolerance around the clock, 300 s in both directions; otherwise 401.
//!    ([`VerifyError::TooOld`], [`VerifyError::TooFarAhead`])
//! 3. The body is not longer than the limit, 1 MiB, neither by its declared length nor as it
//!    arrives; otherwise 413. A body that breaks off is 400.
//! 4. One of the signatures in the header is the HMAC-SHA256 of `{t}.{body}` under one of the
//!    accepted secrets; otherwise 401. ([`VerifyError::Mismatch`])
//! 5. For [`Event`], the body is one JSON object in UTF-8 with a non-empty string `event_type`;
//!    otherwise 422. ([`DecodeError`])
//!
//! # Deployment
//!
//! - **Answer first.** Ptolemy wants a 2xx within 10 seconds and sends again what fails. Store the
//!   delivery, answer, work later.
//! - **Expect repetitions, in any order.** [`Delivery::dedup_key`] recognises a repetition; an event's
//!   own time is [`Event::created_at`].
//! - **Limit the time.** The extractors set none, and a header that is well-formed and recent needs no
//!   secret: up to the body limit may be held for each connection until rule 4. Put a timeout layer
//!   around the handler, or a proxy in front, and limit the connections there.
//! - **Leave the bytes alone.** A proxy that decompresses or re-formats bodies breaks every signature,
//!   and so does a layer that decompresses requests in front of the extractor. Compressing answers does
//!   no harm. A proxy that folds two header lines into one makes the header malformed.
//! - **Keep the clock.** Run NTP; rule 2 compares with the host's clock.
//! - **One secret for each endpoint.** Method, path and host are not signed.
//! - **Rotate without a gap.** [`Verifier::with_previous`] or `PTOLEMY_WEBHOOK_SECRET_PREVIOUS` accepts the
//!   old secret beside the new; [`Delivery::secret_index`] shows when the old one is no longer used.
//!
//! # What Ptolemy documents, and what is assumed
//!
//! Documented (read 2026-11): the header and its signature, the 300 s, `event_type` and its list (which
//! breaks off at `membership`), the fields of some resources, numbers as strings, the 10 seconds and the
//! retries. Assumed: the JSON around the data and all its other names, that the data is the resource as
//! the API returns it, that an `id` names one event. Each type says which of its parts are which.
//!
//! Where an assumption is wrong, a field around the data is `None`; one wrong field in the data makes the
//! payload [`Malformed`], with the path of what did not fit. The JSON is there as it was sent
//! ([`Event::raw`], [`Event::data`]), and the event reaches the handler.
//!
//! # What is not here
//!
//! A store, a queue, retries of your own work: the package
//! [`ptolemy-webhooks-inbox`](https://docs.rs/ptolemy-webhooks-inbox) has them. A client for Ptolemy's API; an HTTP
//! server; TLS; signatures of other providers. [`Signer`] is for tests and tools.
//!
//! # Features
//!
//! No feature is on by default, and features are independent.
//!
//! - `axum`: the extractors, for axum 0.8. It depends on `axum-core` alone, not on the framework.
//! - `actix-web`: the extractors, for actix-web 4.
//! - `rust_decimal`: conversion of [`Scalar`] to `rust_decimal::Decimal`, if that is the type you
//!   calculate with.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    warn(
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::print_stderr,
        clippy::print_stdout,
        clippy::unwrap_used
    )
)]
#![cfg_attr(ptolemy_webhooks_docs, feature(doc_cfg))]

mod secret_error;

mod secret;

mod tag;

mod mac;

mod header;

mod reason;

mod verify_error;

mod clock;

mod verification;

mod verify;

mod text;

mod event;

mod labels;

mod delivery;

mod rejection;

mod intake;

mod sign;

#[cfg(feature = "samples")]
pub mod samples;

mod observations;

#[cfg(any(feature = "actix-web", feature = "axum"))]
mod extract;

pub use secret::Secret;

pub use secret_error::{SecretError, SecretErrorKind};

pub use header::{HeaderError, SIGNATURE_HEADER, only_header};

pub use reason::Reason;

pub use verify_error::VerifyError;

pub use verification::{Verification, Verified};

pub use verify::Verifier;

pub use text::LogText;

pub use event::{
    Action, CompositeItem, CompositeTimeSeriesValue, DecodeError, DecodeErrorKind, Event,
    EventType, Instrument, Malformed, Market, MarketListing, MarketListingSuspension, Membership,
    OtherAction, Payload, RawJson, RawJsonError, Scalar, TimeSeriesValue, Webhook,
};

pub use labels::Labels;

pub use delivery::Delivery;

pub use rejection::{Rejection, RejectionKind};

pub use intake::Intake;

pub use sign::Signer;

pub use observations::{Assumption, Deviation, Finding, Observation, Observations};

#[cfg(all(any(doc, doctest), feature = "actix-web", feature = "axum"))]
#[doc = include_str!("../docs/recipes.md")]
pub mod _recipes {}

#[cfg(all(any(doc, doctest), feature = "actix-web", feature = "axum"))]
#[doc = include_str!("../docs/refused.md")]
pub mod _refused {}

#[cfg(all(doctest, feature = "actix-web", feature = "axum"))]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(all(doctest, feature = "axum"))]
#[doc = include_str!("../tests/compile_fail.md")]
struct CompileFail;
