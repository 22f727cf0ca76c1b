//! Receives [Ptolemy](https://www.ptolemy.cloud/docs) webhooks: checks the signature, decodes the
//! event, and hands it to your handler.
//!
//! ```
//! use ptolemy_webhooks::{Action, Payload, Reason, Secret, Signer, Verifier};
//!
//! let secret = Secret::new("whsec_a3f9b2c1d4e5f6a7b8c9d0e1")?;
//! let body = r#"{"event_type":"market.created","data":{"identifier":"asx"}}"#;
//! let header = Signer::new(&secret).sign(body.as_bytes()); // what Ptolemy does
//! let verifier = Verifier::new(secret);
//!
//! // Accepted: signed with the secret, and recent.
//! let event = verifier.receive(&header, body)?.event()?;
//! let Payload::Market(Action::Created, market) = event.payload? else { unreachable!() };
//! assert_eq!(market.identifier.as_deref(), Some("asx"));
//!
//! // Rejected: one byte of the body has changed.
//! let error = verifier.receive(&header, body.replace("asx", "asy")).unwrap_err();
//! assert_eq!(error.reason(), Reason::SignatureMismatch);
//! assert_eq!(error.to_string(), "signature does not match the body under any accepted secret");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Three types to know
//!
//! - [`Verifier`] keeps the secrets and verifies requests. [`Verifier::from_env`] reads the secrets
//!   from the environment, or from the files that it names.
//! - [`Delivery`] is a body whose signature is valid. Only a `Verifier` creates one.
//! - [`Event`] is the decoded body. Its [`Payload`] has a variant for each resource, with the
//!   [`Action`] and the data. Unknown event types are kept with their JSON and are not errors. If
//!   the data of a documented event type has an unknown shape, [`Event::payload`] is the error
//!   [`Malformed`], which names the field.
//!
//! With the features `axum` and `actix-web`, `Delivery` and `Event` are extractors: name one as the
//! argument of a handler, and put the `Verifier` into axum's state or actix-web's app data. If the
//! argument is a `Result<Event, Rejection>`, rejected requests reach the handler too. On any other
//! server, pass the request to [`Intake`], or call [`Verifier::receive`] with the value of the
//! signature header ([`only_header`]) and a body that is in memory.
//!
//! The [`guide`] begins with [a typed event in five minutes](guide::first_event), without an
//! account, followed by [tests of your handlers](guide::test_handlers), [rotation](guide::rotate),
//! [exactly-once work](guide::exactly_once) and [deployment](guide::production). If something
//! fails, see [My deliveries are rejected](guide::rejected) and [It does not
//! compile](guide::does_not_compile). The [README](https://docs.rs/crate/ptolemy-webhooks/latest)
//! has a program that stores each delivery before it is acknowledged.
//!
//! # When a request passes
//!
//! A request is checked in this order, and the first rule that it fails decides the response. The
//! code is that of [`Reason`], for counters and logs.
//!
//! 1. There is exactly one `Ptolemy-Signature` header, and it has the documented form. Otherwise
//!    the response is 401, with the code `missing_header`, `repeated_header` or `malformed_header`.
//!    ([`HeaderError`])
//! 2. Its time lies within the tolerance around the clock, 300 s in both directions. Otherwise the
//!    response is 401, `timestamp_too_old` or `timestamp_too_far_ahead`.
//! 3. The body is at most 1 MiB (configurable), both as declared and as received. Otherwise the
//!    response is 413, `body_too_large`. If the body breaks off, it is 400, `body_incomplete`.
//! 4. One of the signatures in the header is the HMAC-SHA256 of `{t}.{body}` under one of the
//!    accepted secrets. Otherwise the response is 401, `signature_mismatch`.
//! 5. For [`Event`], the body is one JSON object in UTF-8 with a non-empty string `event_type`.
//!    Otherwise the response is 422, `not_an_event`. ([`DecodeError`])
//!
//! Malformed data is not a rejection: the event reaches the handler. If the handler returns that
//! error, the response is 422, `malformed_data`. Without a `Verifier` in the app data, actix-web
//! responds with 500, `not_configured`.
//!
//! # Deployment
//!
//! - **Respond first.** Ptolemy expects a 2xx within 10 seconds and retries failed deliveries.
//!   Store the delivery, respond, work later.
//! - **Expect repetitions, in any order.** [`Delivery::dedup_key`] recognises a repetition. Note
//!   the key after the work or in the same transaction, never before. [`Event::created_at`] says
//!   when the event happened.
//! - **Set a timeout.** The extractors do not set one. Anyone can send a well-formed, recent header
//!   without the secret, so until rule 4 is checked, each connection can make the server buffer up
//!   to the body limit. Put a timeout layer around the handler, or a proxy in front, and limit the
//!   number of connections there.
//! - **Keep the proxy's body limit.** A rejection is sent at once, and the extractors then read and
//!   discard the rest of the body within bounds, so that a proxy passes the response on instead of
//!   reporting 502. `SECURITY.md` lists the bounds and the proxy settings that help.
//! - **Do not modify the body on the way.** A proxy that decompresses or reformats bodies breaks
//!   every signature, and so does a layer that decompresses requests in front of the extractor.
//!   Compressing responses is harmless. A proxy that folds two header lines into one makes the
//!   header malformed.
//! - **Keep the host's clock right.** Run NTP: rule 2 compares with that clock.
//! - **Use one secret for each endpoint.** Method, path and host are not signed.
//! - **Rotate without a gap.** [`Verifier::with_previous`] or `PTOLEMY_WEBHOOK_SECRET_PREVIOUS`
//!   accepts the old secret beside the new one. [`Delivery::secret_index`] shows when the old one
//!   is no longer used.
//! - **Observe the first deliveries.** [`Observations`] counts which assumptions of the next
//!   section are right, and says what each deviation costs. Until you know, extract [`Delivery`]
//!   and store it: any body with a valid signature is one.
//!
//! # What Ptolemy documents, and what is assumed
//!
//! No real Ptolemy delivery has been seen yet. Documented (read 2026-11): the header and its
//! signature, the 300 s, that an event has an `event_type`, the list of event types (the public
//! page is cut off after `membership`), the fields of some resources, numbers as strings, the 10
//! seconds and the retries.
//!
//! Assumed, because the public documentation does not show a whole delivery: that its JSON carries
//! the event type at its top level, under the name `event_type`; the rest of the JSON around the
//! data and its names; that the data is the resource as the API returns it, for every action; that
//! an `id` names one event. Each type says which of its parts are documented and which are assumed,
//! and [the guide](guide::documented_and_assumed) shows a whole delivery.
//!
//! If an assumption is wrong, a field around the data is `None`. Data that cannot be found or read
//! makes the payload [`Malformed`] if the event type is documented, and [`Payload::Unknown`]
//! otherwise. The JSON is kept as it was sent ([`Event::raw`], [`Event::data`]), and the event
//! reaches the handler, with one exception: if its type is neither under `event_type` nor under
//! `type`, the `Event` extractor answers 422 until Ptolemy stops retrying the event. A handler that
//! extracts [`Delivery`] receives it.
//!
//! # What is not here
//!
//! Storage, queueing and retries of your own work are in the companion crate
//! [`ptolemy-webhooks-inbox`](https://docs.rs/ptolemy-webhooks-inbox), a client for Ptolemy's API
//! is [`ptolemy-webhooks-client`](https://docs.rs/ptolemy-webhooks-client), and a stand-in for
//! Ptolemy to test against is
//! [`ptolemy-webhooks-sandbox`](https://docs.rs/ptolemy-webhooks-sandbox). An HTTP server, TLS and
//! the signatures of other providers are not here. [`Signer`] is for tests and tools.
//!
//! # Features
//!
//! No feature is on by default, and features are independent.
//!
//! - `axum`: the extractors, for axum 0.8. It depends on `axum-core`, not on the framework, and on
//!   tokio, whose tasks read and discard the bodies of rejected requests.
//! - `actix-web`: the extractors, for actix-web 4.
//! - `rust_decimal`: conversion of [`Scalar`] to `rust_decimal::Decimal`, exact or an error.
//! - `samples`: the module `samples`, with a realistic body for each known event type, for tests
//!   and tools.
//! - `metrics`: counters and histograms of the extractors and of [`Intake`], on the `metrics`
//!   facade, which recorders for Prometheus and OpenTelemetry implement. Without it the library
//!   contains no code for metrics. [Metrics, logs and alerts](guide::observability) lists them.
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

