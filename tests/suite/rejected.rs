//! `docs/rejected.md` lists each text that a rejection can have, and no other.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use axum::body::Body;
use axum::routing::post;
use ptolemy_webhooks::{
    DecodeError, Event, Intake, Malformed, Reason, Rejection, SIGNATURE_HEADER, SecretErrorKind,
    VerifyError,
};
use tower::ServiceExt as _;

use crate::{NOW, at, only_header, signed, verifier};

const GUIDE: &str = include_str!("../../docs/rejected.md");

const NOT_OURS: &str = "\n# Responses that are not from this crate\n";

/// Returns the rows of the table that begins with `head`, cell by cell.
fn table(head: &str) -> Vec<Vec<String>> {
    let (_, table) = GUIDE.split_once(head).unwrap();
    let rows = table
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let cells = row.trim_matches('|').split(" | ");
        cells.map(|cell| cell.trim().to_owned()).collect()
    })
    .collect()
}

/// Returns whether `text` is `pattern` with at least one character in place of each `…`.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('…');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        // Each `…` takes the shortest text that fits; at the end, all that is left.
        let found = match parts.peek() {
            None => rest.ends_with(part).then(|| rest.len() - part.len()),
            Some(_) => rest.find(part),
        };
        match found {
            Some(length) if length > 0 => rest = &rest[length + part.len()..],
            _ => return false,
        }
    }
    rest.is_empty()
}

#[test]
fn an_ellipsis_stands_for_at_least_one_character() {
    assert!(matches("a", "a"));
    assert!(matches("a … b … c", "a 12 b 3 c"));
    assert!(matches("…: b", "a: b"));
    assert!(!matches("a … b", "a  b"));
    assert!(!matches("a", "ab"));
    assert!(!matches("…: b", "a: b c"));
}

/// Returns the name of an enum's variant.
fn variant(value: &impl Debug) -> String {
    let name = format!("{value:?}");
    let end = name.find(|c: char| !c.is_alphanumeric());
    name[..end.unwrap_or(name.len())].to_owned()
}

/// Returns the names of all variants of an enum, from its source.
fn variants(source: &str, name: &str) -> BTreeSet<String> {
    let (_, body) = source.split_once(&format!("pub enum {name} {{\n")).unwrap();
    let (body, _) = body.split_once("\n}").unwrap();
    let lines = body.lines().filter_map(|line| line.strip_prefix("    "));
    let names = lines.filter(|line| line.starts_with(char::is_uppercase));
    names
        .map(|line| {
            line.split(|c: char| !c.is_alphanumeric())
                .next()
                .unwrap()
                .to_owned()
        })
        .collect()
}

fn verify_errors() -> Vec<VerifyError> {
    let tag = "0".repeat(64);
    let headers = [
        "x".repeat(4097),
        format!("v1={tag}"),
        format!("t=1,t=1,v1={tag}"),
        format!("t=x,v1={tag}"),
        format!("t=99999999999999999999,v1={tag}"),
        format!("t={NOW}"),
        format!("t={NOW}{}", format!(",v1={tag}").repeat(17)),
        format!("t={NOW},v1=x"),
        format!("t={NOW},v1=x,v1=y"),
        format!("t=1,v1={tag}"),
        format!("t={},v1={tag}", NOW + 301),
        format!("t={NOW}000,v1={tag}"),
        format!("t={NOW},v1={tag}"),
    ];
    let error = |headers: &[&str]| {
        let header = only_header(headers);
        header
            .and_then(|header| verifier().verify_at(header, b"", at(NOW)))
            .unwrap_err()
    };
    let mut errors = vec![error(&[]), error(&["", ""])];
    errors.extend(headers.iter().map(|header| error(&[header])));
    errors
}

fn decode_errors() -> Vec<DecodeError> {
    let bodies: [&[u8]; 8] = [
        b"{\"a\":\"\xff\"}",
        b"{a}",
        b"{",
        b"{\"event_type\":\"a.b\"}{}",
        b"[]",
        b"{}",
        b"{\"event_type\":1}",
        b"{\"event_type\":\"\"}",
    ];
    let error = |body: &[u8]| Event::from_trusted_json(body.to_vec()).unwrap_err();
    bodies.map(error).into()
}

