//! Misbehaving servers lead to a clear error, within bounds.

use std::time::{Duration, Instant};

use ptolemy_webhooks_client::{
    ApiError, ApiErrorKind, Client, Filter, NewWebhook, Outcome, WebhookChanges,
};
use tokio::io::AsyncWriteExt as _;

use crate::raw_server::{RawServer, TOKEN, answer};

async fn list(client: &Client) -> Result<usize, ApiError> {
    let mut list = client.webhooks().list();
    let mut records = 0;
    while list.try_next().await?.is_some() {
        records += 1;
    }
    Ok(records)
}

async fn error_for(bytes: impl Into<Vec<u8>>) -> (ApiError, usize) {
    let server = RawServer::answering(bytes).await;
    let error = list(&server.client()).await.unwrap_err();
    (error, server.requests())
}

#[tokio::test]
async fn garbage_instead_of_http_is_a_broken_connection() {
    for bytes in [
        &b"\xff\xfe\x00garbage"[..],
        b"",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 200",
    ] {
        let (error, requests) = error_for(bytes).await;
        assert_eq!(error.kind(), ApiErrorKind::Broken, "{error}");
        assert_eq!((requests, error.attempts()), (3, 3));
        assert_eq!(error.status(), None);
    }
}

#[tokio::test]
async fn headers_without_end_are_a_broken_connection() {
    let server = RawServer::start(|mut stream, _| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
        while stream
            .write_all(b"x-more: and more and more and more\r\n")
            .await
            .is_ok()
        {}
    })
    .await;
    let error = list(&server.client()).await.unwrap_err();
    assert_eq!(error.kind(), ApiErrorKind::Broken, "{error}");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_repeated_for_a_read_and_unknown_for_a_creation() {
    let body = r#"{"id":"w","secret":"whsec_00112233445566778899"}"#;
    let whole = answer("201 Created", "", body);
    let server = RawServer::answering(&whole[..whole.len() - 5]).await;
    let client = server.client();
    let error = client
        .webhooks()
        .create(NewWebhook::new("https://a.example"))
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ApiErrorKind::Broken, Outcome::Unknown)
    );
    assert_eq!(server.requests(), 1);
    assert_eq!(list(&client).await.unwrap_err().attempts(), 3);
}

