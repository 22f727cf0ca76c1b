//! Which events are redelivered, and which are reported as missing.

use ptolemy_webhooks_client::WebhookChanges;
use ptolemy_webhooks_inbox::{CatchUpErrorKind, CatchUpPhase};

use super::scene::{Mode, Scene};
use crate::database::{Database, on_both_engines};

on_both_engines! {
    what_failed_is_redelivered_and_what_is_here_is_not
    a_plan_changes_nothing_at_ptolemy
    a_delivery_that_was_answered_and_not_stored_is_redelivered
    events_without_a_delivery_are_listed_once
    events_of_other_types_are_counted_apart
    without_a_checkpoint_and_a_start_a_run_does_not_guess
    what_is_dead_waiting_or_running_is_here
    another_webhooks_copy_does_not_count_with_a_source
    many_pages_are_read_and_progress_is_reported
}

async fn what_failed_is_redelivered_and_what_is_here_is_not(database: &Database) {
    let scene = Scene::new(database).await;
    scene.outage(7, 20).await;
    assert_eq!(scene.events().await, 7);
    let plan = scene.since_an_hour().plan().await.unwrap();
    assert_eq!((plan.redeliveries(), plan.already_here()), (20, 7));
    assert_eq!(plan.by_type()["instrument.updated"], 20);
    assert!(plan.calls() >= 22, "{}", plan.calls());
    let report = plan.run().await.unwrap();
    assert!(report.is_complete(), "{report:?}");
    assert_eq!((report.redelivered, report.arrived), (20, 20));
    assert_eq!((scene.events().await, scene.repeated().await), (27, 0));
    assert_eq!(scene.redeliveries(), 20);

    // The next one begins at the checkpoint, and finds nothing to do.
    let checkpoint = report.checkpoint.unwrap();
    let plan = scene.catch_up().plan().await.unwrap();
    let overlap = time::Duration::minutes(15);
    assert!((plan.from() - (checkpoint - overlap)).abs() < time::Duration::milliseconds(2));
    assert_eq!((plan.redeliveries(), plan.already_here()), (0, 27));
    let again = plan.run().await.unwrap();
    assert!(again.is_complete() && again.checkpoint > Some(checkpoint));
    assert_eq!(scene.redeliveries(), 20);
}

async fn a_plan_changes_nothing_at_ptolemy(database: &Database) {
    let scene = Scene::new(database).await;
    scene.outage(1, 2).await;
    let plan = scene.since_an_hour().plan().await.unwrap();
    assert_eq!(plan.redeliveries(), 2);
    let is_read = |path: &str| path.ends_with("/filter");
    let calls = scene.sandbox.calls();
    let mut calls = calls.iter().skip_while(|call| call.method() != "GET");
    assert!(calls.all(|call| call.method() == "GET" || is_read(call.path())));
    assert_eq!(scene.events().await, 1);
    // While the plan exists, another one cannot begin; then it can.
    let error = scene.since_an_hour().plan().await.unwrap_err();
    assert!(matches!(
        error.kind(),
        CatchUpErrorKind::AlreadyRunning { .. }
    ));
    drop(plan);
    crate::workers::until("released", async || {
        scene.since_an_hour().plan().await.is_ok()
    })
    .await;
}

async fn a_delivery_that_was_answered_and_not_stored_is_redelivered(database: &Database) {
    let scene = Scene::new(database).await;
    scene.set(Mode::Forgetful);
    scene.emit("lost").await;
    scene.set(Mode::Up);
    let report = scene.run(scene.since_an_hour()).await;
    assert!(report.is_complete(), "{report:?}");
    assert_eq!((report.redelivered, scene.events().await), (1, 1));
}

