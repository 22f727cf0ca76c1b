//! What deliveries show of the assumptions.

use ptolemy_webhooks::{Assumption, Delivery, Finding, Observations};

use crate::{NOW, at, signed, verifier};

fn delivery(body: &str) -> Delivery {
    let body = body.to_owned();
    verifier().receive_at(signed(&body), body, at(NOW)).unwrap()
}

/// What one body shows of each assumption that concerns it.
fn findings(body: &str) -> Vec<(Assumption, Finding)> {
    let observations = Observations::new();
    observations.observe(&delivery(body));
    observations
        .iter()
        .filter_map(|it| match (it.as_assumed, it.missing, it.another_shape) {
            (0, 0, 0) => None,
            (1, 0, 0) => Some((it.assumption, Finding::AsAssumed)),
            (0, 1, 0) => Some((it.assumption, Finding::Missing)),
            (0, 0, 1) => Some((it.assumption, Finding::AnotherShape)),
            _ => panic!("{it:?}"),
        })
        .collect()
}

fn finding(assumption: Assumption, body: &str) -> Option<Finding> {
    let mut findings = findings(body).into_iter();
    findings.find(|(it, _)| *it == assumption).map(|it| it.1)
}

#[cfg(feature = "samples")]
#[test]
fn every_sample_is_as_assumed_in_every_respect() {
    for sample in ptolemy_webhooks::samples::all() {
        let all: Vec<_> = Assumption::ALL
            .iter()
            .map(|&assumption| (assumption, Finding::AsAssumed))
            .collect();
        assert_eq!(findings(&sample.to_json()), all, "{sample:?}");
    }
}

#[test]
fn each_deviation_is_found_and_told_from_a_missing_field() {
    use Assumption as A;
    use Finding::{AnotherShape, AsAssumed, Missing};
    let envelope = |member: &str| format!(r#"{{"event_type":"market.created",{member}}}"#);
    for (assumption, member, expected) in [
        (A::EventId, r#""id":"e1""#, AsAssumed),
        (A::EventId, r#""a":1"#, Missing),
        (A::EventId, r#""id":null"#, Missing),
        (A::EventId, r#""id":7"#, AnotherShape),
        (A::EventId, r#""id":"""#, AnotherShape),
        (A::EventId, r#""id":"\ud800""#, AnotherShape),
        (A::WorkspaceId, r#""a":1"#, Missing),
        (A::WorkspaceId, r#""workspace_id":{"id":"w"}"#, AnotherShape),
        (A::CreatedAt, r#""a":1"#, Missing),
        (A::CreatedAt, r#""created_at":1776243600"#, AnotherShape),
        (A::CreatedAt, r#""created_at":"soon""#, AnotherShape),
        (
            A::CreatedAt,
            r#""occurred_at":"2026-04-15T09:30:00Z""#,
            AnotherShape,
        ),
        (
            A::CreatedAt,
            r#""created_at":"2026-04-15T09:30:00Z""#,
            AsAssumed,
        ),
        (A::Actor, r#""a":1"#, Missing),
        (A::Actor, r#""actor":"robot""#, AnotherShape),
        (A::Data, r#""a":1"#, Missing),
        (A::Data, r#""data":null"#, Missing),
        (A::Data, r#""data":[]"#, AnotherShape),
        (A::Data, r#""payload":{}"#, AnotherShape),
        (A::Data, r#""data":null,"resource":{}"#, AnotherShape),
        (A::Data, r#""data":{}"#, AsAssumed),
        (A::DataShape, r#""data":{"name":7}"#, AnotherShape),
        (A::DataShape, r#""data":{}"#, AsAssumed),
        (A::DataFields, r#""data":{"id":"m1"}"#, Missing),
        (A::ResourceId, r#""data":{"id":"m1"}"#, AsAssumed),
        (A::ResourceId, r#""data":{}"#, Missing),
        (A::ResourceId, r#""data":{"id":7}"#, AnotherShape),
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
            Some(AnotherShape),
        ),
        (
            A::EventType,
            r#"{"event_type":7,"type":"a.b"}"#,
            Some(AnotherShape),
        ),
        (A::EventType, "not json", Some(AnotherShape)),
        (
            A::KnownEventType,
            r#"{"event_type":"market.deleted"}"#,
            Some(AnotherShape),
        ),
        (
            A::KnownEventType,
            r#"{"event_type":"membership.created"}"#,
            Some(AsAssumed),
        ),
        (
            A::DataShape,
            r#"{"event_type":"robot.created","data":{}}"#,
            None,
        ),
        (
            A::DataShape,
            r#"{"event_type":"market.deleted","data":{"id":7}}"#,
            Some(AnotherShape),
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
        "event id (`id`, a string): in another shape than assumed; repetitions that are signed \
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
    assert!(text.starts_with("1 deliveries observed\n"), "{text}");
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
