use axum::{Router, http::StatusCode, routing::post};
use ptolemy_webhooks::{Action, Event, Instrument, Payload, Verifier};

async fn receive(event: Event) -> StatusCode {
    match event.payload {
        Ok(Payload::Instrument(
            Action::Created | Action::Updated | Action::Restored,
            instrument,
        )) => upsert(&instrument),
        Ok(Payload::Instrument(Action::Archived | Action::Deleted, instrument)) => {
            remove(&instrument);
        }
        Ok(Payload::TimeSeriesValue(_, point)) => println!("{}", point.value),
        // An event type that this version does not know: its JSON is in `event.raw`.
        Ok(Payload::Unknown) => eprintln!("unknown: {}", event.event_type),
        // Event types and actions that you did not ask for.
        Ok(_) => {}
        // A documented event type in an unknown shape.
        Err(malformed) => eprintln!("{malformed}"),
    }
    StatusCode::NO_CONTENT
}

fn upsert(instrument: &Instrument) {
    println!("upsert {:?}", instrument.identifier); // your database
}

fn remove(instrument: &Instrument) {
    println!("remove {:?}", instrument.identifier);
}

fn app(verifier: Verifier) -> Router {
    Router::new()
        .route("/webhooks/ptolemy", post(receive))
        .with_state(verifier)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let verifier = Verifier::from_env()?; // PTOLEMY_WEBHOOK_SECRET
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    Ok(axum::serve(listener, app(verifier)).await?)
}
