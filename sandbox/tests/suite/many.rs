//! Many deliveries, and the limits on what is kept.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ptolemy_webhooks::samples;
use ptolemy_webhooks_sandbox::{Retries, Sandbox, Status};

use crate::client::call;
use crate::receiver::{raw_receiver, receiver};

#[tokio::test]
async fn a_thousand_deliveries_settle_in_seconds() {
    let sandbox = Sandbox::builder()
        .retries(Retries::new().attempts(3))
        .start()
        .await
        .unwrap();
    let (url, requests) = raw_receiver("HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n").await;
    sandbox.register(&url).await;
    let begun = Instant::now();
    sandbox.burst_deliveries(1_000);
    for _ in 0..1_000 {
        sandbox.emit(samples::instrument_created()).await;
    }
    let log = sandbox.settle().await;
    let took = begun.elapsed();
    assert_eq!(
        (log.attempts(), requests.lock().unwrap().len()),
        (3_000, 3_000)
    );
    assert!(took < Duration::from_secs(20), "{took:?}");
    eprintln!("1,000 deliveries, 3,000 attempts: {took:?}");
}

#[tokio::test]
async fn only_the_last_records_are_kept() {
    let sandbox = Sandbox::builder().keep(3).start().await.unwrap();
    receiver(&sandbox).await;
    for _ in 0..9 {
        sandbox.emit(samples::instrument_created()).await;
        call(&sandbox, "GET", "/webhooks", "").await;
    }
    let log = sandbox.settle().await;
    assert_eq!((log.attempts(), log.deliveries().len()), (9, 3));
    assert_eq!((log.succeeded(), log.failed(), log.pending()), (9, 0, 0));
    assert_eq!(sandbox.calls().len(), 3);
    let list = call(&sandbox, "GET", "/events", "").await.json();
    assert_eq!(list["data"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn the_counts_include_failures_that_are_no_longer_kept() {
    let sandbox = Sandbox::builder()
        .keep(3)
        .retries(Retries::new().attempts(1))
        .start()
        .await
        .unwrap();
    receiver(&sandbox).await;
    sandbox.next_deliveries(4).no_header();
    for _ in 0..10 {
        sandbox.emit(samples::instrument_created()).await;
    }
    let log = sandbox.settle().await;
    assert!(
        log.deliveries()
            .iter()
            .all(|it| it.status() == Status::Succeeded)
    );
    assert_eq!((log.succeeded(), log.failed(), log.pending()), (6, 4, 0));
}

#[tokio::test]
async fn pending_deliveries_are_bounded_too() {
    let sandbox = Sandbox::builder().keep(3).start().await.unwrap();
    let receiver = receiver(&sandbox).await;
    sandbox.next_deliveries(10).hold(Duration::from_secs(60));
    for _ in 0..10 {
        sandbox.emit(samples::instrument_created()).await;
    }
    let log = sandbox.log();
    assert_eq!(log.deliveries().len(), 3);
    assert_eq!((log.succeeded(), log.failed(), log.pending()), (0, 7, 3));
    let log = sandbox.settle().await;
    assert_eq!(log.attempts(), 3);
    assert_eq!((log.succeeded(), log.failed(), log.pending()), (3, 7, 0));
    assert_eq!(receiver.seen.handled(), 3);
}

#[tokio::test]
async fn many_tasks_emit_at_once() {
    let sandbox = Arc::new(Sandbox::start().await);
    receiver(&sandbox).await;
    let emits = (0..20).map(|_| {
        let sandbox = Arc::clone(&sandbox);
        tokio::spawn(async move { sandbox.emit(samples::market_created()).await })
    });
    for emit in emits.collect::<Vec<_>>() {
        emit.await.unwrap();
    }
    assert_eq!(sandbox.settle().await.attempts(), 20);
}
