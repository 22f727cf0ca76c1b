//! Sends a request again, only to the configured receiver.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Request as HttpRequest};
use http::{Response, StatusCode};
use http_body_util::BodyExt as _;
use ptolemy_webhooks::SIGNATURE_HEADER;
use serde::Deserialize;
use serde_json::json;
use time::OffsetDateTime;

use crate::inspect::api::{self, Shared};
use crate::inspect::app::App;
use crate::inspect::entry::{Entry, NewEntry, Receiver, Request, Source};
use crate::inspect::forward::{check, exchange};
use crate::inspect::guard::error;

/// How long the answer to a replay may take until its end: nobody else waits for it.
const TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    signing: Signing,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Signing {
    AsItWas,
    Anew,
}

/// `POST /api/entries/{seq}/replay`
pub(crate) async fn replay(
    State(app): Shared,
    Path(seq): Path<String>,
    request: HttpRequest<Body>,
) -> Response<Body> {
    let asked: Asked = match api::parse(request).await {
        Ok(asked) => asked,
        Err(answer) => return answer,
    };
    let entry = match api::entry(&app, &seq) {
        Ok(entry) => entry,
        Err(answer) => return answer,
    };
    match again(&app, &entry, asked.signing).await {
        Ok(seq) => api::json(StatusCode::ACCEPTED, &json!({ "seq": seq })),
        Err(clause) => error(StatusCode::CONFLICT, clause),
    }
}

/// Adds the new request and sends it in the background. Returns its number.
async fn again(app: &Arc<App>, entry: &Entry, signing: Signing) -> Result<u64, &'static str> {
    let Some(target) = &app.target else {
        return Err("no receiver is configured: start the command with --forward");
    };
    if let Some(sandbox) = app.sandbox.get()
        && !sandbox.is_sent_to(entry, target.url())
    {
        return Err("its webhook has another URL than --forward, where replays go");
    }
    if matches!(&entry.receiver, Receiver::NotSent { .. }) {
        return Err("its body did not arrive whole, so it cannot be sent again");
    }
    let original = &entry.request;
    let headers = match signing {
        Signing::AsItWas => original.headers.clone(),
        Signing::Anew => {
            let signature = match app.sandbox.get() {
                Some(sandbox) => sandbox.sign(entry),
                None => app.checker.sign(&original.body),
            };
            signed(
                &original.headers,
                &signature.ok_or("no secret to sign with was given")?,
            )
        }
    };
    let request = Arc::new(Request {
        method: original.method.clone(),
        path: original.path.clone(),
        headers,
        body: original.body.clone(),
    });
    let at = OffsetDateTime::now_utc();
    let checked = match app.sandbox.get() {
        Some(sandbox) => sandbox.check(entry, &request, at),
        None => check(app, &request, at).await,
    };
    let seq = app.add(NewEntry {
        at,
        source: match signing {
            Signing::AsItWas => Source::Replay,
            Signing::Anew => Source::SignedAnew,
        },
        of: Some(entry.seq),
        request: Arc::clone(&request),
        checked: Arc::new(checked),
        receiver: Receiver::Pending,
        answer: None,
        sandbox: entry.sandbox.clone(),
    });
    let app = Arc::clone(app);
    tokio::spawn(async move {
        let answer = exchange(&app, seq, &request, Extensions::new(), Some(TIMEOUT)).await;
        // The beginning is kept while it passes by.
        let mut body = answer.into_body();
        while let Some(Ok(_)) = body.frame().await {}
    });
    Ok(seq)
}

/// The headers with this signature in place of all others.
fn signed(headers: &HeaderMap, signature: &str) -> HeaderMap {
    let mut headers = headers.clone();
    if let (Ok(name), Ok(value)) = (
        SIGNATURE_HEADER.parse::<HeaderName>(),
        HeaderValue::from_str(signature),
    ) {
        headers.insert(name, value);
    }
    headers
}
