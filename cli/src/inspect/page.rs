//! The page's files, which are in the binary.

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};

const HTML: &str = include_str!("page/page.html");

const CSS: &str = include_str!("page/page.css");

const SCRIPT: &str = include_str!("page/page.js");

/// The routes of the files.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/", get(async || file("text/html; charset=utf-8", HTML)))
        .route(
            "/page.css",
            get(async || file("text/css; charset=utf-8", CSS)),
        )
        .route(
            "/page.js",
            get(async || file("text/javascript; charset=utf-8", SCRIPT)),
        )
        .route("/favicon.ico", get(async || StatusCode::NO_CONTENT))
}

fn file(content_type: &'static str, text: &'static str) -> Response<Body> {
    let mut answer = Response::new(Body::from(text));
    let content_type = HeaderValue::from_static(content_type);
    answer.headers_mut().insert(CONTENT_TYPE, content_type);
    answer
}
