//! Promise 6: order where it matters.

use std::sync::Arc;
use std::time::Duration;

use ptolemy_webhooks_inbox::{EventOrder, Failure, Inbox, Worker};
use tokio::sync::Notify;

use crate::database::{Database, on_both_engines};
use crate::delivery;
use crate::workers::{Log, Running, until};

on_both_engines! {
    events_of_one_resource_run_in_order_and_others_do_not_wait
    an_event_that_backs_off_holds_up_those_behind_it
    a_dead_event_blocks_nothing
    a_replayed_event_waits_for_a_newer_one_that_runs
    events_without_an_id_are_not_ordered
    two_workers_keep_the_order_together
    a_long_line_of_one_resource_holds_up_no_other
    events_far_behind_a_long_line_of_one_resource_are_handled_by_the_third_turn
    the_order_is_stored_and_obeyed_by_every_worker_from_then_on
}

/// The inbox, with the order by resource.
async fn ordered(database: &Database) -> Inbox {
    let inbox = database.inbox().await;
    inbox.set_order(EventOrder::ByResource).await.unwrap();
    inbox
}

fn eight(worker: Worker) -> Worker {
    worker.concurrency(8)
}

fn three(worker: Worker) -> Worker {
    eight(worker).max_attempts(3)
}

async fn events_of_one_resource_run_in_order_and_others_do_not_wait(database: &Database) {
    let inbox = ordered(database).await;
    for (id, instrument) in [
        ("a1", "a"),
        ("a2", "a"),
        ("b1", "b"),
        ("a3", "a"),
        ("b2", "b"),
    ] {
        inbox
            .accept(&delivery::change(id, instrument))
            .await
            .unwrap();
    }
    let (log, proceed) = (Log::default(), Arc::new(Notify::new()));
    let (begun, gate) = (log.clone(), proceed.clone());
    let worker = Running::start(&inbox, eight, move |event, _| {
        let (begun, gate) = (begun.clone(), gate.clone());
        async move {
            let id = event.id.unwrap();
            begun.write(id.clone());
            if id == "a1" {
                gate.notified().await;
            }
            Ok(())
        }
    });
    until("b is done", async || log.lines().len() == 3).await;
    assert_eq!(
        log.lines().iter().filter(|id| id.starts_with('a')).count(),
        1
    );
    proceed.notify_one();
    log.until(5).await;
    worker.stop().await;
    let of = |resource| -> Vec<_> {
        log.lines()
            .into_iter()
            .filter(|id| id.starts_with(resource))
            .collect()
    };
    assert_eq!(of('a'), ["a1", "a2", "a3"]);
    assert_eq!(of('b'), ["b1", "b2"]);
}

async fn an_event_that_backs_off_holds_up_those_behind_it(database: &Database) {
    let inbox = ordered(database).await;
    for id in ["a1", "a2"] {
        inbox.accept(&delivery::change(id, "a")).await.unwrap();
    }
    let log = Log::default();
    let begun = log.clone();
    let worker = Running::start(&inbox, eight, move |event, attempt| {
        let id = event.id.unwrap();
        begun.write(format!("{id} {}", attempt.number()));
        async move {
            if id == "a1" && attempt.number() == 1 {
                return Err(Failure::retry_in(Duration::from_millis(500), "later"));
            }
            Ok(())
        }
    });
    assert_eq!(log.until(3).await, ["a1 1", "a1 2", "a2 1"]);
    worker.stop().await;
}

async fn a_dead_event_blocks_nothing(database: &Database) {
    let inbox = ordered(database).await;
    for id in ["a1", "a2", "a3"] {
        inbox.accept(&delivery::change(id, "a")).await.unwrap();
    }
    let log = Log::default();
    let begun = log.clone();
    let worker = Running::start(&inbox, three, move |event, _| {
        let id = event.id.unwrap();
        begun.write(id.clone());
        async move {
            if id == "a1" {
                Err(Failure::retry("no"))
            } else {
                Ok(())
            }
        }
    });
    assert_eq!(log.until(5).await, ["a1", "a1", "a1", "a2", "a3"]);
    worker.stop().await;
    assert_eq!(database.states().await, ["dead", "done", "done"]);
}