async fn events_without_a_delivery_are_listed_once(database: &Database) {
    let scene = Scene::new(database).await;
    scene.outage(1, 1).await;
    let update = async |changes| {
        let webhooks = scene.client.webhooks();
        webhooks.update(&*scene.webhook, changes).await.unwrap();
    };
    update(WebhookChanges::new().deactivate()).await;
    scene.emit("off").await;
    let error = scene.since_an_hour().plan().await.unwrap_err();
    assert_eq!(error.kind(), CatchUpErrorKind::WebhookInactive);
    update(WebhookChanges::new().activate()).await;

    let report = scene.run(scene.since_an_hour()).await;
    assert!(!report.is_complete());
    assert_eq!((report.missing_events, report.unreachable_events), (0, 1));
    assert_eq!(report.unreachable[0].event_id, "off");
    let kind = report.unreachable[0].event_type.as_deref();
    assert_eq!(kind, Some("instrument.updated"));
    // It was reported, so it does not hold the checkpoint back; and it is never put into the inbox.
    assert!(report.checkpoint.is_some());
    assert_eq!(scene.events().await, 2);
    let again = scene.run(scene.catch_up()).await;
    assert!(again.is_complete(), "{again:?}");
}

async fn events_of_other_types_are_counted_apart(database: &Database) {
    let scene = Scene::new(database).await;
    let webhooks = scene.client.webhooks();
    let subscriptions = webhooks.subscriptions(&*scene.webhook);
    subscriptions.replace(["instrument.updated"]).await.unwrap();
    scene.emit("a").await;
    scene.emit_type("b", "market.created").await;
    let report = scene.run(scene.since_an_hour()).await;
    assert!(report.is_complete(), "{report:?}");
    assert_eq!(report.unsubscribed_events, 1);
    assert_eq!(scene.events().await, 1);
}

async fn without_a_checkpoint_and_a_start_a_run_does_not_guess(database: &Database) {
    let scene = Scene::new(database).await;
    let error = scene.catch_up().plan().await.unwrap_err();
    assert_eq!(error.kind(), CatchUpErrorKind::NoCheckpoint);
    assert!(error.to_string().contains("`since`"), "{error}");
}

async fn what_is_dead_waiting_or_running_is_here(database: &Database) {
    let scene = Scene::new(database).await;
    scene.outage(4, 0).await;
    for (number, state) in ["dead", "waiting", "running", "done"].iter().enumerate() {
        let sql = format!(
            "UPDATE ptolemy_inbox SET state = '{state}' WHERE event_id = 'before-{number}'"
        );
        database.execute(&sql).await;
    }
    let plan = scene.since_an_hour().plan().await.unwrap();
    assert_eq!((plan.redeliveries(), plan.already_here()), (0, 4));
}

async fn another_webhooks_copy_does_not_count_with_a_source(database: &Database) {
    let scene = Scene::new(database).await;
    scene.outage(2, 0).await;
    let sql = "UPDATE ptolemy_inbox SET source = 'other' WHERE event_id = 'before-1'";
    database.execute(sql).await;
    let catch_up = scene.since_an_hour().source("other");
    assert_eq!(catch_up.plan().await.unwrap().redeliveries(), 1);
}

async fn many_pages_are_read_and_progress_is_reported(database: &Database) {
    let scene = Scene::new(database).await;
    scene.outage(500, 60).await;
    let (sender, receiver) = std::sync::mpsc::channel();
    let catch_up = scene.since_an_hour().on_progress(move |progress| {
        sender.send(progress).unwrap();
    });
    let report = scene.run(catch_up).await;
    assert!(report.is_complete(), "{report:?}");
    assert_eq!((report.redelivered, scene.events().await), (60, 560));
    let progress: Vec<_> = receiver.iter().collect();
    let reads = progress.iter().filter(|progress| progress.read == 560);
    assert!(reads.count() >= 3, "{progress:?}");
    let last = progress
        .iter()
        .rfind(|progress| progress.phase == CatchUpPhase::Redelivering)
        .unwrap();
    assert_eq!((last.redelivered, last.arrived), (60, 60));
}
