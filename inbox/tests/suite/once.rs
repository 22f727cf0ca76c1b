//! Promise 2: once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ptolemy_webhooks_inbox::{
    Accept, Accepted, Attempt, EventOrder, EventState, Failure, InboxErrorKind,
};

use crate::database::{Database, on_both_engines};
use crate::delivery;
use crate::workers::{Log, Running, quick, until};

on_both_engines! {
    a_repetition_is_a_duplicate_and_tells_how_far_the_first_is
    a_hundred_repetitions_at_once_are_one_row
    a_duplicate_does_not_revive_a_dead_event
    a_key_of_ones_own_counts
    a_key_or_a_source_that_cannot_be_stored_is_an_error
    one_event_through_two_sources_is_two_events_of_one_resource
    a_dropped_accept_holds_nothing_up
}

fn state(accepted: Accepted) -> EventState {
    match accepted {
        Accepted::Duplicate { state, .. } => state,
        other => panic!("{other:?}"),
    }
}

async fn a_repetition_is_a_duplicate_and_tells_how_far_the_first_is(database: &Database) {
    let inbox = database.inbox().await;
    let delivery = delivery::event("e");
    assert_eq!(inbox.accept(&delivery).await.unwrap(), Accepted::New);
    let again = inbox.accept(&delivery).await.unwrap();
    assert_eq!(state(again), EventState::Waiting);

    let log = Log::default();
    let proceed = std::sync::Arc::new(tokio::sync::Notify::new());
    let worker = Running::start(&inbox, |worker| worker, log.writer_behind(&proceed));
    log.until(1).await;
    let again = inbox.accept(&delivery).await.unwrap();
    assert_eq!(state(again), EventState::Running);

    proceed.notify_one();
    until("done", async || database.states().await == ["done"]).await;
    let again = inbox.accept(&delivery).await.unwrap();
    assert_eq!(state(again), EventState::Done);
    worker.stop().await;
    assert_eq!(log.lines(), ["e"]);
}

async fn a_hundred_repetitions_at_once_are_one_row(database: &Database) {
    let inboxes = [database.inbox().await, database.inbox().await];
    let delivery = delivery::event("e");
    let mut accepts = tokio::task::JoinSet::new();
    for number in 0..100 {
        let (inbox, delivery) = (inboxes[number % 2].clone(), delivery.clone());
        accepts.spawn(async move { inbox.accept(&delivery).await.unwrap() });
    }
    let accepted = accepts.join_all().await;
    let new = accepted
        .iter()
        .filter(|accepted| **accepted == Accepted::New);
    assert_eq!((new.count(), accepted.len()), (1, 100));
    assert_eq!(database.states().await, ["waiting"]);
}

async fn a_duplicate_does_not_revive_a_dead_event(database: &Database) {
    let inbox = database.inbox().await;
    let delivery = delivery::event("e");
    inbox.accept(&delivery).await.unwrap();
    let log = Log::default();
    let handled = log.clone();
    let worker = Running::start(
        &inbox,
        |worker| worker,
        move |_, _| {
            handled.write("handled");
            async { Err(Failure::permanent("no")) }
        },
    );
    until("dead", async || database.states().await == ["dead"]).await;
    let again = inbox.accept(&delivery).await.unwrap();
    assert_eq!(state(again), EventState::Dead);
    worker.stop().await;
    assert_eq!(
        (database.states().await, log.lines().len()),
        (vec!["dead".to_owned()], 1)
    );
}

async fn a_key_of_ones_own_counts(database: &Database) {
    let inbox = database.inbox().await;
    let (one, two) = (delivery::event("one"), delivery::event("two"));
    assert_eq!(
        inbox
            .accept_with(&one, Accept::new().key("k"))
            .await
            .unwrap(),
        Accepted::New
    );
    assert_eq!(
        state(
            inbox
                .accept_with(&two, Accept::new().key("k"))
                .await
                .unwrap()
        ),
        EventState::Waiting
    );
    assert_eq!(
        inbox
            .accept_with(&one, Accept::new().key("é".repeat(127)))
            .await
            .unwrap(),
        Accepted::New
    );
    assert_eq!(inbox.accept(&one).await.unwrap(), Accepted::New);
    assert_eq!(database.states().await.len(), 3);
}

