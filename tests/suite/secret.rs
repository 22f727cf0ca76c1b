//! Secrets: what is refused, and what is never shown.

use ptolemy_webhooks::{Secret, SecretErrorKind, Verifier};

use crate::{NOW, at, signed};

#[test]
fn a_secret_in_the_documented_form_is_accepted() {
    for text in ["whsec_a3f9b2c1d4e5f6a7b8c9d0e1", "whsec_x", "whsec_+/=é"] {
        assert!(Secret::new(text).is_ok(), "{text}");
        assert!(Secret::new(text.to_owned()).is_ok(), "{text}");
    }
}

#[test]
fn a_secret_that_cannot_be_right_is_refused_with_its_reason() {
    use SecretErrorKind as Kind;
    for (text, kind) in [
        ("", Kind::Empty),
        (" ", Kind::Blank),
        ("\n", Kind::Blank),
        ("\u{a0}\t", Kind::Blank),
        ("whsec_abc\n", Kind::Whitespace),
        ("whsec_abc\r\n", Kind::Whitespace),
        (" whsec_abc", Kind::Whitespace),
        ("whsec_a bc", Kind::Whitespace),
        ("whsec_a\u{2003}bc", Kind::Whitespace),
        ("whsec_a\0bc", Kind::Whitespace),
        ("whsec_a\u{7f}bc", Kind::Whitespace),
        ("whsec_a\u{9b}bc", Kind::Whitespace),
        ("abc", Kind::NoPrefix),
        ("ptk_live_abc", Kind::NoPrefix),
        ("WHSEC_abc", Kind::NoPrefix),
        ("whsecabc", Kind::NoPrefix),
        ("\u{feff}whsec_abc", Kind::NoPrefix),
        ("\"whsec_abc\"", Kind::NoPrefix),
        ("whsec_", Kind::PrefixOnly),
    ] {
        let error = Secret::new(text).unwrap_err();
        assert_eq!(error.kind(), kind, "{text:?}");
        assert_eq!(error.variable(), None);
    }
}

#[test]
fn the_message_names_the_usual_mistake() {
    let message = |text: &str| Secret::new(text).unwrap_err().to_string();
    assert!(message("whsec_abc\n").contains("trailing newline"));
    assert!(message("ptk_live_abc").contains("`whsec_`"));
    assert!(message("ptk_live_abc").contains("API token (`ptk_live_"));
    assert!(message("whsec_").contains("prefix"));
}

#[test]
fn a_key_of_bytes_may_be_anything_but_empty() {
    assert_eq!(
        Secret::from_bytes([]).unwrap_err().kind(),
        SecretErrorKind::Empty
    );
    for bytes in [&b" "[..], b"\n", b"\xff\0", b"no prefix"] {
        assert!(Secret::from_bytes(bytes).is_ok());
    }
    let key = Secret::from_bytes(*b"whsec_test_secret").unwrap();
    let verified = Verifier::new(key).verify_at(signed("body"), b"body", at(NOW));
    assert_eq!(verified.unwrap().secret_index(), 0);
}

#[test]
fn debug_and_errors_never_show_the_secret() {
    let secret = Secret::new("whsec_SENTINEL").unwrap();
    assert_eq!(format!("{secret:?}"), "Secret(..)");
    assert_eq!(format!("{secret:#?}"), "Secret(..)");
    for text in ["SENTINEL", "whsec_SENTINEL\n", "SENTINEL whsec_"] {
        let error = Secret::new(text).unwrap_err();
        assert!(
            !format!("{error}{error:?}").contains("SENTINEL"),
            "{text:?}"
        );
    }
}
