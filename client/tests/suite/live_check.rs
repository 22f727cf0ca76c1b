//! `examples/live_check.rs` finds no difference in the stand-in, and finds each difference that is
//! switched on.

use ptolemy_webhooks::samples;
use ptolemy_webhooks_sandbox::{Retries, Sandbox, Shape};

#[allow(dead_code, reason = "its `main` is not called")]
#[path = "../../examples/live_check.rs"]
mod program;

async fn differences(shape: Option<Shape>) -> Vec<String> {
    let sandbox = Sandbox::builder()
        .retries(Retries::new().attempts(1))
        .shapes(shape)
        .start()
        .await
        .unwrap();
    let registration = sandbox.register("http://127.0.0.1:9/").await;
    sandbox.emit(samples::instrument_created()).await;
    sandbox.settle().await;
    let found = program::check(sandbox.url(), sandbox.token(), sandbox.workspace())
        .await
        .unwrap();
    let webhooks = sandbox.webhooks();
    assert_eq!(webhooks.len(), 1, "its own webhooks are deleted");
    assert_eq!(webhooks[0].id(), registration.id());
    assert!(
        sandbox
            .calls()
            .iter()
            .all(|call| call.status() != Some(501))
    );
    found
}

#[tokio::test]
async fn the_stand_in_is_as_the_live_check_assumes() {
    assert_eq!(differences(None).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_shape_that_is_switched_on_is_found() {
    for (shape, named) in [
        (
            Shape::WritesAnswerNothing,
            "update to an empty label: status 204, not 200",
        ),
        (Shape::BareDeliveries, "no field webhook_id"),
        (Shape::OccurredAtName, "no field created_at"),
        (Shape::PayloadName, "no field data"),
        (Shape::BareArrays, "no array `data`"),
        (
            Shape::SubscriptionsAsText,
            "list subscriptions: no field id",
        ),
        (Shape::NestedSecret, "rotate: no field secret"),
        (Shape::BareCount, "count events: no number"),
        (Shape::CountAsText, "count events: no number"),
        (Shape::DeliveriesWithoutTimes, "no field delivered_at"),
    ] {
        let found = differences(Some(shape)).await;
        assert!(
            found.iter().any(|difference| difference.contains(named)),
            "{shape:?}: {found:?}"
        );
    }
}
