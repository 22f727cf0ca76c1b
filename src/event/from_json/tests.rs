//! The quick way of reading agrees with the careful one.

use std::cell::Cell;
use std::fmt::Debug;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::event::{
    CompositeTimeSeriesValue, Instrument, MarketListing, MarketListingSuspension, TimeSeriesValue,
    Webhook,
};

/// Reads `text` both ways; returns whether the quick one read it.
fn agree<T: FromJson + PartialEq + Debug>(text: &str) -> bool {
    let body = Bytes::copy_from_slice(text.as_bytes());
    let text = std::str::from_utf8(&body).unwrap();
    let quick = T::quick(&mut serde_json::Deserializer::from_str(text), &body);
    let careful = T::from_json(Json::new(text, &body));
    match quick {
        Ok(quick) => {
            assert_eq!(Some(quick), careful.ok(), "{text}");
            true
        }
        Err(_) => false,
    }
}

fn value() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        4 => Just(r#""2026-04-15T09:30:00Z""#),
        4 => Just(r#""text""#),
        2 => Just("null"),
        1 => Just("true"),
        1 => Just("-1.50e400"),
        1 => Just(r#""\ud800""#),
        1 => Just(r#""9999-12-31T23:59:59-23:59""#),
        1 => Just(r#""\u0041\n""#),
    ]
    .prop_map(str::to_owned);
    scalar.prop_recursive(3, 12, 3, |inner| {
        let key = prop_oneof![
            Just("field_key"),
            Just("value"),
            Just("a b"),
            Just(r"v\u0061lue"),
            Just(r"\ud800")
        ];
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(|list| format!("[{}]", list.join(", "))),
            vec((key, inner), 0..3).prop_map(|members| {
                let members = members
                    .iter()
                    .map(|(key, value)| format!("\"{key}\":{value}"));
                format!("{{{}}}", members.collect::<Vec<_>>().join(" ,\n"))
            }),
        ]
    })
}

fn object() -> impl Strategy<Value = String> {
    const NAMES: &[&str] = &[
        "id",
        "identifier",
        "name",
        "type_id",
        "extra_fields_snapshot",
        "extras",
        "archived_at",
        "created_at",
        "instrument_id",
        "market_id",
        "local_code",
        "currency",
        "lot_size",
        "listing_id",
        "suspended_from",
        "suspended_until",
        "reason",
        "timestamp",
        "value",
        "items",
        "url",
        "label",
        "active",
        "new",
        r"\u0069d",
        r"\ud800",
    ];
    vec((proptest::sample::select(NAMES), value()), 0..8).prop_map(|members| {
        let members = members
            .iter()
            .map(|(key, value)| format!("\"{key}\": {value}"));
        format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    })
}

#[test]
fn data_read_in_one_pass_is_the_same_as_data_read_value_by_value() {
    let config = ProptestConfig {
        cases: 4_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let (quick, careful) = (Cell::new(0), Cell::new(0));
    proptest::test_runner::TestRunner::new(config)
        .run(&prop_oneof![4 => object(), 1 => value()], |text| {
            let read = [
                agree::<Instrument>(&text),
                agree::<MarketListing>(&text),
                agree::<MarketListingSuspension>(&text),
                agree::<CompositeTimeSeriesValue>(&text),
                agree::<TimeSeriesValue>(&text),
                agree::<Webhook>(&text),
                agree::<Vec<Option<Scalar>>>(&text),
                agree::<BTreeMap<String, Option<Scalar>>>(&text),
            ];
            let hits = read.into_iter().filter(|&is_quick| is_quick).count();
            quick.set(quick.get() + hits);
            careful.set(careful.get() + read.len() - hits);
            Ok(())
        })
        .unwrap();
    assert!(
        quick.get() > 1_000 && careful.get() > 1_000,
        "{quick:?} {careful:?}"
    );
}

#[test]
fn realistic_data_is_read_in_one_pass() {
    for (read, text) in [
        (
            agree::<Instrument> as fn(&str) -> bool,
            include_str!("../../samples/instrument.json"),
        ),
        (
            agree::<MarketListing>,
            include_str!("../../samples/market_listing.json"),
        ),
        (
            agree::<CompositeTimeSeriesValue>,
            include_str!("../../samples/composite_time_series_value.json"),
        ),
        (
            agree::<TimeSeriesValue>,
            include_str!("../../samples/time_series_value.json"),
        ),
        (agree::<Webhook>, include_str!("../../samples/webhook.json")),
    ] {
        assert!(read(text.trim_end()), "{text}");
    }
    // A repeated key is read the other way.
    assert!(!agree::<Instrument>(r#"{"name":"a","name":"b"}"#));
}
