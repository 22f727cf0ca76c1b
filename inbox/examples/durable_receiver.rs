//! A receiver that loses nothing, to copy and change: axum, the inbox, a worker, metrics, probes.
//!
//! | variable | meaning |
//! | --- | --- |
//! | `PTOLEMY_WEBHOOK_SECRET` or `PTOLEMY_WEBHOOK_SECRET_FILE` | the webhook's secret, or the file that has it |
//! | `DATABASE_URL` | `sqlite://FILE` or `postgres://…`; `sqlite://inbox.db` unless set |
//! | `PTOLEMY_LISTEN` | address and port; `127.0.0.1:3000` unless set |
//! | `RUST_LOG` | a filter for the log; `info` unless set |
//!
//! On SIGTERM it ends within 25 s. A proxy in front of it must limit connections and slow senders,
//! and pass on [`PATH`] alone: the other paths are for Prometheus and for the orchestrator.

use std::io::{self, IsTerminal as _};
use std::time::Duration;
use std::{env, process, thread};

use anyhow::Context as _;
use axum::Router;
use axum::extract::{FromRef, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use ptolemy_webhooks::{Delivery, Event, Rejection, Verifier};
use ptolemy_webhooks_inbox::{Attempt, Failure, Inbox, InboxError};
use tokio::net::TcpListener;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tower_http::timeout::TimeoutLayer;
use tracing_subscriber::EnvFilter;

const PATH: &str = "/webhooks/ptolemy";
/// For a request. Ptolemy waits 10 s for a response; an accept takes 5 s at most.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(8);
/// For open requests after the signal: as long as an accept may take.
const GRACE: Duration = Duration::from_secs(5);
/// For the process after the signal. The worker takes 17 s at most, unless handlers block threads.
const STOP_TIMEOUT: Duration = Duration::from_secs(23);

#[derive(Clone, FromRef)]
pub(crate) struct App {
    pub(crate) verifier: Verifier,
    pub(crate) inbox: Inbox,
}

/// Your work. It may run twice for one event: make it idempotent, or run it in a transaction of the
/// inbox's database (`Worker::run_in_postgres_transaction`).
async fn handle(event: Event, attempt: Attempt) -> Result<(), Failure> {
    tracing::info!(event_type = %event.event_type, attempt = attempt.number(), "handled");
    Ok(()) // an error or a panic: tried again later
}

async fn receive(
    State(inbox): State<Inbox>,
    delivery: Result<Delivery, Rejection>,
) -> axum::response::Result<StatusCode> {
    // Anyone can send such a request; the metrics count them by reason.
    let delivery = delivery.inspect_err(|rejection| tracing::debug!(%rejection, "rejected"))?;
    inbox.accept(&delivery).await?; // on disk now; or 503, and Ptolemy retries
    Ok(StatusCode::ACCEPTED)
}

/// Whether this process works: restart it if it does not.
async fn healthz(State(inbox): State<Inbox>) -> StatusCode {
    let health = inbox.health();
    match health.workers_running > 0 && health.is_healthy() {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// Whether a delivery would be accepted; not the backlog, or a slow handler would take all replicas
/// out of the load balancer: alert on `ptolemy_inbox_oldest_due_age_seconds`.
async fn readyz(State(inbox): State<Inbox>) -> Result<(), InboxError> {
    inbox.ready().await
}

pub(crate) fn router(app: App, metrics: PrometheusHandle) -> Router {
    let timeout = TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, REQUEST_TIMEOUT);
    Router::new()
        .route(PATH, post(receive))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(async move || metrics.render()))
        .layer(timeout)
        .with_state(app)
}

fn recorder() -> anyhow::Result<PrometheusHandle> {
    let mut recorder = PrometheusBuilder::new();
    for (name, buckets) in ptolemy_webhooks_inbox::histogram_buckets() {
        recorder = recorder.set_buckets_for_metric(Matcher::Full(name.to_owned()), buckets)?;
    }
    let metrics = recorder.install_recorder()?;
    ptolemy_webhooks_inbox::describe_metrics();
    let upkeep = metrics.clone();
    tokio::spawn(async move {
        // Frees what histograms have recorded, also if nobody asks for it.
        loop {
            upkeep.run_upkeep();
            sleep(Duration::from_secs(5)).await;
        }
    });
    Ok(metrics)
}

/// Listens to SIGTERM and Ctrl-C, on a thread that handlers cannot block.
fn on_signal(stop: CancellationToken) -> Result<(), ctrlc::Error> {
    ctrlc::set_handler(move || {
        stop.cancel();
        thread::sleep(STOP_TIMEOUT);
        tracing::warn!("handlers block their threads: they are retried after the next start");
        process::exit(0);
    })
}

/// Accepts and handles until a signal; then lets requests and handlers finish in time.
pub(crate) async fn run<F, Fut>(handler: F) -> anyhow::Result<()>
where
    F: Fn(Event, Attempt) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let stop = CancellationToken::new();
    on_signal(stop.clone())?;
    let metrics = recorder()?;
    let database = env::var("DATABASE_URL").unwrap_or_else(|_| "sqlite://inbox.db".to_owned());
    let app = App {
        verifier: Verifier::from_env()?,
        // The URL may have a password, so the error does not show it.
        inbox: Inbox::connect(&database).await.context("DATABASE_URL")?,
    };
    let listen = env::var("PTOLEMY_LISTEN").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(&listen).await;
    let listener = listener.with_context(|| format!("PTOLEMY_LISTEN: {listen}"))?;
    tracing::info!("listening on http://{}{PATH}", listener.local_addr()?);

    let inbox = app.inbox.clone();
    let worker = inbox.worker().concurrency(8);
    let worker = worker.graceful_shutdown(stop.clone().cancelled_owned());
    let worker = tokio::spawn(worker.run(handler));
    let server = axum::serve(listener, router(app, metrics));
    let server = server.with_graceful_shutdown(stop.clone().cancelled_owned());
    let served = async {
        tokio::select! {
            served = server.into_future() => anyhow::Ok(served?),
            () = async { stop.cancelled().await; sleep(GRACE).await } => Ok(()),
        }
    };
    // A worker that panics ends the process, or it would accept events that nobody handles.
    tokio::try_join!(served, async { Ok(worker.await?) })?;
    inbox.close().await;
    Ok(())
}

fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into()))
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .init();
    let threads = tokio::runtime::Runtime::new()?;
    let ended = threads.block_on(run(handle));
    threads.shutdown_background(); // does not wait for work that blocks
    ended
}
