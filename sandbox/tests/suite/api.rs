//! Every documented call, and what the sandbox rejects.

use ptolemy_webhooks::Secret;
use ptolemy_webhooks_sandbox::{Role, Sandbox, Shape};
use serde_json::{Value, json};

use crate::client::{address, call, call_as, create, raw};

const URL: &str = "https://your-app.example.com/webhooks/ptolemy";

#[tokio::test]
async fn a_webhook_is_created_shown_changed_and_deleted() {
    let sandbox = Sandbox::start().await;
    let body = json!({ "url": URL, "label": "production", "active": true }).to_string();
    let created = call(&sandbox, "POST", "/webhooks", &body).await;
    assert_eq!(created.status, 201);
    let mut created = created.json();
    let secret = created.as_object_mut().unwrap().remove("secret").unwrap();
    Secret::new(secret.as_str().unwrap()).unwrap();
    assert_eq!(created["url"], URL);
    assert_eq!(created["label"], "production");
    assert_eq!(created["active"], true);
    assert!(created["created_at"].is_string());

    let path = format!("/webhooks/{}", created["id"].as_str().unwrap());
    assert_eq!(call(&sandbox, "GET", &path, "").await.json(), created);
    let changed = call(&sandbox, "PATCH", &path, r#"{"label":null,"active":false}"#).await;
    assert_eq!(changed.status, 200);
    assert_eq!(changed.json()["label"], Value::Null);
    assert!(!sandbox.webhooks()[0].is_active());
    assert_eq!(sandbox.webhooks()[0].url(), URL);

    let deleted = call(&sandbox, "DELETE", &path, "").await;
    assert_eq!((deleted.status, &*deleted.body), (204, ""));
    assert_eq!(call(&sandbox, "DELETE", &path, "").await.status, 404);
    assert_eq!(call(&sandbox, "GET", &path, "").await.status, 404);
    assert!(sandbox.webhooks().is_empty());
}

#[tokio::test]
async fn rotation_replaces_the_secret() {
    let sandbox = Sandbox::start().await;
    let (id, old) = create(&sandbox, URL).await;
    let path = format!("/webhooks/{id}/rotate-secret");
    let rotated = call(&sandbox, "POST", &path, "").await;
    assert_eq!(rotated.status, 200);
    let new = rotated.json()["secret"].as_str().unwrap().to_owned();
    assert_ne!(new, old);
    assert_eq!(sandbox.live_secret(&id), Some(new));
}

#[tokio::test]
async fn subscriptions_are_added_listed_replaced_and_removed() {
    let sandbox = Sandbox::start().await;
    let (id, _) = create(&sandbox, URL).await;
    let path = format!("/webhooks/{id}/subscriptions");
    assert!(sandbox.webhooks()[0].subscriptions().is_empty());

    let body = r#"{"event_type":"instrument.created"}"#;
    let added = call(&sandbox, "POST", &path, body).await;
    assert_eq!(added.status, 201);
    assert_eq!(call(&sandbox, "POST", &path, body).await.status, 409);
    let list = call(&sandbox, "GET", &path, "").await.json();
    assert_eq!(list["data"], json!([added.json()]));
    assert_eq!(
        list["meta"],
        json!({ "next_cursor": null, "has_more": false })
    );

    let both = r#"["market.created","instrument.created"]"#;
    let replaced = call(&sandbox, "PUT", &path, both).await;
    assert_eq!(replaced.status, 200);
    assert_eq!(replaced.json()["data"][1], added.json(), "it keeps its id");
    let removed = format!("{path}/{}", added.json()["id"].as_str().unwrap());
    assert_eq!(call(&sandbox, "DELETE", &removed, "").await.status, 204);
    assert_eq!(call(&sandbox, "DELETE", &removed, "").await.status, 404);
    assert_eq!(sandbox.webhooks()[0].subscriptions(), ["market.created"]);
}

#[tokio::test]
async fn lists_are_cut_into_pages() {
    let sandbox = Sandbox::builder().webhook_limit(9).start().await.unwrap();
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(create(&sandbox, URL).await.0);
    }
    for by_filter in [false, true] {
        let mut seen = Vec::new();
        let mut after = Value::Null;
        loop {
            let page = if by_filter {
                let body = json!({ "limit": 2, "after": after }).to_string();
                call(&sandbox, "POST", "/webhooks/filter", &body).await
            } else {
                let cursor = after.as_str().map(|after| format!("&after={after}"));
                let path = format!("/webhooks?limit=2{}", cursor.unwrap_or_default());
                call(&sandbox, "GET", &path, "").await
            };
            assert_eq!(page.status, 200, "{}", page.body);
            let page = page.json();
            let data = page["data"].as_array().unwrap();
            assert!(data.len() <= 2);
            seen.extend(
                data.iter()
                    .map(|item| item["id"].as_str().unwrap().to_owned()),
            );
            after = page["meta"]["next_cursor"].clone();
            assert_eq!(page["meta"]["has_more"], !after.is_null());
            if after.is_null() {
                break;
            }
        }
        assert_eq!(seen, ids);
    }
}