#[tokio::test]
async fn a_server_that_sends_nothing_or_drips_reaches_the_time_limit() {
    let nothing = RawServer::start(|stream, _| async move {
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(stream);
    })
    .await;
    let drip = RawServer::start(|mut stream, _| async move {
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\n")
            .await;
        while stream.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    for server in [nothing, drip] {
        let begin = Instant::now();
        let error = list(&server.client()).await.unwrap_err();
        assert_eq!(error.kind(), ApiErrorKind::Timeout, "{error}");
        assert_eq!(server.requests(), 3);
        assert!(
            begin.elapsed() < Duration::from_secs(5),
            "{:?}",
            begin.elapsed()
        );
        let error = server
            .client()
            .webhooks()
            .create(NewWebhook::new("https://a.example"))
            .await
            .unwrap_err();
        assert_eq!((error.outcome(), error.attempts()), (Outcome::Unknown, 1));
    }
}

#[tokio::test]
async fn one_call_ends_at_its_own_time_limit() {
    let server = RawServer::start(|stream, _| async move {
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(stream);
    })
    .await;
    let client = Client::builder(TOKEN, "acme")
        .url(&server.url)
        .call_timeout(Duration::from_millis(300))
        .build()
        .unwrap();
    let begin = Instant::now();
    let error = list(&client).await.unwrap_err();
    assert!(begin.elapsed() < Duration::from_secs(3));
    assert!(
        error
            .to_string()
            .contains("the time limit of the call is reached"),
        "{error}"
    );
}

#[tokio::test]
async fn an_error_keeps_any_text_of_the_server() {
    let html = "<html>\r\n<body>502 Bad Gateway</body>\x1b[31m</html>";
    let (error, requests) =
        error_for(answer("502 Bad Gateway", "x-request-id: r-1\r\n", html)).await;
    assert_eq!(
        (error.kind(), error.status(), requests),
        (ApiErrorKind::Server, Some(502), 3)
    );
    assert_eq!(error.message(), Some(html));
    assert_eq!(error.request_id(), Some("r-1"));
    let line = error.to_string();
    assert!(!line.contains(['\n', '\r', '\x1b']), "{line}");
    assert!(
        line.contains("all attempts are used") && line.contains("request id r-1"),
        "{line}"
    );

    let (error, _) = error_for(answer("500 Oops", "", b"a\xff\xfeb")).await;
    assert_eq!(error.message(), Some("a\u{fffd}\u{fffd}b"));
    let (error, _) = error_for(answer("500 Oops", "", "x".repeat(1 << 20))).await;
    assert_eq!(error.message().map(str::len), Some(64 * 1024));
    assert!(error.to_string().len() < 1_000);

    // The body of an error breaks off, but the status is known.
    let (error, _) = error_for(&b"HTTP/1.1 403 No\r\ncontent-length: 99\r\n\r\nnot y"[..]).await;
    assert_eq!(
        (error.kind(), error.message()),
        (ApiErrorKind::Forbidden, Some("not y"))
    );
}

#[tokio::test]
async fn secrets_that_a_server_echoes_are_removed() {
    let body = format!("token {TOKEN} of Bearer {TOKEN}, secret whsec_0123456789");
    let (error, _) = error_for(answer(
        "401 No",
        &format!("x-request-id: {TOKEN}\r\n"),
        body,
    ))
    .await;
    let texts = format!(
        "{error} {error:?} {:?} {:?}",
        error.message(),
        error.request_id()
    );
    assert!(
        !texts.contains("0011223344") && !texts.contains("0123456789"),
        "{texts}"
    );
}

#[tokio::test]
async fn a_redirect_is_an_error_and_the_token_does_not_travel() {
    let target = RawServer::answering(answer("200 OK", "", "[]")).await;
    let location = format!("location: {}\r\n", target.url);
    for status in [
        "301 Moved",
        "302 Found",
        "303 See Other",
        "307 Temporary",
        "308 Permanent",
    ] {
        let (error, requests) = error_for(answer(status, &location, "")).await;
        assert_eq!(
            (error.kind(), requests),
            (ApiErrorKind::Redirect, 1),
            "{error}"
        );
        assert_eq!(error.status().unwrap().to_string(), status[..3]);
        assert!(error.to_string().contains(&status[..3]));
    }
    assert_eq!(target.requests(), 0);
}

#[tokio::test]
async fn a_success_with_unexpected_content_is_unreadable() {
    for body in [
        "",
        "<html>",
        "{",
        "7",
        "null",
        "{}",
        r#"{"data":7}"#,
        r#"{"data":[{}]}"#,
        r#"{"data":[7]}"#,
    ] {
        let (error, requests) = error_for(answer("200 OK", "", body)).await;
        assert_eq!(
            (error.kind(), requests),
            (ApiErrorKind::Unreadable, 1),
            "{body}: {error}"
        );
        assert_eq!(error.outcome(), Outcome::Unknown);
    }
    let (error, _) = error_for(answer("200 OK", "", b"{\"data\":[\"\xff\"]}")).await;
    assert_eq!(error.kind(), ApiErrorKind::Unreadable);
    let deep = ["[".repeat(100_000), "]".repeat(100_000)].concat();
    let (error, _) = error_for(answer("200 OK", "", deep)).await;
    assert_eq!(error.kind(), ApiErrorKind::Unreadable);
}

#[tokio::test]
async fn other_statuses_of_success_are_success() {
    let server = RawServer::answering(answer("299 Fine", "", "[]")).await;
    assert_eq!(list(&server.client()).await.unwrap(), 0);
    let (error, requests) = error_for(answer("777 What", "", "")).await;
    assert_eq!(
        (error.kind(), requests),
        (ApiErrorKind::UnexpectedStatus, 1),
        "{error}"
    );
}

#[tokio::test]
async fn a_list_that_never_ends_is_an_error() {
    let page = |cursor: &str| {
        answer(
            "200 OK",
            "",
            format!(r#"{{"data":[],"meta":{{"next_cursor":"{cursor}","has_more":true}}}}"#),
        )
    };
    let (error, requests) = error_for(page("again")).await;
    assert_eq!(
        (error.kind(), requests),
        (ApiErrorKind::BadCursor, 2),
        "{error}"
    );
    let (error, requests) = error_for(page(&"c".repeat(1_000_000))).await;
    assert_eq!(
        (error.kind(), requests),
        (ApiErrorKind::BadCursor, 1),
        "{error}"
    );
    assert!(error.to_string().contains("64 KiB"), "{error}");

    let server = RawServer::start(move |mut stream, number| {
        let page = answer(
            "200 OK",
            "",
            format!(r#"{{"data":[],"meta":{{"next_cursor":"c{number}","has_more":true}}}}"#),
        );
        async move {
            let _ = stream.write_all(&page).await;
        }
    })
    .await;
    let error = list(&server.client()).await.unwrap_err();
    assert_eq!(
        (error.kind(), server.requests()),
        (ApiErrorKind::BadCursor, 1_001),
        "{error}"
    );
}

#[tokio::test]
async fn retry_after_is_waited_for_or_returned_at_once() {
    let soon = answer("429 Slow", "retry-after: 1\r\n", "");
    let server = RawServer::start(move |mut stream, number| {
        let bytes = if number == 0 {
            soon.clone()
        } else {
            answer("200 OK", "", "[]")
        };
        async move {
            let _ = stream.write_all(&bytes).await;
        }
    })
    .await;
    let begin = Instant::now();
    assert_eq!(list(&server.client()).await.unwrap(), 0);
    assert!(begin.elapsed() >= Duration::from_secs(1));

    let begin = Instant::now();
    let (error, requests) = error_for(answer("503 Later", "retry-after: 3600\r\n", "")).await;
    assert!(begin.elapsed() < Duration::from_secs(1));
    assert_eq!(
        (requests, error.retry_after()),
        (1, Some(Duration::from_secs(3600)))
    );
    assert!(error.to_string().contains("asks to wait longer"), "{error}");
    let (error, _) = error_for(answer(
        "429 Later",
        "retry-after: Fri, 31 Dec 2100 23:59:59 GMT\r\n",
        "",
    ))
    .await;
    assert!(error.retry_after().unwrap() > Duration::from_secs(86_400));
}

#[tokio::test]
async fn no_connection_is_not_sent_and_repeated() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    drop(listener);
    let client = Client::builder(TOKEN, "acme")
        .url(url)
        .attempts(3)
        .delays(Duration::from_millis(1), Duration::from_millis(1))
        .build()
        .unwrap();
    let error = client
        .webhooks()
        .create(NewWebhook::new("https://a.example"))
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome(), error.attempts()),
        (ApiErrorKind::NotConnected, Outcome::NotSent, 3)
    );
    assert!(std::error::Error::source(&error).is_some());
}

#[tokio::test]
async fn an_argument_that_cannot_be_sent_is_not_sent() {
    let server = RawServer::answering(answer("200 OK", "", "[]")).await;
    let client = server.client();
    for id in ["", ".", ".."] {
        let error = client.webhooks().get(id).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.outcome(), error.attempts()),
            (ApiErrorKind::InvalidArgument, Outcome::NotSent, 0)
        );
    }
    for size in [0, 201] {
        let error = client
            .events()
            .filter(Filter::new())
            .page_size(size)
            .try_next()
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ApiErrorKind::InvalidArgument, "{error}");
    }
    assert_eq!(server.requests(), 0);
}

