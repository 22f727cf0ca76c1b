//! The receiver that the tests kill and stop, with flags and output for them; see `--help`. To
//! start your own receiver, copy `inbox/examples/durable_receiver.rs`.

mod changes;
mod log;
mod output;
mod settings;
mod stop;
mod trace;

use std::error::Error;
use std::fmt;
use std::future::IntoFuture;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use axum::extract::{FromRef, State};
use axum::http::StatusCode;
use axum::routing::post;
use ptolemy_webhooks::{Delivery, Event, Rejection, Verifier};
use ptolemy_webhooks_inbox::{Attempt, Failure, Inbox, WrongEngine};
use settings::{Server, Settings};
use stop::Stop;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::time::sleep;
use tower_http::timeout::TimeoutLayer;

const PATH: &str = "/webhooks/ptolemy";

/// How long a request may take. Ptolemy waits 10 s for the response, the network's time included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(8);

/// How long open requests may continue after a signal to stop: as long as an accept may take.
const GRACE: Duration = Duration::from_secs(5);

#[derive(Clone, FromRef)]
struct App {
    verifier: Verifier,
    inbox: Inbox,
}

async fn receive(
    State(inbox): State<Inbox>,
    delivery: Result<Delivery, Rejection>,
) -> axum::response::Result<StatusCode> {
    let delivery = delivery.inspect_err(|rejection| log_refusal(rejection.status(), rejection))?;
    let accepted = inbox
        .accept(&delivery)
        .await
        .inspect_err(|error| log_refusal(error.status(), error))?;
    tracing::debug!(?accepted, "a delivery is on disk");
    Ok(StatusCode::ACCEPTED)
}

fn log_refusal(status: u16, error: &dyn Error) {
    log::line(format_args!("refused {status}: {}", chain(error)));
}

async fn serve(listener: TcpListener, app: App, stop: Stop) -> io::Result<()> {
    let router = Router::new()
        .route(PATH, post(receive))
        .layer(TimeoutLayer::with_status_code(
            StatusCode::REQUEST_TIMEOUT,
            REQUEST_TIMEOUT,
        ))
        .with_state(app);
    let (stopping, stopped) = oneshot::channel();
    let server = axum::serve(listener, router).with_graceful_shutdown(async {
        stop.requested().await;
        let _ = stopping.send(());
    });
    tokio::select! {
        result = server.into_future() => result,
        () = async {
            let _ = stopped.await;
            sleep(GRACE).await;
        } => {
            log::line("open connections were cut");
            Ok(())
        }
    }
}

/// Works until the signal to stop; then finishes its events or gives them back.
async fn work(
    inbox: Inbox,
    settings: Settings,
    stopped: oneshot::Receiver<()>,
) -> Result<(), WrongEngine> {
    let stopped = async {
        let _ = stopped.await;
    };
    if !settings.works {
        stopped.await;
        return Ok(());
    }
    let worker = inbox
        .worker()
        .concurrency(settings.concurrency.into())
        .lease(settings.lease)
        .backoff(
            Duration::from_secs(1).min(settings.longest_backoff),
            settings.longest_backoff,
        )
        .shutdown_timeout(settings.shutdown_timeout)
        .graceful_shutdown(stopped);
    if settings.in_transaction {
        return changes::record(worker, &settings.database, settings.work).await;
    }
    let work = settings.work;
    worker
        .run(move |event, attempt| handle(event, attempt, work))
        .await;
    Ok(())
}

async fn handle(event: Event, attempt: Attempt, work: Duration) -> Result<(), Failure> {
    sleep(work).await;
    output::print(output::handled(&event, &attempt)).await?;
    Ok(())
}

/// The reasons for an exit code other than 0.
enum Fault {
    /// It cannot work with this configuration.
    Misconfigured(String),
    Failed(String),
}

fn misconfigured(reason: impl fmt::Display) -> Fault {
    Fault::Misconfigured(reason.to_string())
}

fn failed(reason: impl fmt::Display) -> Fault {
    Fault::Failed(reason.to_string())
}

/// An error and its sources, without those that it quotes itself.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let cause = source.to_string();
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
        next = source.source();
    }
    text
}

async fn run(settings: Settings) -> Result<(), Fault> {
    let database = &settings.database;
    let inbox = if settings.in_transaction {
        changes::open(database, settings.concurrency).await?
    } else {
        let opened = Inbox::connect(database).await;
        opened.map_err(|error| misconfigured(format_args!("DATABASE_URL: {}", chain(&error))))?
    };

    let stop = Stop::listen().map_err(misconfigured)?;
    let (stopping, stopped) = oneshot::channel();
    let server = match &settings.server {
        Some(Server { verifier, listen }) => {
            let (listener, address) = bind(*listen).await?;
            log::line(format_args!("listening on http://{address}{PATH}"));
            let app = App {
                verifier: verifier.clone(),
                inbox: inbox.clone(),
            };
            Some((listener, app))
        }
        None => {
            log::line("working without a server");
            None
        }
    };
    let mut worker = tokio::spawn(work(inbox, settings, stopped));
    let served = tokio::select! {
        served = async {
            match server {
                Some((listener, app)) => serve(listener, app, stop).await,
                None => {
                    stop.requested().await;
                    Ok(())
                }
            }
        } => served,
        // Accepting events that nobody handles would hide the fault.
        ended = &mut worker => {
            return Err(match ended {
                Ok(Err(error)) => failed(chain(&error)),
                Ok(Ok(())) => failed("the worker ended by itself"),
                Err(panic) => failed(panic),
            });
        }
    };
    drop(stopping);
    let worked = worker.await.map_err(failed)?;
    worked.map_err(|error| failed(chain(&error)))?;
    served.map_err(failed)
}

async fn bind(listen: SocketAddr) -> Result<(TcpListener, SocketAddr), Fault> {
    let fault = |error| misconfigured(format_args!("{listen}: {error}"));
    let listener = TcpListener::bind(listen).await.map_err(fault)?;
    let address = listener.local_addr().map_err(fault)?;
    Ok((listener, address))
}

fn main() -> ExitCode {
    let ended = Settings::read().and_then(|settings| {
        trace::start()?;
        let runtime = Runtime::new().map_err(misconfigured)?;
        let ended = runtime.block_on(run(settings));
        // Ends what is still open: nothing is acknowledged from here on.
        runtime.shutdown_background();
        ended
    });
    let (code, reason) = match ended {
        Ok(()) => (0, None),
        Err(Fault::Failed(reason)) => (1, Some(reason)),
        Err(Fault::Misconfigured(reason)) => (2, Some(reason)),
    };
    if let Some(reason) = reason {
        log::line(format_args!("error: {reason}"));
    }
    log::finish();
    ExitCode::from(code)
}
