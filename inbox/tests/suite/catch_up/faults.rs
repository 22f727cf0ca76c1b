//! Every fault of every call.

use std::error::Error as _;
use std::time::Duration;

use ptolemy_webhooks_inbox::{CatchUpError, CatchUpReport};
use ptolemy_webhooks_sandbox::NextCalls;

use super::scene::{Mode, REDELIVER, Scene};
use crate::database::{Database, on_both_engines};

on_both_engines! {
    a_fault_of_any_call_loses_and_repeats_nothing
    a_fault_of_a_cursor_loses_and_repeats_nothing
}

const CALLS: [(&str, &str); 5] = [
    ("GET", "/webhooks/{id}"),
    ("POST", "/webhook-deliveries/filter"),
    ("POST", REDELIVER),
    ("GET", "/webhooks/{id}/subscriptions"),
    ("POST", "/events/filter"),
];

type Fault = (&'static str, fn(NextCalls<'_>));

const FAULTS: [Fault; 15] = [
    ("429", |calls| calls.too_many_requests(None)),
    ("429 later", |calls| {
        calls.too_many_requests(Some(Duration::from_secs(60)))
    }),
    ("no quota", |calls| calls.no_quota()),
    ("500 before", |calls| calls.internal_error_before()),
    ("500 after", |calls| calls.internal_error_after()),
    ("hang before", |calls| calls.hang_before()),
    ("hang after", |calls| calls.hang_after()),
    ("reset before", |calls| calls.reset_before()),
    ("reset after", |calls| calls.reset_after()),
    ("502", |calls| calls.bad_gateway()),
    ("403", |calls| calls.as_viewer()),
    ("no data", |calls| calls.missing_field("data")),
    ("no id", |calls| calls.missing_field("id")),
    ("another id", |calls| calls.field_of_another_type("id")),
    ("no time", |calls| calls.missing_field("delivered_at")),
];

/// With one fault, a run succeeds or returns an error with a next step; the next run, without a
/// fault, succeeds.
async fn a_fault_of_any_call_loses_and_repeats_nothing(database: &Database) {
    let scene = Scene::new(database).await;
    let mut events = 0;
    for (method, path) in CALLS {
        for (name, plan_fault) in FAULTS {
            scene.set(Mode::Down);
            for number in 0..3 {
                scene.emit(&format!("{events}-{number}")).await;
            }
            scene.set(Mode::Up);
            events += 3;
            plan_fault(scene.sandbox.next_call().of(method, path));
            drop(check(&scene, events, &format!("{name}, {method} {path}")).await);
        }
    }
}

/// Of lists with more than one page.
async fn a_fault_of_a_cursor_loses_and_repeats_nothing(database: &Database) {
    const CURSORS: [Fault; 5] = [
        ("expired", |calls| calls.expired_cursor()),
        ("repeated", |calls| calls.repeated_cursor()),
        ("empty", |calls| calls.empty_page()),
        ("ids", |calls| calls.missing_field("id")),
        ("times", |calls| calls.missing_field("delivered_at")),
    ];
    let scene = Scene::new(database).await;
    scene.outage(430, 0).await;
    let mut events = 430;
    for path in ["/webhook-deliveries/filter", "/events/filter"] {
        for (name, plan_fault) in CURSORS {
            scene.set(Mode::Down);
            scene.emit(&format!("more-{events}")).await;
            scene.set(Mode::Up);
            events += 1;
            plan_fault(scene.sandbox.next_call().of("POST", path));
            let result = check(&scene, events, &format!("{name}, {path}")).await;
            // A list whose cursor expired is read again from the start, and events without ids are
            // not compared. One page of deliveries without times is enough: they could be of any
            // time.
            let is_of_deliveries = path == CALLS[1].1;
            let fails = name == "repeated" || is_of_deliveries && ["ids", "times"].contains(&name);
            assert_eq!(result.is_err(), fails, "{name}, {path}");
        }
    }
}

async fn check(scene: &Scene<'_>, events: i64, what: &str) -> Result<CatchUpReport, CatchUpError> {
    let catch_up = scene.since_an_hour();
    let catch_up = catch_up.arrival_timeout(Duration::from_secs(1));
    let result = match catch_up.plan().await {
        Ok(plan) => plan.run().await,
        Err(error) => Err(error),
    };
    if let Err(error) = &result {
        assert!(error.to_string().len() > 40, "{what}: {error}");
        let source = error.source().map(ToString::to_string);
        let source = source.unwrap_or_default();
        assert!(!source.contains("ptk_live"), "{what}: {source}");
    }
    // A fault can leave an event that did not arrive, but none that arrived twice.
    let report = scene.run(scene.since_an_hour()).await;
    assert!(report.is_complete(), "{what}: {report:?}");
    assert_eq!(scene.events().await, events, "{what}");
    assert_eq!(scene.repeated().await, 0, "{what}");
    assert!(scene.max_tries().await <= 3, "{what}");
    result
}
