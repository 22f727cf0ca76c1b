//! The sandbox on the page: its webhooks and deliveries; emitting, faults, the clock, redelivering.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::{get, post};
use http::{Request, Response, StatusCode};
use ptolemy_webhooks::samples;
use ptolemy_webhooks_sandbox::{LoggedDelivery, Sandbox, Status, WebhookState};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::commands::sandbox::{fault_names, outcome_words, plan_fault};
use crate::inspect::api::{self, Shared};
use crate::inspect::app::App;
use crate::inspect::entry::millis;
use crate::inspect::guard::error;
use crate::since;
use crate::text;

/// How many deliveries are shown.
const MAX_DELIVERIES: usize = 200;

/// How many deliveries a fault can be planned for at once.
const MAX_TIMES: usize = 1_000;

/// How far the clock can be moved at once, in seconds: ten years.
const MAX_ADVANCE_S: u64 = 3_650 * 86_400;

pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/sandbox", get(show))
        .route("/api/sandbox/emit", post(emit))
        .route("/api/sandbox/fault", post(fault))
        .route("/api/sandbox/advance", post(advance))
        .route("/api/sandbox/redeliver", post(redeliver))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Emit {
    event_type: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanFault {
    name: String,
    #[serde(default)]
    argument: Option<String>,
    #[serde(default)]
    times: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    #[serde(default)]
    seconds: Option<u64>,
    #[serde(default)]
    to_next_retry: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Redeliver {
    delivery_id: String,
}

#[expect(
    clippy::result_large_err,
    reason = "an answer, made once for a request"
)]
fn sandbox(app: &App) -> Result<Arc<Sandbox>, Response<Body>> {
    let sandbox = app.sandbox.get().and_then(|handle| handle.sandbox());
    sandbox.ok_or_else(|| error(StatusCode::NOT_FOUND, "this command runs no sandbox"))
}

async fn show(State(app): Shared) -> Response<Body> {
    let sandbox = match sandbox(&app) {
        Ok(sandbox) => sandbox,
        Err(answer) => return answer,
    };
    let samples: Vec<_> = samples::all().map(|sample| sample.event_type()).collect();
    let faults = fault_names();
    let faults = faults
        .iter()
        .map(|(name, argument)| json!({ "name": name, "argument": argument }));
    let webhooks = sandbox.webhooks();
    let log = sandbox.last_deliveries(MAX_DELIVERIES);
    let shown = json!({
        "now": since::rfc3339(sandbox.now()),
        "samples": samples,
        "faults": faults.collect::<Vec<_>>(),
        "webhooks": webhooks.iter().map(webhook).collect::<Vec<_>>(),
        "deliveries": log.deliveries().iter().map(delivery).collect::<Vec<_>>(),
        "strangers": sandbox.strangers(),
    });
    api::json(StatusCode::OK, &shown)
}

fn webhook(webhook: &WebhookState) -> Value {
    json!({
        "id": webhook.id(),
        "url": text::url(webhook.url()),
        "active": webhook.is_active(),
        "subscriptions": webhook.subscriptions(),
    })
}

fn delivery(delivery: &LoggedDelivery) -> Value {
    let attempts = delivery.attempts().iter();
    let attempts = attempts.map(|attempt| {
        json!({
            "at": since::rfc3339(attempt.at()),
            "outcome": outcome_words(attempt.outcome()),
            "fault": attempt.fault(),
            "ms": millis(attempt.took()),
        })
    });
    let status = match delivery.status() {
        Status::Succeeded => "succeeded",
        Status::Failed => "failed",
        _ => "pending",
    };
    json!({
        "id": delivery.id(),
        "event_id": text::without_secrets(delivery.event_id()),
        "event_type": text::without_secrets(delivery.event_type()),
        "webhook_id": delivery.webhook_id(),
        "status": status,
        "attempts": attempts.collect::<Vec<_>>(),
        "next_at": delivery.next_attempt_at().map(since::rfc3339),
    })
}

/// Parses the body and returns the sandbox.
async fn asked<T: serde::de::DeserializeOwned>(
    app: &App,
    request: Request<Body>,
) -> Result<(Arc<Sandbox>, T), Response<Body>> {
    Ok((sandbox(app)?, api::parse(request).await?))
}

async fn emit(State(app): Shared, request: Request<Body>) -> Response<Body> {
    let (sandbox, asked): (_, Emit) = match asked(&app, request).await {
        Ok(asked) => asked,
        Err(answer) => return answer,
    };
    let Some(sample) = samples::of(&asked.event_type) else {
        return error(StatusCode::BAD_REQUEST, "no sample has this event type");
    };
    // It ends with the first attempts, which the page does not wait for.
    in_background(async move { drop(sandbox.emit(sample).await) });
    api::empty(StatusCode::ACCEPTED)
}

async fn fault(State(app): Shared, request: Request<Body>) -> Response<Body> {
    let (sandbox, asked): (_, PlanFault) = match asked(&app, request).await {
        Ok(asked) => asked,
        Err(answer) => return answer,
    };
    let times = asked.times.unwrap_or(1);
    if !(1..=MAX_TIMES).contains(&times) {
        return error(StatusCode::BAD_REQUEST, "times has to be from 1 to 1000");
    }
    match plan_fault(&sandbox, &asked.name, asked.argument.as_deref(), times) {
        Ok(()) => api::empty(StatusCode::NO_CONTENT),
        Err(clause) => error(StatusCode::BAD_REQUEST, &clause),
    }
}

async fn advance(State(app): Shared, request: Request<Body>) -> Response<Body> {
    let (sandbox, asked): (_, Advance) = match asked(&app, request).await {
        Ok(asked) => asked,
        Err(answer) => return answer,
    };
    let time = match (asked.seconds, asked.to_next_retry) {
        (Some(seconds), false) if seconds <= MAX_ADVANCE_S => Duration::from_secs(seconds),
        (None, true) => match until_next_retry(&sandbox) {
            Some(time) => time,
            None => return error(StatusCode::CONFLICT, "no retry is due at any time"),
        },
        _ => {
            let clause = "expected either seconds, at most ten years, or to_next_retry";
            return error(StatusCode::BAD_REQUEST, clause);
        }
    };
    let now = in_background(async move {
        sandbox.advance(time).await;
        sandbox.now()
    });
    match now.await {
        Ok(now) => api::json(StatusCode::OK, &json!({ "now": since::rfc3339(now) })),
        Err(_) => error(StatusCode::INTERNAL_SERVER_ERROR, "the command ends"),
    }
}

/// The time until the earliest attempt that is due later.
fn until_next_retry(sandbox: &Sandbox) -> Option<Duration> {
    let log = sandbox.log();
    let times = log.deliveries().iter();
    let next = times.filter_map(LoggedDelivery::next_attempt_at).min()?;
    Some(Duration::try_from(next - sandbox.now()).unwrap_or(Duration::ZERO))
}

async fn redeliver(State(app): Shared, request: Request<Body>) -> Response<Body> {
    let (sandbox, asked): (_, Redeliver) = match asked(&app, request).await {
        Ok(asked) => asked,
        Err(answer) => return answer,
    };
    match sandbox.redeliver(&asked.delivery_id).await {
        true => api::empty(StatusCode::ACCEPTED),
        false => error(StatusCode::NOT_FOUND, "no delivery has this id"),
    }
}

/// Continues if the page closes its connection.
fn in_background<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    tokio::spawn(work)
}
