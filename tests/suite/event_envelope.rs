//! The envelope: which bodies are events, which are not, and what is kept.

use ptolemy_webhooks::{
    DecodeError, DecodeErrorKind as Kind, Event, Payload, RawJson, RawJsonErrorKind as RawKind,
};
use time::macros::datetime;

fn event(json: impl Into<bytes::Bytes>) -> Event {
    Event::from_trusted_json(json).unwrap()
}

fn error(json: impl Into<bytes::Bytes>) -> DecodeError {
    Event::from_trusted_json(json).unwrap_err()
}

#[test]
fn the_assumed_shape_is_read_in_full() {
    let event = event(
        r#"{
  "id": "0198c7a2-4a54-7c1e-9d5f-2f1c1a3b4d5e",
  "event_type": "instrument.updated",
  "workspace_id": "6f1c",
  "created_at": "2026-04-15T09:30:00Z",
  "actor": { "type": "robot", "id": "7" },
  "data": { "name": "BHP" }
}"#,
    );
    assert_eq!(
        event.id.as_deref(),
        Some("0198c7a2-4a54-7c1e-9d5f-2f1c1a3b4d5e")
    );
    assert_eq!(event.event_type, "instrument.updated");
    assert_eq!(event.workspace_id.as_deref(), Some("6f1c"));
    assert_eq!(event.created_at, Some(datetime!(2026-04-15 09:30 UTC)));
    assert_eq!(
        event.actor.unwrap().as_str(),
        r#"{ "type": "robot", "id": "7" }"#
    );
    assert!(matches!(event.payload, Ok(Payload::Instrument(..))));
}

