//! The properties of `tests/laws` on random inputs that are shaped to be almost valid.

use std::cell::RefCell;
use std::collections::HashSet;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use ptolemy_webhooks::{Event, Payload};

use crate::laws::{self, naive::Verdict};

fn run<S: Strategy>(strategy: &S, law: impl Fn(S::Value))
where
    S::Value: std::fmt::Debug,
{
    let config = Config {
        cases: 2_000,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(strategy, |input| {
            law(input);
            Ok(())
        })
        .unwrap();
}

/// Runs a property and returns the outcomes that were seen, without the index of an accepting
/// secret.
fn outcomes<S: Strategy>(strategy: &S, law: impl Fn(S::Value) -> Verdict) -> HashSet<&'static str>
where
    S::Value: std::fmt::Debug,
{
    let seen = RefCell::new(HashSet::new());
    run(strategy, |input| {
        seen.borrow_mut().insert(match law(input) {
            Verdict::Malformed => "malformed",
            Verdict::TooOld => "too old",
            Verdict::TooFarAhead => "too far ahead",
            Verdict::Mismatch => "mismatch",
            Verdict::Accept(_) => "accept",
        });
    });
    seen.into_inner()
}

const ALL: [&str; 5] = [
    "malformed",
    "too old",
    "too far ahead",
    "mismatch",
    "accept",
];

#[test]
fn any_header_has_the_same_result_as_in_the_naive_implementation() {
    let part = prop_oneof![
        "t=[0-9]{1,20}",
        "v1=[0-9a-fA-F]{64}",
        "[ \t]{0,2}(t|v1|v0|T|)[ ]?=?[0-9a-fx+_ .-]{0,66}[ \t]{0,2}",
    ];
    let header = vec(part, 0..20).prop_map(|parts| parts.join(",").into_bytes());
    let bytes = vec(any::<u8>(), 0..300);
    let seen = outcomes(&prop_oneof![4 => header, 1 => bytes], |header| {
        laws::header(&header)
    });
    assert!(
        seen.contains("malformed") && seen.contains("mismatch"),
        "{seen:?}"
    );
}

#[test]
fn any_request_has_the_same_result_as_in_the_naive_implementation() {
    let seen = outcomes(&vec(any::<u8>(), 0..400), |choices| laws::verify(&choices));
    assert_eq!(seen, HashSet::from(ALL));
}

#[test]
fn a_body_in_pieces_has_the_same_result_as_in_one_piece() {
    let seen = outcomes(&vec(any::<u8>(), 0..400), |choices| {
        laws::streaming(&choices)
    });
    assert_eq!(seen, HashSet::from(ALL));
}

/// JSON as text, with the names that the envelope reads among its keys.
fn json() -> impl Strategy<Value = String> {
    let string = prop_oneof![
        Just(String::new()),
        "[a-z_.]{1,8}",
        r"(\\u[0-9a-f]{4}|\\[nrt/]|é|🦀|x){1,4}",
        Just("2026-04-15T09:30:00Z".to_owned()),
    ]
    .prop_map(|text| format!("\"{text}\""));
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,30})?([eE][+-]?[0-9]{1,4})?",
        string,
    ];
    let key = prop_oneof![
        Just("id"),
        Just("name"),
        Just("value"),
        Just("timestamp"),
        Just("created_at"),
        Just("archived_at"),
        Just("extras"),
        Just("extra_fields_snapshot"),
        Just("items"),
        Just("field_key"),
        Just("active"),
        Just("new"),
    ];
    leaf.prop_recursive(4, 30, 6, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|list| format!("[{}]", list.join(", "))),
            vec((key.clone(), inner), 0..6).prop_map(|members| {
                let members = members
                    .iter()
                    .map(|(key, value)| format!("\"{key}\": {value}"));
                format!("{{{}}}", members.collect::<Vec<_>>().join(","))
            }),
        ]
    })
}

fn envelope() -> impl Strategy<Value = String> {
    let event_type = prop_oneof![
        Just("instrument.created"),
        Just("market.updated"),
        Just("market_listing.archived"),
        Just("market_listing_suspension.deleted"),
        Just("time_series_value.created"),
        Just("composite_time_series_value.created"),
        Just("webhook.deleted"),
        Just("membership.updated"),
        Just("robot.created"),
    ]
    .prop_map(|event_type| format!("\"{event_type}\""));
    let other = prop_oneof![
        Just("id"),
        Just("type"),
        Just("event_type"),
        Just("workspace_id"),
        Just("created_at"),
        Just("occurred_at"),
        Just("actor"),
        Just("payload"),
        Just("resource"),
        Just("new"),
    ];
    let others = vec((other, json()), 0..4);
    (event_type, json(), others, any::<bool>()).prop_map(|(event_type, data, others, first)| {
        let mut members: Vec<_> = others
            .iter()
            .map(|(key, value)| format!("\"{key}\":{value}"))
            .collect();
        members.push(format!("\"data\":{data}"));
        members.insert(
            if first { 0 } else { members.len() },
            format!("\"event_type\":{event_type}"),
        );
        format!("{{{}}}", members.join(" ,\n"))
    })
}

fn kind(event: &Option<Event>) -> &'static str {
    match event.as_ref().map(|event| &event.payload) {
        None => "not an event",
        Some(Ok(Payload::Unknown)) => "unknown",
        Some(Err(_)) => "malformed",
        Some(_) => "typed",
    }
}

#[test]
fn any_body_is_read_without_a_panic_and_comes_back_the_same() {
    let cut = (envelope(), any::<prop::sample::Index>(), any::<u8>()).prop_map(
        |(envelope, index, byte)| {
            let mut bytes = envelope.into_bytes();
            let position = index.index(bytes.len());
            bytes[position] = byte;
            bytes
        },
    );
    let whole = envelope().prop_map(String::into_bytes);
    let seen = RefCell::new(HashSet::new());
    run(
        &prop_oneof![3 => whole, 2 => cut, 1 => vec(any::<u8>(), 0..100)],
        |bytes| {
            seen.borrow_mut().insert(kind(&laws::event(&bytes)));
        },
    );
    let expected = HashSet::from(["not an event", "unknown", "malformed", "typed"]);
    assert_eq!(seen.into_inner(), expected);
}
