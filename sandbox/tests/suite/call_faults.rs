//! Every fault of a call, by name.

use std::time::Duration;

use ptolemy_webhooks_sandbox::{CallEnd, Role, Sandbox, Shape};
use serde_json::{Value, json};

use crate::client::{call, call_as, create};

const BODY: &str = r#"{"url":"https://your-app.example.com/"}"#;

/// Creates a webhook under a fault; returns the status if there was an answer.
async fn create_under(sandbox: &Sandbox) -> Option<u16> {
    let answer = call_as(sandbox, sandbox.token(), "POST", "/webhooks", BODY).await;
    answer.ok().map(|answer| answer.status)
}

/// Asserts how the last call ended and whether a webhook was created.
fn assert_ended(sandbox: &Sandbox, end: CallEnd, applied: bool) {
    let calls = sandbox.calls();
    let last = calls.last().unwrap();
    assert_eq!((last.end(), last.is_applied()), (end, applied));
    assert_eq!(sandbox.webhooks().len(), usize::from(applied));
}

#[tokio::test]
async fn too_many_requests_with_and_without_retry_after() {
    let sandbox = Sandbox::start().await;
    let fault = sandbox.next_calls(2).of("POST", "/webhooks");
    fault.too_many_requests(None);
    sandbox
        .next_call()
        .too_many_requests(Some(Duration::from_millis(1500)));
    for retry_after in [None, None, Some("2")] {
        let answer = call(&sandbox, "POST", "/webhooks", BODY).await;
        assert_eq!(
            (answer.status, answer.header("retry-after")),
            (429, retry_after)
        );
        assert_ne!(answer.header("x-ratelimit-remaining"), Some("0"));
        assert_ended(&sandbox, CallEnd::Answered(429), false);
    }
    assert_eq!(create_under(&sandbox).await, Some(201));
}

#[tokio::test]
async fn no_quota() {
    let sandbox = Sandbox::start().await;
    sandbox.next_call().no_quota();
    let answer = call(&sandbox, "POST", "/webhooks", BODY).await;
    assert_eq!(
        (answer.status, answer.header("x-ratelimit-remaining")),
        (429, Some("0"))
    );
    assert_ended(&sandbox, CallEnd::Answered(429), false);
}

#[tokio::test]
async fn internal_error_before_and_after() {
    let sandbox = Sandbox::start().await;
    sandbox.next_call().internal_error_before();
    assert_eq!(create_under(&sandbox).await, Some(500));
    assert_ended(&sandbox, CallEnd::Answered(500), false);
    sandbox.next_call().internal_error_after();
    assert_eq!(create_under(&sandbox).await, Some(500));
    assert_ended(&sandbox, CallEnd::Answered(500), true);
}

#[tokio::test]
async fn hang_before_and_after() {
    let sandbox = Sandbox::start().await;
    sandbox.next_call().hang_before();
    assert_eq!(create_under(&sandbox).await, None);
    assert_ended(&sandbox, CallEnd::Hung, false);
    sandbox.next_call().hang_after();
    assert_eq!(create_under(&sandbox).await, None);
    assert_ended(&sandbox, CallEnd::Hung, true);
}

#[tokio::test]
async fn reset_before_and_after() {
    let sandbox = Sandbox::start().await;
    let reset = async || {
        let answer = call_as(&sandbox, sandbox.token(), "POST", "/webhooks", BODY).await;
        assert_eq!(
            answer.unwrap_err().kind(),
            std::io::ErrorKind::ConnectionReset
        );
    };
    sandbox.next_call().reset_before();
    reset().await;
    assert_ended(&sandbox, CallEnd::Reset, false);
    sandbox.next_call().reset_after();
    reset().await;
    assert_ended(&sandbox, CallEnd::Reset, true);
}

#[tokio::test]
async fn bad_gateway() {
    let sandbox = Sandbox::start().await;
    sandbox.next_call().bad_gateway();
    let answer = call(&sandbox, "POST", "/webhooks", BODY).await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (502, Some("text/html"))
    );
    assert_ended(&sandbox, CallEnd::Answered(502), false);
}

