//! Ids for events that the tool makes up: UUIDs, as the documentation says, whose first eight
//! digits show which command made them.

use sha2::{Digest as _, Sha256};

/// Returns a UUID of version 8, which is free for any use, that begins with these eight hex digits.
/// The rest is a hash of the parts, so equal parts have equal ids.
pub(crate) fn marked_id(prefix: &str, parts: &[&str]) -> String {
    let hex = hash(parts);
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!(
        "{prefix}-{}-8{}-8{}-{}",
        part(0, 4),
        part(4, 7),
        part(7, 10),
        part(10, 22)
    )
}

/// Returns a hash of the parts and of where each ends, in hex.
pub(crate) fn hash(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
        hash.update(b"\0");
    }
    hex::encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_uuid_of_version_8_that_only_equal_parts_repeat() {
        let id = marked_id("5e4d5e4d", &["one", "two"]);
        assert!(id.starts_with("5e4d5e4d-") && id.len() == 36, "{id}");
        assert_eq!((&id[14..15], &id[19..20]), ("8", "8"));
        let hex = |part: &str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
        assert_eq!(
            id.split('-').map(str::len).collect::<Vec<_>>(),
            [8, 4, 4, 4, 12]
        );
        assert!(id.split('-').all(hex), "{id}");
        assert_eq!(id, marked_id("5e4d5e4d", &["one", "two"]));
        assert_ne!(id, marked_id("5e4d5e4d", &["onetwo", ""]));
    }
}
