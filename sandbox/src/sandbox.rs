//! The sandbox as a test sees it.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::thread;

use ptolemy_webhooks::{Secret, SecretError};

use crate::call::Call;
use crate::call_plan::NextCalls;
use crate::delivery_fault::{Order, When};
use crate::delivery_plan::NextDeliveries;
use crate::engine::Engine;
use crate::role::Role;
use crate::route;
use crate::settings::Settings;
use crate::shape::Shape;
use crate::state::{Shared, State};
use crate::webhook_state::WebhookState;

/// A local stand-in for Ptolemy, on its own port of 127.0.0.1, with one workspace.
///
/// It runs on its own thread until it is dropped. When `drop` returns, all tasks have ended and the
/// port is free.
///
/// If it is dropped in a panic, it prints its seed and its shapes to stderr.
///
/// # Examples
///
/// ```
/// use ptolemy_webhooks::samples;
/// use ptolemy_webhooks_sandbox::Sandbox;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// # use axum::{Router, http::StatusCode, routing::post};
/// # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
/// # let my_receiver_url = format!("http://{}/", listener.local_addr().unwrap());
/// # let app = Router::new().route("/", post(async || StatusCode::NO_CONTENT));
/// # tokio::spawn(async move { axum::serve(listener, app).await });
/// let sandbox = Sandbox::start().await;
/// let webhook = sandbox.register(my_receiver_url).await;
/// sandbox.emit(samples::market_created()).await;
/// let log = sandbox.settle().await; // waits for the delivery, and for retries if it fails
///
/// assert_eq!(log.deliveries().len(), 1);
/// assert!(webhook.secret_text().starts_with("whsec_")); // for the receiver's `Verifier`
/// # }
/// ```
pub struct Sandbox {
    pub(crate) shared: Arc<Shared>,
    pub(crate) engine: Engine,
    seed: u64,
    shapes: Vec<Shape>,
    pub(crate) url: String,
    pub(crate) workspace: String,
    workspace_id: String,
    pub(crate) token: String,
}

impl Sandbox {
    pub(crate) fn from_settings(settings: Settings) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, settings.port))?;
        listener.set_nonblocking(true)?;
        let url = format!("http://{}{}", listener.local_addr()?, route::BASE);
        let seed = settings.seed.unwrap_or_else(|| fastrand::u64(..));
        let shapes = settings.shapes.clone();
        let state = State::new(settings, seed);
        let workspace = state.workspace.clone();
        let workspace_id = state.workspace_id.clone();
        let token = state.tokens.first().map(|(token, _)| token.clone());
        let shared = Arc::new(Shared::new(state));
        Ok(Self {
            engine: Engine::start(listener, Arc::clone(&shared))?,
            shared,
            seed,
            shapes,
            url,
            workspace,
            workspace_id,
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

    /// Returns the id of the workspace, which paths can name instead of the slug.
    #[must_use]
    pub fn workspace_id(&self) -> &str {
        &self.workspace_id
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

    /// Makes a token invalid: calls with it are answered with 401 from then on. Tokens do not
    /// expire by themselves. If its own [`token`](Self::token) is revoked, the sandbox cannot
    /// [`register`](Self::register) receivers.
    pub fn revoke(&self, token: &str) {
        let mut state = self.shared.lock();
        state.tokens.retain(|(known, _)| known != token);
    }

    /// Returns the seed of all ids, secrets, tokens and random faults.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Returns the shapes that are switched on.
    #[must_use]
    pub fn shapes(&self) -> &[Shape] {
        &self.shapes
    }

    /// Plans a fault for the next delivery.
    pub fn next_delivery(&self) -> NextDeliveries<'_> {
        self.next_deliveries(1)
    }

    /// Plans a fault for the next `deliveries` deliveries.
    pub fn next_deliveries(&self, deliveries: usize) -> NextDeliveries<'_> {
        NextDeliveries::new(&self.shared, When::Next(deliveries))
    }

    /// Plans a fault that any delivery can have, with this probability from 0 to 1. Planned faults
    /// come first.
    ///
    /// # Panics
    ///
    /// Panics if the probability is not a number from 0 to 1.
    pub fn random_deliveries(&self, probability: f64) -> NextDeliveries<'_> {
        assert!(
            (0.0..=1.0).contains(&probability),
            "probability {probability} is not a number from 0 to 1",
        );
        NextDeliveries::new(&self.shared, When::Chance(probability))
    }

    /// Keeps back the next `deliveries` new deliveries, and sends them in reverse order, one after
    /// another, when the last of them is emitted, or at the next [`settle`](Self::settle) or
    /// [`advance`](Self::advance).
    pub fn reorder_deliveries(&self, deliveries: usize) {
        let mut state = self.shared.lock();
        state
            .delivery_faults
            .plan_group(Order::Reversed, deliveries);
    }

    /// Keeps back the next `deliveries` new deliveries, and sends them at the same time when the
    /// last of them is emitted, or at the next [`settle`](Self::settle) or
    /// [`advance`](Self::advance). At most 64 connections are open at once.
    pub fn burst_deliveries(&self, deliveries: usize) {
        let mut state = self.shared.lock();
        state.delivery_faults.plan_group(Order::AtOnce, deliveries);
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

    /// Returns how many requests were not for this workspace: without a valid token, for another
    /// workspace, or with a path outside of workspaces. They are not among the
    /// [`calls`](Self::calls), and use up neither quota nor planned faults.
    #[must_use]
    pub fn strangers(&self) -> usize {
        self.shared.lock().strangers
    }

    /// Returns the current webhooks.
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

    /// Sets the secret that signs the deliveries of a webhook from now on, for a receiver that
    /// already has one. Returns `false` if no webhook has the id.
    ///
    /// The API has no such call: there Ptolemy generates each secret. The replaced secret counts as
    /// [previous](NextDeliveries::previous_secret), as after a rotation.
    ///
    /// # Errors
    ///
    /// Returns an error if a receiver could not have the text as its secret, because
    /// [`Secret::new`] rejects it.
    pub fn set_secret(
        &self,
        webhook_id: &str,
        secret: impl Into<String>,
    ) -> Result<bool, SecretError> {
        let secret = secret.into();
        Secret::new(secret.as_str())?;
        let mut state = self.shared.lock();
        let Some(webhook) = state.webhook_mut(webhook_id) else {
            return Ok(false);
        };
        webhook.previous = Some(std::mem::replace(&mut webhook.secret, secret));
        Ok(true)
    }

    /// Returns how many attempts were made since the sandbox was started. It costs less than the
    /// whole [`log`](Self::log).
    #[must_use]
    pub fn attempts(&self) -> usize {
        self.shared.lock().attempts
    }

    /// Sets how many calls of the API are left.
    pub fn set_quota(&self, calls: u64) {
        self.shared.lock().quota = calls;
    }

    /// Expires every cursor that was issued.
    pub fn expire_cursors(&self) {
        self.shared.lock().cursors.expire();
    }
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
