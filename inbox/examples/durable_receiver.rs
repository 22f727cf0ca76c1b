//! A receiver that loses nothing, to copy and change: axum, the inbox, a worker, metrics and
//! probes.
//!
//! | variable | meaning |
//! | --- | --- |
//! | `PTOLEMY_WEBHOOK_SECRET` or `PTOLEMY_WEBHOOK_SECRET_FILE` | the webhook's secret, or the file that has it |
//! | `DATABASE_URL` | `sqlite://FILE` or `postgres://…`; `sqlite://inbox.db` unless set |
//! | `PTOLEMY_LISTEN` | address and port; `127.0.0.1:3000` unless set |
//! | `RUST_LOG` | a filter for the log; `info` unless set |
//!
//! A proxy in front of it must limit connections and slow senders, and pass on [`PATH`] only: the
//! other paths are for Prometheus and for the orchestrator. On SIGTERM the process ends within 25
//! s.

use std::error::Error;
use std::future::IntoFuture as _;
use std::io::{self, IsTerminal as _};
use std::time::Duration;
use std::{env, iter};

use axum::Router;
use axum::extract::{FromRef, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use ptolemy_webhooks::{Delivery, Event, Rejection, Verifier};
use ptolemy_webhooks_inbox::{Attempt, Failure, Inbox, InboxError, describe_metrics};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{interval, sleep};
use tower_http::timeout::TimeoutLayer;
use tracing_subscriber::EnvFilter;

const PATH: &str = "/webhooks/ptolemy";

/// Ptolemy waits this long for a response.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How long open requests may take after the signal; as long as an accept may take. The worker
/// takes 17 s at most meanwhile, so the process ends within the 25 s.
const GRACE: Duration = Duration::from_secs(5);

#[derive(Clone, FromRef)]
pub(crate) struct App {
    pub(crate) verifier: Verifier,
    pub(crate) inbox: Inbox,
    pub(crate) metrics: PrometheusHandle,
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
    let delivery = delivery.inspect_err(|rejection| tracing::warn!(%rejection, "rejected"))?;
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

/// Whether a delivery would be accepted. It does not look at the backlog, or a slow handler would
/// take all replicas out of the load balancer; alert on `ptolemy_inbox_oldest_due_age_seconds`
/// instead.
async fn readyz(State(inbox): State<Inbox>) -> Result<StatusCode, InboxError> {
    inbox.ready().await?;
    Ok(StatusCode::OK)
}

async fn metrics(State(metrics): State<PrometheusHandle>) -> String {
    metrics.render()
}

fn router(app: App) -> Router {
    Router::new()
        .route(PATH, post(receive))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .layer(TimeoutLayer::with_status_code(
            StatusCode::REQUEST_TIMEOUT,
            REQUEST_TIMEOUT,
        ))
        .with_state(app)
}

/// Accepts and handles until `stop` ends; then lets requests and handlers finish in time.
pub(crate) async fn run<F, Fut>(
    app: App,
    listener: TcpListener,
    handler: F,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Box<dyn Error>>
where
    F: Fn(Event, Attempt) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let (stopping, stopped) = watch::channel(());
    let stopped = || {
        let mut stopped = stopped.clone();
        async move { drop(stopped.changed().await) }
    };
    tokio::spawn(async move {
        stop.await;
        drop(stopping);
    });
    let worker = app.inbox.worker().concurrency(8);
    let worker = tokio::spawn(worker.graceful_shutdown(stopped()).run(handler));
    let server = axum::serve(listener, router(app)).with_graceful_shutdown(stopped());
    let served = async {
        tokio::select! {
            served = server.into_future() => served,
            () = async { stopped().await; sleep(GRACE).await } => Ok(()),
        }
    };
    // A worker that panics ends the process: accepting events that nobody handles would hide the
    // fault.
    let worked = async { worker.await.map_err(io::Error::other) };
    tokio::try_join!(served, worked)?;
    Ok(())
}

fn recorder() -> Result<PrometheusHandle, BuildError> {
    let seconds = [0.001, 0.01, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
    let powers: Vec<_> = iter::successors(Some(1.0), |it| Some(it * 4.0))
        .take(11)
        .collect();
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &seconds)?
        .set_buckets_for_metric(Matcher::Suffix("_bytes".to_owned()), &powers)?
        .set_buckets_for_metric(Matcher::Suffix("_commit_deliveries".to_owned()), &powers)?
        .install_recorder()
}

async fn signal() {
    let interrupted = tokio::signal::ctrl_c();
    #[cfg(unix)]
    if let Ok(mut terminated) =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
    {
        return tokio::select! {
            _ = interrupted => {}
            _ = terminated.recv() => {}
        };
    }
    drop(interrupted.await);
}

async fn start() -> Result<(), Box<dyn Error>> {
    let metrics = recorder()?;
    describe_metrics();
    let upkeep = metrics.clone();
    tokio::spawn(async move {
        // Frees the recorded values of histograms, even if nobody scrapes them.
        let mut times = interval(Duration::from_secs(5));
        loop {
            times.tick().await;
            upkeep.run_upkeep();
        }
    });
    let database = env::var("DATABASE_URL").unwrap_or_else(|_| "sqlite://inbox.db".to_owned());
    let app = App {
        verifier: Verifier::from_env()?,
        inbox: Inbox::connect(&database).await?,
        metrics,
    };
    let listen = env::var("PTOLEMY_LISTEN").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(&listen).await?;
    tracing::info!("listening on http://{}{PATH}", listener.local_addr()?);
    run(app, listener, handle, signal()).await
}

fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into()))
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .init();
    let runtime = tokio::runtime::Runtime::new()?;
    let ended = runtime.block_on(start());
    // A handler that blocks its thread does not keep the process from ending.
    runtime.shutdown_background();
    ended
}
