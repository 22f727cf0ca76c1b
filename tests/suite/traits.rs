//! The traits that the types implement, and those that they do not.

use ptolemy_webhooks::{
    Action, DecodeError, Delivery, Event, EventType, HeaderError, Instrument, Intake, Malformed,
    Payload, RawJson, Reason, Rejection, RejectionKind, Scalar, Secret, SecretError,
    SecretErrorKind, Signer, Verification, Verified, Verifier, VerifyError,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use static_assertions::{assert_impl_all, assert_not_impl_any};

// A JSON extractor must not be able to create a type that means a checked signature.
assert_not_impl_any!(Event: DeserializeOwned, std::str::FromStr, Default);
assert_not_impl_any!(Payload: DeserializeOwned, std::str::FromStr, Default);
assert_not_impl_any!(Delivery: DeserializeOwned, std::str::FromStr, Default);
assert_not_impl_any!(Event: TryFrom<bytes::Bytes>, TryFrom<Vec<u8>>, From<String>);
assert_not_impl_any!(Delivery: TryFrom<bytes::Bytes>, From<Vec<u8>>);
assert_not_impl_any!(Instrument: DeserializeOwned);
assert_not_impl_any!(Verified: DeserializeOwned, Default);

// A secret cannot be copied, printed, stored or compared in variable time.
assert_not_impl_any!(Secret: Clone, std::fmt::Display, Serialize, PartialEq, Default);

assert_impl_all!(Verified: Copy);
assert_impl_all!(Verification: Send, Sync, Unpin);
assert_not_impl_any!(Verification: Clone);
assert_impl_all!(Intake: Send, Sync, Unpin);
assert_not_impl_any!(Intake: Clone);
assert_impl_all!(Verifier: Clone, Send, Sync);
assert_impl_all!(Signer: Send, Sync);
assert_impl_all!(Delivery: Clone, Send, Sync);
assert_impl_all!(Event: Clone, std::fmt::Debug, PartialEq, Send, Sync);
assert_impl_all!(EventType: Serialize, DeserializeOwned, std::hash::Hash, Ord);
assert_impl_all!(Action: Serialize, DeserializeOwned, std::hash::Hash, Ord);
// As text, `10` would sort before `9`.
assert_not_impl_any!(Scalar: PartialOrd);
assert_impl_all!(RawJson: Clone, Send, Sync);
assert_impl_all!(Malformed: std::error::Error, Clone, Send, Sync);
assert_impl_all!(SecretError: std::error::Error, Send, Sync);
assert_impl_all!(HeaderError: std::error::Error, Copy, Send, Sync);
assert_impl_all!(VerifyError: std::error::Error, Copy, Send, Sync);
assert_impl_all!(Rejection: std::error::Error, Send, Sync);
// A kind is compared, counted and printed; `?` passes on the error that has the kind.
assert_impl_all!(SecretErrorKind: Copy, std::fmt::Display);
assert_not_impl_any!(SecretErrorKind: std::error::Error);
assert_impl_all!(RejectionKind: Clone, std::fmt::Display);
assert_not_impl_any!(RejectionKind: std::error::Error);
assert_impl_all!(Reason: Copy, Eq, std::hash::Hash, Ord, std::fmt::Display);
assert_impl_all!(DecodeError: std::error::Error, Send, Sync);

#[test]
fn a_cause_is_printed_or_offered_as_source_but_not_both() {
    use std::error::Error;
    let secret = Secret::new("").unwrap_err();
    assert!(secret.source().is_none());
    let verify = crate::verifier().begin("").unwrap_err();
    assert!(verify.source().is_none());
    let decode = Event::from_trusted_json("").unwrap_err();
    assert!(decode.source().is_none());
}

/// These types are moved often, and are part of the futures of handlers.
#[cfg(target_pointer_width = "64")]
#[test]
fn sizes_do_not_grow_unnoticed() {
    assert!(size_of::<Verified>() <= 24);
    assert!(size_of::<Verification>() <= 56);
    assert!(size_of::<Delivery>() <= 56);
    assert!(size_of::<RawJson>() <= 32);
    assert!(size_of::<EventType>() <= 24);
    assert!(size_of::<Payload>() <= 40);
    assert!(size_of::<Event>() <= 224);
    assert!(size_of::<VerifyError>() <= 40);
    assert!(size_of::<DecodeError>() <= 24);
}