mod assumption;

mod metrics;

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
    EventType, Instrument, Malformed, MalformedKind, Market, MarketListing,
    MarketListingSuspension, Membership, OtherAction, Payload, RawJson, RawJsonError,
    RawJsonErrorKind, Scalar, TimeSeriesValue, Webhook,
};

pub use labels::Labels;

pub use delivery::Delivery;

pub use rejection::{Rejection, RejectionKind};

pub use assumption::{Assumption, Finding};

#[cfg(feature = "metrics")]
pub use crate::metrics::{describe_metrics, histogram_buckets};

pub use intake::Intake;

pub use sign::Signer;

pub use observations::{Deviation, Observation, Observations};

// The examples of the guide are compiled if all features that they use are on.
#[cfg(any(
    not(doctest),
    all(
        feature = "actix-web",
        feature = "axum",
        feature = "rust_decimal",
        feature = "samples"
    )
))]
pub mod guide;

// A page of the guide for the command line tool, which shows the causes that it lists.
#[cfg(feature = "samples")]
#[doc(hidden)]
pub const _REJECTED: &str = include_str!("../docs/rejected.md");

#[cfg(all(doctest, feature = "actix-web", feature = "axum"))]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(all(doctest, feature = "axum"))]
#[doc = include_str!("../tests/compile_fail.md")]
struct CompileFail;
