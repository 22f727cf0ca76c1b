//! `deliveries` and `events`.

use ptolemy_webhooks::samples;
use ptolemy_webhooks_sandbox::{Retries, Sandbox, Shape};
use serde_json::{Value, json};

use crate::management::{Account, DEAD_URL, lines, names};

#[tokio::test]
async fn deliveries_are_listed_with_stable_names() {
    let account = Account::open().await;
    let ids = account.fail(2).await;
    let ended = account.run("deliveries --json").with_code(0);
    let listed = lines(&ended);
    assert_eq!(listed.len(), 2);
    assert_eq!(
        (&listed[0]["id"], &listed[1]["id"]),
        (&json!(ids[1]), &json!(ids[0])),
        "the latest first"
    );
    let mut expected = [
        "attempts",
        "delivered_at",
        "event_id",
        "event_type",
        "id",
        "next_attempt_at",
        "response_status",
        "status",
        "unchecked",
        "webhook_id",
    ];
    expected.sort_unstable();
    assert_eq!(names(&listed[0]), expected);
    assert_eq!(listed[0]["status"], "failed");
    assert_eq!(listed[0]["event_type"], "instrument.created");
    assert!(listed[0]["delivered_at"].as_str().unwrap().ends_with('Z'));
    let table = account.run("deliveries").with_code(0).stdout;
    assert!(
        table.starts_with("DELIVERED AT") && table.contains(&ids[0]),
        "{table}"
    );
}

#[tokio::test]
async fn a_limit_is_kept_and_more_are_mentioned() {
    let account = Account::open().await;
    account.fail(3).await;
    let ended = account.run("deliveries --limit 2 --json").with_code(0);
    assert_eq!(lines(&ended).len(), 2);
    assert!(
        ended.stderr.contains("there are more than these 2"),
        "{}",
        ended.stderr
    );
    let ended = account.run("deliveries --limit 3 --json").with_code(0);
    assert_eq!((lines(&ended).len(), ended.stderr.as_str()), (3, ""));
    account.run("deliveries --limit 0").with_code(2);
    account.run("deliveries --since yesterday").with_code(2);
}

