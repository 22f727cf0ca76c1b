//! Deliveries and their keys.

use ptolemy_webhooks::{Delivery, Signer};
use sha2::{Digest, Sha256};

use crate::{NOW, SECRET, at, secret, signed, verifier};

const EVENT: &str = r#"{"id":"e1","event_type":"market.created","created_at":"2026-04-15T09:30:00Z","data":{"id":"m1"}}"#;

fn delivery_at(body: impl AsRef<[u8]>, seconds: i64) -> Delivery {
    let header = Signer::new(&secret(SECRET)).sign_at(body.as_ref(), at(seconds));
    verifier()
        .receive_at(header, body.as_ref().to_vec(), at(seconds))
        .unwrap()
}

fn key(body: impl AsRef<[u8]>) -> String {
    delivery_at(body, NOW).dedup_key()
}

fn sha256(text: impl AsRef<[u8]>) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(text)))
}

#[test]
fn a_delivery_returns_what_arrived() {
    let body = b"\xff\0 any bytes".to_vec();
    let delivery = delivery_at(&body, NOW);
    assert_eq!(delivery.body(), &body);
    assert_eq!(delivery.signed_at(), at(NOW));
    assert_eq!(delivery.secret_index(), 0);
    assert_eq!(delivery.into_body(), body);
}

#[test]
fn the_body_is_not_copied() {
    let body = bytes::Bytes::from(EVENT);
    let delivery = verifier()
        .receive_at(signed(EVENT), body.clone(), at(NOW))
        .unwrap();
    assert_eq!(delivery.body().as_ptr(), body.as_ptr());
    assert_eq!(
        delivery.event().unwrap().raw.as_str().as_ptr(),
        body.as_ptr()
    );
}

#[test]
fn an_event_with_an_id_keeps_its_key_when_it_is_sent_again() {
    assert_eq!(key(EVENT), sha256(EVENT));
    assert_eq!(
        delivery_at(EVENT, NOW).dedup_key(),
        delivery_at(EVENT, NOW + 60).dedup_key()
    );
}

#[test]
fn one_id_with_two_bodies_is_two_keys() {
    let other = EVENT.replace("created\"", "updated\"");
    assert_ne!(key(EVENT), key(&other));
    assert_eq!(key(&other), sha256(&other));
}

