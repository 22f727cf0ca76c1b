//! A receiver that does not store redelivered events, and one that is busy at the same time.

use std::time::Duration;

use ptolemy_webhooks_inbox::{CatchUpErrorKind, MissingReason};

use super::scene::{Mode, REDELIVER, Scene};
use crate::database::{Database, on_both_engines};

on_both_engines! {
    a_receiver_that_is_down_stops_the_run
    an_event_that_never_arrives_is_tried_three_times_and_does_not_hold_back_the_rest
    a_receiver_with_a_wrong_secret_stops_the_run
    deliveries_that_go_on_meanwhile_are_neither_lost_nor_repeated
    an_event_that_is_lost_on_its_way_is_tried_again
    a_delivery_that_is_quicker_than_the_answer_to_the_call_has_arrived
}

const SOON: Duration = Duration::from_millis(300);

async fn a_receiver_that_is_down_stops_the_run(database: &Database) {
    let scene = Scene::new(database).await;
    scene.outage(0, 40).await;
    scene.set(Mode::Down);
    let mut redelivered = 0;
    for run in 1..=3 {
        let plan = scene.since_an_hour().arrival_timeout(SOON).plan().await;
        let error = plan.unwrap().run().await.unwrap_err();
        let kind = error.kind();
        assert!(
            matches!(kind, CatchUpErrorKind::NothingArrives { .. }),
            "{error:?}"
        );
        assert!(error.to_string().contains("the receiver runs"), "{error}");
        let now = scene.redeliveries();
        assert!((5..=16).contains(&(now - redelivered)), "{run} {now}");
        redelivered = now;
    }
    scene.set(Mode::Up);
    let report = scene.run(scene.since_an_hour()).await;
    assert!(report.is_complete(), "{report:?}");
    assert_eq!((scene.events().await, scene.repeated().await), (40, 0));
}

async fn an_event_that_never_arrives_is_tried_three_times_and_does_not_hold_back_the_rest(
    database: &Database,
) {
    let scene = Scene::new(database).await;
    scene.set(Mode::Down);
    scene.emit("poison").await;
    scene.outage(2, 20).await;
    scene.set(Mode::Picky);
    let catch_up = scene.since_an_hour().arrival_timeout(SOON);
    let report = scene.run(catch_up).await;
    assert_eq!((report.missing_events, report.missing.len()), (1, 1));
    assert_eq!(report.missing[0].event_id.as_deref(), Some("poison"));
    let why = report.missing[0].why;
    assert!(matches!(why, MissingReason::NotArrived { tries: 3, .. }));
    assert_eq!((report.redelivered, report.arrived), (23, 20));
    assert!(!report.is_complete() && report.checkpoint.is_some());

    // No run tries it again, unless it is asked to.
    let catch_up = scene.since_an_hour().arrival_timeout(SOON);
    let plan = catch_up.plan().await.unwrap();
    assert_eq!((plan.redeliveries(), plan.no_tries_left()), (0, 1));
    assert_eq!(plan.run().await.unwrap().missing_events, 1);
    assert_eq!(scene.redeliveries(), 23);
    scene.set(Mode::Up);
    let report = scene.run(scene.since_an_hour().retry_missing()).await;
    assert!(report.is_complete(), "{report:?}");
    assert_eq!(scene.redeliveries(), 24);
}

async fn a_receiver_with_a_wrong_secret_stops_the_run(database: &Database) {
    let scene = Scene::new(database).await;
    scene.outage(0, 9).await;
    scene.sandbox.next_deliveries(100).wrong_secret();
    let plan = scene.since_an_hour().arrival_timeout(SOON).plan().await;
    let error = plan.unwrap().run().await.unwrap_err();
    assert!(
        error.to_string().contains("the webhook's secret"),
        "{error}"
    );
    assert_eq!(scene.events().await, 0);
}

async fn deliveries_that_go_on_meanwhile_are_neither_lost_nor_repeated(database: &Database) {
    let scene = Scene::new(database).await;
    scene.outage(10, 60).await;
    let traffic = async {
        for number in 0..60 {
            scene.emit(&format!("live-{number}")).await;
        }
    };
    let (report, ()) = tokio::join!(scene.run(scene.since_an_hour()), traffic);
    assert_eq!(report.missing_events, 0, "{report:?}");
    assert_eq!((scene.events().await, scene.repeated().await), (130, 0));
    let report = scene.run(scene.catch_up()).await;
    assert!(report.is_complete(), "{report:?}");
    assert_eq!((scene.events().await, scene.repeated().await), (130, 0));
}

async fn an_event_that_is_lost_on_its_way_is_tried_again(database: &Database) {
    let scene = Scene::new(database).await;
    scene.outage(0, 12).await;
    scene.sandbox.next_deliveries(2).break_off();
    let report = scene.run(scene.since_an_hour().arrival_timeout(SOON)).await;
    assert!(report.is_complete(), "{report:?}");
    assert_eq!((report.redelivered, report.arrived), (14, 12));
    assert_eq!((scene.events().await, scene.repeated().await), (12, 0));
}

/// The calls are answered so late that their deliveries are seen in the inbox first, since another
/// event is being waited for.
async fn a_delivery_that_is_quicker_than_the_answer_to_the_call_has_arrived(database: &Database) {
    let scene = Scene::new(database).await;
    scene.set(Mode::Down);
    scene.emit("poison").await;
    scene.outage(0, 4).await;
    scene.set(Mode::Picky);
    let calls = scene.sandbox.next_calls(4).of("POST", REDELIVER);
    calls.hang_after();
    let catch_up = scene.since_an_hour();
    let catch_up = catch_up.arrival_timeout(Duration::from_millis(1_200));
    let report = scene.run(catch_up).await;
    assert_eq!((report.redelivered, report.arrived), (7, 4), "{report:?}");
    assert_eq!((scene.events().await, scene.repeated().await), (4, 0));
}
