//! The stream of entries to a page: lines of JSON, which never end.
//!
//! A stream keeps the number of the last change that it sent, and asks the ring for what changed
//! since then, as often as the page reads. So a page that stalls costs nothing but its connection.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use bytes::Bytes;
use futures_util::stream::unfold;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, watch};

use crate::inspect::api::Shared;
use crate::inspect::app::{App, InboxState};
use crate::inspect::checker::TOLERANCE_S;
use crate::inspect::guard::error;

/// How often a line is sent if nothing changes.
const PING_EVERY: Duration = Duration::from_secs(5);

/// How many entries are taken at a time.
const MAX_AT_ONCE: usize = 50;

/// `GET /api/stream?after=CHANGE`
pub(crate) async fn stream(State(app): Shared, request: Request<Body>) -> Response<Body> {
    let after = match after(request.uri().query().unwrap_or_default()) {
        Ok(after) => after,
        Err(clause) => return error(StatusCode::BAD_REQUEST, clause),
    };
    let Ok(permit) = Arc::clone(&app.streams).try_acquire_owned() else {
        let clause = "too many pages are open: close one";
        return error(StatusCode::SERVICE_UNAVAILABLE, clause);
    };
    let reader = Reader {
        changes: app.ring.changes(),
        app,
        after,
        kept_from: 0,
        has_begun: false,
        _permit: permit,
    };
    let lines = unfold(reader, |mut reader| async {
        let lines = reader.next().await;
        Some((Ok::<_, std::convert::Infallible>(lines), reader))
    });
    let mut answer = Response::new(Body::from_stream(lines));
    let lines = HeaderValue::from_static("application/x-ndjson");
    answer.headers_mut().insert(CONTENT_TYPE, lines);
    answer
}

/// Reads the only parameter.
fn after(query: &str) -> Result<u64, &'static str> {
    match query.strip_prefix("after=") {
        Some(number) => number.parse().map_err(|_| "`after` is not a number"),
        None if query.is_empty() => Ok(0),
        None => Err("the query has a parameter other than `after`"),
    }
}

/// A page that reads.
struct Reader {
    app: Arc<App>,
    changes: watch::Receiver<u64>,
    /// The last change that was sent.
    after: u64,
    kept_from: u64,
    has_begun: bool,
    _permit: OwnedSemaphorePermit,
}

impl Reader {
    /// Waits for the next lines.
    async fn next(&mut self) -> Bytes {
        if !self.has_begun {
            self.has_begun = true;
            let hello = hello(&self.app);
            self.kept_from = self.app.ring.after(u64::MAX - 1, 0).kept_from;
            return line(&hello);
        }
        loop {
            self.changes.borrow_and_update();
            if let Some(lines) = self.changed() {
                return lines;
            }
            // It fails only without a ring, which `app` keeps.
            let changed = tokio::time::timeout(PING_EVERY, self.changes.changed()).await;
            if changed.is_err() {
                return line(&json!({ "kind": "ping" }));
            }
        }
    }

    fn changed(&mut self) -> Option<Bytes> {
        let changes = self.app.ring.after(self.after, MAX_AT_ONCE);
        let mut lines = Vec::new();
        if changes.kept_from > self.kept_from {
            self.kept_from = changes.kept_from;
            let dropped = json!({ "kind": "dropped", "before": changes.kept_from });
            lines.extend_from_slice(&line(&dropped));
        }
        for entry in &changes.entries {
            self.after = entry.change;
            lines.extend_from_slice(&line(&json!({ "kind": "entry", "entry": entry.line() })));
        }
        (!lines.is_empty()).then(|| Bytes::from(lines))
    }
}

fn hello(app: &App) -> Value {
    let target = app.target.as_ref();
    let is_sandbox = app.sandbox.get().is_some();
    json!({
        "kind": "hello",
        "mode": if is_sandbox { "sandbox" } else { "inspect" },
        "run": app.run,
        "listen": app.sender_url.get(),
        "forward": target.map(|target| target.url().as_str()),
        "can_sign": is_sandbox || app.checker.can_sign(),
        "has_secret": is_sandbox || app.checker.secrets().is_some(),
        "has_inbox": !matches!(app.inbox, InboxState::None),
        "tolerance_s": TOLERANCE_S,
        "sandbox": is_sandbox,
        "kept_from": app.ring.after(u64::MAX - 1, 0).kept_from,
    })
}

fn line(value: &Value) -> Bytes {
    Bytes::from(format!("{value}\n"))
}
