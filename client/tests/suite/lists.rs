//! Lists: pages, cursors, and failed deliveries since a time.

use futures_util::StreamExt as _;
use ptolemy_webhooks::samples;
use ptolemy_webhooks_client::{ApiErrorKind, Filter, NewWebhook};
use ptolemy_webhooks_sandbox::{Sandbox, Shape};
use time::{Duration, OffsetDateTime};
use tokio::io::AsyncWriteExt as _;

use crate::raw_server::{RawServer, answer};
use crate::stand_in::{StandIn, client};

async fn with_webhooks(count: usize, sandbox: &Sandbox) -> ptolemy_webhooks_client::Client {
    let client = client(sandbox);
    for number in 0..count {
        let webhook = NewWebhook::new(format!("https://a.example/{number}"));
        client.webhooks().create(webhook).await.unwrap();
    }
    client
}

#[tokio::test]
async fn a_list_is_a_stream_over_all_pages() {
    let sandbox = Sandbox::builder().webhook_limit(99).start().await.unwrap();
    let client = with_webhooks(7, &sandbox).await;
    let pages = client.webhooks().list().page_size(3);
    let urls: Vec<String> = pages
        .map(|webhook| webhook.unwrap().url.unwrap())
        .collect()
        .await;
    let expected: Vec<String> = (0..7)
        .map(|number| format!("https://a.example/{number}"))
        .collect();
    assert_eq!(urls, expected);
    let filtered = client.webhooks().filter(Filter::new()).page_size(2);
    assert_eq!(filtered.count().await, 7);
}

#[tokio::test]
async fn an_empty_page_does_not_end_a_list() {
    let sandbox = Sandbox::builder().webhook_limit(99).start().await.unwrap();
    let client = with_webhooks(5, &sandbox).await;
    sandbox.next_calls(3).of("GET", "/webhooks").empty_page();
    let webhooks: Vec<_> = client.webhooks().list().page_size(2).collect().await;
    assert_eq!(
        webhooks.iter().filter(|webhook| webhook.is_ok()).count(),
        5,
        "{webhooks:?}"
    );
}

#[tokio::test]
async fn a_cursor_that_expires_or_repeats_is_an_error_after_the_records_before_it() {
    for (kind, expired) in [
        (ApiErrorKind::CursorExpired, true),
        (ApiErrorKind::BadCursor, false),
    ] {
        let sandbox = Sandbox::builder().webhook_limit(99).start().await.unwrap();
        let client = with_webhooks(6, &sandbox).await;
        let mut list = client.webhooks().list().page_size(2);
        assert!(list.try_next().await.unwrap().is_some());
        if expired {
            sandbox.expire_cursors();
        } else {
            sandbox.next_call().of("GET", "/webhooks").repeated_cursor();
        }
        assert!(list.try_next().await.unwrap().is_some());
        let error = loop {
            match list.try_next().await {
                Ok(record) => assert!(record.is_some()),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), kind, "{error}");
        assert!(
            list.try_next().await.unwrap().is_none(),
            "it ends after an error"
        );
    }
}

#[tokio::test]
async fn a_list_with_more_pages_than_allowed_is_an_error_and_says_when_it_needs_a_call() {
    let sandbox = Sandbox::builder().webhook_limit(99).start().await.unwrap();
    let client = with_webhooks(5, &sandbox).await;
    let list = || client.webhooks().list().page_size(2);
    let mut exact = list().max_pages(3);
    let mut needed = Vec::new();
    loop {
        needed.push(exact.needs_call());
        if exact.try_next().await.unwrap().is_none() {
            break;
        }
    }
    assert_eq!(needed, [true, false, true, false, true, false]);
    let mut short = list().max_pages(2);
    for _ in 0..2 {
        assert!(short.try_next().await.unwrap().is_some());
    }
    let error = short.try_next().await.unwrap_err();
    assert_eq!(error.kind(), ApiErrorKind::BadCursor);
    assert!(
        error.to_string().contains("it has more than 2 pages"),
        "{error}"
    );
    assert!(!short.needs_call());
}

#[tokio::test]
async fn a_read_that_was_dropped_continues_with_the_same_page() {
    let sandbox = Sandbox::builder().webhook_limit(99).start().await.unwrap();
    let client = with_webhooks(3, &sandbox).await;
    let mut list = client.webhooks().list().page_size(2);
    sandbox.next_call().of("GET", "/webhooks").hang_before();
    let limit = std::time::Duration::from_millis(30);
    assert!(tokio::time::timeout(limit, list.try_next()).await.is_err());
    let mut records = 0;
    while list.try_next().await.unwrap().is_some() {
        records += 1;
    }
    assert_eq!(records, 3);
}

