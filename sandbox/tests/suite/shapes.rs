//! Assumptions as switches.

use std::panic::AssertUnwindSafe;

use ptolemy_webhooks::{Event, Payload, samples};
use ptolemy_webhooks_sandbox::{Retries, Sandbox, Shape};
use serde_json::{Value, json};

use crate::client::call;
use crate::receiver::{raw_receiver, receiver};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

async fn with(shape: Shape) -> Sandbox {
    Sandbox::builder().shape(shape).start().await.unwrap()
}

/// Returns the body of a delivery of `instrument.created`, which the receiver accepted.
async fn body(shape: Shape) -> Value {
    let sandbox = with(shape).await;
    let receiver = receiver(&sandbox).await;
    sandbox.emit(samples::instrument_created()).await;
    let bodies = receiver.seen.bodies.lock().unwrap();
    serde_json::from_str(&bodies[0]).unwrap()
}

#[tokio::test]
async fn each_name_of_the_envelope() {
    for (shape, old, new) in [
        (Shape::TypeName, "event_type", "type"),
        (Shape::OccurredAtName, "created_at", "occurred_at"),
        (Shape::PayloadName, "data", "payload"),
        (Shape::ResourceName, "data", "resource"),
    ] {
        let body = body(shape).await;
        assert_eq!(body.get(old), None, "{shape}");
        assert!(body.get(new).is_some(), "{shape}");
        let event = Event::from_trusted_json(body.to_string()).unwrap();
        assert!(
            matches!(event.payload, Ok(Payload::Instrument(..))),
            "{shape}"
        );
    }
}

#[tokio::test]
async fn a_bare_resource() {
    let body = body(Shape::BareResource).await;
    assert_eq!(body["identifier"], "bhp.ax");
    assert_eq!((body.get("event_type"), body.get("data")), (None, None));
}

#[tokio::test]
async fn numbers_as_numbers_digit_for_digit() {
    let sandbox = with(Shape::Numbers).await;
    let receiver = receiver(&sandbox).await;
    sandbox.emit(samples::time_series_value_created()).await;
    sandbox
        .emit(samples::composite_time_series_value_created())
        .await;
    let bodies = receiver.seen.bodies.lock().unwrap();
    assert!(bodies[0].contains("\"value\":45.82"), "{}", bodies[0]);
    assert!(bodies[1].contains("\"value\":45.10"), "{}", bodies[1]);
    for body in bodies.iter() {
        let event = Event::from_trusted_json(body.clone()).unwrap();
        event.payload.unwrap();
    }
}

#[tokio::test]
async fn extra_fields() {
    let body = body(Shape::ExtraFields).await;
    assert_eq!(body["sandbox_revision"], 3);
    assert!(body["data"]["sandbox_note"].is_string());
    let event = Event::from_trusted_json(body.to_string()).unwrap();
    event.payload.unwrap();
}

#[tokio::test]
async fn other_bytes_and_another_id_on_redelivery() {
    for shape in [Shape::ReserialisedRedelivery, Shape::NewIdOnRedelivery] {
        let retries = Retries::new().attempts(2);
        let builder = Sandbox::builder().retries(retries).shape(shape);
        let sandbox = builder.start().await.unwrap();
        let receiver = receiver(&sandbox).await;
        receiver.seen.fail_next(2);
        sandbox
            .emit(samples::instrument_created().with_id("evt_1"))
            .await;
        let id = sandbox.settle().await.deliveries()[0].id().to_owned();
        call(
            &sandbox,
            "POST",
            &format!("/webhook-deliveries/{id}/redeliver"),
            "",
        )
        .await;
        sandbox.settle().await;
        let bodies = receiver.seen.bodies.lock().unwrap();
        assert_eq!(bodies[0], bodies[1], "a retry is the same");
        assert_ne!(bodies[0], bodies[2], "{shape}");
        let json = |body: &str| serde_json::from_str::<Value>(body).unwrap();
        let (mut first, mut again) = (json(&bodies[0]), json(&bodies[2]));
        if shape == Shape::NewIdOnRedelivery {
            assert_ne!(first["id"], again["id"]);
            first["id"] = Value::Null;
            again["id"] = Value::Null;
        }
        assert_eq!(first, again, "{shape}");
    }
}

