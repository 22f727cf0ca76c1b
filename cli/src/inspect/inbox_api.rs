//! The inbox on the page: counts, dead letters, replay and discard.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::{get, post};
use http::{Request, Response, StatusCode};
use ptolemy_webhooks_inbox::{DeadLetter, DeadLetterId, Inbox, InboxError};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::inspect::api::{self, Shared};
use crate::inspect::app::{App, InboxState};
use crate::inspect::guard::error;
use crate::since;
use crate::stop::chain;
use crate::text;

/// How many dead letters are shown, and can be changed at once.
const MAX_LETTERS: u32 = 100;

pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/inbox", get(show))
        .route("/api/inbox/replay", post(replay))
        .route("/api/inbox/discard", post(discard))
}

#[derive(Serialize)]
struct Shown {
    stats: Counts,
    oldest_due_s: Option<f64>,
    dead: Vec<Letter>,
}

#[derive(Serialize)]
struct Counts {
    waiting: u64,
    retrying: u64,
    running: u64,
    dead: u64,
    /// The inbox does not count it.
    done: Option<u64>,
}

#[derive(Serialize)]
struct Letter {
    key: String,
    event_type: Option<String>,
    event_id: Option<String>,
    /// It is in the body, which is not read for a list.
    resource_id: Option<String>,
    attempts: u32,
    last_error: String,
    received_at: String,
    dead_since: String,
}

impl Letter {
    fn new(letter: DeadLetter) -> Self {
        Self {
            key: letter.id.to_string(),
            event_type: letter.event_type,
            event_id: letter.event_id,
            resource_id: None,
            attempts: letter.attempts,
            last_error: text::without_secrets(&letter.last_error).into_owned(),
            received_at: since::rfc3339(letter.received_at),
            dead_since: since::rfc3339(letter.died_at),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Chosen {
    keys: Vec<String>,
}

#[expect(
    clippy::result_large_err,
    reason = "an answer, made once for a request"
)]
fn opened(app: &App) -> Result<&Inbox, Response<Body>> {
    match &app.inbox {
        InboxState::Open(inbox) => Ok(inbox),
        InboxState::None => Err(error(
            StatusCode::NOT_FOUND,
            "no inbox is given: set DATABASE_URL",
        )),
        InboxState::Failed(clause) => Err(error(StatusCode::SERVICE_UNAVAILABLE, clause)),
    }
}

fn failed(fault: &InboxError) -> Response<Body> {
    error(StatusCode::BAD_GATEWAY, &chain(fault))
}

async fn show(State(app): Shared) -> Response<Body> {
    let inbox = match opened(&app) {
        Ok(inbox) => inbox,
        Err(answer) => return answer,
    };
    let (stats, dead) = match (
        inbox.stats().await,
        inbox.dead_letters().page(None, MAX_LETTERS).await,
    ) {
        (Ok(stats), Ok(dead)) => (stats, dead),
        (Err(fault), _) | (_, Err(fault)) => return failed(&fault),
    };
    let shown = Shown {
        stats: Counts {
            waiting: stats.waiting(),
            retrying: stats.retrying,
            running: stats.running,
            dead: stats.dead,
            done: None,
        },
        oldest_due_s: stats.oldest_due.map(|age| age.as_secs_f64()),
        dead: dead.into_iter().map(Letter::new).collect(),
    };
    api::json(StatusCode::OK, &shown)
}

/// `POST /api/inbox/replay`
async fn replay(State(app): Shared, request: Request<Body>) -> Response<Body> {
    change(&app, request, Change::Replay).await
}

/// `POST /api/inbox/discard`
async fn discard(State(app): Shared, request: Request<Body>) -> Response<Body> {
    change(&app, request, Change::Discard).await
}

#[derive(Clone, Copy)]
enum Change {
    Replay,
    Discard,
}

/// Changes each of the chosen letters, and answers with how many have changed.
async fn change(app: &App, request: Request<Body>, change: Change) -> Response<Body> {
    let (inbox, ids) = match chosen(app, request).await {
        Ok(chosen) => chosen,
        Err(answer) => return answer,
    };
    let letters = inbox.dead_letters();
    let mut count = 0;
    for id in ids {
        let changed = match change {
            Change::Replay => letters.replay(id).await,
            Change::Discard => letters.discard(id).await,
        };
        match changed {
            Ok(is_changed) => count += u32::from(is_changed),
            Err(fault) => return failed(&fault),
        }
    }
    api::json(StatusCode::OK, &json!({ "count": count }))
}

/// Reads which letters are meant.
async fn chosen(
    app: &App,
    request: Request<Body>,
) -> Result<(&Inbox, Vec<DeadLetterId>), Response<Body>> {
    let inbox = opened(app)?;
    let chosen: Chosen = api::parse(request).await?;
    if chosen.keys.len() > MAX_LETTERS as usize {
        let clause = "more than 100 keys at once";
        return Err(error(StatusCode::BAD_REQUEST, clause));
    }
    let keys: BTreeSet<&String> = chosen.keys.iter().collect();
    let ids: Result<Vec<_>, _> = keys.into_iter().map(|key| key.parse()).collect();
    let ids = ids.map_err(|_| error(StatusCode::BAD_REQUEST, "a key is not the id of a letter"))?;
    Ok((inbox, ids))
}
