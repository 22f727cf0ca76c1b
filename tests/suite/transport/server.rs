//! The same application on both frameworks and on bare hyper, on a loopback socket.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use ptolemy_webhooks::{Delivery, Event, Verifier};
use sha2::{Digest, Sha256};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framework {
    Axum,
    Actix,
    /// No framework: the code of the example `hyper_receiver`.
    Hyper,
}

/// The frameworks that have extractors in this crate, and layers.
pub(crate) const BOTH: [Framework; 2] = [Framework::Axum, Framework::Actix];

pub(crate) const ALL: [Framework; 3] = [Framework::Axum, Framework::Actix, Framework::Hyper];

type Calls = Arc<Counter>;

struct Counter {
    /// How often a handler was called.
    calls: AtomicUsize,
    /// Notified when the slow handler has begun.
    slow: Mutex<mpsc::Sender<()>>,
}

const SLOW: Duration = Duration::from_secs(1);

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    calls: Calls,
    slow: mpsc::Receiver<()>,
}

impl Server {
    /// Runs until the process ends.
    ///
    /// - `/delivery` takes a `Delivery` and responds with the [`fingerprint`] of its body;
    /// - `/event` takes an `Event` and responds with its type;
    /// - `/nested/deeper/delivery` is `/delivery` in a nested router;
    /// - `/compressed/delivery` is `/delivery` behind a layer that compresses responses;
    /// - `/limited/delivery` is `/delivery` behind the framework's own limit of 10 bytes;
    /// - `/slow/delivery` takes a `Delivery`, signals it, and responds after a second;
    /// - `/json` takes any JSON without a signature.
    ///
    /// hyper has no layers, so `/compressed` and `/limited` exist only on the frameworks.
    pub(crate) fn start(framework: Framework, verifier: Option<Verifier>) -> Self {
        let (started, slow) = mpsc::channel();
        let calls = Arc::new(Counter {
            calls: AtomicUsize::new(0),
            slow: Mutex::new(started),
        });
        let (sender, address) = mpsc::channel();
        let counter = calls.clone();
        thread::spawn(move || match framework {
            Framework::Axum => axum_server::run(verifier.unwrap(), counter, &sender),
            Framework::Actix => actix_server::run(verifier, counter, sender),
            Framework::Hyper => hyper_server::run(verifier.unwrap(), counter, &sender),
        });
        Self {
            address: address.recv().unwrap(),
            calls,
            slow,
        }
    }

    pub(crate) fn wait_for_slow_handler(&self) {
        self.slow.recv_timeout(Duration::from_secs(10)).unwrap();
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.calls.load(Ordering::SeqCst)
    }
}

/// Returns the length of a body and its hash.
pub(crate) fn fingerprint(body: &[u8]) -> String {
    format!("{} {}", body.len(), hex::encode(Sha256::digest(body)))
}

fn delivered(calls: &Counter, delivery: &Delivery) -> String {
    calls.calls.fetch_add(1, Ordering::SeqCst);
    fingerprint(delivery.body())
}

/// Runs the first part of the slow handler.
fn begun(calls: &Counter, delivery: &Delivery) -> String {
    let answer = delivered(calls, delivery);
    let _ = calls.slow.lock().unwrap().send(());
    answer
}

fn read(calls: &Counter, event: &Event) -> String {
    calls.calls.fetch_add(1, Ordering::SeqCst);
    event.event_type.to_string()
}

mod axum_server {
    use axum::extract::{DefaultBodyLimit, FromRef, State};
    use axum::routing::post;
    use axum::{Json, Router};
    use tower_http::compression::CompressionLayer;
    use tower_http::limit::RequestBodyLimitLayer;

    use super::*;

    #[derive(Clone, FromRef)]
    struct App {
        verifier: Verifier,
        calls: Calls,
    }

    async fn delivery(State(calls): State<Calls>, delivery: Delivery) -> String {
        delivered(&calls, &delivery)
    }

    async fn slow(State(calls): State<Calls>, delivery: Delivery) -> String {
        let answer = begun(&calls, &delivery);
        tokio::time::sleep(SLOW).await;
        answer
    }

    async fn event(State(calls): State<Calls>, event: Event) -> String {
        read(&calls, &event)
    }

    async fn json(Json(json): Json<serde_json::Value>) -> String {
        json.to_string()
    }

