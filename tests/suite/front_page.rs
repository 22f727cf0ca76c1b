//! The programs of the README and of the guide run.
//! `docs::the_readme_and_the_guide_quote_the_programs_that_the_suites_run` compares their text.

use std::cell::RefCell;

use ptolemy_webhooks::{SIGNATURE_HEADER, samples};

use crate::{NOW, at, signed};

const PATH: &str = "/webhooks/ptolemy";

thread_local! {
    /// The lines that a program of the README has printed.
    static PRINTED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn printed() -> Vec<String> {
    PRINTED.take()
}

/// They replace the macros of `std`, so that a test sees what the programs print.
macro_rules! println {
    ($($text:tt)*) => { $crate::front_page::PRINTED.with_borrow_mut(|lines| lines.push(format!($($text)*))) };
}
macro_rules! eprintln {
    ($($text:tt)*) => { println!($($text)*) };
}

mod on_axum {
    #![allow(dead_code, reason = "`main` listens on a fixed port")]
    include!("readme/axum.rs");

    pub(super) fn router(verifier: Verifier) -> Router {
        app(verifier)
    }
}

mod on_actix_web {
    #![allow(dead_code, reason = "`main` listens on a fixed port")]
    include!("readme/actix_web.rs");

    pub(super) fn configure(config: &mut web::ServiceConfig) {
        routes(config);
    }
}

mod with_store {
    include!("readme/store.rs");

    pub(super) fn router(verifier: Verifier) -> Router {
        app(verifier, Store::default())
    }
}

/// The delivery of the example with a `timestamp` that is not a time.
fn malformed() -> String {
    let body = samples::time_series_value_updated().to_json();
    let body = body.replace(
        "\"timestamp\": \"2026-04-15T00:00:00Z\"",
        "\"timestamp\": \"today\"",
    );
    assert!(body.contains("today"));
    body
}

const MALFORMED: &str =
    "data.timestamp: expected an ISO 8601 time with an offset from UTC, found another string";

/// Each body, and the lines that the front page's program prints for it.
fn cases() -> Vec<(String, Vec<&'static str>)> {
    let unknown = r#"{"event_type":"robot.created","data":{}}"#.to_owned();
    let renamed = samples::instrument_created()
        .to_json()
        .replace(".created", ".renamed");
    vec![
        (
            samples::instrument_created().to_json(),
            vec!["upsert Some(\"bhp.ax\")"],
        ),
        (
            samples::instrument_updated().to_json(),
            vec!["upsert Some(\"bhp.ax\")"],
        ),
        (
            samples::instrument_restored().to_json(),
            vec!["upsert Some(\"bhp.ax\")"],
        ),
        (
            samples::instrument_archived().to_json(),
            vec!["remove Some(\"bhp.ax\")"],
        ),
        (
            samples::instrument_deleted().to_json(),
            vec!["remove Some(\"bhp.ax\")"],
        ),
        (renamed, vec![]),
        (
            samples::time_series_value_updated().to_json(),
            vec!["45.82"],
        ),
        (malformed(), vec![MALFORMED]),
        (samples::market_created().to_json(), vec![]),
        (unknown, vec!["unknown: robot.created"]),
    ]
}

fn verifier() -> ptolemy_webhooks::Verifier {
    crate::verifier().with_clock(|| at(NOW))
}

async fn post_to_axum(router: &axum::Router, body: &str, header: &str) -> u16 {
    use tower::ServiceExt as _;

    let request = http::Request::post(PATH).header(SIGNATURE_HEADER, header);
    let request = request
        .body(axum::body::Body::from(body.to_owned()))
        .unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    response.status().as_u16()
}

#[tokio::test]
async fn the_front_page_on_axum_handles_each_event_and_prints_malformed_data() {
    let router = on_axum::router(verifier());
    for (body, lines) in cases() {
        assert_eq!(post_to_axum(&router, &body, &signed(&body)).await, 204);
        assert_eq!(printed(), lines, "{body}");
    }
    assert_eq!(post_to_axum(&router, "{}", &signed("{} ")).await, 401);
    assert!(printed().is_empty());
}

#[actix_web::test]
async fn the_front_page_on_actix_web_handles_each_event_and_prints_malformed_data() {
    use actix_web::test::{TestRequest, call_service, init_service};

    let app = actix_web::App::new()
        .app_data(verifier())
        .configure(on_actix_web::configure);
    let app = init_service(app).await;
    let request = |request: TestRequest, body: &str, header: String| {
        let request = request.uri(PATH).insert_header((SIGNATURE_HEADER, header));
        request.set_payload(body.to_owned()).to_request()
    };
    for (body, lines) in cases() {
        let post = request(TestRequest::post(), &body, signed(&body));
        assert_eq!(call_service(&app, post).await.status().as_u16(), 204);
        assert_eq!(printed(), lines, "{body}");
    }
    for (method, status) in [(TestRequest::post(), 401), (TestRequest::get(), 405)] {
        let request = request(method, "{}", signed("{} "));
        let response = call_service(&app, request).await;
        assert_eq!(response.status().as_u16(), status);
    }
    assert!(printed().is_empty());
}

#[tokio::test]
async fn the_store_of_the_readme_records_a_key_after_the_work_and_never_does_it_twice() {
    let router = with_store::router(verifier());
    let good = samples::market_created().to_json();
    // The work fails each time: its key is never noted.
    for body in [malformed(), malformed()] {
        assert_eq!(post_to_axum(&router, &body, &signed(&body)).await, 422);
        assert!(printed().is_empty());
    }
    for times in [1, 0] {
        assert_eq!(post_to_axum(&router, &good, &signed(&good)).await, 204);
        assert_eq!(printed().len(), times);
    }
    assert_eq!(post_to_axum(&router, &good, "").await, 401);
    assert_eq!(
        printed(),
        ["rejected (malformed_header): header `Ptolemy-Signature` is malformed: no `t`"]
    );
}