#[tokio::test]
async fn deliveries_are_filtered_by_status_webhook_and_time() {
    let account = Account::open().await;
    account.fail(2).await;
    let other = account.sandbox.register("http://127.0.0.1:9/other").await;
    account.sandbox.emit(samples::instrument_updated()).await;
    let count = |arguments: &str| {
        let ended = account
            .run(&format!("deliveries --json {arguments}"))
            .with_code(0);
        assert!(
            !ended.stderr.contains("could not be checked"),
            "{}",
            ended.stderr
        );
        lines(&ended).len()
    };
    assert_eq!(count(""), 4);
    assert_eq!(count(&format!("--webhook {}", other.id())), 1);
    assert_eq!(count(&format!("--webhook {DEAD_URL}")), 3);
    assert_eq!(count("--failed --since 2000-01-01T00:00:00Z"), 4);
    assert_eq!(count("--since 2100-01-01T00:00:00Z"), 0);
    let ended = account.run("deliveries --webhook nobody").with_code(1);
    assert!(ended.stderr.contains("looked at 2"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_delivery_that_cannot_be_checked_is_listed_with_a_warning() {
    for (shape, arguments, unchecked) in [
        (Shape::BareDeliveries, "--failed", "--failed"),
        (
            Shape::BareDeliveries,
            "--webhook http://127.0.0.1:9/hook",
            "--webhook",
        ),
        (Shape::DeliveriesWithoutTimes, "--since 2h", "--since"),
    ] {
        let account = Account::with_shapes([shape]).await;
        account.fail(2).await;
        let ended = account
            .run(&format!("deliveries {arguments} --json"))
            .with_code(0);
        let listed = lines(&ended);
        assert_eq!(listed.len(), 2, "{shape:?}");
        assert_eq!(listed[0]["unchecked"], json!([unchecked]));
        let warning = format!("could not be checked against {unchecked}: listed anyway");
        assert!(ended.stderr.contains(&warning), "{}", ended.stderr);
        let ended = account
            .run(&format!("deliveries {arguments} --limit 1"))
            .with_code(0);
        assert!(
            ended.stderr.contains("1 delivery without"),
            "{}",
            ended.stderr
        );
        assert!(ended.stdout.contains("?  "), "{}", ended.stdout);
    }
}

#[tokio::test]
async fn an_unknown_status_is_shown_and_is_not_failed() {
    let account = Account::with_shapes([Shape::OtherStatus]).await;
    account.fail(1).await;
    let ended = account.run("deliveries --failed --json").with_code(0);
    assert_eq!(lines(&ended)[0]["status"], "failed");
    let sandbox = Sandbox::builder()
        .shape(Shape::OtherStatus)
        .start()
        .await
        .unwrap();
    let account = Account::of(sandbox);
    account.sandbox.register(DEAD_URL).await;
    account.sandbox.emit(samples::instrument_created()).await;
    account.until(|| {
        let ended = account.run("deliveries --json").with_code(0);
        lines(&ended)
            .first()
            .is_some_and(|line| line["status"] == "retrying")
    });
    assert_eq!(
        account
            .run("deliveries --failed --json")
            .with_code(0)
            .stdout,
        ""
    );
}

#[tokio::test]
async fn a_page_that_cannot_be_read_leaves_the_records_before_it() {
    let account = Account::open().await;
    account.sandbox.register(DEAD_URL).await;
    for _ in 0..201 {
        account.sandbox.emit(samples::instrument_created()).await;
    }
    account
        .sandbox
        .next_call()
        .of("POST", "/webhook-deliveries/filter")
        .expired_cursor();
    let ended = account.run("deliveries --limit 300").with_code(1);
    assert_eq!(ended.stdout.lines().count(), 201, "a head and a page");
    assert!(ended.stderr.contains("list again"), "{}", ended.stderr);
    assert_eq!(
        lines(&account.run("deliveries --limit 300 --json").with_code(0)).len(),
        201
    );
}

#[tokio::test]
async fn events_are_listed_shown_and_counted() {
    let account = Account::open().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(account.sandbox.emit(samples::instrument_created()).await);
    }
    let ended = account.run("events list --limit 2 --json").with_code(0);
    assert_eq!(names(&lines(&ended)[0]), ["created_at", "event_type", "id"]);
    assert_eq!(lines(&ended).len(), 2);
    assert!(ended.stderr.contains("there are more"), "{}", ended.stderr);
    assert_eq!(
        lines(&account.run("events list --json").with_code(0)).len(),
        3
    );

    let ended = account
        .run(&format!("events show {} --json", ids[0]))
        .with_code(0);
    let shown = &lines(&ended)[0];
    assert_eq!(names(shown), ["created_at", "event", "event_type", "id"]);
    assert_eq!(shown["event"]["event_type"], "instrument.created");
    assert_eq!(shown["id"], json!(ids[0]));
    let table = account
        .run(&format!("events show {}", ids[0]))
        .with_code(0)
        .stdout;
    assert!(
        table.contains("instrument.created") && table.contains("\"data\":"),
        "{table}"
    );
    account.run("events show none").with_code(1);

    assert_eq!(account.run("events count").with_code(0).stdout, "3\n");
    assert_eq!(
        lines(&account.run("events count --json").with_code(0)),
        [json!({"count": 3})]
    );
}

#[tokio::test]
async fn a_secret_in_an_event_is_not_shown() {
    let account = Account::open().await;
    let json =
        r#"{"event_type":"webhook.updated","data":{"secret":"whsec_a3f9b2c1d4e5f6a7","url":"x"}}"#;
    let id = account.sandbox.emit_json(json.as_bytes().to_vec()).await;
    for arguments in ["", " --json"] {
        let ended = account.run(&format!("events show {id}{arguments}"));
        // The run itself looks for secrets.
        assert!(
            ended.code != 0 || ended.stdout.contains("whsec_…"),
            "{ended:?}"
        );
    }
}

#[tokio::test]
async fn every_shape_can_be_listed() {
    Sandbox::builder()
        .retries(Retries::new().attempts(1))
        .every_shape(|sandbox| async move {
            let account = Account::of(sandbox);
            account.fail(1).await;
            for arguments in [
                "webhooks",
                "deliveries",
                "deliveries --failed --since 2h",
                "events list",
                "events count",
                "redeliver --failed --dry-run",
            ] {
                let ended = account.run(&format!("{arguments} --json")).with_code(0);
                assert!(lines(&ended).iter().all(Value::is_object), "{arguments}");
            }
            let listed = lines(&account.run("deliveries --json").with_code(0));
            assert_eq!(listed.len(), 1);
            let id = listed[0]["id"].as_str().unwrap();
            account.run(&format!("redeliver {id}")).with_code(0);
        })
        .await;
}
