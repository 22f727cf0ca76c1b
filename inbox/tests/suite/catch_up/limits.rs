//! The reasons for which a run stops.

use std::time::Duration;

use axum::Router;
use axum::http::HeaderMap;
use ptolemy_webhooks_client::Client;
use ptolemy_webhooks_inbox::{CatchUpErrorKind, Failure, Inbox, MissingReason};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use tokio::net::TcpListener;

use super::scene::{Mode, Scene};
use crate::database::{Database, on_both_engines};

on_both_engines! {
    the_floor_of_the_quota_is_kept
    a_gap_does_not_reach_behind_what_was_pruned
    an_inbox_that_was_opened_beside_a_service_has_the_horizon_of_its_table
    a_wrong_clock_stops_the_run_or_is_a_warning
    a_lease_of_a_dead_process_runs_out
    a_run_that_was_taken_over_stops
    deliveries_without_event_ids_are_redelivered_once_ever
    a_rejected_redelivery_holds_the_checkpoint_back_and_is_a_try
}

async fn the_floor_of_the_quota_is_kept(database: &Database) {
    let scene = Scene::new(database).await;
    scene.outage(0, 30).await;
    scene.sandbox.set_quota(20);
    let plan = scene.since_an_hour().quota_floor(10).plan().await.unwrap();
    assert!(plan.calls() > plan.quota_left().unwrap());
    let error = plan.run().await.unwrap_err();
    let kind = error.kind();
    let is_floor = matches!(kind, CatchUpErrorKind::QuotaFloor { remaining: 12, .. });
    assert!(is_floor, "{error:?}");
    // The requested redeliveries have arrived, and the rest continues when there is quota again.
    let arrived = scene.events().await;
    assert!((1..10).contains(&arrived), "{arrived}");
    scene.sandbox.set_quota(1_000);
    let report = scene.run(scene.since_an_hour()).await;
    assert!(report.is_complete(), "{report:?}");
    assert_eq!(scene.redeliveries(), 30);
    let error = scene.since_an_hour().quota_floor(10_000).plan().await;
    let kind = error.unwrap_err().kind();
    assert!(matches!(kind, CatchUpErrorKind::QuotaFloor { .. }));
}

async fn a_gap_does_not_reach_behind_what_was_pruned(database: &Database) {
    let scene = Scene::new(database).await;
    scene.outage(3, 0).await;
    let earlier = OffsetDateTime::now_utc() - time::Duration::days(100);
    let error = scene.catch_up().since(earlier).plan().await.unwrap_err();
    assert!(matches!(
        error.kind(),
        CatchUpErrorKind::BeyondHorizon { .. }
    ));

    // A prune that removes rows is recorded, also for another process; one that removes nothing is
    // not.
    let month = Duration::from_secs(30 * 86_400);
    assert_eq!(scene.inbox.prune(month).await.unwrap(), 0);
    let recorded = "SELECT count(pruned_to) FROM ptolemy_inbox_settings";
    assert_eq!(database.number(recorded).await, 0);
    let old = database.time(-3 * 86_400);
    let sql = format!("UPDATE ptolemy_inbox SET state = 'done', finished_at = {old}");
    database.execute(&sql).await;
    let two_days = Duration::from_secs(2 * 86_400);
    assert_eq!(scene.inbox.prune(two_days).await.unwrap(), 3);
    assert_eq!(database.number(recorded).await, 1);
    let inbox = scene.inbox.clone().with_keep_done(None);
    let since = |hours| OffsetDateTime::now_utc() - time::Duration::hours(hours);
    let plan = async |hours| {
        let catch_up = inbox.catch_up(&scene.client, &*scene.webhook);
        let catch_up = catch_up.since(since(hours)).quota_floor(0);
        catch_up.plan().await.map(drop)
    };
    let error = plan(49).await.unwrap_err();
    let CatchUpErrorKind::BeyondHorizon { horizon, .. } = error.kind() else {
        panic!("{error:?}");
    };
    assert!((horizon - since(48)).abs() < time::Duration::minutes(2));
    plan(47).await.unwrap();
}

/// The tool does not know for how long the service keeps rows: the table does.
async fn an_inbox_that_was_opened_beside_a_service_has_the_horizon_of_its_table(
    database: &Database,
) {
    let mut scene = Scene::new(database).await;
    let service = scene
        .inbox
        .clone()
        .with_keep_done(Duration::from_secs(86_400));
    scene.inbox = Inbox::open_existing(&database.url()).await.unwrap();
    assert_eq!(scene.inbox.keep_done(), None);
    scene.outage(2, 0).await;
    let ago = |hours| OffsetDateTime::now_utc() - time::Duration::hours(hours);
    // As long as nothing was ever removed, the table knows all that was handled.
    drop(
        scene
            .catch_up()
            .since(ago(9_000))
            .plan()
            .await
            .unwrap()
            .release()
            .await,
    );
    let old = database.time(-2 * 86_400);
    let sql = format!("UPDATE ptolemy_inbox SET state = 'done', finished_at = {old}");
    database.execute(&sql).await;
    let worker = service.worker();
    worker
        .run_until_idle(|_, _| async { Ok::<(), Failure>(()) })
        .await;
    assert_eq!(scene.events().await, 0);
    let error = scene.catch_up().since(ago(25)).plan().await.unwrap_err();
    let CatchUpErrorKind::BeyondHorizon { horizon, .. } = error.kind() else {
        panic!("{error:?}");
    };
    assert!(
        (horizon - ago(24)).abs() < time::Duration::minutes(2),
        "{horizon}"
    );
    assert!(error.to_string().contains(&horizon.to_string()), "{error}");
    let plan = scene.catch_up().since(ago(23)).plan().await.unwrap();
    plan.release().await.unwrap();
}

