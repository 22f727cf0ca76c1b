//! The event log: read whole if the API does not sort it, and events that share an id.

use super::api::{Api, event};
use super::scene::{Mode, Scene};
use crate::database::{Database, on_both_engines};

on_both_engines! {
    a_log_whose_sort_is_rejected_is_read_whole_and_only_its_gap_is_kept
    a_log_that_is_not_sorted_is_read_up_to_a_limit
    a_log_whose_events_have_no_times_is_read_up_to_the_limit
    newer_events_of_a_sorted_log_do_not_count_for_the_limit
    events_with_one_id_are_found_on_one_page_and_on_two
    an_event_whose_id_was_in_the_inbox_before_it_was_created_is_not_compared
    an_event_that_was_received_a_little_before_it_was_created_is_compared
}

/// Events outside the gap, which is the last hour.
fn older(events: usize) -> impl Iterator<Item = String> {
    (0..events).map(|number| event(&format!("old-{number}"), 900))
}

async fn a_log_whose_sort_is_rejected_is_read_whole_and_only_its_gap_is_kept(database: &Database) {
    let api = Api::new(database).await;
    api.set(|api| {
        api.rejects_filter = true;
        // The oldest first: those of the gap are the last.
        let lost = (0..250).map(|number| event(&format!("lost-{number}"), 30));
        api.events = older(610).chain(lost).collect();
    });
    let report = api.run(api.since_an_hour()).await;
    assert_eq!(report.unreachable_events, 250, "{report:?}");
    assert!(!report.event_log_cut && report.checkpoint.is_some());
    assert_eq!(
        (api.requests("/events/filter"), api.requests("/events")),
        (1, 5)
    );
    let kept = "SELECT count(*) FROM ptolemy_inbox_catch_up_event";
    assert_eq!(database.number(kept).await, 250);
}

async fn a_log_that_is_not_sorted_is_read_up_to_a_limit(database: &Database) {
    let api = Api::new(database).await;
    api.set(|api| {
        api.rejects_filter = true;
        api.events = older(900).chain([event("lost", 30)]).collect();
    });
    let report = api.run(api.since_an_hour().event_log_limit(300)).await;
    assert_eq!((report.event_log_cut, report.unreachable_events), (true, 0));
    assert!(!report.is_complete() && report.checkpoint.is_some());
    assert_eq!(api.requests("/events"), 2);
    let report = api.run(api.since_an_hour().event_log_limit(900)).await;
    assert_eq!(
        (report.event_log_cut, report.unreachable_events),
        (false, 1)
    );
}

async fn a_log_whose_events_have_no_times_is_read_up_to_the_limit(database: &Database) {
    let api = Api::new(database).await;
    let untimed = |number: usize| format!(r#"{{"id":"e{number}","event_type":"a.b"}}"#);
    api.set(|api| {
        api.rejects_filter = true;
        api.events = (0..700).map(untimed).collect();
    });
    let report = api.run(api.since_an_hour().event_log_limit(300)).await;
    assert_eq!((report.event_log_cut, report.not_compared), (true, 301));
    assert_eq!(api.requests("/events"), 2);
}

async fn newer_events_of_a_sorted_log_do_not_count_for_the_limit(database: &Database) {
    let api = Api::new(database).await;
    api.set(|api| {
        // Made from the oldest to the newest, so that no two times are the other way round.
        let newer = (1..=400).rev();
        let newer = newer.map(|number| event(&format!("new-{number}"), number / 20));
        let events = older(3).chain([event("lost", 40)]).chain(newer);
        api.events = events.collect();
        api.events.reverse();
    });
    let until = time::OffsetDateTime::now_utc() - time::Duration::minutes(30);
    let report = api
        .run(api.since_an_hour().until(until).event_log_limit(10))
        .await;
    assert_eq!(
        (report.event_log_cut, report.unreachable_events),
        (false, 1)
    );
}

async fn events_with_one_id_are_found_on_one_page_and_on_two(database: &Database) {
    for distance in [1, 150, 250, 450] {
        let api = Api::new(database).await;
        api.set(|api| {
            api.events = (0..500)
                .map(|number| event(&format!("e{number}"), 20))
                .collect();
            api.events[3] = event("market", 20);
            // The same again is no other event.
            api.events[4] = api.events[3].clone();
            api.events[3 + distance] = event("market", 25);
        });
        let report = api.run(api.since_an_hour()).await;
        // A page may have it twice, and one of the two is compared.
        let others = report.not_compared;
        assert!((1..=2).contains(&others), "{distance} {others}");
        assert!(!report.is_complete());
        database
            .execute("DELETE FROM ptolemy_inbox_catch_up_event")
            .await;
    }
}

/// An id that names a resource, and not its event: the inbox has an older event of it.
async fn an_event_whose_id_was_in_the_inbox_before_it_was_created_is_not_compared(
    database: &Database,
) {
    let scene = Scene::new(database).await;
    scene.emit("market").await;
    let earlier = database.time(-420);
    let sql = format!("UPDATE ptolemy_inbox SET received_at = {earlier}");
    database.execute(&sql).await;
    scene.set(Mode::Forgetful);
    scene.emit_type("market", "instrument.updated").await;
    scene.set(Mode::Up);
    let report = scene.run(scene.since_an_hour()).await;
    assert!(
        report.not_compared >= 1 && !report.is_complete(),
        "{report:?}"
    );
}

/// By the receiver's clock, which may be behind.
async fn an_event_that_was_received_a_little_before_it_was_created_is_compared(
    database: &Database,
) {
    let scene = Scene::new(database).await;
    scene.emit("quick").await;
    let earlier = database.time(-300);
    let sql = format!("UPDATE ptolemy_inbox SET received_at = {earlier}");
    database.execute(&sql).await;
    let report = scene.run(scene.since_an_hour()).await;
    assert!(report.is_complete(), "{report:?}");
    // Nothing was redelivered, so this event is the one that was compared.
    assert_eq!((report.redelivered, scene.events().await), (0, 1));
}
