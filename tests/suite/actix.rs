//! The actix-web extractors, in process. `transport` tests the behaviour that both frameworks
//! share.

use std::cell::Cell;
use std::error::Error as _;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::http::StatusCode;
use actix_web::test::{self, TestRequest};
use actix_web::{App, FromRequest, HttpResponse, ResponseError, web};
use bytes::Bytes;
use futures_core::Stream;
use ptolemy_webhooks::{
    Delivery, Event, Reason, Rejection, RejectionKind, SIGNATURE_HEADER, Verifier, VerifyError,
};

use crate::{NOW, at, signed};

const EVENT: &str = r#"{"event_type":"market.created","data":{"identifier":"asx"}}"#;

fn verifier() -> Verifier {
    crate::verifier().with_clock(|| at(NOW))
}

/// A body in chunks that counts how often it is polled.
struct Chunks {
    chunks: std::vec::IntoIter<Result<Bytes, PayloadError>>,
    polls: Rc<Cell<usize>>,
}

impl Stream for Chunks {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.polls.set(self.polls.get() + 1);
        Poll::Ready(self.chunks.next())
    }
}

fn payload(chunks: Vec<Result<Bytes, PayloadError>>) -> (Payload, Rc<Cell<usize>>) {
    let polls = Rc::new(Cell::new(0));
    let chunks = Chunks {
        chunks: chunks.into_iter(),
        polls: polls.clone(),
    };
    let stream: Pin<Box<dyn Stream<Item = Result<Bytes, PayloadError>>>> = Box::pin(chunks);
    (Payload::from(stream), polls)
}

fn request(header: Option<&str>, body: &str) -> TestRequest {
    let request = TestRequest::post().set_payload(body.to_owned());
    match header {
        Some(header) => request.append_header((SIGNATURE_HEADER, header)),
        None => request,
    }
}

/// Runs the extractor on its own; returns how often the body was polled too.
async fn extract(
    request: TestRequest,
    chunks: Vec<Result<Bytes, PayloadError>>,
) -> (Result<Delivery, Rejection>, usize) {
    let request = request.to_http_request();
    let (mut payload, polls) = payload(chunks);
    let result = Delivery::from_request(&request, &mut payload).await;
    (result, polls.get())
}

fn chunk(text: &str) -> Result<Bytes, PayloadError> {
    Ok(Bytes::from(text.to_owned()))
}

#[actix_web::test]
async fn the_body_is_not_polled_when_the_header_or_the_timestamp_is_rejected() {
    let stale = signed(EVENT).replace("t=1700000000", "t=1600000000");
    for header in [None, Some(""), Some("t=1"), Some(&*stale)] {
        let request = request(header, "").app_data(verifier());
        let (result, polls) = extract(request, vec![chunk(EVENT)]).await;
        assert_eq!(
            (result.unwrap_err().status(), polls),
            (401, 0),
            "{header:?}"
        );
    }
}

#[actix_web::test]
async fn a_declared_length_over_the_limit_is_rejected_unread() {
    let request = request(Some(&signed("abcd")), "")
        .insert_header(("content-length", "4"))
        .app_data(verifier().with_body_limit(3));
    let (result, polls) = extract(request, vec![chunk("abcd")]).await;
    assert_eq!((result.unwrap_err().status(), polls), (413, 0));
}

#[actix_web::test]
async fn reading_stops_at_the_limit() {
    let request = request(Some(&signed("")), "").app_data(verifier().with_body_limit(25));
    let chunks = (0..1000).map(|_| chunk("0123456789")).collect();
    let (result, polls) = extract(request, chunks).await;
    assert_eq!((result.unwrap_err().status(), polls), (413, 3));
}

#[actix_web::test]
async fn a_body_that_breaks_off_is_400_and_is_not_polled_again() {
    let error = || Err(PayloadError::Incomplete(Some(io::Error::other("reset"))));
    let request = request(Some(&signed(EVENT)), "").app_data(verifier());
    let (result, polls) = extract(request, vec![chunk("{"), error(), chunk(EVENT)]).await;
    let rejection = result.unwrap_err();
    assert_eq!((rejection.status(), polls), (400, 2));
    assert_eq!(rejection.kind(), &RejectionKind::BodyIncomplete);
    assert!(rejection.source().unwrap().to_string().contains("reset"));
}