async fn a_key_or_a_source_that_cannot_be_stored_is_an_error(database: &Database) {
    let inbox = database.inbox().await;
    let delivery = delivery::event("e");
    for (accept, kind) in [
        (Accept::new().key("a\0b"), InboxErrorKind::InvalidKey),
        (Accept::new().source("a/b"), InboxErrorKind::InvalidSource),
    ] {
        let error = inbox.accept_with(&delivery, accept).await.unwrap_err();
        assert_eq!(error.kind(), kind);
    }
    assert_eq!(database.states().await.len(), 0);
}

/// The source reaches the key, the table, the attempt and the dead letter; the order is shared.
async fn one_event_through_two_sources_is_two_events_of_one_resource(database: &Database) {
    let inbox = database.inbox().await;
    inbox.set_order(EventOrder::ByResource).await.unwrap();
    let delivery = delivery::event("e");
    for source in ["staging", "live"] {
        let accept = || Accept::new().source(source);
        let accepted = inbox.accept_with(&delivery, accept()).await.unwrap();
        assert_eq!(accepted, Accepted::New);
        let again = inbox.accept_with(&delivery, accept()).await.unwrap();
        assert_eq!(state(again), EventState::Waiting);
    }
    assert_eq!(inbox.accept(&delivery).await.unwrap(), Accepted::New);
    let sources = "SELECT coalesce(source, '-') FROM ptolemy_inbox ORDER BY id";
    assert_eq!(database.texts(sources).await, ["staging", "live", "-"]);

    let (log, running) = (Log::default(), Arc::new(AtomicU32::new(0)));
    let handled = log.clone();
    let handler = move |_, attempt: Attempt| {
        let source = attempt.source().unwrap_or("-");
        handled.write(format!("{source} {}", attempt.dedup_key()));
        let running = running.clone();
        async move {
            assert_eq!(running.fetch_add(1, Ordering::SeqCst), 0);
            tokio::task::yield_now().await;
            running.fetch_sub(1, Ordering::SeqCst);
            match attempt.source() {
                Some("live") => Err(Failure::permanent("no")),
                _ => Ok(()),
            }
        }
    };
    let worker = quick(&inbox).concurrency(3);
    worker.run_until_idle(handler).await;
    let key = delivery.dedup_key();
    let expected = [
        format!("staging staging/{key}"),
        format!("live live/{key}"),
        format!("- {key}"),
    ];
    assert_eq!(log.lines(), expected);
    let dead = inbox.dead_letters().page(None, 10).await.unwrap();
    assert_eq!(dead[0].source.as_deref(), Some("live"));
}

async fn a_dropped_accept_holds_nothing_up(database: &Database) {
    let inbox = database.inbox().await;
    for number in 0..50 {
        let delivery = delivery::event(&format!("dropped {number}"));
        let accept = inbox.accept(&delivery);
        tokio::select! {
            biased;
            _ = accept => {}
            () = tokio::task::yield_now() => {}
        }
    }
    assert_eq!(
        inbox.accept(&delivery::event("last")).await.unwrap(),
        Accepted::New
    );
}

/// As in a server that has a runtime for each of its threads, and one whose runtime is gone.
#[test]
fn an_inbox_serves_other_runtimes_as_long_as_its_own_lives() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let home = tokio::runtime::Runtime::new().unwrap();
    let database = home.block_on(Database::sqlite());
    let inbox = home.block_on(database.inbox());
    for id in ["a", "b"] {
        let accepted = runtime().block_on(inbox.accept(&delivery::event(id)));
        assert_eq!(accepted.unwrap(), Accepted::New);
    }
    home.shutdown_timeout(std::time::Duration::from_secs(10));
    let error = runtime()
        .block_on(inbox.accept(&delivery::event("c")))
        .unwrap_err();
    assert_eq!(error.kind(), InboxErrorKind::Unavailable);
    assert_eq!(
        runtime().block_on(database.states()),
        ["waiting", "waiting"]
    );
}