fn malformed() -> Vec<Malformed> {
    let read = |data: &str| {
        let body = format!(r#"{{"event_type":"time_series_value.created","data":{data}}}"#);
        Event::from_trusted_json(body).unwrap().payload.unwrap_err()
    };
    let rest = r#""id":"","instrument_id":"","type_id":"","value":"1","created_at":"2026-04-15T00:00:00Z""#;
    [
        read("{}"),
        read("null"),
        read("[]"),
        read(r#"{"id":1}"#),
        read(r#"{"id":"\ud800"}"#),
        read(&format!(r#"{{{rest},"timestamp":"today"}}"#)),
        read(&format!(
            r#"{{{rest},"timestamp":"9999-12-31T23:59:59-23:59"}}"#
        )),
    ]
    .into()
}

/// Returns a rejection of each kind, in each of its forms.
fn rejections() -> Vec<Rejection> {
    let limited = verifier().with_body_limit(1);
    let mut rejections = vec![
        Intake::begin_at(&limited, [signed("")], Some(2), at(NOW)).unwrap_err(),
        Rejection::body_incomplete("reset"),
        crate::actix::not_configured(),
        crate::actix::two_verifiers(),
    ];
    rejections.extend(verify_errors().into_iter().map(Rejection::from));
    rejections.extend(decode_errors().into_iter().map(Rejection::from));
    rejections.extend(malformed().into_iter().map(Rejection::from));
    rejections
}

/// Returns the response when a layer around the handler limits the body.
async fn response_behind_a_limit() -> (Reason, u16, String) {
    let router = axum::Router::new()
        .route("/", post(async |_: Event| ()))
        .layer(tower_http::limit::RequestBodyLimitLayer::new(1))
        .with_state(verifier().with_clock(|| at(NOW)));
    let body = Body::new(http_body_util::StreamBody::new(futures_util::stream::iter(
        [Ok::<_, std::convert::Infallible>(http_body::Frame::data(
            bytes::Bytes::from("{}"),
        ))],
    )));
    let request = http::Request::post("/").header(SIGNATURE_HEADER, signed("{}"));
    let response = router.oneshot(request.body(body).unwrap()).await.unwrap();
    let reason = *response.extensions().get::<Reason>().unwrap();
    let status = response.status().as_u16();
    let text = axum::body::to_bytes(response.into_body(), 1024)
        .await
        .unwrap();
    (reason, status, String::from_utf8(text.into()).unwrap())
}

#[tokio::test]
async fn the_guide_lists_each_text_with_its_status_and_its_code_and_no_other() {
    let rows = table("| text | status | code |\n");
    let mut used = BTreeMap::new();
    let mut answers: Vec<_> = rejections()
        .iter()
        .map(|it| (it.reason(), it.status(), it.to_string()))
        .collect();
    answers.push(response_behind_a_limit().await);
    for (reason, status, text) in answers {
        let mut found = rows.iter().filter(|row| matches(&row[0], &text));
        let row = found
            .next()
            .unwrap_or_else(|| panic!("not documented: {text}"));
        assert_eq!(found.next(), None, "{text}");
        assert_eq!(row[1], status.to_string(), "{text}");
        assert_eq!(row[2], format!("`{reason}`"), "{text}");
        used.insert(row[0].clone(), reason);
    }
    for row in &rows {
        assert!(used.contains_key(&row[0]), "no such text: {}", row[0]);
    }
    let reasons: BTreeSet<_> = used.values().collect();
    assert_eq!(reasons.len(), Reason::ALL.len());
}

#[test]
fn the_guide_has_a_heading_for_each_text() {
    let rows = table("| text | status | code |\n");
    let texts: Vec<_> = rows.iter().map(|row| &*row[0]).collect();
    let (ours, _) = GUIDE.split_once(NOT_OURS).unwrap();
    let headings: Vec<_> = ours
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .collect();
    assert_eq!(headings, texts);
}

#[test]
fn the_guide_has_causes_and_checks_for_the_statuses_of_servers_and_proxies() {
    let (_, others) = GUIDE.split_once(NOT_OURS).unwrap();
    let (others, _) = others.split_once("\n# ").unwrap();
    let sections: Vec<_> = others.split("\n## ").skip(1).collect();
    for status in ["404", "405", "408", "429", "502", "503", "504"] {
        let mut found = sections.iter().filter(|it| it.starts_with(status));
        let section = found.next().unwrap_or_else(|| panic!("{status}"));
        assert!(section.contains("\n- "), "{status}");
    }
    for section in sections {
        assert!(section.contains("**Check:**"), "{section}");
    }
}

#[test]
fn every_variant_of_every_error_is_among_the_tested_texts() {
    let verify = verify_errors();
    let headers: BTreeSet<_> = verify
        .iter()
        .filter_map(|error| match error {
            VerifyError::Header(error) => Some(variant(error)),
            _ => None,
        })
        .collect();
    let kinds: BTreeSet<_> = rejections().iter().map(|it| variant(it.kind())).collect();
    let decode: BTreeSet<_> = decode_errors()
        .iter()
        .map(|it| variant(&it.kind()))
        .collect();
    let secret: BTreeSet<_> = SECRET_ERRORS.iter().map(variant).collect();

    let source = |name: &str, text: &str| variants(text, name);
    assert_eq!(
        headers,
        source("HeaderError", include_str!("../../src/header.rs"))
    );
    assert_eq!(
        verify.iter().map(variant).collect::<BTreeSet<_>>(),
        source("VerifyError", include_str!("../../src/verify_error.rs"))
    );
    assert_eq!(
        decode,
        source(
            "DecodeErrorKind",
            include_str!("../../src/event/decode_error.rs")
        )
    );
    assert_eq!(
        kinds,
        source("RejectionKind", include_str!("../../src/rejection.rs"))
    );
    assert_eq!(
        secret,
        source("SecretErrorKind", include_str!("../../src/secret_error.rs"))
    );
}

/// All kinds; the test above compares the list with the source.
const SECRET_ERRORS: [SecretErrorKind; 15] = [
    SecretErrorKind::NotSet,
    SecretErrorKind::NotUnicode,
    SecretErrorKind::Unreadable,
    SecretErrorKind::BothForms,
    SecretErrorKind::Empty,
    SecretErrorKind::Blank,
    SecretErrorKind::Whitespace,
    SecretErrorKind::NotVisibleAscii,
    SecretErrorKind::Masked,
    SecretErrorKind::Placeholder,
    SecretErrorKind::Quoted,
    SecretErrorKind::TrailingPunctuation,
    SecretErrorKind::EscapedNewline,
    SecretErrorKind::NoPrefix,
    SecretErrorKind::PrefixOnly,
];

#[test]
fn the_guide_lists_each_fault_of_a_secret_and_no_other() {
    let rows = table("| text | cause |\n");
    let documented: BTreeSet<_> = rows.iter().map(|row| row[0].clone()).collect();
    let real: BTreeSet<_> = SECRET_ERRORS.iter().map(ToString::to_string).collect();
    assert_eq!(documented, real);
}
