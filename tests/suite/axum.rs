//! The axum extractors, in process.

use std::cell::Cell;
use std::collections::VecDeque;
use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use axum::extract::{DefaultBodyLimit, FromRef, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt as _;
use ptolemy_webhooks::{
    Delivery, Event, Payload, Reason, Rejection, RejectionKind, SIGNATURE_HEADER, Verifier,
    VerifyError,
};
use time::OffsetDateTime;
use tower::ServiceExt as _;
use tower_http::limit::RequestBodyLimitLayer;

use crate::vectors::{self, Outcome};
use crate::{NOW, at, only_header, signed};

thread_local! {
    static CLOCK: Cell<OffsetDateTime> = const { Cell::new(OffsetDateTime::UNIX_EPOCH) };
}

fn verifier() -> Verifier {
    CLOCK.set(at(NOW));
    crate::verifier().with_clock(|| CLOCK.get())
}

const EVENT: &str = r#"{"event_type":"market.created","data":{"identifier":"asx"}}"#;

/// A body in frames that counts how often it is polled.
struct Frames {
    frames: VecDeque<Result<Frame<Bytes>, std::io::Error>>,
    polls: Arc<AtomicUsize>,
}

impl HttpBody for Frames {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        self.polls.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(self.frames.pop_front())
    }
}

fn chunk(bytes: impl Into<Bytes>) -> Result<Frame<Bytes>, std::io::Error> {
    Ok(Frame::data(bytes.into()))
}

/// A request whose body counts its polls.
fn request(
    header: Option<&str>,
    frames: impl IntoIterator<Item = Result<Frame<Bytes>, std::io::Error>>,
) -> (Request, Arc<AtomicUsize>) {
    let polls = Arc::new(AtomicUsize::new(0));
    let body = Body::new(Frames {
        frames: frames.into_iter().collect(),
        polls: polls.clone(),
    });
    let mut request = Request::post("/").body(body).unwrap();
    if let Some(header) = header {
        let header = HeaderValue::from_str(header).unwrap();
        request.headers_mut().append(SIGNATURE_HEADER, header);
    }
    (request, polls)
}

fn signed_request(body: &'static str) -> Request {
    request(Some(&signed(body)), [chunk(body)]).0
}

fn declared(mut request: Request, length: &str) -> Request {
    let length = HeaderValue::from_str(length).unwrap();
    request.headers_mut().insert("content-length", length);
    request
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    text: String,
}

async fn send(app: Router, request: Request) -> Answer {
    let response = app.oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        text: String::from_utf8(bytes.to_vec()).unwrap(),
    }
}

/// Responds with the length of the body.
fn delivery_app(verifier: Verifier) -> Router {
    async fn handler(delivery: Delivery) -> String {
        delivery.body().len().to_string()
    }
    Router::new().route("/", post(handler)).with_state(verifier)
}

fn event_app(verifier: Verifier) -> Router {
    async fn handler(event: Event) -> String {
        event.event_type.to_string()
    }
    Router::new().route("/", post(handler)).with_state(verifier)
}

#[tokio::test]
async fn every_vector_gives_its_result_in_the_extractor() {
    let mut untransportable = Vec::new();
    for vector in vectors::load() {
        CLOCK.set(vector.now());
        let (mut request, _) = request(None, [chunk(vector.body())]);
        let headers: Result<Vec<_>, _> = vector
            .headers()
            .iter()
            .map(|header| HeaderValue::from_bytes(header))
            .collect();
        let Ok(headers) = headers else {
            untransportable.push(vector.name);
            continue;
        };
        for header in headers {
            request.headers_mut().append(SIGNATURE_HEADER, header);
        }
        let app = delivery_app(vector.verifier().with_clock(|| CLOCK.get()));
        let answer = send(app, request).await;
        let expected = match vector.expect {
            Outcome::Accept => (200, vector.body().len().to_string()),
            _ => {
                let headers = vector.headers();
                let error = only_header(&headers)
                    .and_then(|header| {
                        vector
                            .verifier()
                            .verify_at(header, &vector.body(), vector.now())
                    })
                    .unwrap_err();
                (401, error.to_string())
            }
        };
        assert_eq!((answer.status, answer.text), expected, "{}", vector.name);
    }
    // No HTTP message can carry these.
    assert_eq!(
        untransportable,
        ["NUL in an unknown part", "NUL in t", "line feed after v1"]
    );
}

