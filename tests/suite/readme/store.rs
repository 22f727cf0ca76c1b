use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use axum::extract::{FromRef, State};
use axum::http::StatusCode;
use axum::{Router, routing::post};
use ptolemy_webhooks::{Delivery, Event, Malformed, Rejection, Verifier};

#[derive(Clone, FromRef)] // axum's feature `macros`
struct App {
    verifier: Verifier,
    store: Store,
}

/// The keys of the deliveries whose work is done; yours is a table with a unique key.
#[derive(Clone, Default)]
struct Store(Arc<Mutex<HashSet<String>>>);

impl Store {
    fn is_done(&self, key: &str) -> bool {
        self.0.lock().unwrap().contains(key)
    }

    fn set_done(&self, key: String) {
        self.0.lock().unwrap().insert(key);
    }
}

async fn receive(
    State(store): State<Store>,
    delivery: Result<Delivery, Rejection>,
) -> Result<StatusCode, Rejection> {
    let delivery = delivery.inspect_err(|it| eprintln!("rejected ({}): {it}", it.reason()))?;
    if delivery.secret_index() > 0 {
        eprintln!("still signed with the previous secret");
    }
    let key = delivery.dedup_key(); // the same for each repetition of an event
    if !store.is_done(&key) {
        let event = delivery.event()?; // 422 if the body is not an event
        work(event).await?; // 422 as well: Ptolemy sends the event again
        store.set_done(key); // after the work, so that work that failed is repeated
    }
    Ok(StatusCode::NO_CONTENT)
}

async fn work(event: Event) -> Result<(), Malformed> {
    let payload = event.payload?;
    println!("{}: {payload:?}", event.event_type); // yours
    Ok(())
}

fn app(verifier: Verifier, store: Store) -> Router {
    Router::new()
        .route("/webhooks/ptolemy", post(receive))
        .with_state(App { verifier, store })
}
