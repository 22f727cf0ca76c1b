//! How the body of a rejected request is drained: over a socket with both frameworks, and in
//! process for what a socket cannot show.

use std::io::ErrorKind::{BrokenPipe, ConnectionReset};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{FromRequest, Request};
use axum::routing::post;
use bytes::Bytes;
use http::{StatusCode, Version};
use http_body::Frame;
use ptolemy_webhooks::{Delivery, SIGNATURE_HEADER, Verifier};
use tower_http::timeout::TimeoutLayer;

use crate::transport::client::Client;
use crate::transport::server::{BOTH, Framework, Server, fingerprint};
use crate::{NOW, at, signed, verifier};

const MEBIBYTE: usize = 1024 * 1024;
const LIMIT: usize = 1000;
/// The limits for reading a rejected body.
const MAX_BYTES: usize = 16 * MEBIBYTE;
const MAX_TIME: Duration = Duration::from_secs(2);
/// Longer than any time limit that is asserted here.
const PATIENCE: Duration = Duration::from_secs(20);

fn limited_verifier() -> Verifier {
    verifier().with_body_limit(LIMIT).with_clock(|| at(NOW))
}

fn start(framework: Framework) -> Server {
    Server::start(framework, Some(limited_verifier()))
}

fn head(framing: &str, headers: &str) -> Vec<u8> {
    format!("POST /delivery HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n{headers}\r\n").into_bytes()
}

fn signature(body: impl AsRef<[u8]>) -> String {
    format!("{SIGNATURE_HEADER}: {}\r\n", signed(body))
}

/// Returns `total` bytes in chunks, without the last chunk.
fn chunks(total: usize) -> Vec<u8> {
    let chunk = [b"10000\r\n".to_vec(), vec![b'x'; 65536], b"\r\n".to_vec()].concat();
    chunk.repeat(total / 65536)
}

/// Returns whether a good request on the same connection is answered with 200; `false` if the
/// connection is closed.
fn is_usable(client: &mut Client) -> bool {
    let body = "the next request";
    let length = format!("Content-Length: {}", body.len());
    let request = [head(&length, &signature(body)), body.into()].concat();
    client.send(&request);
    client.answer().is_some_and(|answer| {
        assert_eq!(
            (answer.status, answer.text()),
            (200, &*fingerprint(body.as_bytes()))
        );
        true
    })
}

#[test]
fn the_response_comes_before_the_body_and_the_rest_is_then_read() {
    const TOTAL: usize = 12 * MEBIBYTE;
    let too_long = signature("");
    for framework in BOTH {
        let server = start(framework);
        for (headers, status) in [("", 401), (&*too_long, 413)] {
            for chunked in [false, true] {
                if chunked && status == 413 {
                    continue;
                }
                let name = format!("{framework:?} {status} chunked: {chunked}");
                let (framing, body) = if chunked {
                    let body = [chunks(TOTAL), b"0\r\n\r\n".to_vec()].concat();
                    ("Transfer-Encoding: chunked".to_owned(), body)
                } else {
                    (format!("Content-Length: {TOTAL}"), vec![b'x'; TOTAL])
                };
                let mut client = Client::connect(server.address);
                client.send(&head(&framing, headers));
                assert_eq!(client.answer().unwrap().status, status, "{name}");
                assert!(client.send(&body), "{name}: reset in mid-body");
                // actix-web always closes the connection if the body was not read before the
                // response.
                assert_eq!(
                    is_usable(&mut client),
                    framework == Framework::Axum,
                    "{name}"
                );
            }
        }
    }
}

#[test]
fn the_rest_is_read_when_the_limit_is_exceeded_in_mid_body() {
    for framework in BOTH {
        let server = start(framework);
        let mut client = Client::connect(server.address);
        client.send(&head("Transfer-Encoding: chunked", &signature("")));
        client.send(&chunks(65536));
        assert_eq!(client.answer().unwrap().status, 413, "{framework:?}");
        let rest = [chunks(4 * MEBIBYTE), b"0\r\n\r\n".to_vec()].concat();
        assert!(client.send(&rest), "{framework:?}: reset in mid-body");
        assert_eq!(is_usable(&mut client), framework == Framework::Axum);
    }
}

