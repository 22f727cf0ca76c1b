//! Receivers: one made with the extractor of the core, one that reads bytes.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{FromRequest as _, Request, State};
use axum::http::StatusCode;
use axum::routing::post;
use ptolemy_webhooks::{Delivery, Rejection, Secret, Verifier};
use ptolemy_webhooks_sandbox::{Registration, Sandbox};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// The requests that a receiver saw.
#[derive(Default)]
pub(crate) struct Seen {
    /// The body of every accepted delivery, in order.
    pub(crate) bodies: Mutex<Vec<String>>,
    /// The code of every rejection, in order.
    pub(crate) rejections: Mutex<Vec<String>>,
    keys: Mutex<HashSet<String>>,
    failures: AtomicUsize,
    pub(crate) most_at_once: AtomicUsize,
    now: AtomicUsize,
    pause: AtomicU64,
}

impl Seen {
    /// How many deliveries were handled, without repetitions.
    pub(crate) fn handled(&self) -> usize {
        self.keys.lock().unwrap().len()
    }

    pub(crate) fn accepted(&self) -> usize {
        self.bodies.lock().unwrap().len()
    }

    pub(crate) fn rejections(&self) -> Vec<String> {
        self.rejections.lock().unwrap().clone()
    }

    /// Makes every request take a while, so that requests that are sent together overlap.
    pub(crate) fn take_a_while(&self) {
        self.take(Duration::from_millis(300));
    }

    pub(crate) fn take(&self, time: Duration) {
        let millis = time.as_millis().try_into().unwrap();
        self.pause.store(millis, Ordering::SeqCst);
    }

    pub(crate) fn fail_next(&self, times: usize) {
        self.failures.store(times, Ordering::SeqCst);
    }
}

/// A receiver that is registered with a sandbox.
pub(crate) struct Receiver {
    pub(crate) registration: Registration,
    pub(crate) seen: Arc<Seen>,
}

#[derive(Clone)]
struct App {
    verifier: Verifier,
    seen: Arc<Seen>,
}

/// Starts a receiver and registers it.
pub(crate) async fn receiver(sandbox: &Sandbox) -> Receiver {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let registration = sandbox.register(&url).await;
    let seen = serve(listener, registration.secret());
    Receiver { registration, seen }
}

pub(crate) fn serve(listener: TcpListener, secret: Secret) -> Arc<Seen> {
    let seen = Arc::new(Seen::default());
    let app = App {
        verifier: Verifier::new(secret),
        seen: Arc::clone(&seen),
    };
    let router = Router::new().route("/hook", post(handle)).with_state(app);
    tokio::spawn(async move { axum::serve(listener, router).await });
    seen
}

async fn handle(State(app): State<App>, request: Request) -> Result<StatusCode, Rejection> {
    let at_once = app.seen.now.fetch_add(1, Ordering::SeqCst) + 1;
    app.seen.most_at_once.fetch_max(at_once, Ordering::SeqCst);
    let delivery = Delivery::from_request(request, &app.verifier).await;
    let result = delivery.map(|delivery| {
        let body = String::from_utf8(delivery.body().to_vec()).unwrap();
        app.seen.bodies.lock().unwrap().push(body);
        let next = app
            .seen
            .failures
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            });
        if next.is_ok() {
            return StatusCode::INTERNAL_SERVER_ERROR;
        }
        app.seen.keys.lock().unwrap().insert(delivery.dedup_key());
        StatusCode::NO_CONTENT
    });
    if let Err(rejection) = &result {
        let code = rejection.reason().as_str().to_owned();
        app.seen.rejections.lock().unwrap().push(code);
    }
    let pause = app.seen.pause.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(pause)).await;
    app.seen.now.fetch_sub(1, Ordering::SeqCst);
    result
}

/// Starts a receiver that answers every request with `answer`, as text, and keeps the requests.
pub(crate) async fn raw_receiver(answer: &'static str) -> (String, Arc<Mutex<Vec<Vec<u8>>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook?x=1", listener.local_addr().unwrap());
    let requests = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&requests);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let kept = Arc::clone(&kept);
            tokio::spawn(async move {
                let mut request = Vec::new();
                while !is_complete(&request) {
                    match stream.read_buf(&mut request).await {
                        Ok(0) | Err(_) => break,
                        Ok(_) => {}
                    }
                }
                kept.lock().unwrap().push(request);
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    (url, requests)
}

/// Returns whether the declared length of the body has arrived.
fn is_complete(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.lines().find_map(|line| {
        line.to_ascii_lowercase()
            .strip_prefix("content-length: ")?
            .parse()
            .ok()
    });
    body.len() >= length.unwrap_or(0)
}
