//! Compares handlers that take `Delivery` or `Event` with one that takes `Bytes` and ignores them,
//! and with one that takes `Bytes` and hashes them, which is the minimum cost of a check (`Floor`).
//! They run over loopback: one server on one core, 32 keep-alive connections with one request in
//! flight on each, and signed deliveries of 1 KiB, for which nothing is printed.
//!
//! The servers are separate processes on the first core; the client is on the second. Every round
//! loads each server in turn, and the result is the median over the rounds.
//!
//! Needs Linux, `taskset`, and two idle cores.

use std::env;
use std::hint::black_box;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use ptolemy_webhooks::{Delivery, Event, Secret, Signer, Verifier};
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const CONNECTIONS: usize = 32;
const ROUNDS: usize = 11;
const SLICE: Duration = Duration::from_millis(1000);
const SECRET: &str = "whsec_test_secret";

const FRAMEWORKS: [&str; 2] = ["axum", "actix-web"];
const HANDLERS: [&str; 4] = ["Bytes", "Floor", "Delivery", "Event"];
/// The share of the requests of `Bytes` that the others must reach, and the aim.
const BOUNDS: [(f64, f64); 4] = [(1.0, 1.0), (0.0, 0.0), (0.90, 0.95), (0.75, 0.85)];

fn secret() -> Secret {
    Secret::new(SECRET).expect("a secret in the documented form")
}

fn main() {
    let arguments: Vec<_> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => measure(),
        ["axum", handler] => serve_axum(handler),
        ["actix-web", handler] => serve_actix(handler),
        _ => panic!("no such server"),
    }
}

/// The additional work of `Floor` over `Bytes`: the hash, which is the minimum cost of the check.
fn floor() -> impl Fn(&[u8]) + Clone + Send + Sync + 'static {
    let keyed = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any length");
    move |body| {
        let mut mac = keyed.clone();
        mac.update(b"1700000000");
        mac.update(b".");
        mac.update(body);
        black_box(mac.finalize().into_bytes());
    }
}

/// Both print their port on a separate line.
fn serve_axum(handler: &str) {
    use axum::Router;
    use axum::http::StatusCode;
    use axum::routing::post;

    let floor = floor();
    let method = match handler {
        "Floor" => post(async move |body: Bytes| {
            floor(&body);
            StatusCode::NO_CONTENT
        }),
        "Bytes" => post(|_: Bytes| async { StatusCode::NO_CONTENT }),
        "Delivery" => post(|_: Delivery| async { StatusCode::NO_CONTENT }),
        "Event" => post(|_: Event| async { StatusCode::NO_CONTENT }),
        _ => panic!("no such handler"),
    };
    let app = Router::new()
        .route("/", method)
        .with_state(Verifier::new(secret()));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        println!("{}", listener.local_addr().expect("an address"));
        axum::serve(listener, app).await.expect("no end");
    });
}

fn serve_actix(handler: &str) {
    use actix_web::{App, HttpResponse, HttpServer, web};

    let handler = handler.to_owned();
    let server = HttpServer::new(move || {
        let floor = floor();
        let route = match &*handler {
            "Floor" => web::post().to(move |body: Bytes| {
                floor(&body);
                async { HttpResponse::NoContent() }
            }),
            "Bytes" => web::post().to(|_: Bytes| async { HttpResponse::NoContent() }),
            "Delivery" => web::post().to(|_: Delivery| async { HttpResponse::NoContent() }),
            "Event" => web::post().to(|_: Event| async { HttpResponse::NoContent() }),
            _ => panic!("no such handler"),
        };
        App::new()
            .app_data(Verifier::new(secret()))
            .route("/", route)
    })
    .workers(1)
    .bind("127.0.0.1:0")
    .expect("a port");
    println!("{}", server.addrs()[0]);
    actix_web::rt::System::new()
        .block_on(server.run())
        .expect("no end");
}

struct Server {
    name: String,
    child: Child,
    address: String,
    rates: Vec<f64>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(framework: &str, handler: &str) -> Server {
    let mut child = Command::new("taskset")
        .args(["-c", "0"])
        .arg(env::current_exe().expect("this program"))
        .args([framework, handler])
        .stdout(Stdio::piped())
        .spawn()
        .expect("taskset");
    let stdout = child.stdout.take().expect("it is piped");
    let address = BufReader::new(stdout).lines().next();
    Server {
        name: format!("{framework} {handler}"),
        child,
        address: address.expect("a line").expect("UTF-8"),
        rates: Vec::new(),
    }
}

fn request() -> Vec<u8> {
    let data = format!(
        r#"{{"identifier":"bhp.ax","name":"BHP Group Ltd.","extra_fields_snapshot":{{"exchange":"ASX","isin":"AU000000BHP4"}},"extras":{{"note":"{}"}},"archived_at":null,"created_at":"2026-04-15T09:30:00Z"}}"#,
        "x".repeat(749)
    );
    let body = format!(
        r#"{{"id":"0198c7a2-4a54-7c1e-9d5f-2f1c1a3b4d5e","event_type":"instrument.updated","data":{data}}}"#
    );
    assert_eq!(body.len(), 1024);
    let signature = Signer::new(&secret()).sign(body.as_bytes());
    format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\nPtolemy-Signature: {signature}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Returns the requests per second.
async fn load(address: &str) -> f64 {
    let request: &'static [u8] = request().leak();
    let begin = Instant::now();
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let address = address.to_owned();
            tokio::spawn(async move {
                let mut stream = TcpStream::connect(address).await.expect("a server");
                stream.set_nodelay(true).expect("a socket");
                let mut answer = [0; 1024];
                let mut count = 0_u32;
                while begin.elapsed() < SLICE {
                    stream.write_all(request).await.expect("an open connection");
                    let length = stream.read(&mut answer).await.expect("an answer");
                    let answer = &answer[..length];
                    assert!(answer.starts_with(b"HTTP/1.1 204 "), "{answer:?}");
                    assert!(answer.ends_with(b"\r\n\r\n"), "{answer:?}");
                    count += 1;
                }
                count
            })
        })
        .collect();
    let mut count = 0;
    for client in clients {
        count += client.await.expect("a client that ends");
    }
    f64::from(count) / begin.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn measure() {
    let pid = std::process::id().to_string();
    let pinned = Command::new("taskset")
        .args(["-cp", "1", &pid])
        .stdout(Stdio::null())
        .status();
    assert!(pinned.expect("taskset").success());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime");

    println!(
        "| handler | requests/s | of Bytes | at least | aim | |\n| --- | --- | --- | --- | --- | --- |"
    );
    for framework in FRAMEWORKS {
        let mut servers = HANDLERS.map(|handler| start(framework, handler));
        for server in &servers {
            runtime.block_on(load(&server.address));
        }
        for _ in 0..ROUNDS {
            for server in &mut servers {
                let rate = runtime.block_on(load(&server.address));
                server.rates.push(rate);
            }
        }
        for (server, (at_least, aim)) in servers.iter().zip(BOUNDS) {
            let shares = server
                .rates
                .iter()
                .zip(&servers[0].rates)
                .map(|(a, b)| a / b);
            let share = median(shares.collect());
            let word = match share {
                _ if aim == 0.0 => "",
                _ if share >= aim => "aim reached",
                _ if share >= at_least => "ok",
                _ => "MISSED",
            };
            let rate = median(server.rates.clone());
            println!(
                "| {} | {rate:.0} | {share:.3} | {at_least:.2} | {aim:.2} | {word} |",
                server.name
            );
        }
    }
}
