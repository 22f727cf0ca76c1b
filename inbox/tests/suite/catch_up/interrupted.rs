//! Runs that are dropped at any point, and continued.

use std::time::Duration;

use super::scene::{Mode, Scene};
use crate::database::{Database, on_both_engines};
use crate::workers::until;

on_both_engines! {
    a_run_that_is_dropped_at_any_call_is_continued_by_the_next
}

async fn a_run_that_is_dropped_at_any_call_is_continued_by_the_next(database: &Database) {
    let scene = Scene::new(database).await;
    let mut events = 0;
    for calls in 1..=14 {
        scene.set(Mode::Down);
        for number in 0..6 {
            scene.emit(&format!("{calls}-{number}")).await;
        }
        scene.set(Mode::Up);
        events += 6;
        let before = scene.sandbox.calls().len();
        let reached = async {
            while scene.sandbox.calls().len() < before + calls {
                tokio::time::sleep(Duration::from_micros(200)).await;
            }
        };
        let run = async {
            let plan = scene.since_an_hour().plan().await.unwrap();
            plan.run().await.unwrap()
        };
        tokio::select! {
            biased;
            () = reached => {}
            report = run => assert!(report.is_complete(), "{calls}: {report:?}"),
        }
        // The lease is released in the background.
        until("continued", async || {
            let Ok(plan) = scene.since_an_hour().plan().await else {
                return false;
            };
            let report = plan.run().await.unwrap();
            assert!(report.is_complete(), "{calls}: {report:?}");
            true
        })
        .await;
        assert_eq!(scene.events().await, events, "{calls}");
        assert_eq!(scene.repeated().await, 0, "{calls}");
        assert!(scene.max_tries().await <= 3);
    }
}