#[tokio::test]
async fn a_page_continues_behind_the_last_item_although_one_was_deleted() {
    let sandbox = Sandbox::start().await;
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(create(&sandbox, URL).await.0);
    }
    let page = call(&sandbox, "GET", "/webhooks?limit=2", "").await.json();
    let path = format!("/webhooks/{}", ids[0]);
    call(&sandbox, "DELETE", &path, "").await;
    let after = page["meta"]["next_cursor"].as_str().unwrap();
    let path = format!("/webhooks?limit=2&after={after}");
    let page = call(&sandbox, "GET", &path, "").await.json();
    assert_eq!(page["data"][0]["id"], *ids[2]);
}

#[tokio::test]
async fn a_cursor_belongs_to_its_list_and_expires() {
    let sandbox = Sandbox::start().await;
    create(&sandbox, URL).await;
    create(&sandbox, URL).await;
    let page = call(&sandbox, "GET", "/webhooks?limit=1", "").await.json();
    let after = page["meta"]["next_cursor"].as_str().unwrap();
    let other = call(&sandbox, "GET", &format!("/events?after={after}"), "").await;
    assert_eq!(other.status, 422);
    assert!(other.body.contains("another list"), "{}", other.body);
    sandbox.expire_cursors();
    let expired = call(&sandbox, "GET", &format!("/webhooks?after={after}"), "").await;
    assert_eq!(expired.status, 422);
    assert!(expired.body.contains("expired"), "{}", expired.body);
}

#[tokio::test]
async fn filters_know_and_of_eq_and_sort() {
    let sandbox = Sandbox::start().await;
    let (first, _) = create(&sandbox, "https://a.example.com/").await;
    create(&sandbox, "https://b.example.com/").await;
    let filter = json!({
        "filter": { "and": [{ "field": "url", "op": "eq", "value": "https://a.example.com/" }] },
    });
    let found = call(&sandbox, "POST", "/webhooks/filter", &filter.to_string()).await;
    assert_eq!(found.json()["data"].as_array().unwrap().len(), 1);
    assert_eq!(found.json()["data"][0]["id"], *first);
    let sort = json!({ "sort": [{ "field": "url", "direction": "desc" }] });
    let found = call(&sandbox, "POST", "/webhooks/filter", &sort.to_string()).await;
    assert_eq!(found.json()["data"][1]["id"], *first);
}