    pub(super) fn run(verifier: Verifier, calls: Calls, address: &mpsc::Sender<SocketAddr>) {
        let app = || Router::new().route("/delivery", post(delivery));
        let app = app()
            .route("/event", post(event))
            .route("/json", post(json))
            .route("/slow/delivery", post(slow))
            .nest("/nested", Router::new().nest("/deeper", app()))
            .nest("/compressed", app().layer(CompressionLayer::new()))
            .nest(
                "/limited",
                app()
                    .layer(RequestBodyLimitLayer::new(10))
                    .layer(DefaultBodyLimit::max(10)),
            )
            .with_state(App { verifier, calls });
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            address.send(listener.local_addr().unwrap()).unwrap();
            axum::serve(listener, app).await.unwrap();
        });
    }
}

#[path = "../../../examples/hyper_receiver/receive.rs"]
mod hyper_receiver;

mod hyper_server {
    use std::convert::Infallible;

    use bytes::Bytes;
    use http::{Request, Response, StatusCode};
    use http_body_util::{BodyExt as _, Full};
    use hyper::body::Incoming;
    use hyper::server::conn::http1;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;

    use super::hyper_receiver as receive;
    use super::*;

    type Answer = Result<String, Response<Full<Bytes>>>;

    async fn slow(verifier: &Verifier, calls: &Counter, request: Request<Incoming>) -> Answer {
        let answer = begun(calls, &receive::delivery(verifier, request).await?);
        tokio::time::sleep(SLOW).await;
        Ok(answer)
    }

    async fn json(request: Request<Incoming>) -> Answer {
        let bytes = request.into_body().collect().await.unwrap().to_bytes();
        let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        Ok(json.to_string())
    }

    async fn respond(
        verifier: Verifier,
        calls: Calls,
        request: Request<Incoming>,
    ) -> Response<Full<Bytes>> {
        let answer = match request.uri().path() {
            "/delivery" | "/nested/deeper/delivery" => receive::delivery(&verifier, request)
                .await
                .map(|delivery| delivered(&calls, &delivery)),
            "/event" => receive::event(&verifier, request)
                .await
                .map(|event| read(&calls, &event)),
            "/slow/delivery" => slow(&verifier, &calls, request).await,
            "/json" => json(request).await,
            path => panic!("no route for {path}"),
        };
        answer.map_or_else(
            |rejected| rejected,
            |text| receive::response(StatusCode::OK, text),
        )
    }

    pub(super) fn run(verifier: Verifier, calls: Calls, address: &mpsc::Sender<SocketAddr>) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            address.send(listener.local_addr().unwrap()).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (verifier, calls) = (verifier.clone(), calls.clone());
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let (verifier, calls) = (verifier.clone(), calls.clone());
                        async move { Ok::<_, Infallible>(respond(verifier, calls, request).await) }
                    });
                    let connection = http1::Builder::new();
                    // A client that breaks off is not a failure of the test.
                    let _ = connection
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
    }
}

mod actix_server {
    use actix_web::middleware::Compress;
    use actix_web::{App, HttpServer, web};

    use super::*;

    async fn delivery(calls: web::Data<Counter>, delivery: Delivery) -> String {
        delivered(&calls, &delivery)
    }

    async fn slow(calls: web::Data<Counter>, delivery: Delivery) -> String {
        let answer = begun(&calls, &delivery);
        actix_web::rt::time::sleep(SLOW).await;
        answer
    }

    async fn event(calls: web::Data<Counter>, event: Event) -> String {
        read(&calls, &event)
    }

    async fn json(json: web::Json<serde_json::Value>) -> String {
        json.to_string()
    }

    pub(super) fn run(verifier: Option<Verifier>, calls: Calls, address: mpsc::Sender<SocketAddr>) {
        let post = || web::post().to(delivery);
        let server = HttpServer::new(move || {
            let app = App::new()
                .app_data(web::Data::from(calls.clone()))
                .route("/delivery", post())
                .route("/event", web::post().to(event))
                .route("/json", web::post().to(json))
                .route("/slow/delivery", web::post().to(slow))
                .service(
                    web::scope("/nested").service(web::scope("/deeper").route("/delivery", post())),
                )
                .service(
                    web::scope("/compressed")
                        .wrap(Compress::default())
                        .route("/delivery", post()),
                )
                .service(
                    web::scope("/limited")
                        .app_data(web::PayloadConfig::new(10))
                        .route("/delivery", post()),
                );
            match &verifier {
                Some(verifier) => app.app_data(verifier.clone()),
                None => app,
            }
        })
        .workers(2)
        .disable_signals()
        .bind("127.0.0.1:0")
        .unwrap();
        address.send(server.addrs()[0]).unwrap();
        actix_web::rt::System::new().block_on(server.run()).unwrap();
    }
}
