//! No type shows anything secret, in any form in which it can be printed.

use std::fmt::{Debug, Display};

use ptolemy_webhooks::{
    Event, HeaderError, Intake, Rejection, Secret, Signer, Verifier, VerifyError, only_header,
};

use crate::{NOW, at};

const SECRET: &str = "whsec_SECRETSENTINEL0123456789";

/// A value in a field that is decoded: only `Debug` of an event or a resource may show it.
const FIELD: &str = "FIELDSENTINEL";

/// A value in data that is kept as raw JSON.
const RAW: &str = "RAWSENTINEL";

fn body(event_type: &str, data: &str) -> String {
    format!(
        r#"{{"id":"{FIELD}","event_type":"{event_type}","actor":"{RAW}","new":"{RAW}","data":{data}}}"#
    )
}

/// Everything that was shown, and by what.
#[derive(Default)]
struct Shown(Vec<(String, String)>);

impl Shown {
    fn debug(&mut self, what: &str, value: &dyn Debug) {
        self.0
            .push((format!("{what} as Debug"), format!("{value:?} {value:#?}")));
    }

    fn both<T: Debug + Display>(&mut self, what: &str, value: &T) {
        self.debug(what, value);
        self.0
            .push((format!("{what} as Display"), format!("{value} {value:#}")));
    }

    fn error<T: std::error::Error>(&mut self, what: &str, error: &T) {
        self.both(what, error);
        let mut source = error.source();
        while let Some(cause) = source {
            self.both(&format!("source of {what}"), &cause);
            source = cause.source();
        }
    }

    fn must_not_hold(&self, needles: &[&str]) {
        assert!(!self.0.is_empty());
        for (what, text) in &self.0 {
            for needle in needles {
                assert!(!text.contains(needle), "{what} shows {needle}: {text}");
            }
        }
    }
}

fn secret() -> Secret {
    Secret::new(SECRET).unwrap()
}

