//! Every reason has a code and a status, and every rejection has a reason.

use std::collections::BTreeSet;
use std::error::Error as _;

use ptolemy_webhooks::{Event, Intake, Reason, Rejection, RejectionKind, VerifyError, only_header};

use crate::{NOW, at, only_header as only, signed, verifier};

const TABLE: [(Reason, &str, u16); 11] = [
    (Reason::MissingHeader, "missing_header", 401),
    (Reason::RepeatedHeader, "repeated_header", 401),
    (Reason::MalformedHeader, "malformed_header", 401),
    (Reason::TimestampTooOld, "timestamp_too_old", 401),
    (Reason::TimestampTooFarAhead, "timestamp_too_far_ahead", 401),
    (Reason::SignatureMismatch, "signature_mismatch", 401),
    (Reason::BodyTooLarge, "body_too_large", 413),
    (Reason::BodyIncomplete, "body_incomplete", 400),
    (Reason::NotAnEvent, "not_an_event", 422),
    (Reason::MalformedData, "malformed_data", 422),
    (Reason::NotConfigured, "not_configured", 500),
];

#[test]
fn every_reason_has_its_code_and_its_status() {
    assert_eq!(TABLE.map(|(reason, ..)| reason), Reason::ALL);
    for (reason, code, status) in TABLE {
        assert_eq!(reason.as_str(), code);
        assert_eq!(reason.to_string(), code);
        assert_eq!(format!("{reason:>30}"), format!("{code:>30}"));
        assert_eq!(reason.status(), status);
    }
}

#[test]
fn codes_are_unique_and_snake_case() {
    let codes: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(codes.len(), Reason::ALL.len());
    for code in codes {
        let words = code.split('_');
        let is_word =
            |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
        assert!(words.clone().all(is_word), "{code}");
    }
}

#[test]
fn the_documented_table_has_a_row_for_each_reason() {
    let source = include_str!("../../src/reason.rs");
    let rows: Vec<_> = source
        .lines()
        .filter_map(|line| line.strip_prefix("/// | `"))
        .collect();
    assert_eq!(rows.len(), TABLE.len());
    for ((_, code, status), row) in TABLE.iter().zip(rows) {
        assert!(row.starts_with(&format!("{code}` | {status} | ")), "{row}");
    }
}

/// Returns an error of each variant.
fn verify_errors() -> Vec<(VerifyError, Reason)> {
    let error = |headers: &[&str], body: &str| {
        let header = only(headers);
        let result =
            header.and_then(|header| verifier().verify_at(header, body.as_bytes(), at(NOW)));
        result.unwrap_err()
    };
    let tag = "0".repeat(64);
    let malformed = [
        "x".repeat(4097),
        format!("v1={tag}"),
        format!("t=1,t=1,v1={tag}"),
        format!("t=x,v1={tag}"),
        format!("t=99999999999999999999,v1={tag}"),
        format!("t={NOW}"),
        format!("t={NOW}{}", format!(",v1={tag}").repeat(17)),
        format!("t={NOW},v1=x"),
    ];
    let mut errors = vec![
        (error(&[], ""), Reason::MissingHeader),
        (error(&["", ""], ""), Reason::RepeatedHeader),
        (
            error(&[&format!("t=1,v1={tag}")], ""),
            Reason::TimestampTooOld,
        ),
        (
            error(&[&format!("t={NOW}000,v1={tag}")], ""),
            Reason::TimestampTooFarAhead,
        ),
        (error(&[&signed("a")], "b"), Reason::SignatureMismatch),
    ];
    let malformed = malformed.map(|header| (error(&[&header], ""), Reason::MalformedHeader));
    errors.extend(malformed);
    errors
}

#[test]
fn every_verify_error_has_its_reason_which_its_rejection_keeps() {
    for (error, reason) in verify_errors() {
        assert_eq!(error.reason(), reason, "{error}");
        let rejection = Rejection::from(error);
        assert_eq!(rejection.reason(), reason, "{error}");
        assert_eq!(rejection.kind(), &RejectionKind::Verify(error));
        assert_eq!(rejection.to_string(), error.to_string());
        assert_eq!(rejection.status(), 401);
        assert_eq!(rejection.challenge(), Some("Ptolemy-Signature"));
    }
}

#[test]
fn a_header_error_reads_the_same_alone_and_in_a_verify_error_and_in_a_rejection() {
    for (error, _) in verify_errors() {
        if let VerifyError::Header(header) = error {
            assert_eq!(header.to_string(), error.to_string());
            assert_eq!(Rejection::from(header).to_string(), error.to_string());
            assert!(error.source().is_none());
        }
    }
    let error = only_header([""; 0]).unwrap_err();
    assert_eq!(error.to_string(), "header `Ptolemy-Signature` is missing");
}

/// Returns the rejections that do not come from a `VerifyError`.
fn other_rejections() -> Vec<Rejection> {
    let verifier = verifier().with_body_limit(1);
    let too_large = Intake::begin_at(&verifier, [signed("")], Some(2), at(NOW)).unwrap_err();
    let decode = verifier
        .receive_at(signed("x"), "x", at(NOW))
        .unwrap()
        .event()
        .unwrap_err();
    let body = r#"{"event_type":"market.created","data":[]}"#;
    let malformed = Event::from_trusted_json(body).unwrap().payload.unwrap_err();
    assert_eq!(
        Rejection::from(malformed.clone()).to_string(),
        malformed.to_string()
    );
    vec![
        too_large,
        malformed.into(),
        Rejection::body_incomplete(std::io::Error::other("reset")),
        decode.into(),
        #[cfg(feature = "actix-web")]
        crate::actix::not_configured(),
        #[cfg(feature = "actix-web")]
        crate::actix::two_verifiers(),
    ]
}

#[test]
fn every_reason_can_be_reached() {
    let mut reached: BTreeSet<_> = verify_errors().iter().map(|(_, reason)| *reason).collect();
    for rejection in other_rejections() {
        assert_eq!(rejection.status(), rejection.reason().status());
        assert_eq!(rejection.challenge(), None);
        let is_new = reached.insert(rejection.reason());
        // The other kind of a server that cannot verify.
        let is_other = *rejection.kind() == RejectionKind::TwoVerifiers;
        assert!(is_new || is_other, "{rejection}");
    }
    let unreached: Vec<_> = Reason::ALL
        .iter()
        .filter(|reason| !reached.contains(reason))
        .collect();
    let expected: &[&Reason] = match cfg!(feature = "actix-web") {
        true => &[],
        false => &[&Reason::NotConfigured],
    };
    assert_eq!(unreached, expected);
}

#[test]
fn the_cause_of_a_body_that_broke_off_is_its_source_and_is_not_printed() {
    let rejection = Rejection::body_incomplete(std::io::Error::other("reset by peer"));
    assert_eq!(rejection.kind(), &RejectionKind::BodyIncomplete);
    assert_eq!(rejection.to_string(), "body broke off before its end");
    assert_eq!(rejection.source().unwrap().to_string(), "reset by peer");
}
