//! Deliveries without faults: who gets them, when they are repeated, and what the log says.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ptolemy_webhooks::samples;
use ptolemy_webhooks_sandbox::{Outcome, Retries, Sandbox, Status};
use serde_json::{Value, json};

use crate::client::{call, create};
use crate::receiver::{raw_receiver, receiver};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

#[tokio::test]
async fn an_event_is_delivered_once() {
    let sandbox = Sandbox::start().await;
    let receiver = receiver(&sandbox).await;
    let id = sandbox.emit(samples::instrument_created()).await;
    let log = sandbox.settle().await;
    assert_eq!((log.attempts(), receiver.seen.handled()), (1, 1));
    let delivery = &log.deliveries()[0];
    assert_eq!(delivery.status(), Status::Succeeded);
    assert_eq!(delivery.event_type(), "instrument.created");
    assert_eq!(delivery.event_id(), id);
    assert_eq!(delivery.webhook_id(), receiver.registration.id());
    assert_eq!(delivery.attempts()[0].outcome(), Outcome::Answered(204));
    assert_eq!(delivery.attempts()[0].fault(), None);
    let expected = samples::instrument_created().with_id(id).to_json();
    assert_eq!(*receiver.seen.bodies.lock().unwrap(), [expected]);
}

#[tokio::test]
async fn each_emitted_sample_is_an_event_unless_its_id_is_set() {
    let sandbox = Sandbox::start().await;
    let receiver = receiver(&sandbox).await;
    for _ in 0..2 {
        sandbox.emit(samples::instrument_created()).await;
        sandbox
            .emit(samples::instrument_created().with_id("evt_1"))
            .await;
    }
    assert_eq!(sandbox.settle().await.attempts(), 4);
    assert_eq!(receiver.seen.handled(), 3);
}

#[tokio::test]
async fn emitted_json_arrives_byte_for_byte() {
    let sandbox = Sandbox::start().await;
    let receiver = receiver(&sandbox).await;
    let bodies = ["{ \"type\" : \"a.b\", \"id\": \"x\" }", "not json", ""];
    for body in bodies {
        sandbox.emit_json(body).await;
    }
    let log = sandbox.settle().await;
    assert_eq!(*receiver.seen.bodies.lock().unwrap(), bodies);
    assert_eq!(log.deliveries()[0].event_type(), "a.b");
    assert_eq!(log.deliveries()[0].event_id(), "x");
    assert_eq!(log.deliveries()[1].event_type(), "");
}

