//! The page and its API as one service: JSON, for the page only.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use bytes::Bytes;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use http::{HeaderValue, Request, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tower::ServiceExt as _;
use tower_http::csrf::CsrfLayer;

use crate::inspect::app::App;
use crate::inspect::entry::Entry;
use crate::inspect::guard::{self, error};
use crate::inspect::{curl, detail, inbox_api, page, replay, sandbox_api, stream};

/// The longest body of a request to the API.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// The state of a handler.
pub(crate) type Shared = State<Arc<App>>;

/// The page's server. Clones share it.
#[derive(Clone)]
pub(crate) struct PageServer {
    app: Arc<App>,
    routes: Router,
}

impl PageServer {
    pub(crate) fn new(app: Arc<App>) -> Self {
        let csrf = CsrfLayer::new().with_rejection_response(|_| guard::foreign_origin());
        let routes = Router::new()
            .merge(page::routes())
            .route("/api/stream", get(stream::stream))
            .route("/api/entries/{seq}", get(detail::show))
            .route("/api/entries/{seq}/body", get(body))
            .route("/api/entries/{seq}/answer", get(answer))
            .route("/api/entries/{seq}/curl", get(curl::show))
            .route("/api/entries/{seq}/replay", post(replay::replay))
            .merge(sandbox_api::routes())
            .merge(inbox_api::routes())
            .fallback(async || error(StatusCode::NOT_FOUND, "nothing is here"))
            .method_not_allowed_fallback(async || {
                error(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "this method does nothing here",
                )
            })
            .layer(csrf)
            .with_state(Arc::clone(&app));
        Self { app, routes }
    }

    /// Answers a request to the page or its API.
    pub(crate) async fn serve<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        let rejection = guard::rejection(&self.app.hosts, &self.app.token, &request);
        let mut answer = match rejection {
            Some(rejection) => rejection,
            None => {
                let request = request.map(Body::new);
                let Ok(answer) = self.routes.clone().oneshot(request).await;
                answer
            }
        };
        guard::harden(answer.headers_mut());
        answer
    }
}

/// An object as JSON.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    let Ok(text) = serde_json::to_string(value) else {
        return error(StatusCode::INTERNAL_SERVER_ERROR, "not JSON");
    };
    let mut answer = Response::new(Body::from(text));
    *answer.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(CONTENT_TYPE, json);
    answer
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = status;
    answer
}

/// Reads the JSON of a request.
pub(crate) async fn parse<T: DeserializeOwned>(
    request: Request<Body>,
) -> Result<T, Response<Body>> {
    let body = axum::body::to_bytes(request.into_body(), MAX_BODY_BYTES).await;
    let body = body.map_err(|_| {
        let clause = "the body is longer than 64 KiB, or broke off";
        error(StatusCode::PAYLOAD_TOO_LARGE, clause)
    })?;
    serde_json::from_slice(&body).map_err(|_| {
        let clause = "the body is not the JSON that this call takes";
        error(StatusCode::BAD_REQUEST, clause)
    })
}

/// Returns an entry, or the answer that it is not kept.
#[expect(
    clippy::result_large_err,
    reason = "an answer, made once for a request"
)]
pub(crate) fn entry(app: &App, seq: &str) -> Result<Entry, Response<Body>> {
    let seq = seq.parse::<u64>().ok();
    let entry = seq.and_then(|seq| app.ring.get(seq));
    entry.ok_or_else(|| error(StatusCode::NOT_FOUND, "this request is no longer kept"))
}

async fn body(State(app): Shared, Path(seq): Path<String>) -> Response<Body> {
    match entry(&app, &seq) {
        Ok(entry) => download(entry.request.body.clone()),
        Err(answer) => answer,
    }
}

async fn answer(State(app): Shared, Path(seq): Path<String>) -> Response<Body> {
    match entry(&app, &seq).map(|entry| entry.answer) {
        Ok(Some(answer)) => download(answer.body.clone()),
        Ok(None) => error(StatusCode::NOT_FOUND, "the receiver has not answered"),
        Err(answer) => answer,
    }
}

/// Bytes that a browser saves and never shows.
fn download(bytes: Bytes) -> Response<Body> {
    let mut answer = Response::new(Body::from(bytes));
    let headers = answer.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    answer
}
