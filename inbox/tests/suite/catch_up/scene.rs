//! The stand-in, a receiver like the README's, and an inbox.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{FromRef, State};
use axum::http::StatusCode;
use axum::routing::post;
use ptolemy_webhooks::{Delivery, Verifier};
use ptolemy_webhooks_client::Client;
use ptolemy_webhooks_inbox::{CatchUp, CatchUpReport, Inbox, InboxError};
use ptolemy_webhooks_sandbox::{Builder, Retries, Sandbox};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::net::TcpListener;

use crate::database::Database;

pub(crate) const REDELIVER: &str = "/webhook-deliveries/{id}/redeliver";

/// The behaviour of the receiver.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Mode {
    /// Stores all deliveries.
    Up,
    /// Answers 503 and stores nothing.
    Down,
    /// Answers 202 and stores nothing.
    Forgetful,
    /// Stores all deliveries except `poison`.
    Picky,
}

#[derive(Clone, FromRef)]
struct App {
    verifier: Verifier,
    inbox: Inbox,
    mode: Arc<AtomicU8>,
}

async fn receive(
    State(App { inbox, mode, .. }): State<App>,
    delivery: Delivery,
) -> Result<StatusCode, InboxError> {
    let mode = mode.load(Ordering::SeqCst);
    if mode == Mode::Down as u8 {
        return Ok(StatusCode::SERVICE_UNAVAILABLE);
    }
    if mode == Mode::Forgetful as u8 {
        return Ok(StatusCode::ACCEPTED);
    }
    if mode == Mode::Picky as u8 && delivery.labels().event_id.as_deref() == Some("poison") {
        return Ok(StatusCode::BAD_REQUEST);
    }
    inbox.accept(&delivery).await?;
    Ok(StatusCode::ACCEPTED)
}

pub(crate) struct Scene<'a> {
    pub(crate) database: &'a Database,
    pub(crate) sandbox: Sandbox,
    pub(crate) client: Client,
    pub(crate) inbox: Inbox,
    pub(crate) webhook: String,
    mode: Arc<AtomicU8>,
}

impl<'a> Scene<'a> {
    pub(crate) async fn new(database: &'a Database) -> Self {
        Self::with(database, Sandbox::builder()).await
    }

    pub(crate) async fn with(database: &'a Database, builder: Builder) -> Self {
        let builder = builder.retries(Retries::new().attempts(1));
        Self::on(database, builder.start().await.unwrap()).await
    }

    pub(crate) async fn on(database: &'a Database, sandbox: Sandbox) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let registration = sandbox.register(&url).await;
        let inbox = database.inbox().await;
        let mode = Arc::new(AtomicU8::new(Mode::Up as u8));
        let app = Router::new().route("/", post(receive)).with_state(App {
            verifier: Verifier::new(registration.secret()),
            inbox: inbox.clone(),
            mode: mode.clone(),
        });
        tokio::spawn(async move { axum::serve(listener, app).await });
        let client = Client::builder(sandbox.token(), sandbox.workspace())
            .url(sandbox.url())
            .attempts(3)
            .delays(Duration::from_millis(1), Duration::from_millis(5))
            .attempt_timeout(Duration::from_millis(500))
            .call_timeout(Duration::from_secs(10))
            .build()
            .unwrap();
        Self {
            database,
            client,
            inbox,
            webhook: registration.id().to_owned(),
            mode,
            sandbox,
        }
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.store(mode as u8, Ordering::SeqCst);
    }

    /// Emits an event that happens now.
    pub(crate) async fn emit(&self, id: &str) {
        self.emit_type(id, "instrument.updated").await;
    }

    pub(crate) async fn emit_type(&self, id: &str, event_type: &str) {
        let now = self.sandbox.now().format(&Rfc3339).unwrap();
        let body = format!(
            r#"{{"id":"{id}","event_type":"{event_type}","created_at":"{now}","data":{{"id":"of {id}"}}}}"#
        );
        self.sandbox.emit_json(body).await;
    }

    /// Some events that the receiver stores, and others that fail.
    pub(crate) async fn outage(&self, before: usize, missed: usize) {
        self.set(Mode::Up);
        for number in 0..before {
            self.emit(&format!("before-{number}")).await;
        }
        self.set(Mode::Down);
        for number in 0..missed {
            self.emit(&format!("missed-{number}")).await;
        }
        self.set(Mode::Up);
    }

    /// A catch-up of everything until now.
    pub(crate) fn catch_up(&self) -> CatchUp {
        let now = OffsetDateTime::now_utc();
        self.inbox
            .catch_up(&self.client, self.webhook.as_str())
            .until(now)
            .quota_floor(0)
            .arrival_timeout(Duration::from_secs(10))
    }

    pub(crate) fn since_an_hour(&self) -> CatchUp {
        let hour = time::Duration::hours(1);
        self.catch_up().since(OffsetDateTime::now_utc() - hour)
    }

    pub(crate) async fn run(&self, catch_up: CatchUp) -> CatchUpReport {
        catch_up.plan().await.unwrap().run().await.unwrap()
    }

    pub(crate) async fn events(&self) -> i64 {
        self.database
            .number("SELECT count(*) FROM ptolemy_inbox")
            .await
    }

    /// Returns by how much the number of rows exceeds that of events.
    pub(crate) async fn repeated(&self) -> i64 {
        self.database
            .number("SELECT count(*) - count(DISTINCT event_id) FROM ptolemy_inbox")
            .await
    }

    pub(crate) async fn max_tries(&self) -> i64 {
        self.database
            .number("SELECT coalesce(max(tries), 0) FROM ptolemy_inbox_catch_up_event")
            .await
    }

    pub(crate) fn redeliveries(&self) -> usize {
        let calls = self.sandbox.calls();
        let redeliveries = calls
            .iter()
            .filter(|call| call.path().ends_with("/redeliver"));
        redeliveries.count()
    }
}