#[tokio::test]
async fn a_signed_event_reaches_the_handler_typed() {
    async fn handler(event: Event) -> String {
        match event.payload {
            Ok(Payload::Market(_, market)) => market.identifier.unwrap(),
            other => panic!("{other:?}"),
        }
    }
    let app = Router::new()
        .route("/", post(handler))
        .with_state(verifier());
    let answer = send(app, signed_request(EVENT)).await;
    assert_eq!((answer.status, answer.text.as_str()), (200, "asx"));
}

#[tokio::test]
async fn a_rejection_is_one_line_of_plain_text_with_a_challenge() {
    let (request, _) = request(None, [chunk(EVENT)]);
    let answer = send(event_app(verifier()), request).await;
    assert_eq!(answer.status, 401);
    assert_eq!(answer.text, "header `Ptolemy-Signature` is missing");
    assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
    assert_eq!(answer.headers["www-authenticate"], "Ptolemy-Signature");
}

/// A body of one chunk that replaces the secrets when it is polled.
struct Rotating(Verifier, Option<Bytes>);

impl HttpBody for Rotating {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0
            .replace_secrets(crate::secret("whsec_another_secret"), []);
        Poll::Ready(self.1.take().map(|chunk| Ok(Frame::data(chunk))))
    }
}

#[tokio::test]
async fn a_request_keeps_the_secrets_it_began_with_while_its_body_arrives() {
    let verifier = verifier();
    let app = delivery_app(verifier.clone());
    for status in [200, 401] {
        let body = Body::new(Rotating(verifier.clone(), Some("abc".into())));
        let request = Request::post("/").header(SIGNATURE_HEADER, signed("abc"));
        let answer = send(app.clone(), request.body(body).unwrap()).await;
        assert_eq!(answer.status, status);
    }
}

#[tokio::test]
async fn a_layer_finds_the_reason_in_the_extensions_of_the_response() {
    for (headers, body, reason) in [
        (vec![], EVENT, Reason::MissingHeader),
        (vec![String::new(); 2], EVENT, Reason::RepeatedHeader),
        (vec!["t=1".to_owned()], EVENT, Reason::MalformedHeader),
        (vec![signed("x")], EVENT, Reason::SignatureMismatch),
        (vec![signed("x")], "x", Reason::NotAnEvent),
        (
            vec![signed("")],
            "long".repeat(100).leak(),
            Reason::BodyTooLarge,
        ),
    ] {
        let (mut request, _) = request(None, [chunk(body)]);
        for header in headers {
            let header = HeaderValue::from_str(&header).unwrap();
            request.headers_mut().append(SIGNATURE_HEADER, header);
        }
        let app = event_app(verifier().with_body_limit(100));
        let response = app.oneshot(request).await.unwrap();
        assert_eq!(response.status().as_u16(), reason.status());
        assert_eq!(response.extensions().get(), Some(&reason));
    }
}

