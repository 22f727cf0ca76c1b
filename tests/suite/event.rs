//! Typed payloads: every known type, and data that is not understood.

use ptolemy_webhooks::{
    Action, Event, EventType, Instrument, Malformed, MalformedKind, Payload, Scalar,
};
use time::macros::datetime;

fn event(json: impl Into<bytes::Bytes>) -> Event {
    Event::from_trusted_json(json).unwrap()
}

fn decode(event_type: &str, data: &str) -> Result<Payload, Malformed> {
    event(format!(r#"{{"event_type":"{event_type}","data":{data}}}"#)).payload
}

fn instrument(data: &str) -> Instrument {
    match decode("instrument.updated", data) {
        Ok(Payload::Instrument(Action::Updated, instrument)) => *instrument,
        other => panic!("{other:?}"),
    }
}

/// Returns the error of `data`, as text.
fn fault(event_type: &str, data: &str) -> String {
    decode(event_type, data).unwrap_err().to_string()
}

#[test]
fn every_documented_event_type_is_known_and_typed() {
    // The list is repeated here as it is in the contract: 25 types.
    let documented = "instrument.created instrument.updated instrument.archived instrument.restored
        instrument.deleted market.created market.updated market.archived market.restored
        market_listing.created market_listing.updated market_listing.archived
        market_listing_suspension.created market_listing_suspension.updated
        market_listing_suspension.deleted time_series_value.created time_series_value.updated
        time_series_value.archived composite_time_series_value.created webhook.created
        webhook.updated webhook.deleted membership.created membership.updated membership.deleted";
    let documented: Vec<_> = documented.split_whitespace().collect();
    assert_eq!(documented.len(), 25);
    assert_eq!(
        [EventType::DOCUMENTED, EventType::ASSUMED].concat(),
        documented
    );

    for name in documented {
        let event_type = EventType::from(name);
        assert_eq!(event_type.as_str(), name);
        assert_eq!(event_type.to_string(), name);
        let (resource, action) = name.split_once('.').unwrap();
        assert_eq!(event_type.resource(), Some(resource));
        assert!(
            !matches!(event_type.action(), Some(Action::Other(_))),
            "{name}"
        );
        assert_eq!(event_type.action().unwrap(), action);
    }
}

#[cfg(feature = "samples")]
#[test]
fn there_is_a_sample_of_every_known_event_type_and_each_is_typed() {
    use ptolemy_webhooks::samples;

    let known = [EventType::DOCUMENTED, EventType::ASSUMED].concat();
    let types: Vec<_> = samples::all().map(|sample| sample.event_type()).collect();
    assert_eq!(types, known);
    let mut ids = std::collections::HashSet::new();
    for sample in samples::all() {
        let event = event(sample.clone());
        let name = sample.event_type();
        assert_eq!(event.event_type, name);
        assert_eq!(samples::of(name), Some(sample));
        assert!(
            ids.insert(event.id.unwrap()),
            "{name}: its id is not its own"
        );
        // `Instrument(Created, Instrument { .. })`
        let camel = |snake: &str| -> String {
            let words = snake.split('_');
            words
                .map(|word| word[..1].to_uppercase() + &word[1..])
                .collect()
        };
        let (resource, action) = name.split_once('.').unwrap();
        let (resource, action) = (camel(resource), camel(action));
        let debug = format!("{:?}", event.payload);
        let expected = format!("Ok({resource}({action}, {resource} {{");
        assert!(debug.starts_with(&expected), "{name}: {debug}");
    }
    assert_eq!(samples::of("market.deleted"), None);
    let quoted = samples::webhook_deleted().with_id("a\"b\n");
    assert_eq!(event(quoted.to_json()).id.as_deref(), Some("a\"b\n"));
    assert_eq!(event(quoted).id.as_deref(), Some("a\"b\n"));
}

#[cfg(feature = "samples")]
#[test]
fn every_field_of_every_resource_is_read() {
    // Only a field that is null in these samples may be `None`.
    for sample in ptolemy_webhooks::samples::all() {
        let nulls = sample.data().matches("null").count();
        let payload = event(sample.clone()).payload;
        let debug = format!("{payload:?}");
        assert_eq!(
            debug.matches(": None").count(),
            nulls,
            "{sample:?}: {debug}"
        );
    }
}

#[test]
fn an_instrument_is_read_exactly() {
    let instrument = instrument(include_str!("../../src/samples/instrument.json"));
    assert_eq!(
        instrument.id.as_deref(),
        Some("0198c7a2-1d20-7b31-8f4e-5a6b7c8d9e0f")
    );
    assert_eq!(instrument.identifier.as_deref(), Some("bhp.ax"));
    assert_eq!(instrument.name.as_deref(), Some("BHP Group Ltd."));
    assert_eq!(
        instrument.type_id.as_deref(),
        Some("0198c7a2-0a10-7c00-9b1a-2c3d4e5f6071")
    );
    let snapshot = instrument.extra_fields_snapshot.unwrap();
    assert_eq!(
        snapshot.into_iter().collect::<Vec<_>>(),
        [
            ("exchange", "ASX"),
            ("isin", "AU000000BHP4"),
            ("sector", "Materials")
        ]
        .map(|(key, value)| (key.into(), Some(value.into())))
    );
    assert_eq!(
        instrument.extras.unwrap().as_str(),
        r#"{ "bloomberg_figi": "BBG000BKRN43" }"#
    );
    assert_eq!(instrument.archived_at, None);
    assert_eq!(instrument.created_at, Some(datetime!(2026-04-15 09:30 UTC)));
}

#[test]
fn the_other_resources_are_read_exactly() {
    let Ok(Payload::Market(Action::Restored, market)) = decode(
        "market.restored",
        include_str!("../../src/samples/market.json"),
    ) else {
        panic!()
    };
    assert_eq!(market.identifier.as_deref(), Some("asx"));
    assert_eq!(
        market.name.as_deref(),
        Some("Australian Securities Exchange")
    );
    let snapshot = market.extra_fields_snapshot.unwrap();
    assert_eq!(snapshot["mic"].as_ref().unwrap(), "XASX");
    assert_eq!(market.extras.unwrap().as_str(), "{}");
    assert!(market.id.unwrap().starts_with("0198c7a2-2e30"));
    assert!(market.type_id.unwrap().starts_with("0198c7a2-0a11"));

    let Ok(Payload::MarketListing(Action::Archived, listing)) = decode(
        "market_listing.archived",
        include_str!("../../src/samples/market_listing.json"),
    ) else {
        panic!()
    };
    assert!(listing.id.unwrap().starts_with("0198c7a2-3f40"));
    assert!(listing.instrument_id.unwrap().starts_with("0198c7a2-1d20"));
    assert!(listing.market_id.unwrap().starts_with("0198c7a2-2e30"));
    assert_eq!(listing.local_code.as_deref(), Some("BHP"));
    assert_eq!(listing.currency.as_deref(), Some("AUD"));
    assert_eq!(listing.lot_size.unwrap().as_str(), "1");

    let Ok(Payload::MarketListingSuspension(Action::Deleted, suspension)) = decode(
        "market_listing_suspension.deleted",
        include_str!("../../src/samples/market_listing_suspension.json"),
    ) else {
        panic!()
    };
    assert!(suspension.id.unwrap().starts_with("0198c7a2-4050"));
    assert!(suspension.listing_id.unwrap().starts_with("0198c7a2-3f40"));
    assert_eq!(
        suspension.suspended_from,
        Some(datetime!(2026-04-15 00:00 UTC))
    );
    assert_eq!(suspension.suspended_until, None);
    assert_eq!(suspension.reason.as_deref(), Some("pending announcement"));

    let Ok(Payload::TimeSeriesValue(Action::Updated, point)) = decode(
        "time_series_value.updated",
        include_str!("../../src/samples/time_series_value.json"),
    ) else {
        panic!()
    };
    assert!(point.id.starts_with("0198c7a2-5160"));
    assert!(point.instrument_id.starts_with("0198c7a2-1d20"));
    assert!(point.type_id.starts_with("0198c7a2-0a12"));
    assert_eq!(point.timestamp, datetime!(2026-04-15 00:00 UTC));
    assert_eq!(point.value.to_string(), "45.82");
    assert_eq!(point.archived_at, None);
    assert_eq!(point.created_at, datetime!(2026-04-15 09:30 UTC));

    let Ok(Payload::CompositeTimeSeriesValue(Action::Created, composite)) = decode(
        "composite_time_series_value.created",
        include_str!("../../src/samples/composite_time_series_value.json"),
    ) else {
        panic!()
    };
    assert!(
        composite
            .instrument_id
            .unwrap()
            .starts_with("0198c7a2-1d20")
    );
    assert!(composite.type_id.unwrap().starts_with("0198c7a2-0a13"));
    assert_eq!(composite.timestamp, Some(datetime!(2026-04-15 00:00 UTC)));
    assert!(composite.id.unwrap().starts_with("0198c7a2-8490"));
    let items = composite.items.unwrap();
    assert_eq!(items.len(), 4);
    assert_eq!(items[3].field_key.as_deref(), Some("close"));
    assert_eq!(items[3].value.as_ref().unwrap().as_str(), "45.82");

    let Ok(Payload::Webhook(Action::Deleted, webhook)) = decode(
        "webhook.deleted",
        include_str!("../../src/samples/webhook.json"),
    ) else {
        panic!()
    };
    assert!(webhook.id.starts_with("0198c7a2-6270"));
    assert_eq!(webhook.url, "https://hooks.example.com/webhooks/ptolemy");
    assert_eq!(webhook.label.as_deref(), Some("production-ingest"));
    assert!(webhook.active);
    assert_eq!(webhook.created_at, datetime!(2026-04-15 09:00 UTC));

    let Ok(Payload::Membership(Action::Updated, membership)) = decode(
        "membership.updated",
        include_str!("../../src/samples/membership.json"),
    ) else {
        panic!()
    };
    assert!(membership.id.unwrap().starts_with("0198c7a2-7380"));
    assert_eq!(membership.role.as_deref(), Some("Editor"));
    assert_eq!(membership.created_at, Some(datetime!(2026-04-15 09:00 UTC)));
}

#[test]
fn an_unknown_type_keeps_its_json() {
    for event_type in ["robot.created", "nodot", ".x", "x.", "Instrument.created"] {
        let event = event(format!(
            r#"{{"event_type":"{event_type}","data":{{"a": [1,  2]}}}}"#
        ));
        assert_eq!(event.event_type.as_str(), event_type);
        assert_eq!(event.payload, Ok(Payload::Unknown), "{event_type}");
        assert_eq!(event.data.unwrap().as_str(), r#"{"a": [1,  2]}"#);
    }
}

#[test]
fn an_unknown_type_takes_data_of_any_shape_or_none() {
    for data in ["[1,2]", "\"text\"", "7", "null", "true"] {
        let event = event(format!(r#"{{"event_type":"robot.created","data":{data}}}"#));
        assert_eq!(event.payload, Ok(Payload::Unknown));
        assert_eq!(event.data.unwrap().as_str(), data);
    }
    let event = event(r#"{"event_type":"robot.created"}"#);
    assert_eq!(event.payload, Ok(Payload::Unknown));
    assert_eq!(event.data, None);
}

#[test]
fn an_undocumented_action_of_a_known_resource_is_typed() {
    let Ok(Payload::Market(Action::Deleted, market)) =
        decode("market.deleted", r#"{"identifier":"asx"}"#)
    else {
        panic!()
    };
    assert_eq!(market.identifier.as_deref(), Some("asx"));

    let payload = decode("instrument.renamed.twice", "{}").unwrap();
    let Some(Action::Other(other)) = payload.action() else {
        panic!("{payload:?}")
    };
    assert_eq!(other.as_str(), "renamed.twice");
    assert!(matches!(payload, Payload::Instrument(..)));
    assert_eq!(Payload::Unknown.action(), None);
}

#[test]
fn an_undocumented_event_type_is_never_malformed() {
    for event_type in ["market.deleted", "webhook.archived", "membership.created"] {
        for data in [r#"{"id":7}"#, "{\"name\":7,\"id\":[]}", "null", "[]", "7"] {
            let body = format!(r#"{{"event_type":"{event_type}","data":{data}}}"#);
            let event = event(body);
            assert_eq!(event.payload, Ok(Payload::Unknown), "{event_type} {data}");
            assert_eq!(event.data.unwrap().as_str(), data);
        }
    }
    assert!(decode("market.created", r#"{"id":7}"#).is_err());
}

#[test]
fn an_action_is_open_lossless_and_exact() {
    for (text, action) in [
        ("created", Action::Created),
        ("updated", Action::Updated),
        ("archived", Action::Archived),
        ("restored", Action::Restored),
        ("deleted", Action::Deleted),
    ] {
        assert_eq!(Action::from(text), action);
        assert_eq!(text.parse(), Ok(action.clone()));
        assert_eq!(action.as_str(), text);
        assert_eq!(action.to_string(), text);
        assert_eq!(action, *text);
    }
    for text in ["Created", "", "created ", "renamed"] {
        let action = Action::from(text);
        assert!(matches!(&action, Action::Other(other) if other.as_str() == text));
        assert_eq!(action, text);
    }
    assert_eq!(
        Action::from("a b\n\u{202e}").to_string(),
        r"a\u{20}b\u{a}\u{202e}"
    );
}

#[test]
fn the_resource_id_is_the_id_in_the_data_whatever_the_payload() {
    for (event_type, data, id) in [
        ("instrument.created", r#"{"id":"i1"}"#, Some("i1")),
        ("instrument.created", r#"{"id":"\u0069\u0031"}"#, Some("i1")),
        ("instrument.created", r#"{"id":""}"#, None),
        ("instrument.created", r#"{"id":null}"#, None),
        ("instrument.created", "{}", None),
        ("market.deleted", r#"{"id":"m1"}"#, Some("m1")),
        ("market_listing.created", r#"{"id":"l1"}"#, Some("l1")),
        (
            "market_listing_suspension.created",
            r#"{"id":"s1"}"#,
            Some("s1"),
        ),
        (
            "composite_time_series_value.created",
            r#"{"id":"c1"}"#,
            Some("c1"),
        ),
        ("membership.created", r#"{"id":"p1"}"#, Some("p1")),
        // The payload is malformed or unknown, and the id of the resource is still found.
        ("instrument.created", r#"{"id":7}"#, Some("7")),
        ("instrument.created", r#"{"id":-1.50}"#, Some("-1.50")),
        ("instrument.created", r#"{"id":"i1","name":7}"#, Some("i1")),
        ("time_series_value.created", r#"{"id":"v1"}"#, Some("v1")),
        ("webhook.created", r#"{"id":"w1","id":"w2"}"#, Some("w2")),
        ("robot.created", r#"{"id":"r1"}"#, Some("r1")),
        ("robot.created", r#"{"id":["r1"]}"#, None),
        ("robot.created", r#"{"id":"\ud800"}"#, None),
        ("robot.created", "[]", None),
    ] {
        let body = format!(r#"{{"event_type":"{event_type}","data":{data}}}"#);
        assert_eq!(
            event(body).resource_id().as_deref(),
            id,
            "{event_type} {data}"
        );
    }
    #[cfg(feature = "samples")]
    for sample in ptolemy_webhooks::samples::all() {
        let event = event(sample.clone());
        let id = event.resource_id().unwrap();
        assert!(
            sample.data().contains(&format!(r#""id": "{id}""#)),
            "{sample:?}"
        );
    }
}

#[test]
fn data_of_another_shape_is_kept_and_reported_with_path_and_reason() {
    for (event_type, data, expected) in [
        (
            "instrument.created",
            r#"{"name":7}"#,
            "data.name: expected a string, found a number",
        ),
        (
            "instrument.created",
            r#"{"id":{}}"#,
            "data.id: expected a string, found an object",
        ),
        (
            "instrument.created",
            r#"{"archived_at":"soon"}"#,
            "data.archived_at: expected an ISO 8601 time with an offset from UTC, found another string",
        ),
        (
            "instrument.created",
            r#"{"archived_at":1776243600}"#,
            "data.archived_at: expected a string with a time, found a number",
        ),
        (
            "instrument.created",
            r#"{"extra_fields_snapshot":[]}"#,
            "data.extra_fields_snapshot: expected an object, found an array",
        ),
        (
            "instrument.created",
            r#"{"extra_fields_snapshot":{"lot":true}}"#,
            "data.extra_fields_snapshot.*: expected a string or a number, found a boolean",
        ),
        (
            "instrument.created",
            r#"{"name":"\ud800"}"#,
            "data.name: expected text, found a lone surrogate",
        ),
        (
            "time_series_value.created",
            r#"{"id":"1"}"#,
            "data.instrument_id: missing",
        ),
        (
            "time_series_value.created",
            r#"{"id":null}"#,
            "data.id: expected a string, found null",
        ),
        (
            "webhook.created",
            r#"{"id":"1","url":"u","label":"l","active":"true"}"#,
            "data.active: expected a boolean, found a string",
        ),
        (
            "composite_time_series_value.created",
            r#"{"items":{}}"#,
            "data.items: expected an array, found an object",
        ),
        (
            "composite_time_series_value.created",
            r#"{"items":[{"value":"1"},{},{"value":[]}]}"#,
            "data.items[2].value: expected a string or a number, found an array",
        ),
        (
            "composite_time_series_value.created",
            r#"{"items":[{},[]]}"#,
            "data.items[1]: expected an object, found an array",
        ),
    ] {
        let malformed = decode(event_type, data).unwrap_err();
        assert_eq!(malformed.to_string(), expected, "{data}");
        let (path, reason) = expected.split_once(": ").unwrap();
        assert_eq!(malformed.path(), path);
        assert_eq!(malformed.cause().to_string(), reason);
        let error: &dyn std::error::Error = &malformed;
        assert!(error.source().is_none());
    }
}

#[test]
fn a_malformed_field_has_a_kind_and_the_key_that_the_sender_chose() {
    use MalformedKind::{Missing, NotATime, NotText, WrongType};
    for (data, kind, key) in [
        (
            r#"{"extra_fields_snapshot":{"a b\n":[]}}"#,
            WrongType,
            Some("a b\n"),
        ),
        (
            r#"{"extra_fields_snapshot":{"lot":"\ud800"}}"#,
            NotText,
            Some("lot"),
        ),
        (r#"{"extra_fields_snapshot":{"\ud800":"1"}}"#, NotText, None),
        (r#"{"name":1}"#, WrongType, None),
        (r#"{"created_at":"today"}"#, NotATime, None),
        (
            r#"{"created_at":"9999-12-31T23:59:59-23:59"}"#,
            NotATime,
            None,
        ),
    ] {
        let malformed = decode("instrument.created", data).unwrap_err();
        assert_eq!((malformed.kind(), malformed.key()), (kind, key), "{data}");
        assert!(!format!("{malformed:?}").contains("lot"), "{malformed:?}");
    }
    let malformed = decode("time_series_value.created", "{}").unwrap_err();
    assert_eq!((malformed.kind(), malformed.key()), (Missing, None));
}

#[test]
fn a_custom_field_may_be_null() {
    for event_type in ["instrument.created", "market.created"] {
        let data = r#"{"extra_fields_snapshot":{"sector":null,"isin":"AU"}}"#;
        let snapshot = match decode(event_type, data) {
            Ok(Payload::Instrument(_, instrument)) => instrument.extra_fields_snapshot,
            Ok(Payload::Market(_, market)) => market.extra_fields_snapshot,
            other => panic!("{other:?}"),
        };
        let snapshot: Vec<_> = snapshot.unwrap().into_iter().collect();
        let expected = [
            ("isin".to_owned(), Some("AU".into())),
            ("sector".to_owned(), None),
        ];
        assert_eq!(snapshot, expected, "{event_type}");
    }
}

#[test]
fn missing_data_of_a_known_type_is_malformed_at_data() {
    let missing = event(r#"{"event_type":"market.created"}"#);
    assert_eq!(missing.payload.unwrap_err().to_string(), "data: missing");
    assert_eq!(missing.data, None);
    for (data, found) in [
        ("null", "null"),
        ("[]", "an array"),
        ("[{}]", "an array"),
        ("\"x\"", "a string"),
        ("7", "a number"),
        ("false", "a boolean"),
    ] {
        assert_eq!(
            fault("market.created", data),
            format!("data: expected an object, found {found}")
        );
    }
}

#[test]
fn the_path_names_the_field_that_carries_the_data() {
    let event = event(r#"{"event_type":"market.created","payload":{"name":1}}"#);
    assert_eq!(event.payload.unwrap_err().path(), "payload.name");
}

#[test]
fn new_fields_are_ignored_and_reachable() {
    let data = r#"{"name":"BHP","lei":"WZE1WSENV6JSZFK0JC28","nested":{"deep":[1]}}"#;
    assert_eq!(instrument(data).name.as_deref(), Some("BHP"));

    #[derive(serde::Deserialize)]
    struct Extended<'a> {
        lei: &'a str,
    }
    let event = event(format!(
        r#"{{"event_type":"instrument.updated","new":1,"data":{data}}}"#
    ));
    assert!(matches!(event.payload, Ok(Payload::Instrument(..))));
    let extended: Extended = event.data.as_ref().unwrap().decode().unwrap();
    assert_eq!(extended.lei, "WZE1WSENV6JSZFK0JC28");
}

#[test]
fn all_optional_fields_may_be_absent_or_null() {
    let empty = instrument("{}");
    assert_eq!(
        empty,
        instrument(
            r#"{"id":null,"name":null,"extras":null,"extra_fields_snapshot":null,"created_at":null}"#
        )
    );
    assert_eq!(empty.extras, None);
    for name in EventType::DOCUMENTED {
        let is_whole_response = name.starts_with("time_series") || name.starts_with("webhook");
        assert_eq!(decode(name, "{}").is_err(), is_whole_response, "{name}");
    }
}

#[test]
fn every_required_field_is_required() {
    for (event_type, json, optional) in [
        (
            "time_series_value.created",
            include_str!("../../src/samples/time_series_value.json"),
            "archived_at",
        ),
        (
            "webhook.created",
            include_str!("../../src/samples/webhook.json"),
            "label",
        ),
    ] {
        let whole: serde_json::Map<String, serde_json::Value> = serde_json::from_str(json).unwrap();
        for key in whole.keys() {
            let mut part = whole.clone();
            part.remove(key);
            let payload = decode(event_type, &serde_json::to_string(&part).unwrap());
            match payload {
                Err(malformed) => {
                    assert_eq!(malformed.to_string(), format!("data.{key}: missing"));
                }
                Ok(_) => assert_eq!(key, optional, "{event_type}"),
            }
        }
    }
}

#[test]
fn of_a_key_that_occurs_twice_the_last_counts() {
    assert_eq!(
        instrument(r#"{"name":7,"name":"a","name":"b"}"#)
            .name
            .as_deref(),
        Some("b")
    );
    assert_eq!(
        fault("instrument.updated", r#"{"name":"a","name":7}"#),
        "data.name: expected a string, found a number"
    );
    let twice = instrument(r#"{"extra_fields_snapshot":{"a":"1","a":"2","b":"1","b":null}}"#);
    let snapshot = twice.extra_fields_snapshot.unwrap();
    assert_eq!(snapshot["a"].as_ref().unwrap(), "2");
    assert_eq!(snapshot["b"], None);
}

#[test]
fn an_escaped_key_is_the_key_it_spells() {
    assert_eq!(
        instrument(r#"{"n\u0061me":"x"}"#).name.as_deref(),
        Some("x")
    );
    assert_eq!(
        instrument(r#"{"\ud800":1,"name":"x"}"#).name.as_deref(),
        Some("x")
    );
}

#[test]
fn times_are_read_with_any_offset_and_precision() {
    for (text, expected) in [
        ("2026-04-15T09:30:00Z", datetime!(2026-04-15 09:30 UTC)),
        ("2026-04-15T19:30:00+10:00", datetime!(2026-04-15 09:30 UTC)),
        (
            "2026-04-15T09:30:00.123456789Z",
            datetime!(2026-04-15 09:30:00.123456789 UTC),
        ),
        ("20260415T093000Z", datetime!(2026-04-15 09:30 UTC)),
    ] {
        let read = instrument(&format!(r#"{{"created_at":"{text}"}}"#)).created_at;
        assert_eq!(read, Some(expected), "{text}");
    }
    for text in [
        "",
        "2026-04-15",
        "2026-04-15T09:30:00",
        "2026-02-30T09:30:00Z",
        "yesterday",
        "99999-01-01T00:00:00Z",
        "\\ud800",
    ] {
        assert!(
            fault(
                "instrument.created",
                &format!(r#"{{"created_at":"{text}"}}"#)
            )
            .contains("ISO 8601"),
            "{text}"
        );
    }
}

#[test]
fn a_time_that_utc_cannot_show_is_malformed_and_never_panics_later() {
    for text in ["9999-12-31T23:59:59-23:59", "9999-12-31T23:59:59-00:01"] {
        let data = format!(r#"{{"suspended_until":"{text}"}}"#);
        assert_eq!(
            fault("market_listing_suspension.created", &data),
            "data.suspended_until: expected a time within the years -9999 to 9999 in UTC"
        );
        let body = format!(r#"{{"event_type":"a.b","created_at":"{text}"}}"#);
        assert_eq!(event(body).created_at, None);
    }
    for text in [
        "9999-12-31T23:59:59Z",
        "9999-12-31T23:59:59+23:59",
        "0000-01-01T00:00:00Z",
    ] {
        let time = instrument(&format!(r#"{{"created_at":"{text}"}}"#)).created_at;
        let utc = time.unwrap().to_offset(time::UtcOffset::UTC);
        assert!((0..=9999).contains(&utc.year()), "{text}");
    }
}

#[test]
fn a_secret_in_a_webhook_event_stays_out_of_debug() {
    let data = r#"{"id":"1","url":"u","label":"l","active":true,"created_at":"2026-04-15T09:00:00Z","secret":"whsec_SENTINEL"}"#;
    let event = event(format!(
        r#"{{"event_type":"webhook.created","data":{data}}}"#
    ));
    assert!(matches!(event.payload, Ok(Payload::Webhook(..))));
    assert!(!format!("{event:?}{event:#?}").contains("SENTINEL"));
    assert!(event.raw.as_str().contains("SENTINEL"));
}

#[test]
fn event_types_are_open_lossless_and_exact() {
    let unknown = EventType::from("Instrument.created");
    assert_ne!(unknown, EventType::from("instrument.created"));
    assert_eq!(unknown, "Instrument.created");
    assert_eq!(
        "instrument.created".parse(),
        Ok(EventType::from("instrument.created"))
    );
    let [first, second] = ["a.b", "a.c"].map(EventType::from);
    assert!(first < second);
    for (text, resource, action) in [
        ("a.b", Some("a"), Some("b")),
        ("a.b.c", Some("a"), Some("b.c")),
        ("a", None, None),
        (".b", None, None),
        ("a.", None, None),
        (".", None, None),
        ("", None, None),
        ("instrument.created", Some("instrument"), Some("created")),
    ] {
        let event_type = EventType::from(text);
        assert_eq!(event_type.resource(), resource, "{text}");
        assert_eq!(event_type.action(), action.map(Action::from), "{text}");
        assert_eq!(event_type.as_str(), text);
        let json = serde_json::to_string(&event_type).unwrap();
        assert_eq!(json, serde_json::to_string(text).unwrap());
        assert_eq!(
            serde_json::from_str::<EventType>(&json).unwrap(),
            event_type
        );
        assert_eq!(
            serde_json::from_reader::<_, EventType>(json.as_bytes()).unwrap(),
            event_type
        );
    }
}

#[test]
fn an_event_type_cannot_forge_a_log_line() {
    let text = "a.b\r\n\u{1b}[31m id=forged\u{85}\u{2028}\u{2029}\u{202e}\u{2066}\u{200b}é";
    let event_type = EventType::from(text);
    assert_eq!(event_type.as_str(), text);
    assert_eq!(
        event_type.to_string(),
        r"a.b\u{d}\u{a}\u{1b}[31m\u{20}id=forged\u{85}\u{2028}\u{2029}\u{202e}\u{2066}\u{200b}é"
    );
    let debug = format!("{event_type:?}");
    assert!(
        !debug.contains(['\r', '\n', '\u{1b}', '\u{85}', '\u{2028}']),
        "{debug}"
    );
}

/// Compares two texts in every way in which a user may write it.
macro_rules! compares {
    ($value:expr, $text:expr, $other:expr) => {
        let (value, text, other) = ($value, $text, $other);
        assert_eq!(value, text);
        assert_eq!(text, value);
        assert_eq!(value, *text);
        assert_eq!(*text, value);
        assert_eq!(value, text.to_owned());
        assert_eq!(text.to_owned(), value);
        assert_ne!(value, other);
        assert_ne!(other, value);
        assert_ne!(value, other.to_owned());
        assert_ne!(other.to_owned(), value);
    };
}

#[test]
fn texts_are_compared_with_strings_from_either_side() {
    compares!(EventType::from("a.b"), "a.b", "a.B");
    compares!(Action::Created, "created", "Created");
    compares!(Action::from("renamed"), "renamed", "rename");
    compares!(Scalar::from("1.0"), "1.0", "1.00");
}

#[test]
fn an_action_is_ordered_and_stored_as_its_text() {
    let texts = [
        "archived", "created", "deleted", "lost", "restored", "updated",
    ];
    let mut actions = texts.map(Action::from);
    actions.reverse();
    actions.sort();
    assert_eq!(actions, texts.map(Action::from));
    for text in texts {
        let json = serde_json::to_string(&Action::from(text)).unwrap();
        assert_eq!(json, format!("\"{text}\""));
        let action: Action = serde_json::from_str(&json).unwrap();
        assert_eq!(action, Action::from(text));
        let escaped = serde_json::from_reader::<_, Action>(json.as_bytes()).unwrap();
        assert_eq!(escaped, action);
    }
    assert!(serde_json::from_str::<Action>("1").is_err());
}