/// Emits a sample, sends it again, and returns both bodies.
async fn redelivered(shapes: &[Shape], sample: samples::Sample) -> [String; 2] {
    let builder = Sandbox::builder().shapes(shapes.iter().copied());
    let sandbox = builder.start().await.unwrap();
    let (url, requests) = raw_receiver(OK).await;
    sandbox.register(&url).await;
    sandbox.emit(sample).await;
    let id = sandbox.log().deliveries()[0].id().to_owned();
    let path = format!("/webhook-deliveries/{id}/redeliver");
    call(&sandbox, "POST", &path, "").await;
    sandbox.settle().await;
    let requests = requests.lock().unwrap();
    [0, 1].map(|place| {
        let request = String::from_utf8(requests[place].clone()).unwrap();
        request.split_once("\r\n\r\n").unwrap().1.to_owned()
    })
}

#[tokio::test]
async fn a_redelivery_keeps_the_digits_of_numbers() {
    let sample = samples::composite_time_series_value_created();
    for shape in [Shape::ReserialisedRedelivery, Shape::NewIdOnRedelivery] {
        let [first, again] = redelivered(&[Shape::Numbers, shape], sample.clone()).await;
        assert!(first.contains(":45.10"), "{first}");
        assert!(again.replace(' ', "").contains(":45.10"), "{again}");
        assert_ne!(first, again);
    }
}

#[tokio::test]
async fn a_resource_without_an_envelope_keeps_its_id_on_redelivery() {
    let shapes = [Shape::BareResource, Shape::NewIdOnRedelivery];
    let [first, again] = redelivered(&shapes, samples::instrument_created()).await;
    assert!(first.contains("\"id\""));
    assert_eq!(first, again);
}

#[tokio::test]
async fn a_list_whose_envelope_is_documented_keeps_it() {
    let sandbox = with(Shape::BareArrays).await;
    sandbox.register("http://127.0.0.1:9/").await;
    for (method, path, body) in [
        ("POST", "/webhooks/filter", "{}"),
        ("GET", "/events", ""),
        ("POST", "/events/filter", "{}"),
    ] {
        let answer = call(&sandbox, method, path, body).await.json();
        assert!(answer["data"].is_array(), "{method} {path}");
    }
    for (method, path) in [("GET", "/webhooks"), ("POST", "/webhook-deliveries/filter")] {
        let answer = call(&sandbox, method, path, "{}").await.json();
        assert!(answer.is_array(), "{method} {path}");
    }
}

#[tokio::test]
async fn an_event_of_the_api_keeps_its_documented_event_type() {
    let sandbox = with(Shape::TypeName).await;
    let id = sandbox.emit(samples::instrument_created()).await;
    let path = format!("/events/{id}");
    let event = call(&sandbox, "GET", &path, "").await.json();
    assert_eq!(event["event_type"], "instrument.created");
    assert_eq!(event.get("type"), None);
    let list = call(&sandbox, "GET", "/events", "").await.json();
    assert_eq!(list["data"], json!([event]));
}

#[tokio::test]
async fn upper_case_hex_and_several_signatures() {
    for shape in [Shape::UpperCaseHex, Shape::SeveralSignatures] {
        let sandbox = with(shape).await;
        let receiver = receiver(&sandbox).await;
        let (url, requests) = raw_receiver(OK).await;
        sandbox.register(&url).await;
        sandbox.emit(samples::instrument_created()).await;
        assert_eq!(receiver.seen.accepted(), 1, "{shape}");
        let request = String::from_utf8(requests.lock().unwrap()[0].clone()).unwrap();
        let header = request.lines().find(|line| line.contains(",v1=")).unwrap();
        let tags: Vec<&str> = header.split(",v1=").skip(1).collect();
        match shape {
            Shape::UpperCaseHex => assert_eq!(tags[0], tags[0].to_uppercase()),
            _ => assert_eq!(tags.len(), 2),
        }
    }
}

