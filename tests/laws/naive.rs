//! A second implementation of the signature check, as plain as possible: written from the contract
//! and from RFC 2104, independently of the library, without regard for speed or timing.

use sha2::{Digest, Sha256};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Malformed,
    TooOld,
    TooFarAhead,
    Mismatch,
    /// Signed by the secret with this index.
    Accept(usize),
}

pub(crate) struct Request<'a> {
    pub(crate) secrets: &'a [&'a [u8]],
    pub(crate) header: &'a [u8],
    pub(crate) body: &'a [u8],
    pub(crate) now: i64,
    pub(crate) tolerance: u64,
}

pub(crate) fn judge(request: &Request<'_>) -> Verdict {
    if request.header.len() > 4096 {
        return Verdict::Malformed;
    }
    // Latin-1: one character for each byte.
    let header: String = request
        .header
        .iter()
        .map(|&byte| char::from(byte))
        .collect();
    let mut t = Vec::new();
    let mut v1 = Vec::new();
    for part in header.split(',') {
        let part = part.trim_matches(|c| c == ' ' || c == '\t');
        match part.split_once('=') {
            Some(("t", value)) => t.push(value),
            Some(("v1", value)) => v1.push(value),
            _ => {}
        }
    }
    let [t] = t[..] else {
        return Verdict::Malformed;
    };
    if t.is_empty() || !t.chars().all(|c| c.is_ascii_digit()) {
        return Verdict::Malformed;
    }
    let Ok(seconds) = t.parse::<u64>() else {
        return Verdict::Malformed;
    };
    let count = v1.len();
    v1.retain(|v1| v1.len() == 64 && v1.chars().all(|c| c.is_ascii_hexdigit()));
    if count > 16 || v1.is_empty() {
        return Verdict::Malformed;
    }

    let age = i128::from(request.now) - i128::from(seconds);
    if seconds > 253_402_300_799 {
        return Verdict::TooFarAhead;
    }
    if age > i128::from(request.tolerance) {
        return Verdict::TooOld;
    }
    if -age > i128::from(request.tolerance) {
        return Verdict::TooFarAhead;
    }

    let message = [t.as_bytes(), b".", request.body].concat();
    let matches = |secret: &&[u8]| {
        let tag = hex(&hmac_sha256(secret, &message));
        v1.iter().any(|v1| v1.to_ascii_lowercase() == tag)
    };
    match request.secrets.iter().position(matches) {
        Some(index) => Verdict::Accept(index),
        None => Verdict::Mismatch,
    }
}

/// RFC 2104, section 2.
pub(crate) fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
    let key = if key.len() > 64 {
        Sha256::digest(key).to_vec()
    } else {
        key.to_vec()
    };
    let pad = |byte: u8| -> Vec<u8> {
        let padded = key.iter().copied().chain(std::iter::repeat(0));
        padded.take(64).map(|key| key ^ byte).collect()
    };
    let inner = Sha256::digest([pad(0x36), message.to_vec()].concat());
    Sha256::digest([pad(0x5c), inner.to_vec()].concat()).to_vec()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
