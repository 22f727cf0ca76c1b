//! The grammar of the header: the text of the errors, and cases that the vectors leave out.

use ptolemy_webhooks::{HeaderError, VerifyError, only_header};

use crate::{NOW, at, signed, verifier};

fn rejection(header: impl AsRef<[u8]>) -> String {
    verifier()
        .verify_at(header, b"", at(NOW))
        .unwrap_err()
        .to_string()
}

#[test]
fn a_malformed_header_says_what_is_wrong_and_where() {
    let v1 = "0".repeat(64);
    for (header, expected) in [
        (String::new(), "no `t`"),
        (format!("v1={v1}"), "no `t`"),
        ("t=1".into(), "no `v1`"),
        (format!(" t=1, t=2,v1={v1}"), "a second `t` at byte 5"),
        (
            format!("v1={v1},t=1.0"),
            "`t` at byte 68 is not all ASCII digits",
        ),
        (
            "t=18446744073709551616,v1=".into(),
            "`t` at byte 0 exceeds 64 bits",
        ),
        ("t=1,v1=xyz".into(), "its `v1` is not 64 hex digits"),
        (
            "t=1,v1=xyz,v1=".into(),
            "none of its 2 `v1` is 64 hex digits",
        ),
        (
            format!("t=1{}", ",v1=x".repeat(17)),
            "more than 16 `v1`, the next one at byte 84",
        ),
        ("x".repeat(4097), "4097 bytes long, the limit is 4096"),
    ] {
        assert_eq!(
            rejection(&header),
            format!("header `Ptolemy-Signature` is malformed: {expected}")
        );
    }
}

#[test]
fn a_header_of_one_megabyte_is_malformed() {
    let header = format!("{},x={}", signed(""), "y".repeat(1_000_000));
    assert!(matches!(
        verifier().verify_at(header, b"", at(NOW)),
        Err(VerifyError::Header(HeaderError::TooLong {
            length: 1_000_083,
            ..
        }))
    ));
}

#[test]
fn too_many_candidates_are_rejected_before_the_clock_is_read() {
    let header = format!("t=0{}", format!(",v1={}", "0".repeat(64)).repeat(17));
    assert!(matches!(
        verifier().begin_at(header, at(NOW)),
        Err(VerifyError::Header(HeaderError::TooManyCandidates { .. }))
    ));
}

#[test]
fn no_message_quotes_the_header() {
    for header in ["t=7777,v1=SENTINEL", "SENTINEL", "t=SENTINEL", "SENTINEL=1"] {
        assert!(!rejection(header).contains("SENTINEL"), "{header}");
    }
}

#[test]
fn a_single_header_is_found_and_none_or_two_are_errors() {
    assert_eq!(only_header([b"a"]), Ok(b"a"));
    assert_eq!(only_header(Vec::<&str>::new()), Err(HeaderError::Missing));
    for values in [["a", "a"], ["a", "b"], ["", ""]] {
        assert_eq!(only_header(values), Err(HeaderError::Repeated));
    }
    assert_eq!(only_header(["a", "b", "c"]), Err(HeaderError::Repeated));
}

#[test]
fn every_byte_at_every_position_of_v1_is_a_hex_digit_or_makes_it_undecodable() {
    let header = signed("body");
    let start = header.find("v1=").unwrap() + 3;
    for position in start..header.len() {
        for byte in 0..=u8::MAX {
            let mut changed = header.clone().into_bytes();
            changed[position] = byte;
            let result = verifier().verify_at(&changed, b"body", at(NOW));
            let original = header.as_bytes()[position];
            if byte.eq_ignore_ascii_case(&original) {
                assert!(result.is_ok());
            } else if byte.is_ascii_hexdigit() {
                assert_eq!(result, Err(VerifyError::Mismatch), "{position} {byte}");
            } else {
                assert!(
                    matches!(result, Err(VerifyError::Header(_))),
                    "{position} {byte}"
                );
            }
        }
    }
}

#[test]
fn keys_are_matched_exactly() {
    let good = signed("body");
    let v1 = good.split_once("v1=").unwrap().1;
    for key in ["v0", "V1", "v10", "v", "v1 ", " v1x", "v\u{b9}", ""] {
        let header = format!("t={NOW},{key}={v1}");
        assert!(rejection(&header).ends_with("no `v1`"), "{header}");
    }
    for key in ["T", "t ", "tt", "v1t", ""] {
        let header = format!("{key}={NOW},v1={v1}");
        assert!(rejection(&header).ends_with("no `t`"), "{header}");
    }
}

#[test]
fn headers_of_other_schemes_are_malformed() {
    for header in [
        "sha256=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        "v1=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "Bearer whsec_test_secret",
        "t=1700000000;v1=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "ts=1700000000;h1=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    ] {
        let result = verifier().verify_at(header, b"", at(NOW));
        assert!(matches!(result, Err(VerifyError::Header(_))), "{header}");
    }
}