/// An API whose `Date` is this many seconds behind the host.
async fn api_behind(seconds: i64) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let app = Router::new().fallback(async move || {
        let date = OffsetDateTime::now_utc() - time::Duration::seconds(seconds);
        let date = date.format(&Rfc2822).unwrap().replace("+0000", "GMT");
        let mut headers = HeaderMap::new();
        headers.insert("date", date.parse().unwrap());
        (headers, r#"{"id":"w","data":[]}"#)
    });
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

async fn a_wrong_clock_stops_the_run_or_is_a_warning(database: &Database) {
    let inbox = database.inbox().await;
    for (seconds, warning, stops) in [
        (0, false, false),
        (50, false, false),
        (120, true, false),
        (-120, true, false),
        (310, false, true),
        (-310, false, true),
    ] {
        let client = Client::builder("ptk_live_0", "acme")
            .url(api_behind(seconds).await)
            .build()
            .unwrap();
        let since = OffsetDateTime::now_utc() - time::Duration::hours(1);
        let webhook = format!("w{seconds}");
        let planned = inbox.catch_up(&client, webhook).since(since).plan().await;
        match planned {
            Ok(plan) => {
                assert!(!stops, "{seconds}");
                let found = plan.clock_warning();
                assert_eq!(found.is_some(), warning, "{seconds}");
                let report = plan.run().await.unwrap();
                assert_eq!(report.clock_warning, found);
            }
            Err(error) => {
                let kind = error.kind();
                let CatchUpErrorKind::ClockWrong { seconds: found, .. } = kind else {
                    panic!("{error:?}");
                };
                assert!(stops && (found - seconds).abs() <= 2, "{found}");
            }
        }
    }
}

async fn a_lease_of_a_dead_process_runs_out(database: &Database) {
    let scene = Scene::new(database).await;
    scene.outage(0, 1).await;
    let lease = async |seconds| {
        let until = database.time(seconds);
        let webhook = &scene.webhook;
        database.execute("DELETE FROM ptolemy_inbox_catch_up").await;
        let sql = format!(
            "INSERT INTO ptolemy_inbox_catch_up (webhook_id, lease_holder, lease_until)
             VALUES ('{webhook}', 7, {until})"
        );
        database.execute(&sql).await;
        scene.since_an_hour().plan().await
    };
    let error = lease(50).await.unwrap_err();
    let CatchUpErrorKind::AlreadyRunning { until, .. } = error.kind() else {
        panic!("{error:?}");
    };
    assert!((until - OffsetDateTime::now_utc()).abs() < time::Duration::minutes(1));
    drop(lease(-1).await.unwrap());
    // It was written while the clock was ahead.
    drop(lease(7_200).await.unwrap());
}

async fn a_run_that_was_taken_over_stops(database: &Database) {
    let scene = Scene::new(database).await;
    scene.outage(0, 3).await;
    let plan = scene.since_an_hour().plan().await.unwrap();
    let sql = "UPDATE ptolemy_inbox_catch_up SET lease_holder = 7";
    database.execute(sql).await;
    let error = plan.run().await.unwrap_err();
    assert_eq!(error.kind(), CatchUpErrorKind::LeaseLost);
    assert_eq!((scene.redeliveries(), scene.max_tries().await), (0, 0));
}

async fn deliveries_without_event_ids_are_redelivered_once_ever(database: &Database) {
    let scene = Scene::new(database).await;
    scene.outage(2, 3).await;
    let filter = "/webhook-deliveries/filter";
    let hide = || {
        let calls = scene.sandbox.next_calls(2).of("POST", filter);
        calls.missing_field("event_id");
    };
    hide();
    let report = scene.run(scene.since_an_hour()).await;
    // The event log shows that nothing is unreachable: those that came have their ids in the inbox.
    assert_eq!((report.unconfirmed, report.unreachable_events), (3, 0));
    assert!(!report.is_complete() && report.checkpoint.is_some());
    assert_eq!((scene.events().await, scene.redeliveries()), (5, 3));
    hide();
    let again = scene.run(scene.since_an_hour()).await;
    assert!(again.is_complete(), "{again:?}");
    assert_eq!(scene.redeliveries(), 3);
}

async fn a_rejected_redelivery_holds_the_checkpoint_back_and_is_a_try(database: &Database) {
    let scene = Scene::new(database).await;
    scene.outage(0, 4).await;
    let plan = scene.since_an_hour().plan().await.unwrap();
    // The webhook is switched off between the plan and the run.
    let webhooks = scene.client.webhooks();
    let changes = ptolemy_webhooks_client::WebhookChanges::new().deactivate();
    webhooks.update(&*scene.webhook, changes).await.unwrap();
    let report = plan.run().await.unwrap();
    assert_eq!((report.missing_events, report.checkpoint), (4, None));
    let status = Some(409);
    let why = report.missing[0].why;
    assert!(matches!(why, MissingReason::Rejected { status: s, .. } if s == status));
    assert_eq!(scene.max_tries().await, 1);

    let changes = ptolemy_webhooks_client::WebhookChanges::new().activate();
    webhooks.update(&*scene.webhook, changes).await.unwrap();
    scene.set(Mode::Up);
    let report = scene.run(scene.since_an_hour()).await;
    assert!(report.is_complete(), "{report:?}");
}
