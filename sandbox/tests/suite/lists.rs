//! Lists and the documented filter grammar: pages, order, and what is not documented.

use ptolemy_webhooks::samples;
use ptolemy_webhooks_sandbox::Sandbox;
use serde_json::{Value, json};

use crate::client::{call, create};
use crate::receiver::receiver;

const URL: &str = "https://your-app.example.com/webhooks/ptolemy";

/// Reads all pages of a filter call, one record per page, and stops after `most` pages.
async fn pages(sandbox: &Sandbox, path: &str, most: usize) -> Vec<Value> {
    let (mut records, mut after) = (Vec::new(), Value::Null);
    for _ in 0..most {
        let body = json!({ "limit": 1, "after": after }).to_string();
        let page = call(sandbox, "POST", path, &body).await;
        assert_eq!(page.status, 200, "{}", page.body);
        let page = page.json();
        records.extend(page["data"].as_array().unwrap().iter().cloned());
        after = page["meta"]["next_cursor"].clone();
        if after.is_null() {
            return records;
        }
    }
    panic!("{path} has no end");
}

#[tokio::test]
async fn records_that_share_an_id_are_each_listed_once() {
    let sandbox = Sandbox::start().await;
    for _ in 0..3 {
        let sample = samples::instrument_created().with_id("evt_1");
        sandbox.emit(sample).await;
    }
    assert_eq!(pages(&sandbox, "/events/filter", 9).await.len(), 3);
}

#[tokio::test]
async fn events_and_deliveries_are_cut_into_pages() {
    let sandbox = Sandbox::start().await;
    receiver(&sandbox).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(sandbox.emit(samples::instrument_created()).await);
    }
    for (path, name) in [
        ("/events/filter", "id"),
        ("/webhook-deliveries/filter", "event_id"),
    ] {
        let records = pages(&sandbox, path, 9).await;
        let seen: Vec<_> = records.iter().map(|record| &record[name]).collect();
        assert_eq!(seen, ids.iter().collect::<Vec<_>>(), "{path}");
    }
}

#[tokio::test]
async fn a_page_has_fifty_records_by_default_and_at_most_two_hundred() {
    let sandbox = Sandbox::start().await;
    for _ in 0..201 {
        sandbox.emit_json(r#"{"event_type":"a.b"}"#).await;
    }
    for (path, expected) in [("/events", 50), ("/events?limit=200", 200)] {
        let page = call(&sandbox, "GET", path, "").await.json();
        assert_eq!(page["data"].as_array().unwrap().len(), expected);
        assert_eq!(page["meta"]["has_more"], true);
    }
}

#[tokio::test]
async fn times_are_sorted_as_times() {
    let sandbox = Sandbox::start().await;
    // As text, they would sort differently.
    let times = [
        "2026-04-15T09:30:00+02:00",
        "2026-04-15T09:30:00Z",
        "2026-04-15T09:30:00.25Z",
        "2026-04-15T09:30:00.5Z",
    ];
    for place in [2, 0, 3, 1] {
        let body = json!({ "event_type": "a.b", "created_at": times[place] });
        sandbox.emit_json(body.to_string()).await;
    }
    let sort = r#"{"sort":[{"field":"created_at","direction":"desc"}]}"#;
    let page = call(&sandbox, "POST", "/events/filter", sort).await.json();
    let list = page["data"].as_array().unwrap().iter().rev();
    let seen: Vec<_> = list.map(|event| &event["created_at"]).collect();
    assert_eq!(seen, times);
}

#[tokio::test]
async fn eq_compares_scalars_by_their_text() {
    let sandbox = Sandbox::start().await;
    receiver(&sandbox).await;
    sandbox.emit(samples::instrument_created()).await;
    for (path, field, value, found) in [
        ("/webhook-deliveries/filter", "attempt", json!("1"), 1),
        ("/webhook-deliveries/filter", "attempt", json!(1), 1),
        ("/webhook-deliveries/filter", "attempt", json!("2"), 0),
        (
            "/webhook-deliveries/filter",
            "next_attempt_at",
            Value::Null,
            1,
        ),
        (
            "/webhook-deliveries/filter",
            "next_attempt_at",
            json!("null"),
            0,
        ),
        ("/webhooks/filter", "active", json!("true"), 1),
        ("/webhooks/filter", "active", json!(false), 0),
    ] {
        let body = json!({ "filter": { "and": [{ "field": field, "op": "eq", "value": value }] } });
        let page = call(&sandbox, "POST", path, &body.to_string()).await.json();
        let len = page["data"].as_array().unwrap().len();
        assert_eq!(len, found, "{field} eq {value}");
    }
}

#[tokio::test]
async fn input_that_the_documentation_does_not_show_is_not_documented() {
    let sandbox = Sandbox::start().await;
    let (id, _) = create(&sandbox, URL).await;
    let subscriptions = format!("/webhooks/{id}/subscriptions");
    let more = r#"{"filter":{"and":[{"field":"url","op":"eq","value":1,"not":true}]}}"#;
    let cases = [
        (
            "POST",
            "/events/filter",
            r#"{"sort":[{"field":"id","direction":"asc"}]}"#,
        ),
        ("POST", "/events/filter", r#"{"sort":[{"field":"id"}]}"#),
        (
            "POST",
            "/events/filter",
            r#"{"sort":[{"field":"id","direction":"desc","nulls":"first"}]}"#,
        ),
        ("POST", "/webhooks/filter", more),
        ("POST", "/webhooks/filter", r#"{"filter":{}}"#),
        ("POST", "/events/count", r#"{"limit":1}"#),
        ("POST", "/events/count", r#"{"after":"x"}"#),
        (
            "POST",
            "/events/count",
            r#"{"sort":[{"field":"id","direction":"desc"}]}"#,
        ),
        ("POST", &subscriptions, r#"{"event_type":"instrument.*"}"#),
        ("PUT", &subscriptions, r#"["instrument.*"]"#),
        ("GET", "/events/count", ""),
        ("GET", "/events/filter", ""),
        ("GET", "/webhooks/filter", ""),
        ("DELETE", "/webhooks/filter", ""),
    ];
    for (method, path, body) in cases {
        let answer = call(&sandbox, method, path, body).await;
        assert_eq!(answer.status, 501, "{method} {path} {body}");
    }
}

#[tokio::test]
async fn a_filter_call_without_a_body_is_invalid() {
    let sandbox = Sandbox::start().await;
    for path in [
        "/webhooks/filter",
        "/webhook-deliveries/filter",
        "/events/filter",
        "/events/count",
    ] {
        let answer = call(&sandbox, "POST", path, "").await;
        assert_eq!(answer.status, 422, "{path}");
    }
}

#[tokio::test]
async fn a_percent_encoded_path_is_decoded() {
    let sandbox = Sandbox::start().await;
    let (id, _) = create(&sandbox, URL).await;
    let path = format!("/webhooks/{}", id.replace('-', "%2D"));
    assert_eq!(call(&sandbox, "GET", &path, "").await.status, 200);
    for path in [
        "/webhooks/%",
        "/webhooks/%zz",
        "/webhooks/%ff",
        "/webhooks/%2F",
    ] {
        assert_eq!(call(&sandbox, "GET", path, "").await.status, 404, "{path}");
    }
}
