//! A receiver on bare hyper, as a model for any server without an extractor in this crate.
//!
//! Reads the secret from `PTOLEMY_WEBHOOK_SECRET` and listens on `PTOLEMY_LISTEN`, by default
//! 127.0.0.1:3000. `receive.rs` does what an extractor does for you. The queue and the shutdown are
//! left out, because the other receivers show them.

mod receive;

use std::convert::Infallible;
use std::env;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use ptolemy_webhooks::Verifier;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::sleep;

/// The most connections at once. The kernel queues further ones.
const MAX_CONNECTIONS: usize = 1024;
const PAUSE_AFTER_FAILED_ACCEPT: Duration = Duration::from_millis(100);

async fn respond(verifier: Verifier, request: Request<Incoming>) -> Response<Full<Bytes>> {
    if request.method() != Method::POST {
        return receive::response(StatusCode::METHOD_NOT_ALLOWED, "expected POST");
    }
    let event = match receive::event(&verifier, request).await {
        Ok(event) => event,
        Err(response) => return response,
    };
    println!("{}", event.event_type);
    receive::response(StatusCode::NO_CONTENT, "")
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let verifier = Verifier::from_env()?;
    let listen = env::var("PTOLEMY_LISTEN").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(listen).await?;
    eprintln!("listening on http://{}", listener.local_addr()?);
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let place = places.clone().acquire_owned().await?;
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // The process may be out of file descriptors until a connection ends.
                eprintln!("accept: {error}");
                sleep(PAUSE_AFTER_FAILED_ACCEPT).await;
                continue;
            }
        };
        let verifier = verifier.clone();
        tokio::spawn(async move {
            let _place = place; // free again when the connection ends
            let service = service_fn(move |request| {
                let verifier = verifier.clone();
                async move { Ok::<_, Infallible>(respond(verifier, request).await) }
            });
            // The timer lets hyper close a connection whose request head takes more than 30 s.
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                eprintln!("connection: {error}");
            }
        });
    }
}