/// Nor does the newer one, when it fails, wait for the replayed one that waits for it.
async fn a_replayed_event_waits_for_a_newer_one_that_runs(database: &Database) {
    let inbox = ordered(database).await;
    for id in ["a1", "a2", "a3"] {
        inbox.accept(&delivery::change(id, "a")).await.unwrap();
    }
    let (log, proceed) = (Log::default(), Arc::new(Notify::new()));
    let (begun, gate) = (log.clone(), proceed.clone());
    let worker = Running::start(&inbox, eight, move |event, attempt| {
        let (begun, gate) = (begun.clone(), gate.clone());
        async move {
            let id = event.id.unwrap();
            begun.write(id.clone());
            match (id.as_str(), attempt.number(), begun.lines().len()) {
                ("a1", _, 1) => Err(Failure::permanent("no")),
                ("a2", 1, _) => {
                    gate.notified().await;
                    Err(Failure::retry("once more"))
                }
                _ => Ok(()),
            }
        }
    });
    assert_eq!(log.until(2).await, ["a1", "a2"]);
    let dead = inbox.dead_letters().page(None, 1).await.unwrap();
    assert!(inbox.dead_letters().replay(dead[0].id).await.unwrap());
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(log.lines(), ["a1", "a2"]);
    proceed.notify_one();
    let lines = log.until(5).await;
    worker.stop().await;
    assert_eq!(lines, ["a1", "a2", "a1", "a2", "a3"]);
}

async fn events_without_an_id_are_not_ordered(database: &Database) {
    let inbox = ordered(database).await;
    for id in ["x", "y", "z"] {
        let body = format!(
            r#"{{"id":"{id}","event_type":"instrument.updated","created_at":"2026-04-15T09:30:00Z","data":{{}}}}"#
        );
        inbox.accept(&delivery::of(&body)).await.unwrap();
    }
    let log = Log::default();
    let begun = log.clone();
    let worker = Running::start(&inbox, eight, move |event, _| {
        begun.write(event.id.unwrap());
        std::future::pending()
    });
    log.until(3).await;
    worker.crash().await;
}

async fn two_workers_keep_the_order_together(database: &Database) {
    let inbox = ordered(database).await;
    for number in 0..120 {
        let id = format!("{}-{number:03}", number % 4);
        let instrument = (number % 4).to_string();
        inbox
            .accept(&delivery::change(&id, &instrument))
            .await
            .unwrap();
    }
    let log = Log::default();
    let workers: Vec<_> = [inbox, database.inbox().await]
        .iter()
        .map(|inbox| {
            let log = log.clone();
            Running::start(inbox, eight, move |event, _| {
                let log = log.clone();
                async move {
                    let id = event.id.unwrap();
                    log.write(format!("{id} begins"));
                    tokio::task::yield_now().await;
                    log.write(format!("{id} ends"));
                    Ok(())
                }
            })
        })
        .collect();
    let lines = log.until(240).await;
    for worker in workers {
        worker.stop().await;
    }
    for instrument in ["0-", "1-", "2-", "3-"] {
        let own: Vec<_> = lines
            .iter()
            .filter(|line| line.starts_with(instrument))
            .collect();
        let mut sorted = own.clone();
        sorted.sort();
        assert_eq!(own, sorted);
        assert_eq!(own.len(), 60);
    }
}

async fn a_long_line_of_one_resource_holds_up_no_other(database: &Database) {
    let inbox = ordered(database).await;
    let mut accepts = tokio::task::JoinSet::new();
    for number in 0..3_000 {
        let delivery = delivery::change(&format!("a{number}"), "a");
        let inbox = inbox.clone();
        accepts.spawn(async move { inbox.accept(&delivery).await.unwrap() });
    }
    accepts.join_all().await;
    inbox.accept(&delivery::change("b", "b")).await.unwrap();
    let log = Log::default();
    let begun = log.clone();
    let worker = Running::start(&inbox, eight, move |event, _| {
        begun.write(event.id.unwrap());
        std::future::pending()
    });
    let lines = log.until(2).await;
    worker.crash().await;
    assert!(lines.contains(&"b".to_owned()), "{lines:?}");
}

