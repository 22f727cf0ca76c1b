//! The signature headers of an attempt, right or wrong.

use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use ptolemy_webhooks::{Secret, Signer};
use sha2::Sha256;
use time::OffsetDateTime;

use crate::delivery_fault::DeliveryFault;

/// By how much the time of a stale or future signature is off: twice the tolerance.
const TOO_FAR: Duration = Duration::from_secs(600);

/// The secrets that an attempt can be signed with.
#[derive(Clone)]
pub(crate) struct Secrets {
    pub(crate) current: String,
    /// The previous secret, or one that the receiver does not have.
    pub(crate) previous: String,
    pub(crate) foreign: String,
}

/// How an attempt is signed.
#[derive(Clone)]
pub(crate) struct Signing {
    pub(crate) secrets: Secrets,
    pub(crate) fault: Option<DeliveryFault>,
    pub(crate) upper_case: bool,
    pub(crate) several: bool,
    pub(crate) unknown_keys: bool,
}

impl Signing {
    /// Returns the values of the `Ptolemy-Signature` headers for `body`, signed on the host's
    /// clock, because on the virtual clock every advance would make them stale.
    pub(crate) fn headers(&self, body: &[u8]) -> Vec<String> {
        let now = OffsetDateTime::now_utc();
        let secrets = &self.secrets;
        let header = match self.fault {
            Some(DeliveryFault::NoHeader) => return Vec::new(),
            Some(DeliveryFault::WrongSecret) => sign(&secrets.foreign, body, now),
            Some(DeliveryFault::PreviousSecret) => sign(&secrets.previous, body, now),
            Some(DeliveryFault::Stale) => sign(&secrets.current, body, now - TOO_FAR),
            Some(DeliveryFault::Future) => sign(&secrets.current, body, now + TOO_FAR),
            Some(DeliveryFault::BothSecrets) => {
                both(&secrets.previous, &secrets.current, body, now)
            }
            Some(DeliveryFault::Milliseconds) => sign_milliseconds(&secrets.current, body, now),
            _ if self.several => both(&secrets.foreign, &secrets.current, body, now),
            _ => sign(&secrets.current, body, now),
        };
        let header = if self.upper_case {
            in_upper_case(&header)
        } else {
            header
        };
        let header = if self.unknown_keys {
            with_unknown_keys(&header)
        } else {
            header
        };
        match self.fault {
            Some(DeliveryFault::HeaderTwice) => vec![header.clone(), header],
            _ => vec![header],
        }
    }
}

fn sign(secret: &str, body: &[u8], time: OffsetDateTime) -> String {
    match Secret::new(secret) {
        Ok(secret) => Signer::new(&secret).sign_at(body, time),
        // Cannot happen: the sandbox generates its secrets.
        Err(_) => String::new(),
    }
}

/// Returns one header with the signatures under both secrets.
fn both(first: &str, second: &str, body: &[u8], time: OffsetDateTime) -> String {
    let second = sign(second, body, time);
    let tag = second.split_once(',').map(|(_, tag)| tag);
    format!("{},{}", sign(first, body, time), tag.unwrap_or_default())
}

/// Signs with milliseconds as `t`, which no date of [`Signer`] can express.
fn sign_milliseconds(secret: &str, body: &[u8], time: OffsetDateTime) -> String {
    let t = (time.unix_timestamp_nanos() / 1_000_000).to_string();
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else {
        // Cannot happen: HMAC takes keys of any length.
        return String::new();
    };
    mac.update(t.as_bytes());
    mac.update(b".");
    mac.update(body);
    let tag = mac.finalize().into_bytes();
    let hex: String = tag.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={t},v1={hex}")
}

/// Writes the hex of every `v1` in upper case.
fn in_upper_case(header: &str) -> String {
    let parts: Vec<String> = header
        .split(',')
        .map(|part| match part.strip_prefix("v1=") {
            Some(hex) => format!("v1={}", hex.to_uppercase()),
            None => part.to_owned(),
        })
        .collect();
    parts.join(",")
}

/// Puts `t` last, and unknown keys around the others.
fn with_unknown_keys(header: &str) -> String {
    let (t, tags) = header.split_once(',').unwrap_or((header, ""));
    format!("v0=00,{tags},kid=sandbox,{t}")
}