#[tokio::test]
async fn expired_and_repeated_cursors() {
    let sandbox = Sandbox::start().await;
    for _ in 0..3 {
        create(&sandbox, "https://your-app.example.com/").await;
    }
    // They wait for a call with a cursor.
    sandbox.next_call().repeated_cursor();
    sandbox.next_call().expired_cursor();
    let first = call(&sandbox, "POST", "/webhooks/filter", r#"{"limit":1}"#)
        .await
        .json();
    let after = first["meta"]["next_cursor"].clone();
    let body = json!({ "limit": 1, "after": after }).to_string();
    let second = call(&sandbox, "POST", "/webhooks/filter", &body)
        .await
        .json();
    assert_eq!(second["meta"]["next_cursor"], after);
    assert_eq!(second["meta"]["has_more"], true);
    let expired = call(&sandbox, "POST", "/webhooks/filter", &body).await;
    assert_eq!(expired.status, 422);
    assert_eq!(
        call(&sandbox, "POST", "/webhooks/filter", &body)
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn an_empty_page_loses_nothing() {
    let sandbox = Sandbox::start().await;
    let (id, _) = create(&sandbox, "https://your-app.example.com/").await;
    sandbox.next_calls(2).empty_page();
    let mut path = "/webhooks".to_owned();
    for _ in 0..2 {
        let page = call(&sandbox, "GET", &path, "").await.json();
        assert_eq!(page["data"], json!([]));
        assert_eq!(page["meta"]["has_more"], true);
        path = format!(
            "/webhooks?after={}",
            page["meta"]["next_cursor"].as_str().unwrap()
        );
    }
    let page = call(&sandbox, "GET", &path, "").await.json();
    assert_eq!(page["data"][0]["id"], *id);
    assert_eq!(page["meta"]["has_more"], false);
}

#[tokio::test]
async fn as_viewer_waits_for_a_call_that_needs_another_role() {
    let sandbox = Sandbox::start().await;
    sandbox.next_call().as_viewer();
    assert_eq!(call(&sandbox, "GET", "/webhooks", "").await.status, 200);
    assert_eq!(create_under(&sandbox).await, Some(403));
    assert_ended(&sandbox, CallEnd::Answered(403), false);
    assert_eq!(create_under(&sandbox).await, Some(201));
}

#[tokio::test]
async fn a_field_is_missing_or_of_another_type() {
    let sandbox = Sandbox::start().await;
    sandbox.next_call().missing_field("secret");
    let answer = call(&sandbox, "POST", "/webhooks", BODY).await;
    assert_eq!(answer.json().get("secret"), None);
    assert_ended(&sandbox, CallEnd::Answered(201), true);
    sandbox.next_call().field_of_another_type("url");
    sandbox.next_call().field_of_another_type("active");
    sandbox.next_call().field_of_another_type("meta");
    let url = call(&sandbox, "GET", "/webhooks", "").await.json();
    assert_eq!(url["data"][0]["url"], 7);
    let active = call(&sandbox, "GET", "/webhooks", "").await.json();
    assert_eq!(active["data"][0]["active"], json!(["unexpected"]));
    let meta = call(&sandbox, "GET", "/webhooks", "").await.json();
    assert_eq!(meta["meta"], Value::from("unexpected"));
}

#[tokio::test]
async fn a_fault_waits_for_its_call_and_leaves_strangers_alone() {
    let sandbox = Sandbox::start().await;
    let other = Sandbox::start().await;
    sandbox.next_call().of("POST", "/webhooks").bad_gateway();
    let token = sandbox.token_with(Role::Viewer);
    let stranger = call_as(&sandbox, other.token(), "POST", "/webhooks", BODY)
        .await
        .unwrap();
    assert_eq!(stranger.status, 401);
    let read = call_as(&sandbox, &token, "GET", "/webhooks", "")
        .await
        .unwrap();
    assert_eq!(read.status, 200);
    assert_eq!(create_under(&sandbox).await, Some(502));
}

#[tokio::test]
#[should_panic = "GET /instruments is not a documented call"]
async fn a_fault_of_a_call_that_does_not_exist_is_a_panic() {
    let sandbox = Sandbox::start().await;
    let _ = sandbox.next_call().of("GET", "/instruments");
}

#[tokio::test]
async fn a_call_over_quota_uses_up_no_fault() {
    let sandbox = Sandbox::builder().quota(0).start().await.unwrap();
    sandbox.next_call().bad_gateway();
    assert_eq!(create_under(&sandbox).await, Some(429));
    sandbox.set_quota(5);
    assert_eq!(create_under(&sandbox).await, Some(502));
}

#[tokio::test]
async fn a_fault_of_a_field_waits_for_an_answer_with_that_field() {
    let sandbox = Sandbox::start().await;
    sandbox.next_call().missing_field("secret");
    sandbox.next_call().bad_gateway();
    assert_eq!(create_under(&sandbox).await, Some(502));
    assert_eq!(call(&sandbox, "GET", "/webhooks", "").await.status, 200);
    let created = call(&sandbox, "POST", "/webhooks", BODY).await;
    assert_eq!((created.status, created.json().get("secret")), (201, None));
}

#[tokio::test]
async fn a_fault_of_a_page_waits_for_a_list_with_pages() {
    let sandbox = Sandbox::builder()
        .shape(Shape::BareArrays)
        .start()
        .await
        .unwrap();
    sandbox.next_call().empty_page();
    assert!(
        call(&sandbox, "GET", "/webhooks", "")
            .await
            .json()
            .is_array()
    );
    let page = call(&sandbox, "GET", "/events", "").await.json();
    assert_eq!(page["meta"]["has_more"], true);
}

#[tokio::test]
#[should_panic = "POST /webhooks: no answer within 5 s"]
async fn a_planned_hang_of_register_is_a_panic_that_names_the_call() {
    let sandbox = Sandbox::start().await;
    sandbox.next_call().hang_before();
    sandbox.register("http://127.0.0.1:9/").await;
}