#[tokio::test]
async fn what_is_not_documented_is_answered_501() {
    let sandbox = Sandbox::start().await;
    let (id, _) = create(&sandbox, URL).await;
    let or = r#"{"filter":{"or":[]}}"#;
    let nested = r#"{"filter":{"and":[{"or":[]}]}}"#;
    let gt = r#"{"filter":{"and":[{"field":"url","op":"gt","value":1}]}}"#;
    let cases = [
        ("GET", "/instruments", ""),
        ("PUT", "/webhooks", "{}"),
        ("GET", "/webhooks/", ""),
        ("GET", "/webhooks?page=2", ""),
        ("PUT", &format!("/webhooks/{id}"), "{}"),
        ("POST", "/webhooks/filter?limit=3", "{}"),
        ("POST", "/webhooks/filter", or),
        ("POST", "/webhooks/filter", nested),
        ("POST", "/webhooks/filter", gt),
        ("POST", "/webhooks/filter", r#"{"page":2}"#),
    ];
    for (method, path, body) in cases {
        let answer = call(&sandbox, method, path, body).await;
        assert_eq!(answer.status, 501, "{method} {path} {body}");
        assert!(answer.body.contains("not documented"), "{}", answer.body);
        assert_eq!(sandbox.calls().last().unwrap().status(), Some(501));
    }
}

#[tokio::test]
async fn invalid_bodies_are_answered_422() {
    let sandbox = Sandbox::start().await;
    let (id, _) = create(&sandbox, URL).await;
    let subscriptions = format!("/webhooks/{id}/subscriptions");
    let cases = [
        ("POST", "/webhooks", "{"),
        ("POST", "/webhooks", "[]"),
        ("POST", "/webhooks", "{}"),
        ("POST", "/webhooks", r#"{"url":1}"#),
        ("POST", "/webhooks", r#"{"url":"example.com"}"#),
        ("POST", "/webhooks", r#"{"url":"ftp://example.com/"}"#),
        (
            "POST",
            "/webhooks",
            r#"{"url":"https://a.example.com/","active":"yes"}"#,
        ),
        (
            "POST",
            "/webhooks",
            r#"{"url":"https://a.example.com/","name":"x"}"#,
        ),
        ("POST", &subscriptions, r#"{"event_type":""}"#),
        ("POST", &subscriptions, "{}"),
        ("PUT", &subscriptions, r#"{"event_types":["*"]}"#),
        ("PUT", &subscriptions, "[1]"),
        ("POST", "/webhooks/filter", r#"{"limit":201}"#),
        ("POST", "/webhooks/filter", r#"{"limit":0}"#),
        (
            "POST",
            "/webhooks/filter",
            r#"{"filter":{"and":[{"field":"secret","op":"eq","value":1}]}}"#,
        ),
        ("GET", "/webhooks?limit=201", ""),
        ("GET", "/webhooks?after=nothing", ""),
    ];
    for (method, path, body) in cases {
        let answer = call(&sandbox, method, path, body).await;
        assert_eq!(
            answer.status, 422,
            "{method} {path} {body}: {}",
            answer.body
        );
    }
    assert_eq!(sandbox.webhooks().len(), 1);
    let large = format!(r#"{{"url":"{}"}}"#, "x".repeat(1024 * 1024));
    assert_eq!(
        call(&sandbox, "POST", "/webhooks", &large).await.status,
        413
    );
}

#[tokio::test]
async fn writes_need_the_role_admin_and_reads_the_role_viewer() {
    let sandbox = Sandbox::start().await;
    let (id, _) = create(&sandbox, URL).await;
    let writes = [
        ("POST", "/webhooks".to_owned()),
        ("PATCH", format!("/webhooks/{id}")),
        ("DELETE", format!("/webhooks/{id}")),
        ("POST", format!("/webhooks/{id}/rotate-secret")),
        ("POST", format!("/webhooks/{id}/subscriptions")),
        ("PUT", format!("/webhooks/{id}/subscriptions")),
        ("DELETE", format!("/webhooks/{id}/subscriptions/x")),
        ("POST", "/webhook-deliveries/x/redeliver".to_owned()),
    ];
    for role in [Role::Viewer, Role::Member, Role::Editor] {
        let token = sandbox.token_with(role);
        for (method, path) in &writes {
            let answer = call_as(&sandbox, &token, method, path, "{}").await.unwrap();
            assert_eq!(answer.status, 403, "{method} {path} as {role}");
            assert!(answer.body.contains("Admin"), "{}", answer.body);
        }
        let lists = [
            ("GET", "/webhooks"),
            ("POST", "/webhooks/filter"),
            ("POST", "/webhook-deliveries/filter"),
            ("GET", "/events"),
            ("POST", "/events/filter"),
            ("POST", "/events/count"),
        ];
        for (method, path) in lists {
            let body = if method == "POST" { "{}" } else { "" };
            let answer = call_as(&sandbox, &token, method, path, body).await.unwrap();
            assert_eq!(answer.status, 200, "{method} {path} as {role}");
        }
    }
}

#[tokio::test]
async fn strangers_are_rejected_and_counted_apart() {
    let sandbox = Sandbox::start().await;
    let other = Sandbox::start().await;
    let theirs = call_as(&sandbox, other.token(), "GET", "/webhooks", "")
        .await
        .unwrap();
    assert_eq!(theirs.status, 401);
    let path = format!("/v1/workspaces/{}/webhooks", other.workspace());
    let elsewhere = raw(&address(&sandbox), sandbox.token(), "GET", &path, b"")
        .await
        .unwrap();
    assert_eq!(elsewhere.status, 404);
    assert_eq!(sandbox.strangers(), 2);
    assert!(sandbox.calls().is_empty());
    assert_eq!(other.strangers(), 0);
}

#[tokio::test]
async fn the_quota_is_counted_down_and_used_up() {
    let sandbox = Sandbox::builder().quota(2).start().await.unwrap();
    for left in ["1", "0"] {
        let answer = call(&sandbox, "GET", "/webhooks", "").await;
        assert_eq!(
            (answer.status, answer.header("x-ratelimit-remaining")),
            (200, Some(left))
        );
    }
    let answer = call(
        &sandbox,
        "POST",
        "/webhooks",
        r#"{"url":"https://a.example.com/"}"#,
    )
    .await;
    assert_eq!(
        (answer.status, answer.header("x-ratelimit-remaining")),
        (429, Some("0"))
    );
    assert!(sandbox.webhooks().is_empty());
    sandbox.set_quota(5);
    assert_eq!(call(&sandbox, "GET", "/webhooks", "").await.status, 200);
}

#[tokio::test]
async fn the_number_of_registered_endpoints_is_limited() {
    let sandbox = Sandbox::builder().webhook_limit(1).start().await.unwrap();
    create(&sandbox, URL).await;
    let answer = call(
        &sandbox,
        "POST",
        "/webhooks",
        &json!({ "url": URL }).to_string(),
    )
    .await;
    assert_eq!(answer.status, 403);
    assert!(answer.body.contains("quota"), "{}", answer.body);
}

#[tokio::test]
async fn calls_are_logged_in_order() {
    let sandbox = Sandbox::start().await;
    let registration = sandbox.register("http://127.0.0.1:9/hook").await;
    let calls = sandbox.calls();
    let seen: Vec<_> = calls
        .iter()
        .map(|call| (call.method(), call.status()))
        .collect();
    assert_eq!(seen, [("POST", Some(201)), ("PUT", Some(200))]);
    assert_eq!(calls[0].path(), "/webhooks");
    assert_eq!(
        calls[1].path(),
        format!("/webhooks/{}/subscriptions", registration.id())
    );
    assert_eq!(sandbox.webhooks()[0].subscriptions(), ["*"]);
    assert_eq!(
        sandbox.live_secret(registration.id()).as_deref(),
        Some(registration.secret_text())
    );
}

#[tokio::test]
async fn the_port_is_free_after_drop_and_after_stop() {
    for stop in [false, true] {
        let sandbox = Sandbox::start().await;
        let address = address(&sandbox);
        let url = "http://127.0.0.1:9/".to_owned();
        sandbox.register(&url).await;
        // A connection that hangs at the time does not keep the port.
        sandbox.next_call().hang_before();
        let path = format!("/v1/workspaces/{}/webhooks", sandbox.workspace());
        let token = sandbox.token().to_owned();
        let hanging = {
            let address = address.clone();
            tokio::spawn(async move { raw(&address, &token, "GET", &path, b"").await })
        };
        while sandbox.calls().len() < 3 {
            tokio::task::yield_now().await;
        }
        if stop {
            sandbox.stop().await;
        } else {
            drop(sandbox);
        }
        let port: u16 = address.rsplit(':').next().unwrap().parse().unwrap();
        let again = Sandbox::builder().port(port).start().await.unwrap();
        again.register(&url).await;
        assert!(hanging.await.unwrap().is_err());
    }
}

#[tokio::test]
async fn debug_shows_no_token_and_no_secret() {
    let sandbox = Sandbox::start().await;
    let registration = sandbox.register("http://127.0.0.1:9/").await;
    let shown = format!(
        "{sandbox:?} {registration:?} {:?} {:?}",
        sandbox.calls(),
        sandbox.webhooks()
    );
    for hidden in ["ptk_", "whsec_"] {
        assert!(!shown.contains(hidden), "{shown}");
    }
    assert!(shown.contains(&format!("seed: {}", sandbox.seed())));
}

#[tokio::test]
async fn a_seed_repeats_everything() {
    let one = Sandbox::builder().seed(7).start().await.unwrap();
    let other = Sandbox::builder().seed(7).start().await.unwrap();
    assert_eq!(one.token(), other.token());
    let url = "http://127.0.0.1:9/";
    assert_eq!(one.register(url).await.id(), other.register(url).await.id());
    assert_ne!(
        Sandbox::start().await.token(),
        Sandbox::start().await.token()
    );
}

#[tokio::test]
async fn every_shape_of_the_api_is_a_switch() {
    async fn with(shape: Shape) -> (Sandbox, String) {
        let sandbox = Sandbox::builder().shape(shape).start().await.unwrap();
        let registration = sandbox.register("http://127.0.0.1:9/").await;
        let id = registration.id().to_owned();
        (sandbox, id)
    }
    let (sandbox, id) = with(Shape::BareArrays).await;
    assert!(
        call(&sandbox, "GET", "/webhooks", "")
            .await
            .json()
            .is_array()
    );
    let path = format!("/webhooks/{id}/subscriptions");
    assert!(call(&sandbox, "PUT", &path, "[]").await.json().is_array());

    let (sandbox, id) = with(Shape::SubscriptionsAsText).await;
    let path = format!("/webhooks/{id}/subscriptions");
    assert_eq!(
        call(&sandbox, "GET", &path, "").await.json()["data"],
        json!(["*"])
    );
    let path = format!("{path}/*");
    assert_eq!(call(&sandbox, "DELETE", &path, "").await.status, 204);

    let (sandbox, id) = with(Shape::ReplaceAnswersNothing).await;
    let path = format!("/webhooks/{id}/subscriptions");
    assert_eq!(call(&sandbox, "PUT", &path, "[]").await.status, 204);

    let (sandbox, id) = with(Shape::NestedSecret).await;
    let path = format!("/webhooks/{id}/rotate-secret");
    let answer = call(&sandbox, "POST", &path, "").await.json();
    assert_eq!(answer["secret"], Value::Null);
    assert_eq!(
        answer["credentials"]["value"],
        sandbox.live_secret(&id).unwrap()
    );

    let (sandbox, _) = with(Shape::BareCount).await;
    assert_eq!(
        call(&sandbox, "POST", "/events/count", "{}").await.json(),
        json!(0)
    );

    let (sandbox, _) = with(Shape::CountAsText).await;
    let answer = call(&sandbox, "POST", "/events/count", "{}").await.json();
    assert_eq!(answer, json!({ "count": "0" }));

    let (sandbox, id) = with(Shape::ExtraFields).await;
    let answer = call(&sandbox, "GET", &format!("/webhooks/{id}"), "")
        .await
        .json();
    assert!(answer["sandbox_links"].is_object());
}

#[tokio::test]
#[should_panic = "PUT /webhooks/"]
async fn a_fault_of_a_call_of_register_is_a_panic_that_names_the_call() {
    let sandbox = Sandbox::start().await;
    sandbox
        .next_call()
        .of("PUT", "/webhooks/{id}/subscriptions")
        .bad_gateway();
    sandbox.register("http://127.0.0.1:9/").await;
}

#[tokio::test]
async fn a_taken_port_is_an_error() {
    let sandbox = Sandbox::start().await;
    let port = address(&sandbox)
        .rsplit(':')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let error = Sandbox::builder().port(port).start().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
}

#[tokio::test]
async fn the_sandbox_answers_while_the_runtime_of_the_test_is_blocked() {
    use std::io::{Read as _, Write as _};
    let sandbox = Sandbox::start().await;
    let mut stream = std::net::TcpStream::connect(address(&sandbox)).unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
}

#[tokio::test]
async fn the_workspace_can_be_named() {
    let sandbox = Sandbox::builder()
        .workspace("acme-capital")
        .start()
        .await
        .unwrap();
    assert_eq!(sandbox.workspace(), "acme-capital");
    assert_eq!(call(&sandbox, "GET", "/webhooks", "").await.status, 200);
}

#[tokio::test]
async fn a_webhook_has_a_bounded_number_of_subscriptions() {
    let sandbox = Sandbox::start().await;
    let (id, _) = create(&sandbox, URL).await;
    let path = format!("/webhooks/{id}/subscriptions");
    let types = |count: usize| -> Vec<String> { (0..count).map(|n| format!("a.b{n}")).collect() };
    let most = json!(types(1_000)).to_string();
    assert_eq!(call(&sandbox, "PUT", &path, &most).await.status, 200);
    let more = json!(types(1_001)).to_string();
    assert_eq!(call(&sandbox, "PUT", &path, &more).await.status, 422);
    let one = r#"{"event_type":"a.c"}"#;
    assert_eq!(call(&sandbox, "POST", &path, one).await.status, 422);
}

#[tokio::test]
async fn the_port_is_free_at_once_each_time() {
    for _ in 0..200 {
        let sandbox = Sandbox::start().await;
        let address = address(&sandbox);
        drop(sandbox);
        std::net::TcpListener::bind(&address).unwrap();
    }
}

#[tokio::test]
async fn every_answer_to_a_known_token_has_the_quota() {
    let sandbox = Sandbox::start().await;
    let own = format!("/v1/workspaces/{}", sandbox.workspace());
    for (path, status) in [
        ("/v1/workspaces/other/webhooks", 404),
        ("/v1/instruments", 501),
        (&*format!("{own}/webhooks/x"), 404),
        (&*format!("{own}/webhooks?limit=0"), 422),
        (&*own, 501),
    ] {
        let answer = raw(&address(&sandbox), sandbox.token(), "GET", path, b"").await;
        let answer = answer.unwrap();
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.header("x-ratelimit-remaining").is_some(), "{path}");
    }
}

#[tokio::test]
async fn a_workspace_is_named_by_its_slug_or_its_id() {
    let builder = Sandbox::builder().workspace("acme-capital");
    let sandbox = builder.start().await.unwrap();
    assert_eq!(sandbox.workspace_id().len(), 36);
    for name in ["acme-capital", "acme%2Dcapital", sandbox.workspace_id()] {
        let path = format!("/v1/workspaces/{name}/webhooks");
        let answer = raw(&address(&sandbox), sandbox.token(), "GET", &path, b"").await;
        assert_eq!(answer.unwrap().status, 200, "{name}");
    }
    assert_eq!(sandbox.strangers(), 0);
}

#[tokio::test]
async fn a_revoked_token_is_invalid() {
    let sandbox = Sandbox::start().await;
    let token = sandbox.token_with(Role::Viewer);
    sandbox.revoke(&token);
    let answer = call_as(&sandbox, &token, "GET", "/webhooks", "").await;
    assert_eq!(answer.unwrap().status, 401);
    assert_eq!(call(&sandbox, "GET", "/webhooks", "").await.status, 200);
}

#[tokio::test]
async fn a_long_path_is_cut_in_the_list_of_calls() {
    let sandbox = Sandbox::start().await;
    let path = format!("/webhooks/{}", "x".repeat(5_000));
    assert_eq!(call(&sandbox, "GET", &path, "").await.status, 404);
    assert_eq!(sandbox.calls()[0].path(), &path[..1024]);
}
