//! A receiver on axum that runs as it is; see `--help`.

mod receiver;

use std::future::IntoFuture as _;
use std::io;

use axum::Router;
use axum::extract::{FromRef, State};
use axum::http::{StatusCode, header::RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use ptolemy_webhooks::{Action, Event, Payload, Rejection, Verifier};
use receiver::{Receiver, Settings, misconfigured, print, word};
use tokio::net::TcpListener;
use tower_http::timeout::TimeoutLayer;

#[derive(Clone, FromRef)]
struct App {
    verifier: Verifier,
    receiver: Receiver,
}

async fn receive(
    State(receiver): State<Receiver>,
    event: Result<Event, Rejection>,
) -> Result<Response, Rejection> {
    let event = event.inspect_err(|rejection| receiver.log_rejection(rejection))?;
    Ok(match receiver.push(&event) {
        Ok(()) => StatusCode::ACCEPTED.into_response(),
        Err(text) => {
            let retry_after = [(RETRY_AFTER, receiver::RETRY_AFTER)];
            (StatusCode::SERVICE_UNAVAILABLE, retry_after, text).into_response()
        }
    })
}

/// A placeholder for your own work, which may take longer than a request.
async fn handle(event: Event) -> io::Result<()> {
    let event_type = word(Some(event.event_type.as_str()));
    let mut line = format!("accepted {event_type} {}", word(event.id.as_deref()));
    match event.payload {
        Ok(Payload::Instrument(
            Action::Created | Action::Updated | Action::Restored,
            instrument,
        )) => line += &format!(": upsert {}", word(instrument.identifier.as_deref())),
        Ok(Payload::Instrument(Action::Archived | Action::Deleted, instrument)) => {
            line += &format!(": remove {}", word(instrument.identifier.as_deref()));
        }
        Ok(Payload::TimeSeriesValue(_, point)) => {
            line += &format!(": value {}", word(Some(point.value.as_str())));
        }
        Ok(Payload::Unknown) => line += ": unknown event type",
        // Event types and actions that this program does not use.
        Ok(_) => {}
        // A documented event type in an unknown shape; its JSON is in `event.raw`.
        Err(malformed) => line += &format!(": malformed {malformed}"),
    }
    print(line).await
}

#[tokio::main]
async fn main() {
    let Settings { verifier, listen } = Settings::read();
    let receiver = Receiver::start(handle).unwrap_or_else(|error| misconfigured(error));
    let app = Router::new()
        .route(receiver::PATH, post(receive))
        .layer(TimeoutLayer::with_status_code(
            StatusCode::REQUEST_TIMEOUT,
            receiver::REQUEST_TIMEOUT,
        ))
        .with_state(App {
            verifier,
            receiver: receiver.clone(),
        });
    let listener = match TcpListener::bind(listen).await {
        Ok(listener) => listener,
        Err(error) => misconfigured(format_args!("{listen}: {error}")),
    };
    receiver.announce(listener.local_addr().unwrap_or(listen));
    let server = axum::serve(listener, app).with_graceful_shutdown(receiver.stopped());
    receiver.run(server.into_future()).await
}
