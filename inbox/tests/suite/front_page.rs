//! The program at the top of the README of `ptolemy-webhooks` runs. The tests of that package
//! compare the text.

use ptolemy_webhooks::{SIGNATURE_HEADER, Secret, Signer};
use ptolemy_webhooks_inbox::Inbox;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::database::Database;

mod program {
    #![allow(dead_code, reason = "`main` listens on a fixed port")]
    include!("front_page_program.rs");

    pub(super) fn router(verifier: Verifier, inbox: Inbox) -> Router {
        app(verifier, inbox)
    }

    pub(super) async fn work(inbox: Inbox) {
        inbox.worker().run_until_idle(apply).await;
    }
}

const SECRET: &str = "whsec_test_secret";

/// Returns the first line of the response.
async fn post(listener: &str, body: &str, signature: &str) -> String {
    let mut stream = TcpStream::connect(listener).await.unwrap();
    let length = body.len();
    let request = format!(
        "POST /webhooks/ptolemy HTTP/1.1\r\nHost: {listener}\r\nContent-Length: {length}\r\n\
         {SIGNATURE_HEADER}: {signature}\r\nConnection: close\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    response.lines().next().unwrap_or_default().to_owned()
}

async fn counts(inbox: &Inbox) -> (u64, u64) {
    let stats = inbox.stats().await.unwrap();
    (stats.waiting(), stats.running + stats.dead)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_of_the_readme_stores_a_delivery_once_and_handles_it() {
    let database = Database::sqlite().await;
    let inbox = database.inbox().await;
    let secret = Secret::new(SECRET).unwrap();
    let signer = Signer::new(&secret);
    let router = program::router(ptolemy_webhooks::Verifier::new(secret), inbox.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = tokio::spawn(async move { axum::serve(listener, router).await });

    // It names one event, so it is recognised also if it is signed again at another second.
    let body = r#"{"id":"e1","event_type":"market.created","created_at":"2026-04-15T09:30:00Z",
                   "data":{"id":"m1"}}"#;
    for _ in 0..2 {
        let status = post(&address, body, &signer.sign(body.as_bytes())).await;
        assert_eq!(status, "HTTP/1.1 202 Accepted");
        assert_eq!(counts(&inbox).await, (1, 0));
    }
    let forged = post(&address, body, &signer.sign(b"{}")).await;
    assert_eq!(forged, "HTTP/1.1 401 Unauthorized");
    assert_eq!(counts(&inbox).await, (1, 0));

    program::work(inbox.clone()).await;
    assert_eq!(counts(&inbox).await, (0, 0));
    server.abort();
}