#[tokio::test]
async fn unknown_keys_of_a_signature_and_t_behind_v1() {
    let sandbox = with(Shape::UnknownSignatureKeys).await;
    let receiver = receiver(&sandbox).await;
    let (url, requests) = raw_receiver(OK).await;
    sandbox.register(&url).await;
    sandbox.emit(samples::instrument_created()).await;
    assert_eq!(receiver.seen.accepted(), 1);
    let request = String::from_utf8(requests.lock().unwrap()[0].clone()).unwrap();
    let header = request.lines().find(|line| line.contains(",v1=")).unwrap();
    let (_, header) = header.split_once(": ").unwrap();
    assert_eq!(keys(header), "v0,v1,kid,t");
}

#[tokio::test]
async fn a_delivery_without_an_event_id() {
    let body = body(Shape::NoEventId).await;
    assert_eq!(body.get("id"), None);
    assert_eq!(body["event_type"], "instrument.created");
    assert!(body["data"]["id"].is_string());
}

#[tokio::test]
async fn deliveries_of_the_api_with_nothing_but_an_id_or_with_other_statuses() {
    for shape in [Shape::BareDeliveries, Shape::OtherStatus] {
        let sandbox = with(shape).await;
        let receiver = receiver(&sandbox).await;
        sandbox.emit(samples::instrument_created()).await;
        receiver.seen.fail_next(1);
        sandbox.emit(samples::instrument_created()).await;
        let list = call(&sandbox, "POST", "/webhook-deliveries/filter", "{}").await;
        let list = list.json();
        let [first, second] = [0, 1].map(|place| &list["data"][place]);
        match shape {
            Shape::BareDeliveries => assert_eq!(first.as_object().unwrap().len(), 1),
            _ => {
                assert_eq!(first["status"], "delivered");
                assert_eq!(second["status"], "retrying");
            }
        }
        assert!(first["id"].is_string());
    }
}

#[tokio::test]
async fn writes_without_a_body_and_errors_as_text() {
    let sandbox = with(Shape::WritesAnswerNothing).await;
    let id = sandbox
        .register("http://127.0.0.1:9/")
        .await
        .id()
        .to_owned();
    let webhook = format!("/webhooks/{id}");
    let changed = call(&sandbox, "PATCH", &webhook, r#"{"label":"x"}"#).await;
    assert_eq!((changed.status, &*changed.body), (204, ""));
    let path = format!("{webhook}/subscriptions");
    let added = call(&sandbox, "POST", &path, r#"{"event_type":"a.b"}"#).await;
    assert_eq!((added.status, &*added.body), (201, ""));
    assert_eq!(sandbox.webhooks()[0].label(), Some("x"));
    assert_eq!(sandbox.webhooks()[0].subscriptions(), ["*", "a.b"]);

    let sandbox = with(Shape::ErrorText).await;
    let missing = call(&sandbox, "GET", "/webhooks/x", "").await;
    assert_eq!((missing.status, &*missing.body), (404, "webhook not found"));
    assert_eq!(missing.header("content-type"), Some("text/plain"));
}

#[tokio::test]
async fn other_fields_of_deliveries() {
    for shape in [Shape::DeliveriesWithoutTimes, Shape::AttemptsName] {
        let sandbox = with(shape).await;
        receiver(&sandbox).await;
        sandbox.emit(samples::instrument_created()).await;
        let list = call(&sandbox, "POST", "/webhook-deliveries/filter", "{}")
            .await
            .json();
        let delivery = &list["data"][0];
        match shape {
            Shape::AttemptsName => {
                assert_eq!(
                    (delivery.get("attempt"), &delivery["attempts"]),
                    (None, &json!(1))
                );
            }
            _ => assert_eq!(delivery.get("delivered_at"), None),
        }
    }
}

/// Returns the keys of a signature header, and whether a value is in upper case.
fn keys(header: &str) -> String {
    let parts = header.split(',').map(|part| {
        let (key, value) = part.split_once('=').unwrap();
        let upper_case = value.chars().any(|c| c.is_ascii_uppercase());
        format!("{}{}", key.trim(), if upper_case { " (upper)" } else { "" })
    });
    parts.collect::<Vec<_>>().join(",")
}

/// Replaces the parts that differ between runs: times and the ports of receivers.
fn settled(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                let varies = name.ends_with("_at") || name == "url";
                if varies && value.is_string() {
                    *value = name.as_str().into();
                }
                settled(value);
            }
        }
        Value::Array(list) => list.iter_mut().for_each(settled),
        _ => {}
    }
}