#[test]
fn the_smallest_event_is_an_event_type() {
    let event = event(r#"{"event_type":"a.b"}"#);
    assert_eq!(event.id, None);
    assert_eq!(event.workspace_id, None);
    assert_eq!(event.created_at, None);
    assert_eq!(event.actor, None);
    assert_eq!(event.payload, Ok(Payload::Unknown));
    assert_eq!(event.data, None);
}

#[test]
fn other_names_are_tried_in_their_order() {
    for (json, event_type) in [
        (r#"{"type":"a.b"}"#, "a.b"),
        (r#"{"type":"x.y","event_type":"a.b"}"#, "a.b"),
        (r#"{"event_type":"a.b","type":"x.y"}"#, "a.b"),
        (r#"{"event_type":null,"type":"a.b"}"#, "a.b"),
        (r#"{"event_type":7,"type":"a.b"}"#, "a.b"),
        (r#"{"event_type":"","type":"a.b"}"#, "a.b"),
        (r#"{"event_type":"a.b","type":7}"#, "a.b"),
    ] {
        assert_eq!(event(json).event_type.as_str(), event_type, "{json}");
    }

    let created_at = |fields: &str| event(format!(r#"{{"event_type":"a.b",{fields}}}"#)).created_at;
    let (first, second) = (
        Some(datetime!(2026-01-01 00:00 UTC)),
        Some(datetime!(2026-02-02 00:00 UTC)),
    );
    for (fields, expected) in [
        (r#""created_at":"2026-01-01T00:00:00Z""#, first),
        (r#""occurred_at":"2026-02-02T00:00:00Z""#, second),
        (
            r#""occurred_at":"2026-02-02T00:00:00Z","created_at":"2026-01-01T00:00:00Z""#,
            first,
        ),
        (
            r#""created_at":null,"occurred_at":"2026-02-02T00:00:00Z""#,
            second,
        ),
        (
            r#""created_at":1776243600,"occurred_at":"2026-02-02T00:00:00Z""#,
            second,
        ),
        (
            r#""created_at":"soon","occurred_at":"2026-02-02T00:00:00Z""#,
            None,
        ),
    ] {
        assert_eq!(created_at(fields), expected, "{fields}");
    }

    let data = |fields: &str| {
        let event = event(format!(r#"{{"event_type":"a.b",{fields}}}"#));
        assert_eq!(event.payload, Ok(Payload::Unknown));
        event.data.map(|data| data.as_str().to_owned())
    };
    for (fields, expected) in [
        (
            r#""data":{"a":1},"payload":{"b":1},"resource":{"c":1}"#,
            r#"{"a":1}"#,
        ),
        (r#""resource":{"c":1},"payload":{"b":1}"#, r#"{"b":1}"#),
        (r#""resource":{"c":1}"#, r#"{"c":1}"#),
        (r#""data":null,"payload":{"b":1}"#, r#"{"b":1}"#),
        (
            r#""data":[1],"payload":"x","resource":{"c":1}"#,
            r#"{"c":1}"#,
        ),
        (r#""payload":[1],"resource":2"#, "[1]"),
        (r#""data":null,"payload":[1]"#, "[1]"),
        (r#""data":null,"payload":null"#, "null"),
    ] {
        assert_eq!(data(fields).as_deref(), Some(expected), "{fields}");
    }
}

#[test]
fn both_names_at_once_are_not_an_error_and_both_are_kept() {
    let json = r#"{"event_type":"a.b","type":"c.d","data":{},"payload":{},"resource":{},"created_at":"2026-01-01T00:00:00Z","occurred_at":"2026-01-01T00:00:00Z"}"#;
    assert_eq!(event(json).raw.as_str(), json);
}

#[test]
fn a_field_of_another_type_is_none_and_never_an_error() {
    for value in [
        "null",
        "7",
        "true",
        "[]",
        "{}",
        "1e400",
        r#"{"a":{"b":[]}}"#,
    ] {
        let event = event(format!(
            r#"{{"id":{value},"event_type":"a.b","workspace_id":{value},"created_at":{value}}}"#
        ));
        assert_eq!(event.id, None, "{value}");
        assert_eq!(event.workspace_id, None, "{value}");
        assert_eq!(event.created_at, None, "{value}");
    }
    assert_eq!(
        event(r#"{"event_type":"a.b","created_at":"soon"}"#).created_at,
        None
    );
    assert_eq!(
        event(r#"{"event_type":"a.b","id":""}"#).id.as_deref(),
        Some("")
    );
    assert_eq!(event(r#"{"event_type":"a.b","id":"\ud800"}"#).id, None);
}

#[test]
fn actor_may_be_any_json() {
    for value in [
        "7",
        "true",
        "[1, 2]",
        "\"me\"",
        "{}",
        "1e400",
        r#""\ud800""#,
    ] {
        let event = event(format!(r#"{{"event_type":"a.b","actor": {value} }}"#));
        assert_eq!(event.actor.unwrap().as_str(), value);
    }
    assert_eq!(event(r#"{"event_type":"a.b","actor":null}"#).actor, None);
}

#[test]
fn of_a_key_that_occurs_twice_the_last_counts() {
    let event =
        event(r#"{"id":"1","event_type":"x.y","id":"2","event_type":"a.b","id":7,"id":"3"}"#);
    assert_eq!(event.id.as_deref(), Some("3"));
    assert_eq!(event.event_type.as_str(), "a.b");
    let event = self::event(r#"{"id":"1","id":7,"event_type":"a.b"}"#);
    assert_eq!(event.id, None);
}

#[test]
fn escapes_in_keys_and_values_are_read() {
    let event = event(r#"{"\u0069d":"\u0065\n\"1","event\u005ftype":"a\u002eb","\ud800":1}"#);
    assert_eq!(event.id.as_deref(), Some("e\n\"1"));
    assert_eq!(event.event_type.as_str(), "a.b");
}

#[test]
fn a_body_that_is_not_an_event_is_reported_with_its_position() {
    for (json, kind, line, column) in [
        ("", Kind::Incomplete, 1, 0),
        ("   ", Kind::Incomplete, 1, 3),
        ("{", Kind::Incomplete, 1, 1),
        ("{\"event_type\":\"a.b\"", Kind::Incomplete, 1, 19),
        ("{\"event_type\":\"a.b", Kind::Incomplete, 1, 18),
        ("{\n\"a\": tru}", Kind::NotJson, 2, 9),
        ("nonsense", Kind::NotJson, 1, 2),
        ("{'event_type':'a.b'}", Kind::NotJson, 1, 2),
        ("{\"event_type\":\"a.b\",}", Kind::NotJson, 1, 21),
        ("{\"event_type\":\"a.b\",\"x\":01}", Kind::NotJson, 1, 26),
        ("{\"event_type\":\"a.b\",\"x\":NaN}", Kind::NotJson, 1, 25),
        ("\u{feff}{\"event_type\":\"a.b\"}", Kind::NotJson, 1, 1),
        ("{\"event_type\":\"a.b\"} x", Kind::Trailing, 1, 22),
        (
            "{\"event_type\":\"a.b\"}\n{\"event_type\":\"a.b\"}",
            Kind::Trailing,
            2,
            1,
        ),
        ("{\"event_type\":\"a.b\"}\0", Kind::Trailing, 1, 21),
        ("[]", Kind::NotAnObject, 1, 1),
        ("[\"1\",\"a.b\"]", Kind::NotAnObject, 1, 1),
        ("null", Kind::NotAnObject, 1, 1),
        ("\n  7", Kind::NotAnObject, 2, 3),
        ("\"a.b\"", Kind::NotAnObject, 1, 1),
        ("[{", Kind::Incomplete, 1, 2),
        ("[1,]", Kind::NotJson, 1, 4),
        ("0{", Kind::Trailing, 1, 2),
        ("\"id\":1", Kind::Trailing, 1, 5),
        ("{}", Kind::MissingEventType, 1, 1),
        ("\n {\"id\":\"1\"}", Kind::MissingEventType, 2, 2),
        ("{\"Event_Type\":\"a.b\"}", Kind::MissingEventType, 1, 1),
        ("{\"event_type\":null}", Kind::EventTypeNotAString, 1, 15),
        ("{\"event_type\":7}", Kind::EventTypeNotAString, 1, 15),
        (
            "{\"event_type\":[\"a.b\"]}",
            Kind::EventTypeNotAString,
            1,
            15,
        ),
        (
            "{\"event_type\":\"\\ud800\"}",
            Kind::EventTypeNotAString,
            1,
            15,
        ),
        ("{\n\"event_type\": \"\"}", Kind::EmptyEventType, 2, 15),
        ("{\"type\":7}", Kind::EventTypeNotAString, 1, 9),
        (
            "{\"event_type\":7,\"type\":\"\"}",
            Kind::EventTypeNotAString,
            1,
            15,
        ),
    ] {
        let error = error(json.to_owned());
        assert_eq!(
            (error.kind(), error.line(), error.column()),
            (kind, line, column),
            "{json:?}: {error}"
        );
        assert!(
            error
                .to_string()
                .ends_with(&format!(" at line {line}, column {column}")),
            "{error}"
        );
    }
}

#[test]
fn control_characters_and_broken_escapes_are_invalid_even_in_fields_that_are_not_read() {
    for json in [
        "{\"event_type\":\"a.b\",\"x\ny\":1}",
        "{\"event_type\":\"a.b\",\"x\":\"\u{1}\"}",
        r#"{"event_type":"a.b","x":"\q"}"#,
        r#"{"event_type":"a.b","x":"\u12"}"#,
        r#"{"event_type":"a.b","\q":1}"#,
    ] {
        assert_eq!(error(json).kind(), Kind::NotJson, "{json:?}");
    }
}

#[test]
fn invalid_utf8_is_found_in_a_field_that_is_not_read() {
    let json = [
        &b"{\"event_type\":\"a.b\",\n \"unread\":\""[..],
        b"\xff",
        b"\"}",
    ]
    .concat();
    let error = error(json);
    assert_eq!(
        (error.kind(), error.line(), error.column()),
        (Kind::NotUtf8, 2, 12)
    );
    for bytes in [
        &b"\xc0\x80"[..],
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xc3",
    ] {
        let json = [&b"{\"event_type\":\"a.b\",\"unread\":\""[..], bytes, b"\"}"].concat();
        assert_eq!(self::error(json).kind(), Kind::NotUtf8);
    }
}

#[test]
fn no_message_quotes_the_body() {
    for json in [
        "SENTINEL",
        "\"SENTINEL\"",
        "{\"SENTINEL",
        "{\"event_type\":[\"SENTINEL\"]}",
        "{\"event_type\":\"\",\"SENTINEL\":1}",
        "{\"event_type\":\"a.b\"}SENTINEL",
    ] {
        let error = error(json);
        assert!(!format!("{error} {error:?}").contains("SENTINEL"), "{json}");
    }
}

#[test]
fn nesting_of_100_000_levels_is_read_without_recursion() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let inner = if open == "[" { "" } else { "1" };
        let deep = format!("{}{inner}{}", open.repeat(100_000), close.repeat(100_000));
        for place in ["unread", "actor", "data", "id", "event_type"] {
            let json = format!(r#"{{"type":"instrument.created","{place}":{deep}}}"#);
            assert_eq!(event(json.clone()).raw.as_str(), json, "{place}");
        }
        for field in [
            "extras",
            "name",
            "unread",
            "extra_fields_snapshot",
            "created_at",
        ] {
            let json =
                format!(r#"{{"event_type":"instrument.created","data":{{"{field}":{deep}}}}}"#);
            let event = event(json);
            let is_read = matches!(event.payload, Ok(Payload::Instrument(..)));
            assert_eq!(is_read, matches!(field, "extras" | "unread"), "{field}");
        }
        let json = format!(
            r#"{{"event_type":"composite_time_series_value.created","data":{{"items":{deep}}}}}"#
        );
        assert!(event(json).payload.is_err());
        assert_eq!(error(open.repeat(100_000)).kind(), Kind::Incomplete);
        let json = format!(r#"{{"event_type":"a.b","data":{deep}}}"#);
        let data = event(json).data.unwrap();
        assert!(data.decode::<serde_json::Value>().is_err());
    }
}

#[test]
fn huge_ids_and_event_types_are_kept() {
    let long = "x".repeat(1_000_000);
    let event = event(format!(r#"{{"id":"{long}","event_type":"{long}"}}"#));
    assert_eq!(event.id.as_deref(), Some(&*long));
    assert_eq!(event.event_type.as_str(), long);
}

#[test]
fn bytes_out_equal_bytes_in_and_a_stored_event_comes_back_the_same() {
    for json in [
        r#"{"event_type":"a.b"}"#,
        " \n{ \"event_type\" : \"a.b\" , \"n\" : 1.0e+5, \"big\": 123456789012345678901234567890 }\r\n\t",
        r#"{"event_type":"instrument.created","data":{"name":"h\u00e9llo 🦀","extras":{"b":2,"a":1}}}"#,
        r#"{"event_type":"time_series_value.created","data":{}}"#,
    ] {
        let first = event(json);
        assert_eq!(first.raw.as_str(), json);
        assert_eq!(first.raw.as_bytes(), json.as_bytes());
        let again = event(first.raw.as_bytes().to_vec());
        assert_eq!(first, again);
        assert_eq!(first, first.clone());
    }
}

#[test]
fn raw_json_is_a_slice_of_the_body_and_prints_its_length() {
    let body = bytes::Bytes::from(
        r#"{"event_type":"instrument.created","actor":{"id":1},"data":{"extras":{"a":1}}}"#,
    );
    let range = body.as_ptr_range();
    let event = event(body.clone());
    let Ok(Payload::Instrument(_, instrument)) = &event.payload else {
        panic!()
    };
    for json in [
        &event.raw,
        event.actor.as_ref().unwrap(),
        event.data.as_ref().unwrap(),
        instrument.extras.as_ref().unwrap(),
    ] {
        assert!(range.contains(&json.as_bytes().as_ptr()));
        assert_eq!(
            format!("{json:?}"),
            format!("RawJson({} bytes)", json.as_str().len())
        );
    }
}

#[test]
fn raw_json_is_parsed_exactly_or_not_at_all() {
    for json in [" {\"a\": 1.50 }\n", "[]", "1e400", "null", r#""\ud800""#] {
        assert_eq!(RawJson::parse(json).unwrap().as_str(), json);
    }
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    assert!(RawJson::parse(deep).is_ok());

    let wrong: [(&[u8], RawKind, usize, usize); 6] = [
        (b"", RawKind::NotJson, 1, 0),
        (b"{} {}", RawKind::NotJson, 1, 4),
        (b"\xef\xbb\xbf{}", RawKind::NotJson, 1, 1),
        (b"{\n\"a\": \"b\xff\"}", RawKind::NotUtf8, 2, 8),
        (b"\n\xff", RawKind::NotUtf8, 2, 1),
        (b"{\"a\":", RawKind::NotJson, 1, 5),
    ];
    for (json, kind, line, column) in wrong {
        let error = RawJson::parse(json).unwrap_err();
        let found = (error.kind(), error.line(), error.column());
        assert_eq!(found, (kind, line, column), "{json:?}");
        let text = error.to_string();
        assert_eq!(text.contains("UTF-8"), kind == RawKind::NotUtf8, "{text}");
    }
}

#[test]
fn raw_json_that_does_not_fit_is_reported_with_its_position_and_not_quoted() {
    let event = event("{\"event_type\":\"a.b\",\n\"data\":\"SENTINEL\"}");
    let error = event.data.unwrap().decode::<u32>().unwrap_err();
    assert_eq!((error.line(), error.column()), (1, 10));
    assert_eq!(
        error.to_string(),
        "JSON does not fit the type at line 1, column 10"
    );
    assert_eq!(error.kind(), RawKind::WrongShape);
    assert!(!format!("{error:?}").contains("SENTINEL"));
}

#[test]
fn line_breaks_in_id_and_event_type_are_kept_and_escaped_in_debug() {
    let event = event(r#"{"id":"1\naccepted market.created","event_type":"a.b\r\n\u001b[2J"}"#);
    assert_eq!(event.id.as_deref(), Some("1\naccepted market.created"));
    assert_eq!(event.event_type.as_str(), "a.b\r\n\u{1b}[2J");
    let debug = format!("{event:?}");
    assert!(!debug.contains(['\n', '\r', '\u{1b}']), "{debug}");
}