#[test]
fn no_type_shows_the_secret_the_tag_or_the_raw_body() {
    let body = body(
        "instrument.created",
        &format!(r#"{{"name":"{FIELD}","extras":{{"a":"{RAW}"}}}}"#),
    );
    let signer = Signer::new(&secret());
    let header = signer.sign_at(body.as_bytes(), at(NOW));
    let tag = header.split_once("v1=").unwrap().1.to_owned();
    let tag_bytes = format!("{:?}", &hex::decode(&tag).unwrap()[..4]);
    let tag_bytes = tag_bytes.trim_matches(['[', ']']);
    let secret_bytes = format!("{:?}", SECRET.as_bytes());
    let secret_bytes = secret_bytes.trim_matches(['[', ']']);
    let always = [
        SECRET,
        "SECRETSENTINEL",
        secret_bytes,
        &tag[..16],
        &tag[48..],
        tag_bytes,
        RAW,
    ];

    let verifier = Verifier::new(secret()).with_previous(secret());
    let mut verification = verifier.begin_at(&header, at(NOW)).unwrap();
    verification.update(body.as_bytes());
    let delivery = verifier.receive_at(&header, body.clone(), at(NOW)).unwrap();
    let event = delivery.event().unwrap();

    let mut shown = Shown::default();
    shown.debug("Secret", &secret());
    shown.debug("Signer", &signer);
    shown.debug("Verifier", &verifier);
    shown.debug("Verification", &verification);
    shown.debug("Verified", &verification.finish().unwrap());
    shown.debug("Delivery", &delivery);
    shown.debug("RawJson", &event.raw);
    shown.debug("data", &event.data);
    shown.debug("actor", &event.actor);
    shown.both("EventType", &event.event_type);
    shown.both("dedup_key", &delivery.dedup_key());
    shown.must_not_hold(&[&always[..], &[FIELD]].concat());

    assert_eq!(format!("{signer:?}"), "Signer(..)");
    let verified = verifier
        .verify_at(&header, body.as_bytes(), at(NOW))
        .unwrap();
    assert_eq!(
        format!("{verified:?}"),
        "Verified { signed_at: 2023-11-14 22:13:20.0 +00:00:00, secret_index: 0, .. }"
    );

    let mut shown = Shown::default();
    shown.debug("Event", &event);
    shown.debug("Payload", &event.payload);
    shown.must_not_hold(&always);
    assert!(shown.0.iter().all(|(_, text)| text.contains(FIELD)));
}

#[test]
fn no_payload_shows_what_it_keeps_as_raw_json() {
    for (event_type, data) in [
        ("robot.created", format!(r#"{{"name":"{RAW}"}}"#)),
        ("robot.created", format!(r#""{RAW}""#)),
        ("instrument.created", format!(r#"{{"name":["{RAW}"]}}"#)),
        (
            "instrument.created",
            format!(r#"{{"extra_fields_snapshot":{{"{RAW}":true}}}}"#),
        ),
        ("webhook.created", format!(r#"{{"secret":"{RAW}"}}"#)),
        ("webhook.created", format!(r#""{RAW}""#)),
    ] {
        let event = Event::from_trusted_json(body(event_type, &data)).unwrap();
        let mut shown = Shown::default();
        shown.debug("Event", &event);
        shown.debug("Payload", &event.payload);
        if let Err(malformed) = &event.payload {
            shown.both("Malformed", malformed);
            shown.both("path", &malformed.path());
            shown
                .0
                .push(("cause".into(), malformed.cause().to_string()));
        }
        shown.must_not_hold(&[RAW]);
    }
}

#[test]
fn no_error_shows_what_was_rejected() {
    let verifier = Verifier::new(secret());
    let tag = "5e47135e".repeat(8);
    let mut shown = Shown::default();

    for text in [
        "SECRETSENTINEL",
        "whsec_SECRETSENTINEL\n",
        "\u{feff}whsec_SECRETSENTINEL",
    ] {
        let error = Secret::new(text).unwrap_err();
        shown.error("SecretError", &error);
        shown.both("SecretErrorKind", &error.kind());
    }

    let headers = [
        String::new(),
        "SECRETSENTINEL".into(),
        format!("t=SECRETSENTINEL,v1={tag}"),
        format!("t=1,t=SECRETSENTINEL,v1={tag}"),
        format!("t={NOW},v0=SECRETSENTINEL"),
        format!("t={NOW},v1=SECRETSENTINEL"),
        format!("t=99999999999999999999,v1={tag}"),
        format!("t={NOW}{}", format!(",v1={tag}").repeat(17)),
        format!("t={NOW},v1={tag},x={}", "SECRETSENTINEL".repeat(1000)),
        format!("t=1,v1={tag}"),
        format!("t={NOW}000,v1={tag}"),
        format!("t={NOW},v1={tag}"),
    ];
    let mut kinds = Vec::new();
    for header in headers {
        let error = verifier
            .verify_at(header, RAW.as_bytes(), at(NOW))
            .unwrap_err();
        shown.error("VerifyError", &error);
        if let VerifyError::Header(error) = &error {
            shown.error("HeaderError", error);
            kinds.push(*error);
        }
    }
    kinds.dedup();
    assert_eq!(kinds.len(), 8, "each kind of HeaderError: {kinds:?}");
    assert!(kinds.contains(&HeaderError::NoTimestamp));
    for headers in [vec![], vec!["SECRETSENTINEL"; 2]] {
        shown.error("HeaderError", &only_header(headers).unwrap_err());
    }

    for json in [
        RAW.to_owned(),
        format!("\"{RAW}\""),
        format!("{{\"{RAW}"),
        format!(r#"{{"event_type":["{RAW}"]}}"#),
        format!(r#"{{"event_type":"","{RAW}":1}}"#),
        format!(r#"{{"event_type":"a.b"}} {RAW}"#),
    ] {
        let error = Event::from_trusted_json(json).unwrap_err();
        shown.error("DecodeError", &error);
        shown.both("DecodeErrorKind", &error.kind());
    }
    let event = Event::from_trusted_json(body("a.b", "[1]")).unwrap();
    shown.error("RawJsonError", &event.raw.decode::<u32>().unwrap_err());

    let header = format!("t={NOW},v1={tag}");
    let mut intake = Intake::begin_at(&verifier, [header], None, at(NOW)).unwrap();
    intake.push(RAW).unwrap();
    shown.debug("Intake", &intake);
    for rejection in [
        intake.finish().unwrap_err(),
        Rejection::from(Event::from_trusted_json(RAW).unwrap_err()),
        Rejection::body_incomplete("reset"),
    ] {
        shown.error("Rejection", &rejection);
        shown.both("RejectionKind", rejection.kind());
        shown.both("Reason", &rejection.reason());
    }

    shown.must_not_hold(&["SECRETSENTINEL", "5e47135e", RAW, FIELD]);
}
