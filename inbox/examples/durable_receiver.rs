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
//! A proxy in front of it must limit connections and slow senders, and pass on [`PATH`] alone: the
//! other paths are for Prometheus and for the orchestrator.
//!
//! On SIGTERM the process ends within 25 s.

use std::error::Error;
use std::future::{IntoFuture as _, poll_fn};
use std::io::{self, IsTerminal as _};
use std::pin::pin;
use std::process::ExitCode;
use std::task::Poll;
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
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::time::{interval, sleep, timeout};
use tower_http::timeout::TimeoutLayer;
use tracing_subscriber::EnvFilter;

const PATH: &str = "/webhooks/ptolemy";

/// How long a request may take. Ptolemy waits 10 s for a response; an accept takes 5 s at most.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(8);

/// How long open requests may take after the signal: as long as an accept may take.
const GRACE: Duration = Duration::from_secs(5);

/// How long the process may run after the signal. The worker takes 17 s at most, unless handlers
/// block its threads.
const STOP_TIMEOUT: Duration = Duration::from_secs(23);

pub(crate) type Ended = Result<(), Box<dyn Error + Send + Sync>>;

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

/// Accepts and handles until the signal; then lets requests and handlers finish in time.
pub(crate) async fn run<F, Fut>(
    app: App,
    listener: TcpListener,
    handler: F,
    stopped: watch::Receiver<()>,
) -> Ended
where
    F: Fn(Event, Attempt) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let stopped = || {
        let mut stopped = stopped.clone();
        async move { drop(stopped.changed().await) }
    };
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

/// Runs `start` to its end on its own threads, and sends it the signal when `stop` ends.
///
/// Handlers that block all of those threads also block their signals and timers, so this thread
/// waits for the signal, and ends the process without them after `STOP_TIMEOUT`.
pub(crate) fn run_until<Fut>(
    stop: impl Future<Output = ()>,
    start: impl FnOnce(watch::Receiver<()>) -> Fut,
) -> Ended
where
    Fut: Future<Output = Ended> + Send + 'static,
{
    let threads = Runtime::new()?;
    let (stopping, stopped) = watch::channel(());
    let ended = async {
        let mut stop = pin!(stop);
        // It listens from its first poll on, which must come before the first request.
        if poll_fn(|cx| Poll::Ready(stop.as_mut().poll(cx).is_ready())).await {
            return Ok(());
        }
        let mut running = threads.spawn(start(stopped));
        tokio::select! {
            ended = &mut running => return ended?,
            () = stop => drop(stopping),
        }
        match timeout(STOP_TIMEOUT, running).await {
            Ok(ended) => ended?,
            Err(_) => {
                tracing::warn!(
                    "handlers block their threads: they are retried after the next start"
                );
                Ok(())
            }
        }
    };
    let ended = Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(ended);
    threads.shutdown_background();
    ended
}

/// The recorder of all metrics. Histograms without buckets would be summaries, which cannot be
/// added up over processes.
fn recorder() -> Result<PrometheusHandle, BuildError> {
    let powers = |first, factor, count| -> Vec<f64> {
        let powers = iter::successors(Some(first), |it| Some(it * factor));
        powers.take(count).collect()
    };
    let seconds = [0.001, 0.01, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
    let of_handlers = [0.001, 0.01, 0.1, 1.0, 10.0, 30.0, 60.0, 300.0, 900.0];
    let of_checks = [1e-5, 2.5e-5, 1e-4, 2.5e-4, 1e-3, 2.5e-3, 1e-2];
    let named = |end: &str| Matcher::Suffix(end.to_owned());
    let metrics = PrometheusBuilder::new()
        .set_buckets_for_metric(named("_accept_duration_seconds"), &seconds)?
        .set_buckets_for_metric(named("_handler_duration_seconds"), &of_handlers)?
        .set_buckets_for_metric(named("_verification_duration_seconds"), &of_checks)?
        .set_buckets_for_metric(named("_commit_deliveries"), &powers(1.0, 2.0, 9))?
        .set_buckets_for_metric(named("_size_bytes"), &powers(256.0, 4.0, 7))?
        .install_recorder()?;
    describe_metrics();
    let upkeep = metrics.clone();
    tokio::spawn(async move {
        // Frees what histograms have recorded, also if nobody asks for it.
        let mut times = interval(Duration::from_secs(5));
        loop {
            times.tick().await;
            upkeep.run_upkeep();
        }
    });
    Ok(metrics)
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

/// The error and its causes; some repeat their cause.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    for cause in iter::successors(error.source(), |&cause| cause.source()) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

async fn start(stopped: watch::Receiver<()>) -> Ended {
    let metrics = recorder()?;
    let database = env::var("DATABASE_URL").unwrap_or_else(|_| "sqlite://inbox.db".to_owned());
    // The URL may have a password, so the error does not show it.
    let inbox = Inbox::connect(&database).await;
    let app = App {
        verifier: Verifier::from_env()?,
        inbox: inbox.map_err(|error| format!("DATABASE_URL: {}", chain(&error)))?,
        metrics,
    };
    let listen = env::var("PTOLEMY_LISTEN").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(&listen).await;
    let listener = listener.map_err(|error| format!("PTOLEMY_LISTEN: {listen}: {error}"))?;
    tracing::info!("listening on http://{}{PATH}", listener.local_addr()?);
    run(app, listener, handle, stopped).await
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into()))
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .init();
    match run_until(signal(), start) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("durable_receiver: {}", chain(&*error));
            ExitCode::FAILURE
        }
    }
}