#[test]
fn the_rest_is_read_when_a_time_limit_ends_the_request() {
    let app = Router::new()
        .route("/delivery", post(|_: Delivery| async {}))
        .layer(TimeoutLayer::with_status_code(
            StatusCode::REQUEST_TIMEOUT,
            Duration::from_millis(100),
        ))
        .with_state(
            verifier()
                .with_body_limit(usize::MAX)
                .with_clock(|| at(NOW)),
        );
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"));
    let listener = listener.unwrap();
    let mut client = Client::connect(listener.local_addr().unwrap());
    runtime.spawn(async { axum::serve(listener, app).await });

    let total = 4 * MEBIBYTE;
    client.send(&head(&format!("Content-Length: {total}"), &signature("")));
    client.send(b"x");
    assert_eq!(client.answer().unwrap().status, 408);
    assert!(client.send(&vec![b'x'; total - 1]), "reset in mid-body");
    let next = [head("Content-Length: 0", &signature("")), Vec::new()].concat();
    client.send(&next);
    assert_eq!(client.answer().unwrap().status, 200);
}

/// Sends a request and reads its response; returns the connection for the next steps.
fn rejected(server: &Server, framing: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&head(framing, "")).unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"is missing") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        answer.extend(byte);
    }
    stream
}

/// Returns how long the server takes to close the connection.
fn time_to_close(mut stream: TcpStream) -> Duration {
    let begin = Instant::now();
    match stream.read(&mut [0]) {
        Ok(0) => {}
        Err(error) if error.kind() == ConnectionReset => {}
        other => panic!("not closed: {other:?}"),
    }
    begin.elapsed()
}

#[test]
fn reading_stops_at_16_mebibytes() {
    /// Room for the kernel's buffers, which fill even if the server does not read.
    const BUFFERS: usize = 16 * MEBIBYTE;
    let server = start(Framework::Axum);
    for framing in ["Content-Length: 1000000000", "Transfer-Encoding: chunked"] {
        let mut stream = rejected(&server, framing);
        let piece = chunks(65536);
        let mut sent = 0;
        while let Ok(length) = stream.write(&piece) {
            sent += length;
            assert!(sent < MAX_BYTES + BUFFERS, "{framing}: still reading");
        }
        assert!(sent >= MAX_BYTES, "{framing}: {sent} bytes were read");
    }
}

