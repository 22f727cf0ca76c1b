//! The decoding of an event: typed, as a `Value`, and by structs that a user would write.

use std::collections::BTreeMap;
use std::hint::black_box;

use bytes::Bytes;
use ptolemy_webhooks::{Event, Payload};
use serde::Deserialize;
use serde_json::value::RawValue;
use time::OffsetDateTime;
use time::serde::rfc3339;

use crate::contender::Contender;

pub const TYPED: &str = "ours, typed";
pub const UNKNOWN: &str = "ours, an unknown type";
pub const VALUE: &str = "from_slice::<serde_json::Value>";
pub const DERIVED: &str = "structs with #[derive(Deserialize)]";

/// The structs that a user would write by hand for the same event. One field in another shape, or
/// one that occurs twice, makes the whole event an error that quotes the body.
#[derive(Deserialize)]
#[allow(dead_code, reason = "decoded to be timed")]
struct Derived {
    id: Option<String>,
    event_type: String,
    workspace_id: Option<String>,
    #[serde(default, with = "rfc3339::option")]
    created_at: Option<OffsetDateTime>,
    actor: Option<Box<RawValue>>,
    data: DerivedInstrument,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "decoded to be timed")]
struct DerivedInstrument {
    id: Option<String>,
    identifier: Option<String>,
    name: Option<String>,
    type_id: Option<String>,
    extra_fields_snapshot: Option<BTreeMap<String, String>>,
    extras: Option<Box<RawValue>>,
    #[serde(default, with = "rfc3339::option")]
    archived_at: Option<OffsetDateTime>,
    #[serde(default, with = "rfc3339::option")]
    created_at: Option<OffsetDateTime>,
}

/// Returns an instrument's event of 1 KiB, with realistic custom fields.
fn event(event_type: &str) -> Bytes {
    let data = r#"{"id":"0198c7a2-1d20-7b31-8f4e-5a6b7c8d9e0f","identifier":"bhp.ax","name":"BHP Group Ltd.","type_id":"0198c7a2-0a10-7c00-9b1a-2c3d4e5f6071","extra_fields_snapshot":{"exchange":"ASX","isin":"AU000000BHP4","sector":"Materials","industry":"Diversified Metals & Mining","currency":"AUD","lei":"WZE1WSENV6JSZFK0JC28"},"extras":{"bloomberg_figi":"BBG000BKRN43","ric":"BHP.AX","sedol":"6144690","note":"NOTE"},"archived_at":null,"created_at":"2026-04-15T09:30:00Z"}"#;
    let body = format!(
        r#"{{"id":"0198c7a2-4a54-7c1e-9d5f-2f1c1a3b4d5e","event_type":"{event_type}","workspace_id":"6f1c2d3e-4f50-4a61-8b72-93a4b5c6d7e8","created_at":"2026-04-15T09:30:00Z","actor":{{"type":"robot","id":"5e0b1c2d-3e4f-4950-8a61-72839405a6b7"}},"data":{data}}}"#
    );
    let note = "x".repeat(1024 - body.len() + "NOTE".len());
    let body = body.replace("NOTE", &note);
    assert_eq!(body.len(), 1024);
    body.into()
}

pub fn decode() -> Vec<Contender<'static>> {
    let known = event("instrument.updated");
    let (value, derived) = (known.clone(), known.clone());
    let unknown = event("robot.renamed");
    vec![
        Contender::new(TYPED, move || {
            let event = Event::from_trusted_json(black_box(&known).clone());
            assert!(matches!(
                black_box(event).expect("an event").payload,
                Ok(Payload::Instrument(..))
            ));
        }),
        Contender::new(UNKNOWN, move || {
            let event = Event::from_trusted_json(black_box(&unknown).clone());
            assert!(matches!(
                black_box(event).expect("an event").payload,
                Ok(Payload::Unknown)
            ));
        }),
        Contender::new(VALUE, move || {
            let value = serde_json::from_slice::<serde_json::Value>(black_box(&value));
            assert!(black_box(value).is_ok());
        }),
        Contender::new(DERIVED, move || {
            let event = serde_json::from_slice::<Derived>(black_box(&derived));
            assert!(black_box(event).is_ok());
        }),
    ]
}
