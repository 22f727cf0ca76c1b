//! `InboxError` as a response: the same on both frameworks.

use ptolemy_webhooks_inbox::{Accept, InboxError};

use crate::database::Database;
use crate::delivery;

/// A 503 and a 500.
async fn errors() -> [InboxError; 2] {
    let database = Database::sqlite().await;
    let inbox = database.inbox().await;
    let key = inbox
        .accept_with(&delivery::event("e"), Accept::new().key(""))
        .await
        .unwrap_err();
    database.execute("DROP TABLE ptolemy_inbox").await;
    let gone = inbox.accept(&delivery::event("e")).await.unwrap_err();
    [gone, key]
}

const TEXTS: [&str; 2] = [
    "the inbox's database is not available",
    "the key is empty, longer than 255 bytes, or has a NUL",
];

#[tokio::test]
async fn an_error_is_a_response_of_axum() {
    use axum::response::IntoResponse as _;

    for (error, (status, retry_after, text)) in errors()
        .await
        .into_iter()
        .zip([(503, Some("5"), TEXTS[0]), (500, None, TEXTS[1])])
    {
        let response = error.into_response();
        assert_eq!(response.status().as_u16(), status);
        let header = |name| {
            response
                .headers()
                .get(name)
                .map(|value| value.to_str().unwrap())
        };
        assert_eq!(header("retry-after"), retry_after);
        assert_eq!(header("content-type"), Some("text/plain; charset=utf-8"));
        let body = axum::body::to_bytes(response.into_body(), 1_000)
            .await
            .unwrap();
        assert_eq!(body, text);
    }
}

#[tokio::test]
async fn an_error_is_a_response_of_actix_web() {
    use actix_web::ResponseError as _;
    use actix_web::body::to_bytes;

    for (error, (status, retry_after, text)) in errors()
        .await
        .into_iter()
        .zip([(503, Some("5"), TEXTS[0]), (500, None, TEXTS[1])])
    {
        let response = error.error_response();
        assert_eq!(
            (response.status().as_u16(), error.status_code().as_u16()),
            (status, status)
        );
        let header = |name| {
            response
                .headers()
                .get(name)
                .map(|value| value.to_str().unwrap())
        };
        assert_eq!(header("retry-after"), retry_after);
        assert_eq!(header("content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(to_bytes(response.into_body()).await.unwrap(), text);
    }
}
