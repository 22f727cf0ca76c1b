//! What deliveries show about the assumptions.

use ptolemy_webhooks::{Assumption, Delivery, Finding, Observations};

use crate::{NOW, at, signed, verifier};

fn delivery(body: &str) -> Delivery {
    let body = body.to_owned();
    verifier().receive_at(signed(&body), body, at(NOW)).unwrap()
}

type Result = std::result::Result<(), Finding>;

/// Returns what one body shows about each assumption that concerns it.
fn findings(body: &str) -> Vec<(Assumption, Result)> {
    let observations = Observations::new();
    observations.observe(&delivery(body));
    observations
        .iter()
        .filter_map(|it| match (it.as_assumed, it.missing, it.another_shape) {
            (0, 0, 0) => None,
            (1, 0, 0) => Some((it.assumption, Ok(()))),
            (0, 1, 0) => Some((it.assumption, Err(Finding::Missing))),
            (0, 0, 1) => Some((it.assumption, Err(Finding::AnotherShape))),
            _ => panic!("{it:?}"),
        })
        .collect()
}

fn finding(assumption: Assumption, body: &str) -> Option<Result> {
    let mut findings = findings(body).into_iter();
    findings.find(|(it, _)| *it == assumption).map(|it| it.1)
}

#[cfg(feature = "samples")]
#[test]
fn every_sample_is_as_assumed_in_every_respect() {
    for sample in ptolemy_webhooks::samples::all() {
        let all: Vec<_> = Assumption::ALL
            .iter()
            .map(|&assumption| (assumption, Ok(())))
            .collect();
        assert_eq!(findings(&sample.to_json()), all, "{sample:?}");
    }
}

