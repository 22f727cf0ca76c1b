use axum::{Router, extract::{FromRef, State}, http::StatusCode, routing::post};
use ptolemy_webhooks::{Delivery, Event, Verifier};
use ptolemy_webhooks_inbox::{Attempt, Failure, Inbox, InboxError};

#[derive(Clone, FromRef)]
struct App {
    verifier: Verifier,
    inbox: Inbox,
}

async fn receive(State(inbox): State<Inbox>, delivery: Delivery) -> Result<StatusCode, InboxError> {
    inbox.accept(&delivery).await?; // on disk when this returns; an error responds with 503
    Ok(StatusCode::ACCEPTED)
}

async fn apply(event: Event, attempt: Attempt) -> Result<(), Failure> {
    println!("{} (attempt {})", event.event_type, attempt.number()); // your work
    Ok(()) // an error or a panic is retried; after 20 attempts the event is a dead letter
}

fn app(verifier: Verifier, inbox: Inbox) -> Router {
    Router::new()
        .route("/webhooks/ptolemy", post(receive))
        .with_state(App { verifier, inbox })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt::init(); // dead letters, outages and wrong assumptions are log lines
    let verifier = Verifier::from_env()?; // PTOLEMY_WEBHOOK_SECRET
    let inbox = Inbox::connect("sqlite://inbox.db").await?; // or postgres://…; creates its tables
    tokio::spawn(inbox.worker().run(apply)); // hands each event to `apply` until it succeeds
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    Ok(axum::serve(listener, app(verifier, inbox)).await?)
}
