//! The delivery log of the API, and what is sent again.

use std::time::Duration;

use ptolemy_webhooks::samples;
use ptolemy_webhooks_sandbox::{Retries, Sandbox, Status};
use serde_json::{Value, json};

use crate::client::call;
use crate::receiver::receiver;

#[tokio::test]
async fn failed_deliveries_are_listed_and_sent_again() {
    let sandbox = Sandbox::builder()
        .retries(Retries::new().attempts(1))
        .start()
        .await
        .unwrap();
    let receiver = receiver(&sandbox).await;
    receiver.seen.fail_next(2);
    for _ in 0..3 {
        sandbox.emit(samples::instrument_created()).await;
        sandbox.advance(Duration::from_secs(1)).await;
    }
    let filter = json!({
        "filter": { "and": [
            { "field": "webhook_id", "op": "eq", "value": receiver.registration.id() },
            { "field": "status", "op": "eq", "value": "failed" },
        ] },
        "sort": [{ "field": "delivered_at", "direction": "desc" }],
    })
    .to_string();
    let failed = call(&sandbox, "POST", "/webhook-deliveries/filter", &filter)
        .await
        .json();
    let failed = failed["data"].as_array().unwrap();
    assert_eq!(failed.len(), 2);
    assert!(failed[0]["delivered_at"].as_str() > failed[1]["delivered_at"].as_str());
    assert_eq!(failed[0]["response_status"], 500);
    assert_eq!(failed[0]["attempt"], 1);
    assert_eq!(failed[0]["next_attempt_at"], Value::Null);
    for delivery in failed {
        let path = format!(
            "/webhook-deliveries/{}/redeliver",
            delivery["id"].as_str().unwrap()
        );
        assert_eq!(call(&sandbox, "POST", &path, "").await.status, 202);
    }
    let log = sandbox.settle().await;
    assert_eq!(log.attempts(), 5);
    assert!(
        log.deliveries()
            .iter()
            .all(|delivery| delivery.status() == Status::Succeeded)
    );
    assert_eq!(
        log.deliveries().len(),
        3,
        "a redelivery is an attempt of the same delivery"
    );
    assert_eq!(receiver.seen.handled(), 3);
    let missing = call(&sandbox, "POST", "/webhook-deliveries/x/redeliver", "").await;
    assert_eq!(missing.status, 404);
}

#[tokio::test]
async fn a_failed_redelivery_is_not_retried() {
    let sandbox = Sandbox::builder()
        .retries(Retries::new().attempts(1))
        .start()
        .await
        .unwrap();
    let receiver = receiver(&sandbox).await;
    receiver.seen.fail_next(usize::MAX);
    sandbox.emit(samples::instrument_created()).await;
    let path = format!(
        "/webhook-deliveries/{}/redeliver",
        sandbox.log().deliveries()[0].id()
    );
    call(&sandbox, "POST", &path, "").await;
    let log = sandbox.settle().await;
    assert_eq!(
        (log.attempts(), log.deliveries()[0].status()),
        (2, Status::Failed)
    );
}

#[tokio::test]
async fn a_deleted_webhook_gets_no_retries_and_no_redelivery() {
    let sandbox = Sandbox::start().await;
    let receiver = receiver(&sandbox).await;
    receiver.seen.fail_next(9);
    sandbox.emit(samples::instrument_created()).await;
    let path = format!("/webhooks/{}", receiver.registration.id());
    call(&sandbox, "DELETE", &path, "").await;
    let log = sandbox.settle().await;
    assert_eq!(
        (log.attempts(), log.deliveries()[0].status()),
        (1, Status::Failed)
    );
    let path = format!("/webhook-deliveries/{}/redeliver", log.deliveries()[0].id());
    assert_eq!(call(&sandbox, "POST", &path, "").await.status, 409);
}

#[tokio::test]
async fn a_redelivery_that_fails_leaves_a_planned_retry_in_place() {
    let sandbox = Sandbox::start().await;
    let receiver = receiver(&sandbox).await;
    receiver.seen.fail_next(2);
    sandbox.emit(samples::instrument_created()).await;
    let path = format!(
        "/webhook-deliveries/{}/redeliver",
        sandbox.log().deliveries()[0].id()
    );
    call(&sandbox, "POST", &path, "").await;
    sandbox.advance(Duration::ZERO).await;
    let log = sandbox.log();
    assert_eq!(
        (log.attempts(), log.deliveries()[0].status()),
        (2, Status::Pending)
    );
    let log = sandbox.settle().await;
    assert_eq!(
        (log.attempts(), log.deliveries()[0].status()),
        (3, Status::Succeeded)
    );
}