#[test]
fn a_body_without_an_id_in_its_data_may_name_an_event_too() {
    let body = EVENT
        .replace(r#"{"id":"m1"}"#, "{}")
        .replace("created_at", "occurred_at");
    assert_eq!(key(&body), sha256(&body));
}

#[test]
fn anything_else_is_keyed_by_the_signed_bytes() {
    for body in [
        r#"{"event_type":"market.created"}"#,
        r#"{"id":"","event_type":"market.created"}"#,
        r#"{"id":null,"event_type":"market.created"}"#,
        r#"{"id":7,"event_type":"market.created"}"#,
        r#"{"id":"e1"}"#,
        r#"{"id":"e1","event_type":""}"#,
        // The id may be that of the resource, so two changes could have this body.
        r#"{"id":"e1","event_type":"market.created"}"#,
        r#"{"id":"e1","event_type":"market.created","data":{"id":"m1"}}"#,
        r#"{"id":"e1","event_type":"market.created","created_at":"2026-04-15T09:30:00Z"}"#,
        r#"{"id":"e1","event_type":"market.created","created_at":"2026-04-15T09:30:00Z","data":[]}"#,
        r#"{"id":"e1","event_type":"market.created","created_at":"soon","data":{"id":"m1"}}"#,
        r#"{"id":"m1","event_type":"market.created","created_at":"2026-04-15T09:30:00Z","data":{"id":"m1"}}"#,
        r#"[{"id":"e1","event_type":"market.created"}]"#,
        "",
        "not json",
    ] {
        assert_eq!(key(body), sha256(format!("{NOW}.{body}")), "{body}");
        assert_ne!(
            delivery_at(body, NOW).dedup_key(),
            delivery_at(body, NOW + 1).dedup_key(),
            "{body}"
        );
    }
    let invalid = [
        br#"{"id":"e1","event_type":"market.created","x":""#,
        &b"\xff\"}"[..],
    ]
    .concat();
    let signed = [format!("{NOW}.").as_bytes(), &invalid].concat();
    assert_eq!(key(invalid), sha256(signed));
}

#[test]
fn labels_come_from_one_reading_and_agree_with_the_event_and_the_key() {
    let labels_of = |body: &str| {
        let delivery = delivery_at(body, NOW);
        let labels = delivery.labels();
        assert_eq!(labels.dedup_key, delivery.dedup_key(), "{body}");
        if let Ok(event) = delivery.event() {
            assert_eq!(
                labels.event_type.as_deref(),
                Some(event.event_type.as_str())
            );
            assert_eq!(labels.resource.as_deref(), event.event_type.resource());
            assert_eq!(labels.resource_id, event.resource_id());
            let id = event.id.filter(|id| !id.is_empty());
            assert_eq!(labels.event_id.as_deref(), id.as_deref());
        } else {
            assert_eq!(labels.event_type, None);
        }
        [
            labels.event_type,
            labels.event_id,
            labels.resource,
            labels.resource_id,
        ]
        .map(|label| label.map(std::borrow::Cow::into_owned))
    };
    let all = |type_: &str, id: &str, resource: &str, resource_id: &str| {
        [type_, id, resource, resource_id].map(|it| (!it.is_empty()).then(|| it.to_owned()))
    };
    for (body, expected) in [
        (
            r#"{"id":"e1","event_type":"market.created","data":{"id":"m1"}}"#,
            all("market.created", "e1", "market", "m1"),
        ),
        (
            r#"{"event_type":"a.b","resource":{"id":1,"id":"\u0041"}}"#,
            all("a.b", "", "a", "A"),
        ),
        (
            r#"{"id":"","type":"\u0061.b","data":{"id":-1.50}}"#,
            all("a.b", "", "a", "-1.50"),
        ),
        (
            r#"{"event_type":"a.b","data":{"id":""}}"#,
            all("a.b", "", "a", ""),
        ),
        (
            r#"{"event_type":"a.b","data":{"id":null}}"#,
            all("a.b", "", "a", ""),
        ),
        (
            r#"{"event_type":"a.b","data":{"id":["x"]}}"#,
            all("a.b", "", "a", ""),
        ),
        (
            r#"{"event_type":"a.b","data":{"id":true}}"#,
            all("a.b", "", "a", ""),
        ),
        (
            r#"{"event_type":"a.b","data":{"id":"\ud800"}}"#,
            all("a.b", "", "a", ""),
        ),
        (
            r#"{"event_type":"a.b","data":[{"id":"x"}]}"#,
            all("a.b", "", "a", ""),
        ),
        (r#"{"event_type":"a.b","id":"e"}"#, all("a.b", "e", "a", "")),
        (
            r#"{"event_type":"ab","data":{"id":"x"}}"#,
            all("ab", "", "", "x"),
        ),
        ("not JSON", all("", "", "", "")),
    ] {
        assert_eq!(labels_of(body), expected, "{body}");
    }
}

#[test]
fn leading_zeros_of_t_are_part_of_the_signed_bytes() {
    // `Signer` does not write leading zeros; here they are signed as part of a text that is
    // otherwise equal.
    for t in ["0", "00", "01", "0000000000000000000000000000000000001"] {
        let header = {
            use hmac::{Hmac, KeyInit, Mac};
            let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
            mac.update(format!("{t}.body").as_bytes());
            format!("t={t},v1={}", hex::encode(mac.finalize().into_bytes()))
        };
        let delivery = verifier().receive_at(header, "body", at(0)).unwrap();
        assert_eq!(delivery.dedup_key(), sha256(format!("{t}.body")), "{t}");
    }
}

#[test]
fn a_key_is_always_sha256_and_64_hex_digits() {
    let huge = format!(r#"{{"event_type":"a.b","id":"{}"}}"#, "x".repeat(1_000_000));
    for body in [EVENT, "", huge.as_str(), "\n\u{2028}\0"] {
        let key = key(body);
        let digits = key.strip_prefix("sha256:").unwrap();
        assert_eq!(digits.len(), 64);
        assert!(
            digits
                .bytes()
                .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        );
    }
}

#[test]
fn debug_shows_no_body() {
    let text = format!("{:?}", delivery_at("SENTINEL", NOW));
    assert!(
        text.starts_with("Delivery { body: 8 bytes, signed_at: 2023-11-14"),
        "{text}"
    );
}
