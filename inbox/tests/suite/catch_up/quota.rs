//! The floor of the month's quota.

use ptolemy_webhooks_inbox::{CatchUpError, CatchUpErrorKind};

use super::api::{Api, delivery};
use crate::database::{Database, on_both_engines};
use crate::logged::Logged;

on_both_engines! {
    no_attempt_goes_below_the_floor
    a_floor_that_is_known_to_be_reached_is_kept_before_the_first_call
    an_api_that_does_not_say_what_is_left_is_a_warning
}

async fn run(api: &Api, floor: u64) -> Result<(), CatchUpError> {
    let plan = api.since_an_hour().quota_floor(floor).plan().await?;
    plan.run().await.map(drop)
}

/// Each call that fails is attempted five times, and each attempt counts.
async fn no_attempt_goes_below_the_floor(database: &Database) {
    const FLOOR: u64 = 50;
    let api = Api::with_attempts(database, 5).await;
    let deliveries = (0..40).map(|n| delivery(&format!("d{n}"), &format!("e{n}"), "failed", 30));
    api.set(|api| api.deliveries = deliveries.collect());
    for fails in [
        "/webhook-deliveries/filter",
        "/redeliver",
        "/subscriptions",
        "/events/filter",
    ] {
        for left in 0..=12 {
            api.set(|api| {
                api.fails = Some(fails);
                api.remaining = Some(FLOOR + left);
            });
            // The client knows the remaining quota from another call.
            let _ = api.client.webhooks().get("w").await;
            let error = run(&api, FLOOR).await.unwrap_err();
            let remaining = api.remaining().unwrap();
            // That call is not part of the run.
            assert!(
                remaining >= FLOOR - u64::from(left == 0),
                "{fails} {left}: {remaining}"
            );
            if let CatchUpErrorKind::QuotaFloor {
                remaining,
                floor,
                attempts,
                ..
            } = error.kind()
            {
                assert_eq!((floor, attempts), (FLOOR, 5));
                assert!(remaining < FLOOR + 5, "{remaining}");
            }
        }
    }
}

async fn a_floor_that_is_known_to_be_reached_is_kept_before_the_first_call(database: &Database) {
    let api = Api::with_attempts(database, 3).await;
    api.set(|api| api.remaining = Some(103));
    let _ = api.client.webhooks().get("w").await;
    let calls = api.requests("");
    let error = run(&api, 100).await.unwrap_err();
    assert!(matches!(
        error.kind(),
        CatchUpErrorKind::QuotaFloor { remaining: 102, .. }
    ));
    let text = error.to_string();
    assert!(
        text.contains("102 calls are left") && text.contains("up to 3 attempts"),
        "{text}"
    );
    assert_eq!(api.requests(""), calls);
    assert!(run(&api, 10).await.is_ok());
}

async fn an_api_that_does_not_say_what_is_left_is_a_warning(database: &Database) {
    let api = Api::new(database).await;
    let (logged, _guard) = Logged::start();
    let plan = api.since_an_hour().quota_floor(1_000).plan().await.unwrap();
    assert_eq!(plan.quota_left(), None);
    assert!(plan.run().await.unwrap().is_complete());
    let line = logged.line("cannot keep the floor");
    assert!(
        line.contains("WARN") && line.contains("floor=1000"),
        "{line}"
    );
    // Without a floor there is nothing to keep.
    assert!(run(&api, 0).await.is_ok());
    logged.line("cannot keep the floor");
}
