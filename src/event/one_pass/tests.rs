//! One pass reads the same event as reading value by value.

use std::cell::Cell;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::event::Event;

const KEYS: &[&str] = &[
    "event_type",
    "event_type",
    "data",
    "data",
    "data",
    "type",
    "payload",
    "id",
    "created_at",
    r"\u0061",
    r"\ud800",
    r"d\u0061ta",
];
const VALUES: &[&str] = &[
    r#""instrument.updated""#,
    r#""market.created""#,
    r#""robot.created""#,
    r#""instr\u0075ment.updated""#,
    r#""2026-04-15T09:30:00Z""#,
    r#"{"name":"a","extras":{"b":[1]}}"#,
    r#"{ "id" : "i1" , "created_at":"2026-04-15T09:30:00Z" }"#,
    r#"{"name":"a","name":"b"}"#,
    r#"{"name":1}"#,
    "{}",
    "null",
    "1",
];
const SPACES: &[&str] = &["", "", " ", "\n\t"];

#[test]
fn an_event_read_in_one_pass_is_the_same_as_one_read_value_by_value() {
    let member = (select(KEYS), select(VALUES), vec(select(SPACES), 4));
    let member = member
        .prop_map(|(key, value, s)| format!("{}\"{key}\"{}:{}{value}{}", s[0], s[1], s[2], s[3]));
    // The usual order occurs more often than it would by chance.
    let usual = (vec(member.clone(), 0..3), select(&VALUES[5..7]), 0..3usize);
    let usual = usual.prop_map(|(mut rest, data, index)| {
        rest.insert(index.min(rest.len()), format!("\"data\":{data}"));
        rest.insert(0, r#""event_type":"instrument.updated""#.to_owned());
        rest
    });
    let members = prop_oneof![usual, vec(member, 0..6)];
    let (in_one, not) = (Cell::new(0), Cell::new(0));
    let config = ProptestConfig {
        cases: 4_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest::test_runner::TestRunner::new(config)
        .run(&members, |members| {
            let text = format!(" {{{}}} ", members.join(","));
            let body = Bytes::from(text.clone());
            let careful = Envelope::parse(&body).map(|envelope| Event::new(&body, &envelope, None));
            match read(&body) {
                Some((envelope, Some(payload))) => {
                    in_one.set(in_one.get() + 1);
                    let event = Event::new(&body, &envelope, Some(payload));
                    prop_assert_eq!(Some(event), careful.ok(), "{}", text);
                }
                Some((envelope, None)) => {
                    let event = Event::new(&body, &envelope, None);
                    prop_assert_eq!(Some(event), careful.ok(), "{}", text);
                }
                None => not.set(not.get() + 1),
            }
            Ok(())
        })
        .unwrap();
    assert!(in_one.get() > 200 && not.get() > 200, "{in_one:?} {not:?}");
}
