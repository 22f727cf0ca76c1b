//! Clocks that are set: times that were written while a clock was ahead delay nothing, and no clock
//! change takes an event from a live worker.

use std::time::Duration;

use crate::database::{Database, on_both_engines};
use crate::delivery;
use crate::workers::{Log, Running, until};

on_both_engines! {
    an_event_written_by_a_clock_that_was_ahead_is_due
    a_delay_is_kept_however_long_it_is
    a_lease_written_by_a_clock_that_was_ahead_expires
    a_lease_that_expires_by_the_clock_alone_is_not_taken_over
    pruning_is_not_put_off_by_a_clock_that_was_ahead
}

const DAY: i64 = 24 * 60 * 60;

/// More than one step can correct, and an event behind another one of its resource.
async fn an_event_written_by_a_clock_that_was_ahead_is_due(database: &Database) {
    let inbox = database.inbox().await;
    for id in ["first", "failed", "suspect"] {
        inbox.accept(&delivery::event(id)).await.unwrap();
    }
    let ahead = database.time(DAY);
    database
        .execute(&format!(
            "UPDATE ptolemy_inbox SET run_at = {ahead}, written_at = {ahead};
             UPDATE ptolemy_inbox SET queue = 'again' WHERE event_id = 'failed';
             UPDATE ptolemy_inbox SET queue = 'suspect' WHERE event_id = 'suspect'"
        ))
        .await;
    let log = Log::default();
    let worker = Running::start(&inbox, |worker| worker.concurrency(4), log.writer());
    until("done", async || database.states().await == ["done"; 3]).await;
    worker.stop().await;
    assert_eq!(log.lines().len(), 3);
}

async fn a_delay_is_kept_however_long_it_is(database: &Database) {
    let inbox = database.inbox().await;
    inbox.accept(&delivery::event("e")).await.unwrap();
    // Half a minute ahead, as an inaccurate clock may be.
    let (later, ahead) = (database.time(300 * DAY), database.time(30));
    let set = format!("UPDATE ptolemy_inbox SET run_at = {later}, written_at = {ahead}");
    database.execute(&set).await;
    let worker = Running::start(&inbox, |worker| worker, |_, _| async { Ok(()) });
    // Upkeep is done every third of a second here.
    tokio::time::sleep(Duration::from_millis(800)).await;
    worker.stop().await;
    assert_eq!(database.states().await, ["waiting"]);
}

async fn a_lease_written_by_a_clock_that_was_ahead_expires(database: &Database) {
    let inbox = database.inbox().await;
    inbox.accept(&delivery::event("e")).await.unwrap();
    let log = Log::default();
    let begun = log.clone();
    let dead = Running::start(
        &inbox,
        |worker| worker,
        move |_, _| {
            begun.write("begun");
            std::future::pending()
        },
    );
    log.until(1).await;
    dead.crash().await;
    let (renewed, until_then) = (database.time(DAY), database.time(DAY + 1));
    database
        .execute(&format!(
            "UPDATE ptolemy_inbox SET renewed_at = {renewed}, lease_until = {until_then}"
        ))
        .await;
    let worker = Running::start(&database.inbox().await, |worker| worker, log.writer());
    until("done", async || database.states().await == ["done"]).await;
    worker.stop().await;
}

/// As a clock that is set forward does it.
async fn a_lease_that_expires_by_the_clock_alone_is_not_taken_over(database: &Database) {
    let inbox = database.inbox().await;
    inbox.accept(&delivery::event("e")).await.unwrap();
    let log = Log::default();
    let handler = {
        let log = log.clone();
        move |_, attempt: ptolemy_webhooks_inbox::Attempt| {
            let log = log.clone();
            async move {
                log.write(format!("begun {}", attempt.number()));
                tokio::time::sleep(Duration::from_millis(2_500)).await;
                Ok(())
            }
        }
    };
    let holder = Running::start(&inbox, |worker| worker, handler.clone());
    let other = Running::start(&database.inbox().await, |worker| worker, handler);
    log.until(1).await;
    let past = database.time(-3_600);
    for _ in 0..4 {
        let expire =
            format!("UPDATE ptolemy_inbox SET lease_until = {past} WHERE state = 'running'");
        database.execute(&expire).await;
        tokio::time::sleep(Duration::from_millis(450)).await;
    }
    until("done", async || database.states().await == ["done"]).await;
    holder.stop().await;
    other.stop().await;
    assert_eq!(log.lines(), ["begun 1"]);
}

async fn pruning_is_not_put_off_by_a_clock_that_was_ahead(database: &Database) {
    let inbox = database.inbox().await;
    inbox.accept(&delivery::event("old")).await.unwrap();
    let (old, ahead) = (database.time(-200 * DAY), database.time(DAY));
    database
        .execute(&format!(
            "UPDATE ptolemy_inbox SET state = 'done', finished_at = {old};
             UPDATE ptolemy_inbox_settings SET prune_at = {ahead}"
        ))
        .await;
    let worker = Running::start(&inbox, |worker| worker, |_, _| async { Ok(()) });
    until("pruned", async || database.states().await.is_empty()).await;
    worker.stop().await;
}
