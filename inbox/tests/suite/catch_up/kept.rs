//! Events in the logs that the inbox does not have are redelivered or reported, and are not
//! forgotten.

use std::sync::Mutex;
use std::time::Duration;

use ptolemy_webhooks_client::WebhookChanges;
use ptolemy_webhooks_inbox::{CatchUpErrorKind, CatchUpPhase, MissingReason};
use time::OffsetDateTime;

use super::api::{Api, ago, delivery, event, untimed};
use super::scene::Scene;
use crate::database::{Database, on_both_engines};

on_both_engines! {
    a_delivery_without_a_time_does_not_hide_its_event
    a_delivery_with_an_unknown_status_and_no_event_id_is_redelivered
    a_tried_event_whose_delivery_is_gone_stays_missing
    tries_that_were_given_back_are_made_whatever_the_gap
    tried_events_are_tried_again_though_the_log_shows_a_later_delivery
    one_rejection_among_many_gone_deliveries_holds_the_checkpoint_back
    a_delivery_that_is_always_rejected_is_asked_for_by_three_runs
    a_delivery_that_cannot_be_named_is_missing_and_holds_nothing_back
    two_events_with_one_id_are_not_compared
    without_times_the_checkpoint_stays_and_all_deliveries_are_read
    a_checkpoint_beyond_the_horizon_moves_and_the_hole_is_reported
    events_that_arrive_after_the_plan_are_not_redelivered
    a_prune_after_the_plan_stops_the_run
    a_report_is_returned_although_its_end_cannot_be_stored
    ids_with_wide_holes_are_looked_through
}

async fn a_delivery_without_a_time_does_not_hide_its_event(database: &Database) {
    let api = Api::new(database).await;
    api.set(|api| {
        api.deliveries = vec![
            untimed("d2", "lost", "abandoned"),
            delivery("d1", "old", "succeeded", 90),
        ];
        api.events = vec![event("lost", 30)];
    });
    let report = api.run(api.since_an_hour()).await;
    assert_eq!(report.unreachable_events, 1, "{report:?}");
    assert!(!report.is_complete());
    // It was reported once.
    let report = api.run(api.since_an_hour()).await;
    assert!(report.is_complete(), "{report:?}");
}