#[actix_web::test]
async fn an_overflow_that_a_layer_reports_is_413() {
    let request = request(Some(&signed(EVENT)), "").app_data(verifier());
    let (result, _) = extract(request, vec![Err(PayloadError::Overflow)]).await;
    let rejection = result.unwrap_err();
    assert_eq!(rejection.status(), 413);
    assert_eq!(
        rejection.to_string(),
        "body is longer than the server allows"
    );
}

#[actix_web::test]
async fn a_body_of_one_chunk_is_not_copied() {
    // A chunk of up to 16 KiB is copied: see `Intake`.
    let body = Bytes::from(EVENT.to_owned() + &" ".repeat(20_000));
    let request = request(Some(&signed(&body)), "").app_data(verifier());
    let chunks = vec![chunk(""), Ok(body.clone()), chunk("")];
    let (result, _) = extract(request, chunks).await;
    assert_eq!(result.unwrap().body().as_ptr(), body.as_ptr());
}

/// Returns the rejection of an app without a verifier.
pub(crate) fn not_configured() -> Rejection {
    rejection(request(None, ""))
}

/// Returns the rejection of a request that is rejected before its body.
fn rejection(request: TestRequest) -> Rejection {
    let (request, mut payload) = request.to_http_parts();
    let mut extraction = pin!(Delivery::from_request(&request, &mut payload));
    match extraction
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(result) => result.unwrap_err(),
        Poll::Pending => panic!("nothing to wait for"),
    }
}

/// A body of one chunk that replaces the secrets when it is polled.
struct Rotating(Verifier, Option<Bytes>);

impl Stream for Rotating {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0
            .replace_secrets(crate::secret("whsec_another_secret"), []);
        Poll::Ready(self.1.take().map(Ok))
    }
}

#[actix_web::test]
async fn a_request_keeps_the_secrets_it_began_with_while_its_body_arrives() {
    let verifier = verifier();
    for status in [None, Some(401)] {
        let request = request(Some(&signed("abc")), "").app_data(verifier.clone());
        let stream: Pin<Box<dyn Stream<Item = Result<Bytes, PayloadError>>>> =
            Box::pin(Rotating(verifier.clone(), Some("abc".into())));
        let mut payload = Payload::from(stream);
        let result = Delivery::from_request(&request.to_http_request(), &mut payload).await;
        assert_eq!(result.err().map(|rejection| rejection.status()), status);
    }
}

#[actix_web::test]
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
        let app = test::init_service(
            App::new()
                .app_data(verifier().with_body_limit(100))
                .route("/", web::post().to(event_type)),
        )
        .await;
        let mut request = TestRequest::post().set_payload(body);
        for header in headers {
            request = request.append_header((SIGNATURE_HEADER, header));
        }
        let response = test::call_service(&app, request.to_request()).await;
        assert_eq!(response.status().as_u16(), reason.status());
        let found = response.response().extensions().get::<Reason>().copied();
        assert_eq!(found, Some(reason));
    }
    let app = test::init_service(App::new().route("/", web::post().to(event_type))).await;
    let response = test::call_service(&app, request(None, "").to_request()).await;
    let found = response.response().extensions().get::<Reason>().copied();
    assert_eq!(found, Some(Reason::NotConfigured));
}

async fn event_type(event: Event) -> String {
    event.event_type.to_string()
}

#[actix_web::test]
async fn the_verifier_is_found_as_it_is_or_as_data_the_nearest_first() {
    let stranger = || Verifier::new(crate::secret("whsec_another_secret")).with_clock(|| at(NOW));
    let scope = |path| web::scope(path).route("/", web::post().to(event_type));
    let app = test::init_service(
        App::new()
            .app_data(stranger())
            .service(scope("/stranger"))
            .service(scope("/plain").app_data(verifier()))
            .service(scope("/data").service(scope("/inner")).app_data(verifier())),
    )
    .await;
    let status = async |path: &str| {
        let request = request(Some(&signed(EVENT)), EVENT).uri(path).to_request();
        test::call_service(&app, request).await.status().as_u16()
    };
    assert_eq!(status("/stranger/").await, 401);
    assert_eq!(status("/plain/").await, 200);
    assert_eq!(status("/data/inner/").await, 200);

    let app = test::init_service(
        App::new()
            .app_data(web::Data::new(verifier()))
            .route("/", web::post().to(event_type)),
    )
    .await;
    let request = request(Some(&signed(EVENT)), EVENT).to_request();
    let body = test::call_and_read_body(&app, request).await;
    assert_eq!(body, "market.created");
}

