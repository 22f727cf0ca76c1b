//! The MAC beyond the vectors.

use ptolemy_webhooks::{Secret, Signer, Verifier, VerifyError};

use crate::{NOW, SECRET, at, secret, signed, verifier};

#[test]
fn a_flipped_bit_anywhere_in_the_tag_is_a_mismatch() {
    let header = signed("body");
    let (t, v1) = header.split_once(",v1=").unwrap();
    let tag = hex::decode(v1).unwrap();
    for bit in 0..256 {
        let mut flipped = tag.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let header = format!("{t},v1={}", hex::encode(flipped));
        assert_eq!(
            verifier().verify_at(header, b"body", at(NOW)),
            Err(VerifyError::Mismatch),
            "bit {bit}"
        );
    }
}

#[test]
fn a_flipped_bit_anywhere_in_the_body_is_a_mismatch() {
    let body = br#"{"id":"1","event_type":"market.created","data":{"name":"ASX"}}"#;
    let header = signed(body);
    for bit in 0..body.len() * 8 {
        let mut flipped = body.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(
            verifier().verify_at(&header, &flipped, at(NOW)),
            Err(VerifyError::Mismatch),
            "bit {bit}"
        );
    }
}

#[test]
fn a_body_of_ten_megabytes_is_verified() {
    let mut body = vec![b'x'; 10_000_000];
    let header = signed(&body);
    assert!(verifier().verify_at(&header, &body, at(NOW)).is_ok());
    body[9_999_999] = b'y';
    assert_eq!(
        verifier().verify_at(&header, &body, at(NOW)),
        Err(VerifyError::Mismatch)
    );
}

#[test]
fn a_digit_cannot_move_from_t_into_the_body() {
    // `{t}.{body}` must be split at the place where it was joined.
    let header = signed("5.body");
    let tag = header.split_once(",v1=").unwrap().1;
    let moved = format!("t={NOW}.5,v1={tag}");
    assert!(matches!(
        verifier().verify_at(moved, b"body", at(NOW)),
        Err(VerifyError::Header(_))
    ));
}

#[test]
fn what_the_signer_signs_the_verifier_accepts() {
    let header = Signer::new(&secret(SECRET)).sign(b"now");
    let verified = verifier().verify(header, b"now").unwrap();
    let age = time::OffsetDateTime::now_utc() - verified.signed_at();
    assert!(age.whole_seconds().abs() <= 300, "{age}");
}

#[test]
fn a_time_before_1970_signs_a_header_that_is_never_accepted() {
    let header = Signer::new(&secret(SECRET)).sign_at(b"", at(-5));
    assert!(header.starts_with("t=-5,v1="), "{header}");
    assert!(matches!(
        verifier().verify_at(header, b"", at(-5)),
        Err(VerifyError::Header(_))
    ));
}

#[test]
fn the_signer_gives_the_tags_of_the_contract() {
    for (key, t, body, v1) in [
        (
            "whsec_a3f9b2c1d4e5f6a7b8c9d0e1",
            1_776_243_600,
            r#"{"event_type":"instrument.created"}"#,
            "dc2115f6520b291ddf3ee2f6165c1a83545e4bbb8e4df9bd50282a0e7763ed95",
        ),
        (
            SECRET,
            NOW,
            "",
            "316b9ab98c15bfa039d243f3196acee619cf29749a91a634e6a8154e2f7b6727",
        ),
        (
            SECRET,
            NOW,
            "héllo, 🦀 world!",
            "30d79a01345bc49a3460f5c4c0323dd4a6f8efd5828440954d17fda456e43da5",
        ),
    ] {
        let header = Signer::new(&secret(key)).sign_at(body.as_bytes(), at(t));
        assert_eq!(header, format!("t={t},v1={v1}"));
    }
}

#[test]
fn keys_longer_than_a_block_are_hashed_as_rfc_2104_says() {
    // The tag of `1700000000.` under 200 bytes 0xaa, computed with Python's hmac.
    let key = Secret::from_bytes(vec![0xaa; 200]).unwrap();
    let header = Signer::new(&key).sign_at(b"", at(NOW));
    assert_eq!(
        header,
        "t=1700000000,v1=499296c9a3e31c7feea05296734e06b154ec1ef28090c5e69c8509ee679eb46a"
    );
    assert!(Verifier::new(key).verify_at(header, b"", at(NOW)).is_ok());
}
