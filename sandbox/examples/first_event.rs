//! From nothing to a typed event, without an account and without a second terminal:
//!
//! ```text
//! cargo run -p ptolemy-webhooks-sandbox --example first_event
//! ```
//!
//! It starts the stand-in for Ptolemy and a receiver made with axum, registers the receiver and
//! subscribes it to everything, emits two events, and prints what the receiver decoded and what the
//! sender logged. The answer to the first delivery is lost, so it is sent again.

use std::collections::HashSet;
use std::error::Error;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{FromRef, State};
use axum::http::StatusCode;
use axum::routing::post;
use ptolemy_webhooks::{Delivery, Event, Payload, Rejection, Verifier, samples};
use ptolemy_webhooks_sandbox::Sandbox;
use tokio::net::TcpListener;

#[derive(Clone)]
struct App {
    verifier: Verifier,
    received: Arc<Mutex<Received>>,
}

/// The keys and the events. A real receiver keeps them in a database, such as the inbox's.
#[derive(Default)]
struct Received {
    keys: HashSet<String>,
    events: Vec<Event>,
}

impl FromRef<App> for Verifier {
    fn from_ref(app: &App) -> Self {
        app.verifier.clone()
    }
}

async fn receive(State(app): State<App>, delivery: Delivery) -> Result<StatusCode, Rejection> {
    let event = delivery.event()?;
    let mut received = app.received.lock().unwrap_or_else(PoisonError::into_inner);
    // Deliveries can repeat: an event is handled once.
    if received.keys.insert(delivery.dedup_key()) {
        received.events.push(event);
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Runs the example, and prints to `out`.
pub(crate) async fn run(mut out: impl Write) -> Result<(), Box<dyn Error>> {
    let sandbox = Sandbox::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/webhooks/ptolemy", listener.local_addr()?);

    // Two calls of the API: create the webhook, subscribe it to `*`. The secret is shown once.
    let webhook = sandbox.register(&url).await;
    let received = Arc::new(Mutex::new(Received::default()));
    let app = Router::new()
        .route("/webhooks/ptolemy", post(receive))
        .with_state(App {
            verifier: Verifier::new(webhook.secret()),
            received: Arc::clone(&received),
        });
    tokio::spawn(async move { axum::serve(listener, app).await });

    sandbox.next_delivery().lose_answer();
    sandbox.emit(samples::instrument_created()).await;
    sandbox.emit(samples::time_series_value_created()).await;
    // The retry is due in a minute, on a clock that moves only here.
    let log = sandbox.settle().await;

    writeln!(out, "received:")?;
    let received = received.lock().unwrap_or_else(PoisonError::into_inner);
    for event in &received.events {
        match &event.payload {
            Ok(Payload::Instrument(action, instrument)) => {
                writeln!(out, "  instrument {action}: {:?}", instrument.name)?;
            }
            Ok(Payload::TimeSeriesValue(action, point)) => {
                writeln!(out, "  value {action}: {}", point.value)?;
            }
            _ => writeln!(out, "  {}", event.event_type)?,
        }
    }
    writeln!(out, "\ndelivery log:\n{log}")?;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    run(io::stdout()).await
}
