//! Every shape that the API and deliveries could have instead of the assumed one.

use std::time::Duration;

use ptolemy_webhooks::samples;
use ptolemy_webhooks_inbox::CatchUpErrorKind;
use ptolemy_webhooks_sandbox::{Retries, Sandbox, Shape};
use time::OffsetDateTime;

use super::scene::{Mode, Scene};
use crate::database::Database;

/// Two samples: they differ, so that shapes without ids do not make them one event.
async fn emit(scene: &Scene<'_>) {
    scene.sandbox.emit(samples::instrument_created().with_id("e1")).await;
    scene.sandbox.emit(samples::market_created().with_id("e2")).await;
}

/// What a run does under a shape: complete, or the kind of the error.
async fn outcome(shapes: &[Shape]) -> Result<bool, CatchUpErrorKind> {
    let database = Database::sqlite().await;
    let builder = Sandbox::builder()
        .retries(Retries::new().attempts(1))
        .shapes(shapes.iter().copied());
    let mut scene = Scene::on(&database, builder.start().await.unwrap()).await;
    // The samples are of another time.
    scene.inbox = scene.inbox.with_keep_done(None);
    scene.set(Mode::Down);
    emit(&scene).await;
    scene.set(Mode::Up);
    let since = OffsetDateTime::from_unix_timestamp(1_700_000_000).unwrap();
    let catch_up = || {
        scene
            .catch_up()
            .since(since)
            .arrival_timeout(Duration::from_millis(400))
    };
    let plan = catch_up().plan().await.map_err(|error| error.kind())?;
    let report = plan.run().await.map_err(|error| error.kind())?;
    assert!(scene.max_tries().await <= 3);
    if report.is_complete() {
        assert_eq!((scene.events().await, scene.repeated().await), (2, 0));
        // A second run finds all of it.
        let again = catch_up().plan().await.map_err(|error| error.kind())?;
        assert_eq!((again.redeliveries(), again.already_here()), (0, 2));
    }
    Ok(report.is_complete())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_every_shape_a_run_works_or_says_why_not() {
    for &shape in Shape::ALL {
        let outcome = outcome(&[shape]).await;
        let expected = match shape {
            // Deliveries have no ids, or others than the log: what arrives is not recognised, and said to
            // be missing.
            Shape::BareResource | Shape::NoEventId | Shape::NewIdOnRedelivery => Ok(false),
            Shape::DeliveriesWithoutTimes | Shape::BareDeliveries => {
                Err(CatchUpErrorKind::NoDeliveryTimes)
            }
            _ => Ok(true),
        };
        assert_eq!(outcome, expected, "{shape}");
    }
    let all = outcome(Shape::ALL).await;
    assert_eq!(all, Err(CatchUpErrorKind::NoDeliveryTimes));
}

/// Asked to, a run redelivers what failed although the log has no times.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_times_all_failed_deliveries_can_be_redelivered() {
    for (shape, unconfirmed) in [
        (Shape::DeliveriesWithoutTimes, 0),
        (Shape::BareDeliveries, 3),
    ] {
        let database = Database::sqlite().await;
        let scene = Scene::with(&database, Sandbox::builder().shape(shape)).await;
        scene.outage(2, 3).await;
        let report = scene.run(scene.since_an_hour().all_failed()).await;
        assert_eq!((report.redelivered, report.unconfirmed), (3, unconfirmed));
        assert_eq!((report.missing_events, report.unreachable_events), (0, 0));
        assert_eq!((scene.events().await, scene.repeated().await), (5, 0));
    }
}
