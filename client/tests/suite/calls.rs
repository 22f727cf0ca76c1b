//! Every documented call, and the role that it requires.

use ptolemy_webhooks::{EventType, Payload};
use ptolemy_webhooks_client::{
    ApiErrorKind, Client, DeliveryStatus, Filter, NewWebhook, Outcome, Role, Subscriptions,
    WebhookChanges,
};
use ptolemy_webhooks_sandbox::{Role as SandboxRole, Sandbox};

use crate::raw_server::{RawServer, answer};
use crate::stand_in::{DEAD_URL, StandIn, builder, client};

async fn webhooks(stand_in: &StandIn) {
    let webhooks = stand_in.client.webhooks();
    let created = webhooks
        .create(
            NewWebhook::new("https://a.example/hook")
                .label("a")
                .inactive(),
        )
        .await
        .unwrap();
    let id = created.webhook.id.clone();
    assert_eq!(created.webhook.label.as_deref(), Some("a"));
    assert_eq!(created.webhook.active, Some(false));
    assert_eq!(
        Some(created.secret.expose()),
        stand_in.sandbox.live_secret(id.as_str()).as_deref()
    );
    assert!(!created.webhook.raw.as_str().contains("whsec_"));

    let changed = webhooks
        .update(&id, WebhookChanges::new().label("b").activate())
        .await
        .unwrap();
    let read = webhooks.get(&id).await.unwrap();
    assert_eq!(changed, read);
    assert_eq!(
        (read.label.as_deref(), read.active),
        (Some("b"), Some(true))
    );
    assert!(read.created_at.is_some());

    let mut list = webhooks.list();
    let mut listed = Vec::new();
    while let Some(webhook) = list.try_next().await.unwrap() {
        listed.push(webhook.id);
    }
    assert_eq!(listed, [stand_in.webhook.as_str().into(), id.clone()]);
    let mut filtered = webhooks.filter(Filter::new().eq("label", "b").eq("active", true));
    assert_eq!(filtered.try_next().await.unwrap().unwrap().id, id);
    assert!(filtered.try_next().await.unwrap().is_none());

    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let store = move |secret| std::future::ready(sender.send(secret).map_err(|_| "closed"));
    webhooks.rotate_secret(&id).secret_to(store).await.unwrap();
    let secret = receiver.recv().await.unwrap();
    assert_eq!(
        Some(secret.expose()),
        stand_in.sandbox.live_secret(id.as_str()).as_deref()
    );
    assert_ne!(secret.expose(), created.secret.expose());

    webhooks.delete(&id).await.unwrap();
    let error = webhooks.delete(&id).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ApiErrorKind::NotFound, Outcome::Rejected)
    );
}

async fn subscriptions(stand_in: &StandIn) {
    let subscriptions = stand_in
        .client
        .webhooks()
        .subscriptions(stand_in.webhook.as_str());
    let added = subscriptions.add("market.created").await.unwrap();
    assert_eq!(added.event_type.as_ref().unwrap(), "market.created");
    let error = subscriptions.add("market.created").await.unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ApiErrorKind::Conflict, Outcome::Rejected)
    );
    subscriptions.remove(added.id.unwrap()).await.unwrap();
    subscriptions
        .replace(["instrument.created", "instrument.updated"])
        .await
        .unwrap();
    let mut list = subscriptions.list();
    let mut types: Vec<EventType> = Vec::new();
    while let Some(subscription) = list.try_next().await.unwrap() {
        types.extend(subscription.event_type);
    }
    assert_eq!(
        types,
        [
            EventType::from("instrument.created"),
            EventType::from("instrument.updated")
        ]
    );
    subscriptions.replace(Subscriptions::all()).await.unwrap();
}

async fn deliveries(stand_in: &StandIn) {
    let deliveries = stand_in.client.deliveries();
    let mut failed = deliveries.failed(stand_in.webhook.as_str());
    let delivery = failed.try_next().await.unwrap().unwrap();
    assert_eq!(delivery.id.as_str(), stand_in.delivery);
    assert_eq!(delivery.status, Some(DeliveryStatus::Failed));
    assert_eq!(delivery.attempts, Some(1));
    assert_eq!(delivery.event_type.as_ref().unwrap(), "instrument.created");
    assert!(failed.try_next().await.unwrap().is_none());
    deliveries.redeliver(&delivery.id).await.unwrap();
    let filter = Filter::new().eq("webhook_id", stand_in.webhook.as_str());
    assert_eq!(
        deliveries
            .filter(filter)
            .try_next()
            .await
            .unwrap()
            .unwrap()
            .id,
        delivery.id
    );
}

async fn events(stand_in: &StandIn) {
    let events = stand_in.client.events();
    let event = events.list().try_next().await.unwrap().unwrap();
    assert_eq!(event.id.as_ref().unwrap().as_str(), stand_in.event);
    assert_eq!(events.get(stand_in.event.as_str()).await.unwrap(), event);
    let typed = event.event().unwrap();
    assert!(matches!(typed.payload, Ok(Payload::Instrument(..))));
    let created = Filter::new().eq("event_type", "instrument.created");
    assert_eq!(events.count(created.clone()).await.unwrap(), 1);
    assert_eq!(
        events
            .count(Filter::new().eq("event_type", "market.created"))
            .await
            .unwrap(),
        0
    );
    assert_eq!(
        events.filter(created).try_next().await.unwrap().unwrap(),
        event
    );
}

