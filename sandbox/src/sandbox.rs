//! The sandbox as a test sees it.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, Uri};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};

use crate::api;
use crate::connection;
use crate::engine::Engine;
use crate::log::{Call, WebhookState};
use crate::plan::NextCalls;
use crate::registration::Registration;
use crate::role::Role;
use crate::settings::Settings;
use crate::shape::Shape;
use crate::state::{Shared, State};

/// A local stand-in for Ptolemy, on its own port of 127.0.0.1, with one workspace.
///
/// It runs on its own thread until it is dropped. When `drop` returns, all tasks have ended and the
/// port is free.
///
/// If it is dropped in a panic, it prints its seed and its shapes to stderr.
pub struct Sandbox {
    pub(crate) shared: Arc<Shared>,
    pub(crate) engine: Engine,
    seed: u64,
    shapes: Vec<Shape>,
    url: String,
    workspace: String,
    token: String,
}

impl Sandbox {
    pub(crate) fn from_settings(settings: Settings) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, settings.port))?;
        listener.set_nonblocking(true)?;
        let url = format!("http://{}{}", listener.local_addr()?, api::BASE);
        let seed = settings.seed.unwrap_or_else(|| fastrand::u64(..));
        let shapes = settings.shapes.clone();
        let state = State::new(settings, seed);
        let workspace = state.workspace.clone();
        let token = state.tokens.first().map(|(token, _)| token.clone());
        let shared = Arc::new(Shared::new(state));
        Ok(Self {
            engine: Engine::start(listener, Arc::clone(&shared))?,
            shared,
            seed,
            shapes,
            url,
            workspace,
            token: token.unwrap_or_default(),
        })
    }

    /// Ends all tasks and frees the port, like `drop`, but without blocking the thread.
    pub async fn stop(mut self) {
        self.engine.stop().await;
    }

    /// Returns the base URL of the API, such as `http://127.0.0.1:49152/v1`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the slug of the workspace.
    #[must_use]
    pub fn workspace(&self) -> &str {
        &self.workspace
    }

    /// Returns a token with the role Admin.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Returns a new token with another role.
    #[must_use]
    pub fn token_with(&self, role: Role) -> String {
        let mut state = self.shared.lock();
        let token = state.random.token();
        state.tokens.push((token.clone(), role));
        token
    }

    /// Returns the seed of all ids, secrets, tokens and random faults.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Returns the shapes that are on.
    #[must_use]
    pub fn shapes(&self) -> &[Shape] {
        &self.shapes
    }

    /// Registers a receiver for all event types, through the API: `POST /webhooks`, then
    /// `PUT /webhooks/{id}/subscriptions` with `["*"]`.
    ///
    /// # Panics
    ///
    /// Panics if a call fails, for example because a fault is planned for it or the URL is invalid.
    #[expect(clippy::panic, reason = "documented, for tests")]
    pub async fn register(&self, receiver_url: impl AsRef<str>) -> Registration {
        let body = json!({ "url": receiver_url.as_ref(), "active": true });
        let created = self.call(Method::POST, "/webhooks", &body).await;
        let text = |name: &str| created.get(name)?.as_str().map(str::to_owned);
        let (Some(id), Some(secret)) = (text("id"), text("secret")) else {
            panic!("the webhook was created, and the answer lacks its id or secret");
        };
        let path = format!("/webhooks/{id}/subscriptions");
        self.call(Method::PUT, &path, &json!(["*"])).await;
        Registration { id, secret }
    }

    /// Plans a fault for the next call of the API.
    pub fn next_call(&self) -> NextCalls<'_> {
        self.next_calls(1)
    }

    /// Plans a fault for the next `calls` calls of the API.
    pub fn next_calls(&self, calls: usize) -> NextCalls<'_> {
        NextCalls::new(&self.shared, calls)
    }

    /// Returns the calls of the API in the order in which they ended, as many as are kept.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.shared.lock().calls.iter().cloned().collect()
    }

    /// Returns how many requests had no token of this sandbox, or named another workspace or no
    /// documented path. They are not among the [`calls`](Self::calls).
    #[must_use]
    pub fn strangers(&self) -> usize {
        self.shared.lock().strangers
    }

    /// Returns the webhooks as they stand.
    #[must_use]
    pub fn webhooks(&self) -> Vec<WebhookState> {
        let state = self.shared.lock();
        let webhooks = state.webhooks.iter();
        webhooks
            .map(|webhook| WebhookState {
                id: webhook.id.clone(),
                url: webhook.url.clone(),
                label: webhook.label.clone(),
                active: webhook.active,
                subscriptions: webhook
                    .subscriptions
                    .iter()
                    .map(|subscription| subscription.event_type.clone())
                    .collect(),
            })
            .collect()
    }

    /// Returns the secret that signs the deliveries of a webhook now.
    #[must_use]
    pub fn live_secret(&self, webhook_id: &str) -> Option<String> {
        let state = self.shared.lock();
        state
            .webhook(webhook_id)
            .map(|webhook| webhook.secret.clone())
    }

    /// Sets how many calls of the API are left.
    pub fn set_quota(&self, calls: u64) {
        self.shared.lock().quota = calls;
    }

    /// Makes every cursor that was given out expire.
    pub fn expire_cursors(&self) {
        self.shared.lock().cursors.expire();
    }

    /// Makes a call of the sandbox's own, and returns the JSON of its answer.
    #[expect(clippy::panic, reason = "the caller documents it")]
    async fn call(&self, method: Method, path: &str, body: &Value) -> Value {
        let what = format!("{method} {path}");
        let url = format!("{}/workspaces/{}{path}", self.url, self.workspace);
        let request = Request::builder()
            .method(method)
            .uri(url)
            .header(AUTHORIZATION, format!("Bearer {}", self.token))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body.to_string())));
        let answer = match request {
            Ok(request) => self.engine.run(exchange(request)).await,
            Err(error) => Err(error.to_string()),
        };
        match answer {
            Ok((status @ 200..=299, body)) => {
                let _ = status;
                serde_json::from_slice(&body).unwrap_or_default()
            }
            Ok((status, body)) => panic!("{what}: {status} {}", String::from_utf8_lossy(&body)),
            Err(error) => panic!("{what}: {error}"),
        }
    }
}

