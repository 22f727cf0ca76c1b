//! HMAC-SHA256 of any bytes under any key, to imitate senders with mistakes.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// Returns the tag of the parts, one after the other, in lower-case hex.
pub(crate) fn hex_tag(key: &[u8], parts: &[&[u8]]) -> String {
    let tag = tag(key, parts);
    tag.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the tag of the parts, one after the other.
pub(crate) fn tag(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        // Cannot happen: HMAC accepts keys of any length.
        return [0; 32];
    };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}