async fn a_delivery_with_an_unknown_status_and_no_event_id_is_redelivered(database: &Database) {
    let api = Api::new(database).await;
    let time = ago(30);
    let bare = format!(r#"{{"id":"d1","status":"abandoned","delivered_at":"{time}"}}"#);
    api.set(|api| api.deliveries = vec![bare]);
    let report = api.run(api.since_an_hour()).await;
    assert_eq!((report.redelivered, report.unconfirmed), (1, 1));
    assert!(api.run(api.since_an_hour()).await.is_complete());
    assert_eq!(api.redelivered(), 1);
}

async fn a_tried_event_whose_delivery_is_gone_stays_missing(database: &Database) {
    let api = Api::new(database).await;
    api.set(|api| {
        api.deliveries = vec![delivery("d1", "gone", "failed", 30)];
        api.events = vec![event("gone", 30)];
    });
    let report = api.run(api.since_an_hour()).await;
    assert_eq!((report.missing_events, api.redelivered()), (1, 3));
    api.set(|api| api.deliveries.clear());
    let report = api.run(api.since_an_hour()).await;
    assert_eq!(report.missing_events, 1, "{report:?}");
    let why = report.missing[0].why;
    assert!(matches!(why, MissingReason::NotArrived { tries: 3, .. }));
}

async fn tries_that_were_given_back_are_made_whatever_the_gap(database: &Database) {
    let api = Api::new(database).await;
    api.set(|api| api.deliveries = vec![delivery("d1", "a", "failed", 50)]);
    let report = api.run(api.since_an_hour()).await;
    assert!(report.checkpoint.is_some() && api.redelivered() == 3);
    // It is older than the next gap, which does not forget it either.
    assert!(api.run(api.catch_up()).await.is_complete());
    let plan = api.catch_up().retry_missing().plan().await.unwrap();
    assert_eq!(plan.redeliveries(), 1);
    drop(plan);
    crate::workers::until("released", async || {
        let Ok(plan) = api.catch_up().plan().await else {
            return false;
        };
        assert_eq!(plan.redeliveries(), 1);
        let report = plan.run().await.unwrap();
        assert_eq!((report.missing_events, api.redelivered()), (1, 6));
        true
    })
    .await;
}

async fn tried_events_are_tried_again_though_the_log_shows_a_later_delivery(database: &Database) {
    let api = Api::new(database).await;
    let missed = |minutes| {
        let events = 0..6;
        events.map(move |n| delivery(&format!("d{n}"), &format!("e{n}"), "failed", minutes))
    };
    let nothing_arrives = async || {
        let plan = api.since_an_hour().plan().await.unwrap();
        let kind = plan.run().await.unwrap_err().kind();
        matches!(kind, CatchUpErrorKind::NothingArrives { .. })
    };
    api.set(|api| api.deliveries = missed(30).collect());
    assert!(nothing_arrives().await);
    let before = api.redelivered();
    api.set(|api| api.deliveries = missed(1).collect());
    assert!(nothing_arrives().await);
    assert!(api.redelivered() > before);
}

async fn one_rejection_among_many_gone_deliveries_holds_the_checkpoint_back(database: &Database) {
    let api = Api::new(database).await;
    api.set(|api| {
        let gone = (0..1_001).map(|n| delivery(&format!("d{n}"), &format!("e{n}"), "failed", 30));
        api.deliveries = gone.collect();
        api.deliveries
            .insert(0, delivery("last", "last", "failed", 20));
        api.status = Some(|id| if id == "last" { 409 } else { 404 });
    });
    let report = api.run(api.since_an_hour()).await;
    assert_eq!(
        (report.missing_events, report.missing.len()),
        (1_002, 1_000)
    );
    assert_eq!(report.checkpoint, None);
    api.set(|api| api.status = Some(|id| if id == "last" { 410 } else { 404 }));
    let report = api.run(api.since_an_hour()).await;
    assert!(report.checkpoint.is_some() && !report.is_complete());
}

async fn a_delivery_that_is_always_rejected_is_asked_for_by_three_runs(database: &Database) {
    let api = Api::new(database).await;
    api.set(|api| {
        api.deliveries = vec![delivery("d1", "a", "failed", 30)];
        api.status = Some(|_| 409);
    });
    for run in 1..=4 {
        let report = api.run(api.since_an_hour()).await;
        assert_eq!(api.redelivered(), run.min(3));
        assert_eq!(report.checkpoint.is_some(), run >= 3, "{run}");
        let why = report.missing[0].why;
        let is_rejected =
            matches!(why, MissingReason::Rejected { status, .. } if status == Some(409));
        assert!(is_rejected, "{run} {why:?}");
    }
}

async fn a_delivery_that_cannot_be_named_is_missing_and_holds_nothing_back(database: &Database) {
    let api = Api::new(database).await;
    let id = "d".repeat(300);
    api.set(|api| api.deliveries = vec![delivery(&id, "a", "failed", 30)]);
    let report = api.run(api.since_an_hour()).await;
    assert_eq!((report.missing_events, report.redelivered), (1, 0));
    assert_eq!(report.missing[0].why, MissingReason::NotTried);
    assert!(report.checkpoint.is_some());
}

async fn two_events_with_one_id_are_not_compared(database: &Database) {
    let api = Api::new(database).await;
    let newer = event("market", 20);
    api.set(|api| api.events = vec![newer.clone(), newer.clone()]);
    let report = api.run(api.since_an_hour()).await;
    assert_eq!((report.not_compared, report.unreachable_events), (0, 1));
    api.set(|api| api.events = vec![newer, event("market", 30)]);
    let report = api.run(api.since_an_hour()).await;
    assert!(report.not_compared >= 1 && !report.is_complete());
    let of_types = |kind: &str| delivery(kind, "market", "failed", 30).replace("a.b", kind);
    api.set(|api| {
        api.events.clear();
        api.deliveries = vec![of_types("market.created"), of_types("market.updated")];
    });
    let report = api.run(api.since_an_hour()).await;
    assert!(report.not_compared >= 1, "{report:?}");
    // An event without an id cannot be compared either.
    api.set(|api| {
        api.deliveries.clear();
        api.events = vec![event("x", 20).replace(r#""id":"x","#, "")];
    });
    let report = api.run(api.catch_up()).await;
    assert!(report.not_compared == 1 && !report.is_complete());
}

async fn without_times_the_checkpoint_stays_and_all_deliveries_are_read(database: &Database) {
    let api = Api::new(database).await;
    api.set(|api| {
        api.deliveries = vec![
            delivery("d1", "answered", "succeeded", 30),
            untimed("d2", "x", "failed"),
        ];
        api.events = vec![event("answered", 30), event("x", 30)];
        api.status = Some(|id| if id == "d2" { 404 } else { 202 });
    });
    let report = api.run(api.since_an_hour().all_failed()).await;
    assert_eq!((report.missing_events, report.unreachable_events), (2, 0));
    assert_eq!(report.checkpoint, None);
}

async fn a_checkpoint_beyond_the_horizon_moves_and_the_hole_is_reported(database: &Database) {
    let scene = Scene::new(database).await;
    scene.outage(1, 1).await;
    scene.run(scene.since_an_hour()).await;
    let old = database.time(-100 * 86_400);
    let sql = format!("UPDATE ptolemy_inbox_catch_up SET checkpoint = {old}");
    database.execute(&sql).await;
    let error = scene.catch_up().plan().await.unwrap_err();
    let kind = error.kind();
    assert!(matches!(kind, CatchUpErrorKind::BeyondHorizon { .. }));
    let report = scene.run(scene.since_an_hour()).await;
    let hole = OffsetDateTime::now_utc() - report.skipped_from.unwrap();
    assert!(hole > time::Duration::days(99) && !report.is_complete());
    assert!(scene.run(scene.catch_up()).await.is_complete());
    // So is one that is in the future.
    let ahead = database.time(86_400);
    let sql = format!("UPDATE ptolemy_inbox_catch_up SET checkpoint = {ahead}");
    database.execute(&sql).await;
    assert!(scene.run(scene.since_an_hour()).await.is_complete());
    assert!(scene.run(scene.catch_up()).await.is_complete());
}

async fn events_that_arrive_after_the_plan_are_not_redelivered(database: &Database) {
    let scene = Scene::new(database).await;
    scene.outage(0, 6).await;
    let plan = scene.since_an_hour().plan().await.unwrap();
    assert_eq!(plan.redeliveries(), 6);
    for delivery in scene.sandbox.log().deliveries() {
        let deliveries = scene.client.deliveries();
        deliveries.redeliver(delivery.id()).await.unwrap();
    }
    crate::workers::until("arrived", async || scene.events().await == 6).await;
    let before = scene.redeliveries();
    let report = plan.run().await.unwrap();
    assert!(report.is_complete(), "{report:?}");
    assert_eq!((scene.redeliveries() - before, report.redelivered), (0, 0));
}

async fn a_prune_after_the_plan_stops_the_run(database: &Database) {
    let scene = Scene::new(database).await;
    scene.outage(1, 3).await;
    let plan = scene.since_an_hour().plan().await.unwrap();
    let past = database.time(-5);
    let sql = format!("UPDATE ptolemy_inbox SET state = 'done', finished_at = {past}");
    database.execute(&sql).await;
    let pruned = scene.inbox.prune(Duration::from_secs(1)).await.unwrap();
    assert_eq!(pruned, 1);
    let error = plan.run().await.unwrap_err();
    let kind = error.kind();
    assert!(matches!(kind, CatchUpErrorKind::BeyondHorizon { .. }));
    assert_eq!(scene.redeliveries(), 0);
}

async fn a_report_is_returned_although_its_end_cannot_be_stored(database: &Database) {
    let scene = Scene::new(database).await;
    scene.outage(1, 0).await;
    let webhooks = scene.client.webhooks();
    let change = async |changes| drop(webhooks.update(&*scene.webhook, changes).await.unwrap());
    change(WebhookChanges::new().deactivate()).await;
    scene.emit("off").await;
    change(WebhookChanges::new().activate()).await;
    let (reached, mut at_the_end) = tokio::sync::mpsc::unbounded_channel();
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    let shared = Mutex::new((0, wait));
    let catch_up = scene.since_an_hour().on_progress(move |progress| {
        let mut shared = shared.lock().unwrap();
        shared.0 += u32::from(progress.phase == CatchUpPhase::ReadingEvents);
        if shared.0 == 2 {
            reached.send(()).unwrap();
            // Its thread may be the one that drives the sockets.
            tokio::task::block_in_place(|| shared.1.recv().unwrap());
        }
    });
    let run = tokio::spawn(async move { catch_up.plan().await.unwrap().run().await });
    at_the_end.recv().await.unwrap();
    let holder = |holder| format!("UPDATE ptolemy_inbox_catch_up SET lease_holder = {holder}");
    database.execute(&holder("7")).await;
    go_on.send(()).unwrap();
    let report = run.await.unwrap().unwrap();
    assert_eq!((report.unreachable_events, report.checkpoint), (1, None));
    database.execute(&holder("NULL")).await;
    // Nothing was recorded as reported.
    let report = scene.run(scene.since_an_hour()).await;
    assert!(report.unreachable_events == 1 && report.checkpoint.is_some());
    let sql = "SELECT count(*) FROM ptolemy_inbox_catch_up_event WHERE state = 'listed'";
    assert_eq!(database.number(sql).await, 1);
}

async fn ids_with_wide_holes_are_looked_through(database: &Database) {
    let scene = Scene::new(database).await;
    scene.outage(2, 0).await;
    let sql = match database.is_sqlite() {
        true => "UPDATE ptolemy_inbox SET id = 4000000000000000 WHERE id = 2",
        false => "SELECT setval(pg_get_serial_sequence('ptolemy_inbox', 'id'), 4000000000000000)",
    };
    database.execute(sql).await;
    scene.emit("far").await;
    let plan = scene.since_an_hour().plan();
    let plan = tokio::time::timeout(Duration::from_secs(20), plan).await;
    assert_eq!(plan.unwrap().unwrap().already_here(), 3);
}