/// Emits, redelivers, and makes calls of every kind; returns everything that can be seen.
async fn observed(sandbox: &Sandbox) -> Vec<String> {
    let receiver = receiver(sandbox).await;
    let (url, requests) = raw_receiver(OK).await;
    let id = sandbox.register(&url).await.id().to_owned();
    sandbox.emit(samples::time_series_value_created()).await;
    for delivery in sandbox.log().deliveries() {
        let path = format!("/webhook-deliveries/{}/redeliver", delivery.id());
        assert_eq!(call(sandbox, "POST", &path, "").await.status, 202);
        sandbox.settle().await;
    }
    assert_eq!(receiver.seen.rejections(), [""; 0]);
    assert_eq!(receiver.seen.accepted(), 2);
    let (mut seen, mut bodies) = (Vec::new(), Vec::new());
    for request in requests.lock().unwrap().iter() {
        let request = String::from_utf8(request.clone()).unwrap();
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        let (_, header) = head.split_once("ptolemy-signature: ").unwrap();
        seen.push(keys(header.lines().next().unwrap()));
        bodies.push(body.to_owned());
    }
    // Another order of keys is a shape only for a redelivery.
    seen.push(format!("the same bytes: {}", bodies[0] == bodies[1]));
    let values = bodies
        .iter()
        .map(|body| serde_json::from_str::<Value>(body));
    seen.extend(values.map(|value| value.unwrap().to_string()));
    let webhook = format!("/webhooks/{id}");
    let subscriptions = format!("{webhook}/subscriptions");
    for (method, path, body) in [
        ("GET", "/webhooks", ""),
        ("PATCH", &webhook, r#"{"label":"x"}"#),
        ("POST", &subscriptions, r#"{"event_type":"market.created"}"#),
        ("GET", &subscriptions, ""),
        ("PUT", &subscriptions, r#"["*"]"#),
        ("POST", "/webhook-deliveries/filter", "{}"),
        ("POST", "/events/filter", "{}"),
        ("POST", "/events/count", "{}"),
        ("POST", &format!("{webhook}/rotate-secret"), ""),
        ("GET", "/webhooks/x", ""),
    ] {
        let answer = call(sandbox, method, path, body).await;
        let body = match serde_json::from_str(&answer.body) {
            Ok(mut value) => {
                settled(&mut value);
                value.to_string()
            }
            Err(_) => answer.body,
        };
        seen.push(format!("{method} {path} {} {body}", answer.status));
    }
    seen
}

#[tokio::test]
async fn a_receiver_that_relies_on_no_assumption_passes_under_every_shape_and_each_is_seen() {
    let runs = AssertUnwindSafe(std::cell::RefCell::new(Vec::new()));
    let builder = Sandbox::builder().seed(7);
    builder
        .every_shape(async |sandbox| {
            let seen = observed(&sandbox).await;
            runs.borrow_mut().push((sandbox.shapes().to_vec(), seen));
        })
        .await;
    let sandbox = Sandbox::builder().seed(7).start().await.unwrap();
    let runs = runs.0.into_inner();
    assert_eq!(runs.len(), Shape::ALL.len() + 2);
    let (_, default) = &runs[0];
    assert_eq!(*default, observed(&sandbox).await, "a run repeats");
    for (shapes, seen) in &runs[1..] {
        assert_ne!(seen, default, "{shapes:?}");
    }
}

#[tokio::test]
#[should_panic = "under the shape type-name (seed 7): assertion"]
async fn a_failure_names_the_shape_and_the_seed() {
    Sandbox::builder()
        .seed(7)
        .every_shape(|sandbox| async move {
            let receiver = receiver(&sandbox).await;
            sandbox.emit(samples::market_created()).await;
            let bodies = receiver.seen.bodies.lock().unwrap();
            assert!(bodies[0].contains("event_type"));
        })
        .await;
}

#[test]
fn the_names_of_shapes_differ() {
    let names: std::collections::HashSet<_> = Shape::ALL.iter().map(|shape| shape.name()).collect();
    assert_eq!(names.len(), Shape::ALL.len());
}
