//! The programs that the documentation begins with.

use std::env;
use std::process::Command;

use ptolemy_webhooks::samples;
use ptolemy_webhooks_sandbox::Sandbox;

use crate::receiver::receiver;

#[expect(dead_code, reason = "its `main` is not called here")]
#[path = "../../examples/first_event.rs"]
mod first_event;

mod stand_in {
    #![allow(dead_code, reason = "`main` needs a receiver on a fixed port")]
    include!("stand_in_program.rs");

    pub(super) async fn run(url: &str, secret: &str) -> Log {
        emit(url, secret.to_owned()).await.unwrap()
    }
}

#[tokio::test]
async fn a_lost_answer_is_handled_once() {
    let sandbox = Sandbox::start().await;
    let receiver = receiver(&sandbox).await;
    sandbox.next_delivery().lose_answer();
    sandbox.emit(samples::instrument_created()).await;
    let log = sandbox.settle().await;
    assert_eq!((log.attempts(), receiver.seen.handled()), (2, 1));
}

#[tokio::test]
async fn the_example_prints_typed_events_and_the_delivery_log() {
    let mut out = Vec::new();
    first_event::run(&mut out).await.unwrap();
    let out = String::from_utf8(out).unwrap();
    let expected =
        "received:\n  instrument created: Some(\"BHP Group Ltd.\")\n  value created: 45.82\n";
    assert!(out.starts_with(expected), "{out}");
    assert!(
        out.contains("answered 204, answer lost (lose_answer); 20"),
        "{out}"
    );
    assert_eq!(out.matches("succeeded").count(), 2, "{out}");
}

#[tokio::test]
async fn the_seed_and_the_shapes_are_printed_when_a_test_fails() {
    const CHILD: &str = "PTOLEMY_SANDBOX_FAILING_TEST";
    if env::var_os(CHILD).is_some() {
        let builder = Sandbox::builder().seed(4711);
        let shape = ptolemy_webhooks_sandbox::Shape::Numbers;
        let _sandbox = builder.shape(shape).start().await.unwrap();
        panic!("fails on purpose");
    }
    let name = "front_page::the_seed_and_the_shapes_are_printed_when_a_test_fails";
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    assert!(!output.status.success());
    let printed = String::from_utf8(output.stderr).unwrap();
    assert!(
        printed.contains("sandbox: seed 4711, shapes: numbers"),
        "{printed}"
    );
}

/// `docs/guide/first-event.md` of the core shows the program; the tests of the core compare the
/// text.
#[tokio::test]
async fn the_sender_of_the_guide_delivers_two_events_to_a_receiver_with_the_same_secret() {
    use axum::{Router, http::StatusCode, routing::post};
    use ptolemy_webhooks::{Event, Secret, Verifier};

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/webhooks/ptolemy", listener.local_addr().unwrap());
    let verifier = Verifier::new(Secret::new("whsec_demo").unwrap());
    let app = Router::new()
        .route(
            "/webhooks/ptolemy",
            post(async |_: Event| StatusCode::NO_CONTENT),
        )
        .with_state(verifier);
    tokio::spawn(async move { axum::serve(listener, app).await });

    let log = stand_in::run(&url, "whsec_demo").await.to_string();
    assert_eq!(log.matches("succeeded").count(), 2, "{log}");
    assert_eq!(log.matches("answered 204").count(), 2, "{log}");

    let log = stand_in::run(&url, "whsec_other").await.to_string();
    assert_eq!(log.matches("succeeded").count(), 0, "{log}");
    assert!(log.contains("answered 401"), "{log}");
}
