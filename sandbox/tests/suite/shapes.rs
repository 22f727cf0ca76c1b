//! Assumptions as switches.

use std::panic::AssertUnwindSafe;

use ptolemy_webhooks::{Event, Payload, samples};
use ptolemy_webhooks_sandbox::{Retries, Sandbox, Shape, every_shape};
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

#[tokio::test]
async fn a_receiver_that_relies_on_no_assumption_passes_under_every_shape() {
    let runs = AssertUnwindSafe(std::cell::Cell::new(0));
    every_shape(|sandbox| {
        runs.set(runs.get() + 1);
        async move {
            let receiver = receiver(&sandbox).await;
            sandbox.next_delivery().lose_answer();
            sandbox.emit_json(samples::market_created().to_json()).await;
            let log = sandbox.settle().await;
            assert_eq!((log.attempts(), receiver.seen.handled()), (2, 1));
        }
    })
    .await;
    assert_eq!(runs.get(), Shape::ALL.len() + 2);
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