#[test]
fn each_deviation_is_found_and_distinguished_from_a_missing_field() {
    use Assumption as A;
    const AS_ASSUMED: Result = Ok(());
    const MISSING: Result = Err(Finding::Missing);
    const ANOTHER_SHAPE: Result = Err(Finding::AnotherShape);
    let envelope = |member: &str| format!(r#"{{"event_type":"market.created",{member}}}"#);
    for (assumption, member, expected) in [
        (A::EventId, r#""id":"e1""#, AS_ASSUMED),
        (A::EventId, r#""a":1"#, MISSING),
        (A::EventId, r#""id":null"#, MISSING),
        (A::EventId, r#""id":7"#, ANOTHER_SHAPE),
        (A::EventId, r#""id":"""#, ANOTHER_SHAPE),
        (A::EventId, r#""id":"\ud800""#, ANOTHER_SHAPE),
        (A::WorkspaceId, r#""a":1"#, MISSING),
        (
            A::WorkspaceId,
            r#""workspace_id":{"id":"w"}"#,
            ANOTHER_SHAPE,
        ),
        (A::CreatedAt, r#""a":1"#, MISSING),
        (A::CreatedAt, r#""created_at":1776243600"#, ANOTHER_SHAPE),
        (A::CreatedAt, r#""created_at":"soon""#, ANOTHER_SHAPE),
        (
            A::CreatedAt,
            r#""occurred_at":"2026-04-15T09:30:00Z""#,
            ANOTHER_SHAPE,
        ),
        (A::CreatedAt, r#""occurred_at":null"#, MISSING),
        (
            A::DistinctId,
            r#""id":"m1","data":{"id":"m1"}"#,
            ANOTHER_SHAPE,
        ),
        (A::DistinctId, r#""id":"e1","data":{"id":"m1"}"#, AS_ASSUMED),
        (
            A::CreatedAt,
            r#""created_at":"2026-04-15T09:30:00Z""#,
            AS_ASSUMED,
        ),
        (A::Actor, r#""a":1"#, MISSING),
        (A::Actor, r#""actor":"robot""#, ANOTHER_SHAPE),
        (A::Data, r#""a":1"#, MISSING),
        (A::Data, r#""data":null"#, MISSING),
        (A::Data, r#""data":[]"#, ANOTHER_SHAPE),
        (A::Data, r#""payload":{}"#, ANOTHER_SHAPE),
        (A::Data, r#""data":null,"resource":{}"#, ANOTHER_SHAPE),
        (A::Data, r#""data":{}"#, AS_ASSUMED),
        (A::DataShape, r#""data":{"name":7}"#, ANOTHER_SHAPE),
        (A::DataShape, r#""data":{}"#, AS_ASSUMED),
        (A::DataFields, r#""data":{"id":"m1"}"#, MISSING),
        (A::ResourceId, r#""data":{"id":"m1"}"#, AS_ASSUMED),
        (A::ResourceId, r#""data":{}"#, MISSING),
        (A::ResourceId, r#""data":{"id":7}"#, ANOTHER_SHAPE),
    ] {
        assert_eq!(
            finding(assumption, &envelope(member)),
            Some(expected),
            "{member}"
        );
    }
    for (assumption, body, expected) in [
        (
            A::EventType,
            r#"{"type":"market.created"}"#,
            Some(ANOTHER_SHAPE),
        ),
        (
            A::EventType,
            r#"{"event_type":7,"type":"a.b"}"#,
            Some(ANOTHER_SHAPE),
        ),
        (A::EventType, "not json", Some(ANOTHER_SHAPE)),
        (
            A::KnownEventType,
            r#"{"event_type":"market.deleted"}"#,
            Some(ANOTHER_SHAPE),
        ),
        (
            A::KnownEventType,
            r#"{"event_type":"membership.created"}"#,
            Some(AS_ASSUMED),
        ),
        (
            A::DataShape,
            r#"{"event_type":"robot.created","data":{}}"#,
            None,
        ),
        (
            A::DataShape,
            r#"{"event_type":"market.deleted","data":{"id":7}}"#,
            Some(ANOTHER_SHAPE),
        ),
        (
            A::ResourceId,
            r#"{"event_type":"robot.created","data":[]}"#,
            None,
        ),
        (A::EventId, "not json", None),
    ] {
        assert_eq!(finding(assumption, body), expected, "{assumption:?} {body}");
    }
}

#[test]
fn a_deviation_is_returned_once_and_counted_always() {
    let observations = Observations::new();
    let odd = delivery(r#"{"event_type":"market.created","id":7}"#);
    let first = observations.observe(&odd);
    let of_id = first
        .iter()
        .find(|it| it.assumption == Assumption::EventId)
        .unwrap();
    assert_eq!(of_id.finding, Finding::AnotherShape);
    assert_eq!(
        of_id.to_string(),
        "event id (`id`, a string): another shape than assumed; repetitions that are signed \
         anew cannot be recognised, so an event may be handled more than once"
    );
    assert_eq!(observations.observe(&odd), []);
    let missing = observations.observe(&delivery(r#"{"event_type":"market.created"}"#));
    let kinds: Vec<_> = missing
        .iter()
        .map(|it| (it.assumption, it.finding))
        .collect();
    assert_eq!(kinds, [(Assumption::EventId, Finding::Missing)]);

    assert_eq!(observations.deliveries(), 3);
    let id = observations
        .iter()
        .find(|it| it.assumption == Assumption::EventId)
        .unwrap();
    assert_eq!((id.as_assumed, id.missing, id.another_shape), (0, 1, 2));
}

#[test]
fn the_summary_names_each_assumption_and_what_a_deviation_costs_and_quotes_nothing() {
    let observations = Observations::new();
    observations.observe(&delivery(
        r#"{"event_type":"SENTINEL.created","SENTINEL":1,"data":{"SENTINEL":"SENTINEL"}}"#,
    ));
    let text = observations.to_string();
    assert!(text.starts_with("deliveries observed: 1\n"), "{text}");
    for &assumption in Assumption::ALL {
        assert!(text.contains(&format!("\n{assumption}: ")), "{text}");
        let costs = text.contains(assumption.cost());
        let observation = observations
            .iter()
            .find(|it| it.assumption == assumption)
            .unwrap();
        assert_eq!(
            costs,
            observation.missing + observation.another_shape > 0,
            "{text}"
        );
    }
    assert!(!format!("{text}{observations:?}").contains("SENTINEL"));
}

#[test]
fn the_summary_names_the_missing_fields_also_those_of_items() {
    let observations = Observations::new();
    let items = r#"[{"field_key":"open","val":"1"},{"key":"high","value":"2"},7]"#;
    let data = format!(
        r#"{{"id":"c1","instrument_id":"i","type_id":"t","timestamp":null,"items":{items}}}"#
    );
    let body = format!(r#"{{"event_type":"composite_time_series_value.created","data":{data}}}"#);
    for _ in 0..2 {
        observations.observe(&delivery(&body));
    }
    observations.observe(&delivery(
        r#"{"event_type":"webhook.created","data":{"id":"w1"}}"#,
    ));
    let text = observations.to_string();
    let missing: Vec<_> = text
        .lines()
        .filter(|line| line.contains(" without "))
        .collect();
    assert_eq!(
        missing,
        [
            "  composite_time_series_value without `field_key`: 2",
            "  composite_time_series_value without `value`: 2",
            "  webhook without `active`: 1",
            "  webhook without `created_at`: 1",
            "  webhook without `label`: 1",
            "  webhook without `url`: 1",
        ]
    );
    let [fields] = observations
        .iter()
        .filter(|it| it.assumption == Assumption::DataFields)
        .collect::<Vec<_>>()[..]
    else {
        panic!()
    };
    assert_eq!((fields.as_assumed, fields.missing), (0, 3));
}