/// Sends one request to the API and reads the whole answer.
async fn exchange(mut request: Request<Full<Bytes>>) -> Result<(u16, Bytes), String> {
    let url = request.uri().clone();
    if let Some(host) = url.authority() {
        let host = host.as_str().parse().map_err(|_| "host".to_owned())?;
        request.headers_mut().insert(http::header::HOST, host);
    }
    *request.uri_mut() = Uri::builder()
        .path_and_query(url.path())
        .build()
        .map_err(|error| error.to_string())?;
    let mut sender = connection::connect(&url)
        .await
        .map_err(|error| error.to_string())?;
    let response = sender
        .send_request(request)
        .await
        .map_err(|error| error.to_string())?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await;
    Ok((status, body.map_err(|error| error.to_string())?.to_bytes()))
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox")
            .field("url", &self.url)
            .field("workspace", &self.workspace)
            .field("seed", &self.seed)
            .field("shapes", &self.shapes)
            .finish_non_exhaustive()
    }
}

impl Drop for Sandbox {
    #[expect(clippy::print_stderr, reason = "the seed of a failed test")]
    fn drop(&mut self) {
        if thread::panicking() {
            let shapes: Vec<&str> = self.shapes.iter().map(|shape| shape.name()).collect();
            eprintln!(
                "sandbox: seed {}, shapes: {}",
                self.seed,
                if shapes.is_empty() {
                    "none".to_owned()
                } else {
                    shapes.join(", ")
                },
            );
        }
    }
}