#[tokio::test]
async fn every_call_of_the_table() {
    let stand_in = StandIn::start().await;
    webhooks(&stand_in).await;
    subscriptions(&stand_in).await;
    deliveries(&stand_in).await;
    events(&stand_in).await;
    let table = include_str!("../../README.md");
    let mut calls = 0;
    for row in table.lines().filter(|line| line.starts_with("| `")) {
        let Some((method, path)) = row[3..].split('`').next().unwrap().split_once(' ') else {
            continue;
        };
        if !path.starts_with('/') {
            continue;
        }
        assert!(
            stand_in.received(method, &path.replace("{id}", "{}")) > 0,
            "{method} {path}"
        );
        calls += 1;
    }
    assert_eq!(calls, 17);
    assert_eq!(stand_in.sandbox.strangers(), 0);
    assert!(
        stand_in
            .sandbox
            .calls()
            .iter()
            .all(|call| call.status() != Some(501))
    );
}

#[tokio::test]
async fn a_403_names_the_role_and_that_a_robot_cannot_have_it() {
    let sandbox = Sandbox::start().await;
    for (token, may_read) in [(SandboxRole::Viewer, true), (SandboxRole::Member, true)] {
        let client = Client::builder(sandbox.token_with(token), sandbox.workspace())
            .url(sandbox.url())
            .build()
            .unwrap();
        assert_eq!(client.webhooks().list().try_next().await.is_ok(), may_read);
        let error = client
            .webhooks()
            .create(NewWebhook::new(DEAD_URL))
            .await
            .unwrap_err();
        assert_eq!(
            (error.kind(), error.role()),
            (ApiErrorKind::Forbidden, Role::Admin)
        );
        assert_eq!(error.outcome(), Outcome::Rejected);
        let line = error.to_string();
        assert!(
            line.contains("role Admin") && line.contains("robot"),
            "{line}"
        );
    }
}

#[tokio::test]
async fn a_403_of_a_call_whose_role_is_assumed_says_probably() {
    let stand_in = StandIn::start().await;
    let redelivery = "/webhook-deliveries/{id}/redeliver";
    stand_in
        .sandbox
        .next_call()
        .of("POST", redelivery)
        .as_viewer();
    let deliveries = stand_in.client.deliveries();
    let error = deliveries.redeliver(&*stand_in.delivery).await.unwrap_err();
    let line = error.to_string();
    assert!(line.contains("probably requires the role Admin"), "{line}");
}

#[tokio::test]
async fn a_401_names_its_causes_and_the_usual_mistake() {
    let sandbox = Sandbox::start().await;
    let client = Client::builder("ptk_live_0", sandbox.workspace())
        .url(sandbox.url())
        .build()
        .unwrap();
    let error = client.webhooks().list().try_next().await.unwrap_err();
    assert_eq!(
        (error.kind(), error.attempts()),
        (ApiErrorKind::Unauthorized, 1)
    );
    let line = error.to_string();
    assert!(
        line.contains("missing, expired or revoked") && line.contains("whsec_"),
        "{line}"
    );
}

#[tokio::test]
async fn the_quota_that_is_left_is_the_last_one_seen() {
    let sandbox = Sandbox::start().await;
    sandbox.set_quota(2);
    let client = client(&sandbox);
    assert_eq!(client.remaining(), None);
    client.webhooks().list().try_next().await.unwrap();
    assert_eq!(client.clone().remaining(), Some(1));
    client.webhooks().list().try_next().await.unwrap();
    let error = client.webhooks().list().try_next().await.unwrap_err();
    assert_eq!(
        (error.kind(), error.attempts()),
        (ApiErrorKind::OverQuota, 1),
        "{error}"
    );
    assert_eq!(client.remaining(), Some(0));
}

/// Answers of any status count; an answer without a date keeps the last value.
#[tokio::test]
async fn the_clock_offset_is_that_of_the_last_answer_with_a_date() {
    let sandbox = Sandbox::start().await;
    let client = client(&sandbox);
    assert_eq!(client.clock_offset(), None);
    client.webhooks().list().try_next().await.unwrap();
    let offset = client.clone().clock_offset().unwrap();
    assert!(offset.abs() <= time::Duration::seconds(5), "{offset}");

    let dates = ["date: Sun, 06 Nov 1994 08:49:37 GMT\r\n", ""];
    for status in ["200 OK", "404 Not Found"] {
        let server = RawServer::start(move |mut stream, request| async move {
            use tokio::io::AsyncWriteExt as _;
            let bytes = answer(status, dates[request % 2], "[]");
            let _ = stream.write_all(&bytes).await;
        })
        .await;
        let client = server.client();
        for _ in dates {
            let _ = client.webhooks().list().try_next().await;
            let offset = client.clock_offset().unwrap();
            assert!(offset > time::Duration::weeks(52 * 30), "{status}");
        }
        assert_eq!(server.requests(), 2);
    }
}

#[tokio::test]
async fn a_client_of_the_users_own_http_keeps_what_protects_the_token() {
    let sandbox = Sandbox::start().await;
    let http = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::limited(9))
        .proxy(reqwest::Proxy::all("http://127.0.0.1:9").unwrap())
        .user_agent("theirs");
    let client = builder(&sandbox).http(http).build().unwrap();
    assert!(client.webhooks().list().try_next().await.unwrap().is_none());
}

#[tokio::test]
async fn ids_with_slashes_and_dots_call_no_other_path() {
    let stand_in = StandIn::start().await;
    for id in [
        "../../other/webhooks/x",
        "a/subscriptions",
        "x?limit=1",
        "%2e%2e",
        "a#b",
    ] {
        let error = stand_in.client.webhooks().get(id).await.unwrap_err();
        assert_eq!(error.status(), Some(404), "{error}");
    }
    assert_eq!(stand_in.sandbox.strangers(), 0);
    assert_eq!(stand_in.received("GET", "/webhooks/{}"), 5);
}
