//! Every shape that the API and deliveries could have instead of the assumed one.

use std::time::Duration;

use ptolemy_webhooks::samples;
use ptolemy_webhooks_inbox::{CatchUpError, CatchUpErrorKind};
use ptolemy_webhooks_sandbox::{Retries, Sandbox, Shape};
use time::OffsetDateTime;

use super::scene::{Mode, Scene};
use crate::database::{Database, on_both_engines};

on_both_engines! {
    under_every_shape_a_run_works_or_says_why_not
    without_times_all_failed_deliveries_can_be_redelivered
}

/// Another database on the same engine.
async fn another(database: &Database) -> Database {
    match database.is_sqlite() {
        true => Database::sqlite().await,
        false => Database::postgres().await,
    }
}

/// Two samples: they differ, so that shapes without ids do not make them one event.
async fn emit(scene: &Scene<'_>) {
    scene
        .sandbox
        .emit(samples::instrument_created().with_id("e1"))
        .await;
    scene
        .sandbox
        .emit(samples::market_created().with_id("e2"))
        .await;
}

/// The expected results of a run under some shapes.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Complete,
    Incomplete,
    NothingArrives,
    NoDeliveryTimes,
    Other(CatchUpErrorKind),
}

impl From<CatchUpError> for Outcome {
    fn from(error: CatchUpError) -> Self {
        // The sentence names what is not as it was assumed, and a next step.
        let text = error.to_string();
        match error.kind() {
            CatchUpErrorKind::NothingArrives { .. } => {
                let differs = "the ids of events in deliveries differ from those in the log";
                assert!(
                    text.contains(differs) && text.contains("check that"),
                    "{text}"
                );
                Self::NothingArrives
            }
            CatchUpErrorKind::NoDeliveryTimes => {
                let lacks = "entries without `delivered_at`";
                assert!(
                    text.contains(lacks) && text.contains("`all_failed`"),
                    "{text}"
                );
                Self::NoDeliveryTimes
            }
            other => Self::Other(other),
        }
    }
}

async fn outcome(database: &Database, shapes: &[Shape]) -> Outcome {
    run(&another(database).await, shapes)
        .await
        .unwrap_or_else(Outcome::from)
}

async fn run(database: &Database, shapes: &[Shape]) -> Result<Outcome, CatchUpError> {
    let builder = Sandbox::builder()
        .retries(Retries::new().attempts(1))
        .shapes(shapes.iter().copied());
    let mut scene = Scene::on(database, builder.start().await.unwrap()).await;
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
    let plan = catch_up().plan().await?;
    let report = plan.run().await?;
    assert!(scene.max_tries().await <= 3);
    if report.is_complete() {
        assert_eq!((scene.events().await, scene.repeated().await), (2, 0));
        // A second run finds all of it.
        let again = catch_up().plan().await?;
        assert_eq!((again.redeliveries(), again.already_here()), (0, 2));
    }
    Ok(match report.is_complete() {
        true => Outcome::Complete,
        false => Outcome::Incomplete,
    })
}

async fn under_every_shape_a_run_works_or_says_why_not(database: &Database) {
    for &shape in Shape::ALL {
        let outcome = outcome(database, &[shape]).await;
        let expected = match shape {
            // Deliveries have no ids, or others than the log: what arrives is not recognised.
            Shape::BareResource | Shape::NoEventId | Shape::NewIdOnRedelivery => {
                Outcome::NothingArrives
            }
            Shape::DeliveriesWithoutTimes | Shape::BareDeliveries => Outcome::NoDeliveryTimes,
            _ => Outcome::Complete,
        };
        assert_eq!(outcome, expected, "{shape}");
    }
    let all = outcome(database, Shape::ALL).await;
    assert_eq!(all, Outcome::NoDeliveryTimes);
}

/// With the option, a run redelivers failed deliveries even though the log has no times.
async fn without_times_all_failed_deliveries_can_be_redelivered(database: &Database) {
    for (shape, unconfirmed) in [
        (Shape::DeliveriesWithoutTimes, 0),
        (Shape::BareDeliveries, 3),
    ] {
        let database = another(database).await;
        let scene = Scene::with(&database, Sandbox::builder().shape(shape)).await;
        scene.outage(2, 3).await;
        let report = scene.run(scene.since_an_hour().all_failed()).await;
        assert_eq!((report.redelivered, report.unconfirmed), (3, unconfirmed));
        assert_eq!((report.missing_events, report.unreachable_events), (0, 0));
        assert_eq!((scene.events().await, scene.repeated().await), (5, 0));
    }
}
