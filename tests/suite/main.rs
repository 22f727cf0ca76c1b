//! The tests of the library, in one binary. `tests/README.md` maps hostile inputs to tests.

mod delivery;
mod deploy;
mod docs;
mod event;
mod event_envelope;
mod header;
mod hmac;
mod hygiene;
mod intake;
mod layout;
mod mac;
mod observations;
mod properties;
mod readme;
mod reason;
mod release;
mod scalar;
mod secret;
mod traits;
mod vectors;
mod verifier;

#[cfg(feature = "actix-web")]
mod actix;
#[cfg(feature = "axum")]
mod axum;

#[cfg(all(feature = "actix-web", feature = "axum"))]
mod drain;
#[cfg(all(feature = "actix-web", feature = "axum", feature = "metrics"))]
mod metrics;
#[cfg(all(feature = "actix-web", feature = "axum"))]
mod rejected;
#[cfg(all(feature = "actix-web", feature = "axum"))]
mod transport;

#[cfg(all(feature = "actix-web", feature = "axum", feature = "samples"))]
mod front_page;

mod differential;

#[path = "../laws/mod.rs"]
mod laws;

#[cfg(unix)]
mod environment;

use ptolemy_webhooks::{Secret, Verifier, VerifyError};
use time::OffsetDateTime;

const SECRET: &str = "whsec_test_secret";
const NOW: i64 = 1_700_000_000;

fn secret(text: &str) -> Secret {
    Secret::new(text).expect("a secret in the documented form")
}

fn verifier() -> Verifier {
    Verifier::new(secret(SECRET))
}

fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds).expect("a time in range")
}

/// Returns the only header, or the error that verifying returns.
fn only_header<T: AsRef<[u8]>>(values: impl IntoIterator<Item = T>) -> Result<T, VerifyError> {
    Ok(ptolemy_webhooks::only_header(values)?)
}

/// Returns the header that signs `body` at [`NOW`].
fn signed(body: impl AsRef<[u8]>) -> String {
    ptolemy_webhooks::Signer::new(&secret(SECRET)).sign_at(body.as_ref(), at(NOW))
}