#[tokio::test]
async fn a_rejected_request_never_reaches_the_handler() {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    async fn handler(_: Delivery) {
        CALLS.fetch_add(1, Ordering::Relaxed);
    }
    let app = Router::new()
        .route("/", post(handler))
        .with_state(verifier());
    for (header, body) in [
        (None, EVENT),
        (Some(signed("another body")), EVENT),
        (Some("t=1,v1=".to_owned()), EVENT),
        (Some(signed(EVENT).replace("t=17", "t=16")), EVENT),
    ] {
        let (request, _) = request(header.as_deref(), [chunk(body)]);
        assert_eq!(send(app.clone(), request).await.status, 401);
    }
    assert_eq!(CALLS.load(Ordering::Relaxed), 0);
    assert_eq!(send(app, signed_request(EVENT)).await.status, 200);
    assert_eq!(CALLS.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn the_body_is_not_polled_when_the_header_or_the_timestamp_is_rejected() {
    let stale = signed(EVENT).replace("t=1700000000", "t=1600000000");
    for header in [None, Some(""), Some("t=1"), Some(&*stale)] {
        let (request, polls) = request(header, [chunk(EVENT)]);
        let answer = send(delivery_app(verifier()), request).await;
        assert_eq!(answer.status, 401, "{header:?}");
        assert_eq!(polls.load(Ordering::Relaxed), 0, "{header:?}");
    }
}

#[tokio::test]
async fn a_repeated_header_is_rejected_whichever_is_good() {
    let good = signed(EVENT);
    let bad = signed("another body");
    for (first, second) in [(&good, &good), (&good, &bad), (&bad, &good)] {
        let (mut request, polls) = request(Some(first), [chunk(EVENT)]);
        let second = HeaderValue::from_str(second).unwrap();
        request.headers_mut().append(SIGNATURE_HEADER, second);
        let answer = send(delivery_app(verifier()), request).await;
        assert_eq!(answer.status, 401);
        assert_eq!(answer.text, "header `Ptolemy-Signature` is repeated");
        assert_eq!(polls.load(Ordering::Relaxed), 0);
    }
}

#[tokio::test]
async fn a_declared_length_over_the_limit_is_rejected_unread() {
    let (request, polls) = request(Some(&signed("abcd")), [chunk("abcd")]);
    let answer = send(
        delivery_app(verifier().with_body_limit(3)),
        declared(request, "4"),
    )
    .await;
    assert_eq!(answer.status, 413);
    assert_eq!(answer.text, "body is longer than 3 bytes");
    assert_eq!(polls.load(Ordering::Relaxed), 0);

    for huge in ["18446744073709551615", "9223372036854775808"] {
        let request = declared(signed_request("abcd"), huge);
        let answer = send(delivery_app(verifier()), request).await;
        assert_eq!(answer.status, 413);
    }
}

#[tokio::test]
async fn an_unsigned_request_is_rejected_as_such_even_if_it_is_too_long() {
    let (request, _) = request(None, [chunk("abcd")]);
    let answer = send(
        delivery_app(verifier().with_body_limit(3)),
        declared(request, "4"),
    )
    .await;
    assert_eq!(answer.status, 401);
}

#[tokio::test]
async fn a_body_as_long_as_the_limit_passes_and_one_byte_more_does_not() {
    for (body, frames) in [
        ("abc", vec!["abc"]),
        ("abc", vec!["a", "b", "c"]),
        ("abc", vec!["ab", "", "c", ""]),
    ] {
        for length in [None, Some("3"), Some("1"), Some("not a number")] {
            let (mut request, _) = request(Some(&signed(body)), frames.iter().copied().map(chunk));
            if let Some(length) = length {
                request = declared(request, length);
            }
            let answer = send(delivery_app(verifier().with_body_limit(3)), request).await;
            assert_eq!((answer.status, &*answer.text), (200, "3"), "{length:?}");
        }
    }
    for frames in [
        vec!["abcd"],
        vec!["abc", "d"],
        vec!["a", "b", "c", "d"],
        vec!["abcdefgh"],
    ] {
        for length in [None, Some("1"), Some("3")] {
            let (mut request, _) =
                request(Some(&signed("abcd")), frames.iter().copied().map(chunk));
            if let Some(length) = length {
                request = declared(request, length);
            }
            let answer = send(delivery_app(verifier().with_body_limit(3)), request).await;
            assert_eq!(answer.status, 413, "{frames:?} {length:?}");
        }
    }
}

#[tokio::test]
async fn reading_stops_at_the_limit() {
    let frames = (0..1000).map(|_| chunk("0123456789"));
    let (request, polls) = request(Some(&signed("")), frames);
    let answer = send(delivery_app(verifier().with_body_limit(25)), request).await;
    assert_eq!(answer.status, 413);
    assert_eq!(polls.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn the_default_limit_is_one_mebibyte_and_that_of_axum_does_not_apply() {
    let body = "x".repeat(1024 * 1024);
    let longer = "x".repeat(1024 * 1024 + 1);
    let app = delivery_app(verifier()).layer(DefaultBodyLimit::max(10));
    let (exact, _) = request(Some(&signed(&body)), [chunk(body)]);
    assert_eq!(send(app.clone(), exact).await.status, 200);
    let (over, _) = request(Some(&signed(&longer)), [chunk(longer)]);
    assert_eq!(send(app, over).await.status, 413);

    let body = "x".repeat(3 * 1024 * 1024);
    let app = delivery_app(verifier().with_body_limit(3 * 1024 * 1024));
    let (request, _) = request(Some(&signed(&body)), [chunk(body)]);
    assert_eq!(send(app, request).await.status, 200);
}

#[tokio::test]
async fn a_limit_of_a_layer_around_is_413_too() {
    let app = delivery_app(verifier()).layer(RequestBodyLimitLayer::new(3));
    let (request, _) = request(Some(&signed("abcd")), [chunk("ab"), chunk("cd")]);
    let answer = send(app, request).await;
    assert_eq!(answer.status, 413);
    assert_eq!(answer.text, "body is longer than the server allows");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_400_and_is_not_polled_again() {
    let broken = || Err(std::io::Error::other("connection reset"));
    let (request, polls) = request(
        Some(&signed(EVENT)),
        [chunk("{"), broken(), broken(), chunk(EVENT)],
    );
    let answer = send(event_app(verifier()), request).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.text, "body broke off before its end");
    assert_eq!(polls.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_body_may_come_in_any_number_of_frames() {
    let whole = signed_request(EVENT);
    assert_eq!(send(event_app(verifier()), whole).await.status, 200);

    let bytes = EVENT.as_bytes().iter().map(|&byte| chunk(vec![byte]));
    let (in_bytes, _) = request(Some(&signed(EVENT)), bytes);
    let answer = send(event_app(verifier()), in_bytes).await;
    assert_eq!((answer.status, &*answer.text), (200, "market.created"));

    let (empty, _) = request(Some(&signed("")), []);
    let answer = send(delivery_app(verifier()), empty).await;
    assert_eq!((answer.status, &*answer.text), (200, "0"));
}

#[tokio::test]
async fn trailers_are_not_part_of_the_body() {
    let mut trailers = HeaderMap::new();
    trailers.insert("ptolemy-signature", HeaderValue::from_static("t=1"));
    let frames = [chunk(EVENT), Ok(Frame::trailers(trailers))];
    let (request, _) = request(Some(&signed(EVENT)), frames);
    assert_eq!(send(event_app(verifier()), request).await.status, 200);
}

#[tokio::test]
async fn a_body_of_one_frame_is_not_copied() {
    // A frame of up to 16 KiB is copied: see `Intake`.
    let body = Bytes::from(EVENT.to_owned() + &" ".repeat(20_000));
    let address = body.as_ptr().addr();
    let handler = move |delivery: Delivery| async move {
        assert_eq!(delivery.body().as_ptr().addr(), address);
    };
    let app = Router::new()
        .route("/", post(handler))
        .with_state(verifier());
    let signature = signed(&body);
    let (request, _) = request(Some(&signature), [chunk(""), chunk(body), chunk("")]);
    assert_eq!(send(app, request).await.status, 200);
}

#[tokio::test]
async fn a_body_that_is_not_an_event_is_422_for_event_and_fine_for_delivery() {
    let answer = send(event_app(verifier()), signed_request("SENTINEL")).await;
    assert_eq!(answer.status, 422);
    assert_eq!(answer.text, "body is not valid JSON at line 1, column 1");
    assert!(!answer.headers.contains_key("www-authenticate"));
    let answer = send(delivery_app(verifier()), signed_request("SENTINEL")).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn an_event_that_is_not_understood_still_reaches_the_handler() {
    for body in [
        r#"{"event_type":"robot.created"}"#,
        r#"{"event_type":"webhook.created","data":[]}"#,
    ] {
        let answer = send(event_app(verifier()), signed_request(body)).await;
        assert_eq!(answer.status, 200, "{body}");
    }
}

#[tokio::test]
async fn compressed_bytes_are_what_is_signed() {
    let gzip: &[u8] = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x03\0\0\0\0\0\0\0\0\0";
    let (mut request, _) = request(Some(&signed(gzip)), [chunk(gzip)]);
    let encoding = HeaderValue::from_static("gzip");
    request.headers_mut().insert("content-encoding", encoding);
    let answer = send(delivery_app(verifier()), request).await;
    assert_eq!((answer.status, &*answer.text), (200, "20"));
}

#[tokio::test]
async fn the_content_type_does_not_matter() {
    for content_type in [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "not a content type",
    ] {
        let mut request = signed_request(EVENT);
        let value = HeaderValue::from_static(content_type);
        request.headers_mut().insert("content-type", value);
        assert_eq!(send(event_app(verifier()), request).await.status, 200);
    }
}

#[tokio::test]
async fn the_verifier_is_found_in_a_larger_state_behind_a_nested_router_and_layers() {
    #[derive(Clone)]
    struct App {
        verifier: Verifier,
        name: &'static str,
    }
    impl FromRef<App> for Verifier {
        fn from_ref(app: &App) -> Self {
            app.verifier.clone()
        }
    }
    async fn receive(State(app): State<App>, event: Event) -> String {
        format!("{} {}", app.name, event.event_type)
    }
    async fn json(Json(body): Json<serde_json::Value>) -> String {
        body.to_string()
    }
    let app = Router::new()
        .nest(
            "/webhooks",
            Router::new()
                .route("/ptolemy", post(receive))
                .route("/json", post(json)),
        )
        .layer(RequestBodyLimitLayer::new(1024))
        .with_state(App {
            verifier: verifier(),
            name: "app",
        });

    let mut request = signed_request(EVENT);
    *request.uri_mut() = "/webhooks/ptolemy".parse().unwrap();
    let answer = send(app.clone(), request).await;
    assert_eq!((answer.status, &*answer.text), (200, "app market.created"));

    let request = Request::post("/webhooks/json")
        .header("content-type", "application/json")
        .body(Body::from("[1]"))
        .unwrap();
    assert_eq!(send(app, request).await.text, "[1]");
}

#[tokio::test]
async fn a_handler_may_take_the_rejection_and_answer_itself() {
    async fn handler(event: Result<Event, Rejection>) -> Response {
        match event {
            Ok(_) => StatusCode::NO_CONTENT.into_response(),
            Err(rejection) => {
                let kind = match rejection.kind() {
                    RejectionKind::Verify(VerifyError::Mismatch) => "mismatch",
                    RejectionKind::Verify(_) => "other",
                    RejectionKind::BodyIncomplete => {
                        assert!(rejection.source().unwrap().to_string().contains("reset"));
                        "incomplete"
                    }
                    _ => "not a verify error",
                };
                (
                    StatusCode::IM_A_TEAPOT,
                    format!("{} {kind}", rejection.status()),
                )
                    .into_response()
            }
        }
    }
    let app = Router::new()
        .route("/", post(handler))
        .with_state(verifier());
    assert_eq!(send(app.clone(), signed_request(EVENT)).await.status, 204);
    for (header, frame, text) in [
        (signed("x"), chunk(EVENT), "401 mismatch"),
        (String::new(), chunk(EVENT), "401 other"),
        (signed("x"), chunk("x"), "422 not a verify error"),
        (
            signed("x"),
            Err(std::io::Error::other("connection reset")),
            "400 incomplete",
        ),
    ] {
        let (request, _) = request(Some(&header), [frame]);
        let answer = send(app.clone(), request).await;
        assert_eq!((answer.status, &*answer.text), (418, text));
    }
}
