//! The label of a webhook that is being set up.

const BEFORE: &str = "(setup ";
const AFTER: &str = ")";
const NONCE_CHARS: usize = 16;

/// Returns a nonce: 16 hexadecimal digits. It must be unlikely to occur twice, but need not be hard
/// to guess.
pub(crate) fn new_nonce() -> String {
    format!("{:016x}", fastrand::u64(..))
}

/// Returns `production (setup 8f3a…)`, or only the part in parentheses without a label.
pub(crate) fn with_nonce(label: Option<&str>, nonce: &str) -> String {
    match label {
        Some(label) if !label.is_empty() => format!("{label} {BEFORE}{nonce}{AFTER}"),
        _ => format!("{BEFORE}{nonce}{AFTER}"),
    }
}

/// Returns the label without its nonce, and the nonce.
pub(crate) fn split(label: &str) -> (&str, Option<&str>) {
    let parts = label
        .strip_suffix(AFTER)
        .and_then(|label| label.rsplit_once(BEFORE))
        .filter(|(_, nonce)| {
            nonce.len() == NONCE_CHARS && nonce.bytes().all(|byte| byte.is_ascii_hexdigit())
        });
    match parts {
        Some(("", nonce)) => ("", Some(nonce)),
        Some((plain, nonce)) if plain.ends_with(' ') => {
            (plain.strip_suffix(' ').unwrap_or(plain), Some(nonce))
        }
        _ => (label, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_split_as_it_was_put_together() {
        for label in ["production", "a (setup", "(setup 1)", "é "] {
            let nonce = new_nonce();
            let marked = with_nonce(Some(label), &nonce);
            assert_eq!(split(&marked), (label, Some(nonce.as_str())));
            assert_eq!(split(label), (label, None));
        }
        assert_eq!(
            split(&with_nonce(None, &"a".repeat(16))),
            ("", Some("aaaaaaaaaaaaaaaa"))
        );
        let other = "production(setup 0123456789abcdef)";
        assert_eq!(split(other), (other, None));
    }
}
