//! A receiver on axum that runs as it is; see `--help`.

mod receiver;

use std::future::IntoFuture;
use std::process::ExitCode;
use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRef, State};
use axum::http::{StatusCode, header::RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use ptolemy_webhooks::{Event, Rejection, Verifier};
use receiver::{Queue, Settings};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::sleep;

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
    Ok(if queue.offer(event) {
        StatusCode::ACCEPTED.into_response()
    } else {
        let retry_after = [(RETRY_AFTER, receiver::RETRY_AFTER)];
        (
            StatusCode::SERVICE_UNAVAILABLE,
            retry_after,
            receiver::QUEUE_IS_FULL,
        )
            .into_response()
    })
}

#[tokio::main]
async fn main() -> ExitCode {
    let Settings { verifier, listen } = match Settings::read() {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    let listener = match TcpListener::bind(listen).await {
        Ok(listener) => listener,
        Err(error) => return receiver::misconfigured(format_args!("{listen}: {error}")),
    };
    let (queue, worker) = Queue::start();
    let app = Router::new()
        .route(receiver::PATH, post(receive))
        .with_state(App {
            verifier,
            queue: queue.clone(),
        });
    receiver::announce(listener.local_addr().unwrap_or(listen));

    let (stopping, stopped) = oneshot::channel();
    let server = axum::serve(listener, app).with_graceful_shutdown(async {
        receiver::stop_signal().await;
        let _ = stopping.send(());
    });
    tokio::select! {
        result = server.into_future() => if let Err(error) = result {
            eprintln!("error: {error}");
        },
        () = async {
            let _ = stopped.await;
            sleep(receiver::GRACE).await;
        } => receiver::log_cut(),
    }
    queue.finish(&worker)
}
