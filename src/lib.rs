//! Receive [Ptolemy](https://www.ptolemy.cloud/docs) webhooks: check the signature, decode the
//! event, hand it to your handler.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    warn(
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unwrap_used
    )
)]
#![cfg_attr(ptolemy_webhooks_docs, feature(doc_cfg))]

mod secret;

mod header;

mod mac;
mod verify;

mod delivery;

mod event;

mod sign;

#[cfg(feature = "axum")]
mod extract;

pub use secret::{Secret, SecretError, SecretErrorKind};

pub use header::{MalformedHeader, SIGNATURE_HEADER, only_header};

pub use verify::{Verification, Verified, Verifier, VerifyError};

pub use delivery::Delivery;

pub use event::{
    CompositeItem, CompositeTimeSeriesValue, Decimal, DecodeError, DecodeErrorKind, Event,
    EventType, Instrument, Malformed, Market, MarketListing, MarketListingSuspension, Membership,
    Payload, RawJson, RawJsonError, TimeSeriesValue, UnknownEventType, Webhook,
};

pub use sign::Signer;

#[cfg(feature = "axum")]
pub use extract::{Rejection, RejectionKind};