/// Returns the rejection of an app with a verifier in each form.
pub(crate) fn two_verifiers() -> Rejection {
    let other = Verifier::new(crate::secret("whsec_another_secret"));
    rejection(
        request(None, "")
            .app_data(verifier())
            .app_data(web::Data::new(other)),
    )
}

#[actix_web::test]
async fn different_verifiers_in_the_two_forms_are_500_wherever_they_are() {
    let other = Verifier::new(crate::secret("whsec_another_secret"));
    let verifier = verifier();
    let scope = |path| web::scope(path).route("/", web::post().to(event_type));
    let data = web::Data::new;
    let plain_outside = App::new()
        .app_data(other.clone())
        .service(scope("/in").app_data(data(verifier.clone())));
    let data_outside = App::new()
        .app_data(data(other))
        .service(scope("/in").app_data(verifier.clone()));
    let both_the_same = App::new()
        .app_data(data(verifier.clone()))
        .service(scope("/in").app_data(verifier.clone()));
    for (app, status) in [
        (plain_outside, 500),
        (data_outside, 500),
        (both_the_same, 200),
    ] {
        let app = test::init_service(app).await;
        let request = request(Some(&signed(EVENT)), EVENT).uri("/in/");
        let response = test::call_service(&app, request.to_request()).await;
        assert_eq!(response.status().as_u16(), status);
        let text = test::read_body(response).await;
        assert_eq!(text.starts_with(b"one `Verifier` is"), status == 500);
    }
}

#[actix_web::test]
async fn without_a_verifier_it_is_500_and_the_line_says_what_to_register() {
    let app = test::init_service(App::new().route("/", web::post().to(event_type))).await;
    for header in [None, Some(signed(EVENT))] {
        let request = request(header.as_deref(), EVENT).to_request();
        let response = test::call_service(&app, request).await;
        assert_eq!(response.status(), 500);
        assert!(!response.headers().contains_key("www-authenticate"));
        let text = test::read_body(response).await;
        assert_eq!(
            text,
            "no `Verifier` is registered: call `.app_data(verifier)` on the `App` or the scope"
        );
    }
}

#[actix_web::test]
async fn the_rejection_keeps_its_status_inside_an_actix_error() {
    for (header, body, status) in [
        (String::new(), EVENT, 401),
        (signed("x"), "x", 422),
        (signed("abcd"), "abcd", 413),
    ] {
        let limit = if status == 413 { 3 } else { 1000 };
        let request = request(Some(&header), body).app_data(verifier().with_body_limit(limit));
        let (request, mut payload) = request.to_http_parts();
        let rejection = Event::from_request(&request, &mut payload)
            .await
            .unwrap_err();
        assert_eq!(rejection.status(), status);
        assert_eq!(rejection.status_code().as_u16(), status);
        let error = actix_web::Error::from(rejection);
        assert_eq!(error.as_response_error().status_code().as_u16(), status);
        assert_eq!(error.error_response().status().as_u16(), status);
        assert!(error.as_error::<Rejection>().is_some());
    }
}

#[actix_web::test]
async fn a_handler_may_take_the_rejection_and_answer_itself() {
    async fn handler(event: Result<Event, Rejection>) -> HttpResponse {
        match event {
            Ok(_) => HttpResponse::NoContent().finish(),
            Err(rejection) => {
                let is_mismatch = matches!(
                    rejection.kind(),
                    RejectionKind::Verify(VerifyError::Mismatch)
                );
                HttpResponse::build(StatusCode::IM_A_TEAPOT)
                    .body(format!("{} {is_mismatch}", rejection.status()))
            }
        }
    }
    let app = test::init_service(
        App::new()
            .app_data(verifier())
            .route("/", web::post().to(handler)),
    )
    .await;
    let good = request(Some(&signed(EVENT)), EVENT).to_request();
    assert_eq!(test::call_service(&app, good).await.status(), 204);
    let bad = request(Some(&signed("x")), EVENT).to_request();
    let response = test::call_service(&app, bad).await;
    assert_eq!(response.status(), 418);
    assert_eq!(test::read_body(response).await, "401 true");
}