/// On both frameworks, with each framing, if the client is silent and if it sends a little.
#[test]
fn reading_stops_after_2_seconds() {
    let mut threads = Vec::new();
    for framework in BOTH {
        for framing in ["Content-Length: 1000000", "Transfer-Encoding: chunked"] {
            for trickles in [false, true] {
                threads.push(thread::spawn(move || {
                    let server = start(framework);
                    let stream = rejected(&server, framing);
                    if trickles {
                        let mut stream = stream.try_clone().unwrap();
                        thread::spawn(move || {
                            while stream.write_all(b"1\r\nx\r\n").is_ok() {
                                thread::sleep(Duration::from_millis(50));
                            }
                        });
                    }
                    let time = time_to_close(stream);
                    let name = format!("{framework:?} {framing} trickles: {trickles}: {time:?}");
                    assert!(time < 10 * MAX_TIME, "{name}");
                    // actix-web's own bound is `client_disconnect_timeout`, 1 s.
                    if framework == Framework::Axum {
                        assert!(time > MAX_TIME / 2, "{name}");
                    }
                }));
            }
        }
    }
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn an_actix_client_that_pipelines_and_does_not_read_is_cut_off() {
    let server = start(Framework::Actix);
    for (framing, body) in [
        ("Content-Length: 0", ""),
        ("Transfer-Encoding: chunked", "0\r\n\r\n"),
    ] {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let many = [head(framing, ""), body.into()].concat().repeat(1000);
        // Far more than the kernel buffers. A server that does not close blocks this.
        let error = (0..1000).find_map(|_| stream.write_all(&many).err());
        let kind = error.map(|error| error.kind());
        assert!(
            matches!(kind, Some(ConnectionReset | BrokenPipe)),
            "{framing}: {kind:?}"
        );
    }
}

/// A body of chunks that are always ready; it counts its polls.
struct Pieces {
    pieces: usize,
    length: usize,
    fails: bool,
    has_ended: bool,
    polls: Arc<AtomicUsize>,
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        self.polls.fetch_add(1, Ordering::Relaxed);
        let Some(left) = self.pieces.checked_sub(1) else {
            return Poll::Ready(None);
        };
        self.pieces = left;
        Poll::Ready(Some(if self.fails {
            Err(std::io::Error::other("reset"))
        } else {
            Ok(Frame::data(Bytes::from(vec![b'x'; self.length])))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.has_ended
    }
}

/// Returns a body of `pieces` mebibytes, and the counter of its polls.
fn pieces(pieces: usize) -> (Pieces, Arc<AtomicUsize>) {
    let polls = Arc::new(AtomicUsize::new(0));
    let body = Pieces {
        pieces,
        length: MEBIBYTE,
        fails: false,
        has_ended: false,
        polls: polls.clone(),
    };
    (body, polls)
}

fn request(body: Pieces) -> Request {
    Request::post("/").body(Body::new(body)).unwrap()
}

/// Returns how often the body is polled until the rejection exists, and then by the drain.
async fn polls(request: Request, polls: &AtomicUsize) -> (usize, usize) {
    let rejection = Delivery::from_request(request, &limited_verifier()).await;
    rejection.unwrap_err();
    let before = polls.load(Ordering::Relaxed);
    // There is one thread: the drain runs when this task yields.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    (before, polls.load(Ordering::Relaxed) - before)
}

#[tokio::test]
async fn nothing_is_polled_for_the_rejection_and_then_all_of_the_body() {
    let (body, count) = pieces(5);
    assert_eq!(polls(request(body), &count).await, (0, 6));
}

#[tokio::test]
async fn the_drain_ends_with_the_piece_that_exceeds_16_mebibytes() {
    let (body, count) = pieces(100);
    assert_eq!(polls(request(body), &count).await, (0, 17));
}

#[tokio::test]
async fn an_error_ends_the_drain() {
    let (mut body, count) = pieces(5);
    body.fails = true;
    assert_eq!(polls(request(body), &count).await, (0, 1));
}

#[tokio::test]
async fn a_body_that_has_ended_or_failed_is_not_drained() {
    let (mut body, count) = pieces(5);
    body.has_ended = true;
    assert_eq!(polls(request(body), &count).await, (0, 0));

    for (number, fails) in [(0, false), (1, true)] {
        let (mut body, count) = pieces(number);
        body.fails = fails;
        let mut request = request(body);
        let header = signed("another body").parse().unwrap();
        request.headers_mut().insert(SIGNATURE_HEADER, header);
        assert_eq!(polls(request, &count).await, (1, 0), "{number} {fails}");
    }
}

#[tokio::test]
async fn a_stream_of_http_2_and_a_body_that_was_not_asked_for_are_not_drained() {
    let (body, count) = pieces(5);
    let mut http2 = request(body);
    *http2.version_mut() = Version::HTTP_2;
    assert_eq!(polls(http2, &count).await, (0, 0));

    let (body, count) = pieces(5);
    let mut expecting = request(body);
    let expectation = "100-continue".parse().unwrap();
    expecting.headers_mut().insert("expect", expectation);
    assert_eq!(polls(expecting, &count).await, (0, 0));
}

#[tokio::test]
async fn a_body_that_was_asked_for_with_100_is_drained() {
    let (body, count) = pieces(5);
    let mut request = request(body);
    let expectation = "100-continue".parse().unwrap();
    request.headers_mut().insert("expect", expectation);
    let header = signed("").parse().unwrap();
    request.headers_mut().insert(SIGNATURE_HEADER, header);
    assert_eq!(polls(request, &count).await, (1, 5));
}

#[test]
fn without_a_runtime_the_body_is_dropped() {
    let (body, count) = pieces(5);
    let verifier = limited_verifier();
    let extraction = pin!(Delivery::from_request(request(body), &verifier));
    let mut context = Context::from_waker(Waker::noop());
    let Poll::Ready(result) = extraction.poll(&mut context) else {
        panic!("nothing to wait for");
    };
    assert_eq!(result.unwrap_err().status(), 401);
    assert_eq!(count.load(Ordering::Relaxed), 0);
    assert_eq!(Arc::strong_count(&count), 1, "the body is dropped");
}