/// A turn takes at most one event of the line, so the number that were handled before is the number
/// of turns. It marks 2,048 rows, so a worker that first reads to the end of the line needs ten
/// turns.
async fn events_far_behind_a_long_line_of_one_resource_are_handled_by_the_third_turn(
    database: &Database,
) {
    let inbox = ordered(database).await;
    inbox.accept(&delivery::change("a", "a")).await.unwrap();
    database
        .execute(
            "INSERT INTO ptolemy_inbox
                 (dedup_key, event_type, event_id, resource, resource_id, received_at, run_at,
                  written_at, body)
             WITH RECURSIVE numbers (i) AS
                 (SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i < 20000)
             SELECT 'copy' || i, event_type, event_id, resource, resource_id, received_at, run_at,
                    written_at, body
             FROM ptolemy_inbox CROSS JOIN numbers ORDER BY i",
        )
        .await;
    inbox.accept(&delivery::change("b", "b")).await.unwrap();
    let of_none = r#"{"id":"none","event_type":"instrument.updated","data":{}}"#;
    inbox.accept(&delivery::of(of_none)).await.unwrap();
    inbox.accept(&delivery::change("c", "c")).await.unwrap();
    let log = Log::default();
    let patient = |worker| eight(worker).lease(Duration::from_secs(60));
    let worker = Running::start(&inbox, patient, log.writer());
    let of_others = || {
        let lines = log.lines().into_iter().enumerate();
        lines.filter(|(_, id)| id != "a").collect::<Vec<_>>()
    };
    until("the others are handled", async || of_others().len() == 3).await;
    worker.crash().await;
    for (after, (before, id)) in of_others().into_iter().enumerate() {
        let of_line = before - after;
        assert!(of_line <= 3, "{id} came after {of_line} of the line");
    }
}

/// The worker runs in another process, which never asked for an order; the rows are waiting
/// already.
async fn the_order_is_stored_and_obeyed_by_every_worker_from_then_on(database: &Database) {
    let (inbox, other) = (database.inbox().await, database.inbox().await);
    assert_eq!(inbox.order().await.unwrap(), EventOrder::AsDue);
    for id in ["a1", "a2", "a3", "a4"] {
        inbox.accept(&delivery::change(id, "a")).await.unwrap();
    }
    let (log, proceed) = (Log::default(), Arc::new(Notify::new()));
    let worker = Running::start(
        &other,
        |worker| worker.concurrency(2),
        log.writer_behind(&proceed),
    );
    // As due: two of one resource at once.
    log.until(2).await;
    inbox.set_order(EventOrder::ByResource).await.unwrap();
    assert_eq!(other.order().await.unwrap(), EventOrder::ByResource);
    // Room for another, and none runs beside the second.
    proceed.notify_one();
    until("one is done", async || {
        database
            .states()
            .await
            .iter()
            .filter(|state| *state == "done")
            .count()
            == 1
    })
    .await;
    // Of another resource, so it shows that the worker has looked.
    inbox.accept(&delivery::change("b", "b")).await.unwrap();
    assert_eq!(log.until(3).await[2], "b");
    assert_eq!(
        database
            .states()
            .await
            .iter()
            .filter(|state| *state == "running")
            .count(),
        2
    );

    // And as due again, also for events that were marked to wait.
    let marked = "SELECT count(*) FROM ptolemy_inbox WHERE waits_for IS NOT NULL";
    until("the others are marked", async || {
        database.number(marked).await > 0
    })
    .await;
    inbox.set_order(EventOrder::AsDue).await.unwrap();
    assert_eq!(database.number(marked).await, 0);
    until("nothing waits", async || {
        proceed.notify_one();
        database.states().await == ["done"; 5]
    })
    .await;
    worker.stop().await;
}
