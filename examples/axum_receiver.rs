//! A receiver on axum that runs as it is; see `--help`.

mod receiver;

use std::future::IntoFuture;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRef, State};
use axum::http::{StatusCode, header::RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use ptolemy_webhooks::{Event, Rejection, Verifier};
use receiver::{Queue, Settings, Stop};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::time::sleep;
use tower_http::timeout::TimeoutLayer;

#[derive(Clone, FromRef)]
struct App {
    verifier: Verifier,
    queue: Arc<Queue>,
}

async fn receive(
    State(queue): State<Arc<Queue>>,
    event: Result<Event, Rejection>,
) -> Result<Response, Rejection> {
    let event = event.inspect_err(receiver::log_refusal)?;
    Ok(match queue.offer(event) {
        Ok(()) => StatusCode::ACCEPTED.into_response(),
        Err(reason) => {
            let retry_after = [(RETRY_AFTER, receiver::RETRY_AFTER)];
            (StatusCode::SERVICE_UNAVAILABLE, retry_after, reason).into_response()
        }
    })
}

async fn serve(listener: TcpListener, app: Router, stop: Stop) -> io::Result<()> {
    let (stopping, stopped) = oneshot::channel();
    let server = axum::serve(listener, app).with_graceful_shutdown(async {
        stop.requested().await;
        let _ = stopping.send(());
    });
    tokio::select! {
        result = server.into_future() => result,
        () = async {
            let _ = stopped.await;
            sleep(receiver::GRACE).await;
        } => {
            receiver::log_cut();
            Ok(())
        }
    }
}

fn main() -> ExitCode {
    let Settings { verifier, listen } = match Settings::read() {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    let queue = Queue::start();
    let app = Router::new()
        .route(receiver::PATH, post(receive))
        .layer(TimeoutLayer::with_status_code(
            StatusCode::REQUEST_TIMEOUT,
            receiver::REQUEST_TIMEOUT,
        ))
        .with_state(App {
            verifier,
            queue: queue.clone(),
        });

    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return receiver::misconfigured(error),
    };
    let prepare = async {
        let stop = Stop::listen(queue.clone())?;
        Ok::<_, io::Error>((TcpListener::bind(listen).await?, stop))
    };
    let (listener, stop) = match runtime.block_on(prepare) {
        Ok(prepared) => prepared,
        Err(error) => return receiver::misconfigured(format_args!("{listen}: {error}")),
    };
    receiver::announce(listener.local_addr().unwrap_or(listen));
    if let Err(error) = runtime.block_on(serve(listener, app, stop)) {
        receiver::log_error(error);
    }
    // Ends what is still open: nothing can be acknowledged from here on.
    runtime.shutdown_background();
    queue.finish()
}