#[tokio::test]
async fn only_active_and_subscribed_webhooks_get_a_delivery() {
    let sandbox = Sandbox::start().await;
    let (url, requests) = raw_receiver(OK).await;
    let (id, _) = create(&sandbox, &url).await;
    let webhook = format!("/webhooks/{id}");
    let subscriptions = format!("{webhook}/subscriptions");
    let emitted = async || {
        sandbox.emit(samples::market_created()).await;
        sandbox.settle().await;
        requests.lock().unwrap().len()
    };
    assert_eq!(emitted().await, 0, "a new webhook has no subscriptions");
    call(&sandbox, "PUT", &subscriptions, r#"["instrument.created"]"#).await;
    assert_eq!(emitted().await, 0);
    call(&sandbox, "PUT", &subscriptions, r#"["market.created"]"#).await;
    assert_eq!(emitted().await, 1);
    call(&sandbox, "PATCH", &webhook, r#"{"active":false}"#).await;
    assert_eq!(emitted().await, 1);
    assert_eq!(
        sandbox.log().deliveries().len(),
        1,
        "not even a failed delivery"
    );
    call(&sandbox, "PATCH", &webhook, r#"{"active":true}"#).await;
    call(&sandbox, "PUT", &subscriptions, r#"["*"]"#).await;
    assert_eq!(emitted().await, 2);
    call(&sandbox, "DELETE", &webhook, "").await;
    assert_eq!(emitted().await, 2);
}

#[tokio::test]
async fn a_delivery_is_a_post_of_json_with_one_signature() {
    let sandbox = Sandbox::start().await;
    let (url, requests) = raw_receiver(OK).await;
    sandbox.register(&url).await;
    sandbox.emit_json("{}").await;
    let request = String::from_utf8(requests.lock().unwrap()[0].clone()).unwrap();
    let head = request.to_ascii_lowercase();
    assert!(
        request.starts_with("POST /hook?x=1 HTTP/1.1\r\n"),
        "{request}"
    );
    assert!(
        head.contains("\r\ncontent-type: application/json\r\n"),
        "{request}"
    );
    assert!(head.contains("\r\ncontent-length: 2\r\n"), "{request}");
    assert_eq!(
        head.matches("ptolemy-signature: t=").count(),
        1,
        "{request}"
    );
    assert!(request.ends_with("\r\n\r\n{}"), "{request}");
}

#[tokio::test]
async fn failures_are_retried_on_the_virtual_clock_as_the_setting_says() {
    let retries = Retries::new()
        .attempts(4)
        .first_delay(Duration::from_secs(60))
        .factor(3);
    let sandbox = Sandbox::builder().retries(retries).start().await.unwrap();
    let receiver = receiver(&sandbox).await;
    receiver.seen.fail_next(3);
    let begun = sandbox.now();
    sandbox.emit(samples::instrument_created()).await;
    let log = sandbox.settle().await;
    let attempts = log.deliveries()[0].attempts();
    let at: Vec<i64> = attempts
        .iter()
        .map(|attempt| (attempt.at() - begun).whole_seconds())
        .collect();
    assert_eq!(at, [0, 60, 240, 780]);
    let status: Vec<_> = attempts
        .iter()
        .map(|attempt| attempt.response_status().unwrap())
        .collect();
    assert_eq!(status, [500, 500, 500, 204]);
    assert_eq!(receiver.seen.handled(), 1);
}

#[tokio::test]
async fn settle_ends_although_a_receiver_always_fails() {
    let sandbox = Sandbox::start().await;
    let receiver = receiver(&sandbox).await;
    receiver.seen.fail_next(usize::MAX);
    sandbox.emit(samples::instrument_created()).await;
    let log = sandbox.settle().await;
    assert_eq!(log.attempts(), 6);
    assert_eq!(log.deliveries()[0].status(), Status::Failed);
}

#[tokio::test]
async fn advance_makes_the_attempts_on_the_way_and_no_others() {
    let sandbox = Sandbox::start().await;
    let receiver = receiver(&sandbox).await;
    receiver.seen.fail_next(2);
    let begun = sandbox.now();
    sandbox.emit(samples::instrument_created()).await;
    sandbox.advance(Duration::from_secs(59)).await;
    assert_eq!(sandbox.log().attempts(), 1);
    assert_eq!(sandbox.log().deliveries()[0].status(), Status::Pending);
    sandbox.advance(Duration::from_secs(1)).await;
    assert_eq!(sandbox.log().attempts(), 2);
    sandbox.advance(Duration::from_secs(240)).await;
    assert_eq!(sandbox.log().attempts(), 3);
    assert_eq!((sandbox.now() - begun).whole_seconds(), 300);
    assert_eq!(receiver.seen.handled(), 1);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let sandbox = Sandbox::start().await;
    let target = receiver(&sandbox).await;
    let (url, requests) =
        raw_receiver("HTTP/1.1 307 Moved\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n")
            .await;
    sandbox.register(&url).await;
    sandbox.emit(samples::instrument_created()).await;
    let log = sandbox.settle().await;
    assert_eq!(requests.lock().unwrap().len(), 6);
    assert!(
        requests
            .lock()
            .unwrap()
            .iter()
            .all(|request| request.starts_with(b"POST /hook"))
    );
    assert_eq!(
        log.deliveries()[1].attempts()[0].outcome(),
        Outcome::Answered(307)
    );
    assert_eq!(target.seen.accepted(), 1);
}

#[tokio::test]
async fn no_answer_within_the_limit_is_a_failure() {
    let sandbox = Sandbox::builder()
        .attempt_timeout(Duration::from_millis(50))
        .retries(Retries::new().attempts(1))
        .start()
        .await
        .unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    sandbox
        .register(format!("http://{}/", listener.local_addr().unwrap()))
        .await;
    let begun = Instant::now();
    sandbox.emit(samples::instrument_created()).await;
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert_eq!(
        sandbox.log().deliveries()[0].attempts()[0].outcome(),
        Outcome::TimedOut
    );
}

#[tokio::test]
async fn a_receiver_that_cannot_be_reached_is_a_failure() {
    let sandbox = Sandbox::builder()
        .retries(Retries::new().attempts(1))
        .start()
        .await
        .unwrap();
    let closed = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    sandbox.register(format!("http://{closed}/")).await;
    // There is no TLS, so nothing is sent to the host of the URL.
    sandbox.register("https://your-app.example.com/").await;
    let (garbage, _) = raw_receiver("garbage\r\n\r\n").await;
    sandbox.register(&garbage).await;
    sandbox.emit(samples::instrument_created()).await;
    let log = sandbox.log();
    let outcomes: Vec<_> = log
        .deliveries()
        .iter()
        .map(|delivery| delivery.attempts()[0].outcome())
        .collect();
    assert_eq!(
        outcomes,
        [
            Outcome::NotConnected,
            Outcome::NotConnected,
            Outcome::BrokenOff
        ]
    );
}

#[tokio::test]
async fn events_are_listed_shown_filtered_and_counted() {
    let sandbox = Sandbox::start().await;
    let id = sandbox.emit(samples::instrument_created()).await;
    sandbox.emit(samples::market_created()).await;
    let list = call(&sandbox, "GET", "/events", "").await.json();
    assert_eq!(list["data"].as_array().unwrap().len(), 2);
    let shown = call(&sandbox, "GET", &format!("/events/{id}"), "")
        .await
        .json();
    let expected: Value =
        serde_json::from_str(&samples::instrument_created().with_id(id).to_json()).unwrap();
    assert_eq!(shown, expected);
    assert_eq!(call(&sandbox, "GET", "/events/x", "").await.status, 404);
    let filter =
        r#"{"filter":{"and":[{"field":"event_type","op":"eq","value":"market.created"}]}}"#;
    let found = call(&sandbox, "POST", "/events/filter", filter)
        .await
        .json();
    assert_eq!(found["data"][0]["event_type"], "market.created");
    let count = call(&sandbox, "POST", "/events/count", filter).await.json();
    assert_eq!(count, json!({ "count": 1 }));
}

#[tokio::test]
async fn the_log_prints_as_a_table() {
    let sandbox = Sandbox::start().await;
    let receiver = receiver(&sandbox).await;
    receiver.seen.fail_next(1);
    sandbox.next_delivery().duplicate();
    sandbox.emit(samples::instrument_created()).await;
    let log = sandbox.settle().await.to_string();
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines[0], "event type          status     attempts");
    assert!(
        lines[1].starts_with("instrument.created  succeeded  20"),
        "{log}"
    );
    assert!(log.contains("Z answered 500"), "{log}");
    assert!(log.contains("Z answered 204"), "{log}");
    assert!(log.contains("(duplicate)"), "{log}");
}

#[tokio::test]
async fn two_sandboxes_are_independent() {
    let one = Sandbox::start().await;
    let other = Sandbox::start().await;
    let receiver = receiver(&one).await;
    other.emit(samples::instrument_created()).await;
    other.settle().await;
    assert_eq!(receiver.seen.accepted(), 0);
    assert_eq!((one.strangers(), other.strangers()), (0, 0));
}

#[tokio::test]
async fn a_log_keeps_each_delivery_on_its_line() {
    let sandbox = Sandbox::start().await;
    receiver(&sandbox).await;
    sandbox
        .emit_json(r#"{"event_type":"a.b\nforged  succeeded"}"#)
        .await;
    assert_eq!(sandbox.settle().await.to_string().lines().count(), 2);
}

#[tokio::test]
async fn one_long_advance_makes_each_attempt_at_its_time() {
    let sandbox = Sandbox::start().await;
    let receiver = receiver(&sandbox).await;
    receiver.seen.fail_next(2);
    let begun = sandbox.now();
    sandbox.emit(samples::instrument_created()).await;
    sandbox.advance(Duration::from_secs(3600)).await;
    let log = sandbox.log();
    let attempts = log.deliveries()[0].attempts().iter();
    let at: Vec<i64> = attempts
        .map(|attempt| (attempt.at() - begun).whole_seconds())
        .collect();
    assert_eq!(at, [0, 60, 300]);
    assert_eq!((sandbox.now() - begun).whole_seconds(), 3600);
}

#[tokio::test]
async fn the_clock_stops_at_the_last_time_that_rfc_3339_can_write() {
    let sandbox = Sandbox::start().await;
    let receiver = receiver(&sandbox).await;
    sandbox.next_delivery().hold(Duration::MAX);
    sandbox.emit(samples::instrument_created()).await;
    sandbox.advance(Duration::from_secs(3600)).await;
    assert_eq!(receiver.seen.accepted(), 0);
    sandbox.advance(Duration::MAX).await;
    assert_eq!(receiver.seen.accepted(), 1);
    let last = time::OffsetDateTime::from_unix_timestamp(253_402_300_799).unwrap();
    assert_eq!(sandbox.now(), last);
}

#[tokio::test]
async fn an_attempt_that_waits_for_a_connection_reads_its_webhook_when_it_is_made() {
    let sandbox = Arc::new(Sandbox::start().await);
    let receiver = receiver(&sandbox).await;
    receiver.seen.take(Duration::from_secs(2));
    sandbox.burst_deliveries(65);
    for _ in 0..64 {
        sandbox.emit(samples::instrument_created()).await;
    }
    let last = tokio::spawn({
        let sandbox = Arc::clone(&sandbox);
        async move { sandbox.emit(samples::instrument_created()).await }
    });
    while receiver.seen.most_at_once.load(Ordering::SeqCst) < 64 {
        tokio::task::yield_now().await;
    }
    let path = format!("/webhooks/{}", receiver.registration.id());
    call(&sandbox, "PATCH", &path, r#"{"active":false}"#).await;
    last.await.unwrap();
    assert_eq!(receiver.seen.accepted(), 64);
    let log = sandbox.settle().await;
    let waiting: Vec<_> = log
        .deliveries()
        .iter()
        .filter(|delivery| delivery.attempts().is_empty())
        .collect();
    assert_eq!((log.attempts(), waiting.len()), (64, 1));
    assert_eq!(waiting[0].status(), Status::Failed);
}

#[tokio::test]
async fn deliveries_in_flight_during_a_rotation_are_signed_with_one_of_the_secrets() {
    let sandbox = Arc::new(Sandbox::start().await);
    let receiver = receiver(&sandbox).await;
    receiver.seen.take(Duration::from_secs(1));
    sandbox.burst_deliveries(80);
    for _ in 0..79 {
        sandbox.emit(samples::instrument_created()).await;
    }
    let last = tokio::spawn({
        let sandbox = Arc::clone(&sandbox);
        async move { sandbox.emit(samples::instrument_created()).await }
    });
    while receiver.seen.most_at_once.load(Ordering::SeqCst) < 64 {
        tokio::task::yield_now().await;
    }
    let path = format!("/webhooks/{}/rotate-secret", receiver.registration.id());
    call(&sandbox, "POST", &path, "").await;
    last.await.unwrap();
    // The receiver knows only the previous secret.
    assert_eq!(receiver.seen.accepted(), 64);
    assert_eq!(receiver.seen.rejections(), ["signature_mismatch"; 16]);
}

#[tokio::test]
async fn deliveries_leave_the_host_only_if_the_settings_say_so() {
    for (is_allowed, expected) in [(false, Outcome::NotLoopback), (true, Outcome::NotConnected)] {
        let mut builder = Sandbox::builder().retries(Retries::new().attempts(1));
        if is_allowed {
            builder = builder.deliver_to_any_host();
        }
        let sandbox = builder.start().await.unwrap();
        // A name that never resolves, according to RFC 6761.
        sandbox.register("http://receiver.invalid/").await;
        sandbox.emit(samples::market_created()).await;
        let log = sandbox.log();
        let outcome = log.deliveries()[0].attempts()[0].outcome();
        assert_eq!(outcome, expected);
        assert_eq!(
            outcome.to_string().contains("Builder::deliver_to_any_host"),
            !is_allowed
        );
    }
}

#[tokio::test]
async fn every_name_of_loopback_is_delivered_to() {
    let sandbox = Sandbox::start().await;
    let (url, requests) = raw_receiver(OK).await;
    sandbox.register(&url).await;
    sandbox
        .register(url.replace("127.0.0.1", "LocalHost"))
        .await;
    let mapped = url.replace("127.0.0.1", "[::ffff:127.0.0.1]");
    sandbox.register(mapped).await;
    sandbox.register("http://127.0.0.1.example.com/").await;
    sandbox.emit(samples::market_created()).await;
    assert_eq!(requests.lock().unwrap().len(), 3);
    let outcome = sandbox.log().deliveries()[3].attempts()[0].outcome();
    assert_eq!(outcome, Outcome::NotLoopback);
}

#[tokio::test]
async fn a_receiver_that_already_has_a_secret_keeps_it() {
    let sandbox = Sandbox::start().await;
    let receiver = receiver(&sandbox).await;
    let id = receiver.registration.id();
    let before = receiver.registration.secret_text();

    assert!(sandbox.set_secret(id, "").is_err());
    assert!(!sandbox.set_secret("none", "whsec_of_another").unwrap());
    assert_eq!(sandbox.live_secret(id).as_deref(), Some(before));

    assert!(sandbox.set_secret(id, "whsec_of_another").unwrap());
    sandbox.emit(samples::instrument_created()).await;
    assert_eq!(receiver.seen.rejections().len(), 1);
    // The replaced secret counts as previous, as after a rotation.
    sandbox.next_delivery().previous_secret();
    sandbox.emit(samples::instrument_created()).await;
    assert_eq!((receiver.seen.handled(), sandbox.attempts()), (1, 2));

    assert!(sandbox.set_secret(id, before).unwrap());
    let log = sandbox.settle().await;
    assert_eq!((receiver.seen.handled(), log.attempts()), (2, 3));
    assert_eq!(sandbox.attempts(), 3);
}