#[tokio::test]
async fn a_change_that_was_made_is_not_reported_as_the_failure_of_the_call_after_it() {
    let server = RawServer::start(|mut stream, number| async move {
        let bytes = match number {
            0 => answer("200 OK", "", "<html>"),
            _ => answer("404 No", "", ""),
        };
        let _ = stream.write_all(&bytes).await;
    })
    .await;
    let changes = WebhookChanges::new().label("a");
    let error = server.client().webhooks().update("w", changes).await;
    let error = error.unwrap_err();
    assert_eq!(
        (error.method(), error.kind(), error.outcome()),
        ("PATCH", ApiErrorKind::Unreadable, Outcome::Unknown),
        "{error}"
    );
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn an_answer_that_breaks_off_keeps_its_request_id_and_the_quota() {
    let headers = "x-request-id: r-7\r\nx-ratelimit-remaining: 41\r\n";
    let whole = answer("200 OK", headers, "[]");
    let server = RawServer::answering(&whole[..whole.len() - 1]).await;
    let client = server.client();
    let error = list(&client).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.request_id(), client.remaining()),
        (ApiErrorKind::Broken, Some("r-7"), Some(41))
    );
}

/// TLS is set up without a default provider of the process, and a call that fails before TLS is not
/// sent.
#[tokio::test]
async fn a_server_without_tls_is_not_connected() {
    let server = RawServer::answering(answer("200 OK", "", "[]")).await;
    let client = Client::builder(TOKEN, "acme")
        .url(server.url.replace("http:", "https:"))
        .attempts(1)
        .attempt_timeout(Duration::from_secs(9))
        .build()
        .unwrap();
    let error = list(&client).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ApiErrorKind::NotConnected, Outcome::NotSent),
        "{error:?}"
    );
    assert_eq!(server.requests(), 0);
}
