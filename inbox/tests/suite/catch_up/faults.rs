//! Every fault of every call.

use std::error::Error as _;
use std::time::Duration;

use ptolemy_webhooks_sandbox::{NextCalls, Sandbox};

use super::scene::{REDELIVER, Scene};
use crate::database::{Database, on_both_engines};

on_both_engines! {
    a_fault_of_any_call_loses_and_repeats_nothing
}

const CALLS: [(&str, &str); 5] = [
    ("GET", "/webhooks/{id}"),
    ("POST", "/webhook-deliveries/filter"),
    ("POST", REDELIVER),
    ("GET", "/webhooks/{id}/subscriptions"),
    ("POST", "/events/filter"),
];

type Fault = (&'static str, fn(NextCalls<'_>));

const FAULTS: [Fault; 18] = [
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
    ("expired cursor", |calls| calls.expired_cursor()),
    ("repeated cursor", |calls| calls.repeated_cursor()),
    ("empty page", |calls| calls.empty_page()),
    ("403", |calls| calls.as_viewer()),
    ("no data", |calls| calls.missing_field("data")),
    ("no id", |calls| calls.missing_field("id")),
    ("another id", |calls| calls.field_of_another_type("id")),
    ("no time", |calls| calls.missing_field("delivered_at")),
];

/// With one fault a run ends well or with a sentence; the next one, without, ends well.
async fn a_fault_of_any_call_loses_and_repeats_nothing(database: &Database) {
    let scene = Scene::new(database).await;
    let mut events = 0;
    for (method, path) in CALLS {
        for (name, plan_fault) in FAULTS {
            // A page has 200 entries; with fewer, faults of cursors meet nothing.
            let missed = 3;
            scene.set(super::scene::Mode::Down);
            for number in 0..missed {
                scene.emit(&format!("{events} {number}")).await;
            }
            scene.set(super::scene::Mode::Up);
            events += missed;
            plan_fault(scene.sandbox.next_call().of(method, path));
            let what = format!("{name}, {method} {path}");
            let catch_up = scene.since_an_hour().arrival_timeout(Duration::from_secs(1));
            let result = match catch_up.plan().await {
                Ok(plan) => plan.run().await,
                Err(error) => Err(error),
            };
            if let Err(error) = &result {
                assert!(error.to_string().len() > 40, "{what}: {error}");
                let source = error.source().map(ToString::to_string).unwrap_or_default();
                assert!(!source.contains("ptk_live"), "{what}: {source}");
            }
            clear(&scene.sandbox, scene.client.clone()).await;
            crate::workers::until(&what, async || {
                let Ok(plan) = scene.since_an_hour().plan().await else {
                    return false;
                };
                let report = plan.run().await.unwrap();
                assert!(report.is_complete(), "{what}: {report:?}");
                true
            })
            .await;
            assert_eq!(scene.events().await, events, "{what}");
            assert_eq!(scene.repeated().await, 0, "{what}");
        }
    }
    assert!(scene.max_tries().await <= 3);
}

/// Uses up a fault that met nothing.
async fn clear(_sandbox: &Sandbox, client: ptolemy_webhooks_client::Client) {
    let _ = client.webhooks().list().try_next().await;
}
