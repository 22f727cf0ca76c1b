//! The delivery log of the API, and redeliveries.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ptolemy_webhooks::samples;
use ptolemy_webhooks_sandbox::{Outcome, Retries, Sandbox, Status};
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

/// Requests a redelivery of the first delivery, and returns the status of the answer.
async fn redeliver(sandbox: &Sandbox) -> u16 {
    let id = sandbox.log().deliveries()[0].id().to_owned();
    let path = format!("/webhook-deliveries/{id}/redeliver");
    call(sandbox, "POST", &path, "").await.status
}

#[tokio::test]
async fn a_copy_for_a_deleted_webhook_changes_nothing() {
    let sandbox = Sandbox::start().await;
    let receiver = receiver(&sandbox).await;
    let later = Duration::from_secs(60);
    sandbox.next_delivery().duplicate_later(later);
    sandbox.emit(samples::instrument_created()).await;
    let path = format!("/webhooks/{}", receiver.registration.id());
    call(&sandbox, "DELETE", &path, "").await;
    let log = sandbox.settle().await;
    let status = log.deliveries()[0].status();
    assert_eq!((log.attempts(), status), (1, Status::Succeeded));
}

#[tokio::test]
async fn a_redelivery_to_an_inactive_webhook_is_a_conflict_and_changes_nothing() {
    let sandbox = Sandbox::start().await;
    let receiver = receiver(&sandbox).await;
    receiver.seen.fail_next(1);
    sandbox.emit(samples::instrument_created()).await;
    let path = format!("/webhooks/{}", receiver.registration.id());
    call(&sandbox, "PATCH", &path, r#"{"active":false}"#).await;
    assert_eq!(redeliver(&sandbox).await, 409);
    sandbox.advance(Duration::ZERO).await;
    assert_eq!(sandbox.log().deliveries()[0].status(), Status::Pending);
    call(&sandbox, "PATCH", &path, r#"{"active":true}"#).await;
    let log = sandbox.settle().await;
    let status = log.deliveries()[0].status();
    assert_eq!((log.attempts(), status), (2, Status::Succeeded));
}

#[tokio::test]
async fn a_redelivery_that_fails_leaves_an_acknowledged_delivery_succeeded() {
    let sandbox = Sandbox::start().await;
    let receiver = receiver(&sandbox).await;
    sandbox.emit(samples::instrument_created()).await;
    receiver.seen.fail_next(1);
    assert_eq!(redeliver(&sandbox).await, 202);
    let log = sandbox.settle().await;
    let status = log.deliveries()[0].status();
    assert_eq!((log.attempts(), status), (2, Status::Succeeded));
}

#[tokio::test]
async fn a_delivery_that_was_acknowledged_meanwhile_is_not_retried() {
    let builder = Sandbox::builder().attempt_timeout(Duration::from_secs(1));
    let sandbox = Arc::new(builder.start().await.unwrap());
    let receiver = receiver(&sandbox).await;
    sandbox.next_delivery().slow(Duration::from_secs(9));
    let slow = tokio::spawn({
        let sandbox = Arc::clone(&sandbox);
        async move { sandbox.emit(samples::instrument_created()).await }
    });
    // The head of the slow attempt has arrived, but its body has not.
    while receiver.seen.most_at_once.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(redeliver(&sandbox).await, 202);
    slow.await.unwrap();
    let log = sandbox.settle().await;
    let delivery = &log.deliveries()[0];
    let outcomes: Vec<_> = delivery
        .attempts()
        .iter()
        .map(|one| one.outcome())
        .collect();
    assert_eq!(outcomes, [Outcome::Answered(204), Outcome::TimedOut]);
    assert_eq!(delivery.status(), Status::Succeeded);
}

#[tokio::test]
async fn a_member_of_a_group_that_was_redelivered_is_not_sent_again() {
    let sandbox = Sandbox::start().await;
    receiver(&sandbox).await;
    sandbox.reorder_deliveries(2);
    sandbox.emit(samples::instrument_created()).await;
    assert_eq!(redeliver(&sandbox).await, 202);
    while sandbox.log().attempts() == 0 {
        tokio::task::yield_now().await;
    }
    sandbox.emit(samples::instrument_created()).await;
    let log = sandbox.settle().await;
    let attempts = log.deliveries().iter().map(|one| one.attempts().len());
    assert_eq!(attempts.collect::<Vec<_>>(), [1, 1]);
}

#[tokio::test]
async fn a_lost_answer_is_not_in_the_delivery_log_of_the_api() {
    let sandbox = Sandbox::start().await;
    receiver(&sandbox).await;
    sandbox.next_delivery().lose_answer();
    sandbox.emit(samples::instrument_created()).await;
    let path = "/webhook-deliveries/filter";
    let page = call(&sandbox, "POST", path, "{}").await.json();
    assert_eq!(page["data"][0]["response_status"], Value::Null);
    assert_eq!(
        sandbox.log().deliveries()[0].attempts()[0].response_status(),
        None
    );
    sandbox.settle().await;
    let page = call(&sandbox, "POST", path, "{}").await.json();
    assert_eq!(page["data"][0]["response_status"], 204);
}