/// A delivery log whose times are hours before `now`, without a time for `None`, in pages of two.
async fn failed_since(hours: &[Option<i64>], since: i64) -> (Vec<String>, usize) {
    let now = OffsetDateTime::now_utc();
    let pages: Vec<Vec<u8>> = hours
        .chunks(2)
        .enumerate()
        .map(|(page, hours)| {
            let items: Vec<String> = hours
                .iter()
                .map(|hours| match hours {
                    Some(hours) => {
                        let time = (now - Duration::hours(*hours))
                            .format(&time::format_description::well_known::Rfc3339);
                        format!(r#"{{"id":"{hours}","delivered_at":"{}"}}"#, time.unwrap())
                    }
                    None => r#"{"id":"none"}"#.to_owned(),
                })
                .collect();
            let items = items.join(",");
            answer(
                "200 OK",
                "",
                format!(
                    r#"{{"data":[{items}],"meta":{{"next_cursor":"c{page}","has_more":true}}}}"#
                ),
            )
        })
        .chain([answer("200 OK", "", "[]")])
        .collect();
    let server = RawServer::start(move |mut stream, number| {
        let page = pages[number].clone();
        async move {
            let _ = stream.write_all(&page).await;
        }
    })
    .await;
    let client = server.client();
    let failed = client
        .deliveries()
        .failed("w")
        .since(now - Duration::hours(since));
    let ids = failed
        .map(|delivery| delivery.unwrap().id.to_string())
        .collect()
        .await;
    (ids, server.requests())
}

#[tokio::test]
async fn failed_deliveries_since_a_time_end_at_the_first_older_page() {
    let (ids, pages) =
        failed_since(&[Some(1), Some(2), Some(3), Some(4), Some(5), Some(6)], 2).await;
    assert_eq!((ids, pages), (vec!["1".to_owned(), "2".to_owned()], 2));
}

#[tokio::test]
async fn a_server_that_ignores_the_sort_loses_nothing() {
    let (ids, pages) =
        failed_since(&[Some(8), Some(7), Some(6), Some(5), Some(2), Some(1)], 3).await;
    // The times ascend on the first page, so it is read to the end: three pages and an empty one.
    assert_eq!((ids, pages), (vec!["2".to_owned(), "1".to_owned()], 4));
    // Equal times do not show an order.
    let (ids, pages) = failed_since(&[Some(8), Some(8), Some(8), Some(8), Some(1)], 3).await;
    assert_eq!((ids, pages), (vec!["1".to_owned()], 4));
}

#[tokio::test]
async fn deliveries_without_a_time_are_returned() {
    let (ids, pages) = failed_since(&[Some(1), None, Some(9), Some(9), Some(1)], 3).await;
    assert_eq!(
        (ids, pages),
        (vec!["1".to_owned(), "none".to_owned(), "1".to_owned()], 4)
    );
}

#[tokio::test]
async fn failed_deliveries_of_the_stand_in_are_found_in_every_shape() {
    for shapes in [
        vec![],
        vec![Shape::DeliveriesWithoutTimes],
        vec![Shape::BareArrays, Shape::AttemptsName],
    ] {
        let stand_in = StandIn::with_shapes(shapes).await;
        stand_in.sandbox.emit(samples::market_created()).await;
        stand_in.sandbox.settle().await;
        let two_hours_ago = stand_in.sandbox.now() - Duration::hours(2);
        let failed = stand_in
            .client
            .deliveries()
            .failed(&*stand_in.webhook)
            .since(two_hours_ago);
        assert_eq!(failed.count().await, 2);
    }
}

#[tokio::test]
async fn all_pages_of_failed_deliveries_are_read_before_the_first_is_returned() {
    let stand_in = StandIn::start().await;
    for _ in 0..3 {
        stand_in.sandbox.emit(samples::market_created()).await;
    }
    stand_in.sandbox.settle().await;
    let deliveries = stand_in.client.deliveries();
    let mut failed = deliveries.failed(&*stand_in.webhook).page_size(1);
    let read = || stand_in.received("POST", "/webhook-deliveries/filter");
    assert!(failed.try_next().await.unwrap().is_some());
    let pages = read();
    assert!(pages >= 4, "{pages}");
    while failed.try_next().await.unwrap().is_some() {}
    assert_eq!(read(), pages);
}

#[tokio::test]
async fn an_error_of_a_later_page_of_failed_deliveries_comes_before_the_first_record() {
    let page = r#"{"data":[{"id":"1"}],"meta":{"next_cursor":"c","has_more":true}}"#;
    let server = RawServer::answering(answer("200 OK", "", page)).await;
    let mut failed = server.client().deliveries().failed("w");
    let error = failed.try_next().await.unwrap_err();
    assert_eq!(error.kind(), ApiErrorKind::BadCursor);
    assert!(failed.try_next().await.unwrap().is_none());
}

#[tokio::test]
async fn a_full_page_that_does_not_say_whether_there_are_more_is_an_error() {
    let page = r#"{"data":[{"id":"a"},{"id":"b"}]}"#;
    let server = RawServer::answering(answer("200 OK", "", page)).await;
    let mut full = server.client().webhooks().list().page_size(2);
    let error = full.try_next().await.unwrap_err();
    assert_eq!(error.kind(), ApiErrorKind::BadCursor, "{error}");
    let part = server.client().webhooks().list().page_size(3);
    assert_eq!(
        part.filter(|record| std::future::ready(record.is_ok()))
            .count()
            .await,
        2
    );
}

#[tokio::test]
async fn a_list_that_ensure_reads_has_an_end() {
    let server = RawServer::start(move |mut stream, number| {
        let item = r#"{"id":"w","url":"https://other.example"}"#;
        let meta = format!(r#"{{"next_cursor":"c{number}","has_more":true}}"#);
        let page = format!(r#"{{"data":[{item}],"meta":{meta}}}"#);
        async move {
            let _ = stream.write_all(&answer("200 OK", "", page)).await;
        }
    })
    .await;
    let ignore = |_| std::future::ready(Ok::<(), String>(()));
    let ensure = server.client().webhooks().ensure("https://a.example");
    let error = ensure.secret_to(ignore).await.unwrap_err();
    let api = error.api_error().unwrap();
    assert_eq!(api.kind(), ApiErrorKind::BadCursor, "{error}");
    assert!(
        error.to_string().contains("more than 1000 pages"),
        "{error}"
    );
    assert_eq!(server.requests(), 1_000);
}
