//! The extractors in process, against the frameworks' own `Bytes`: 1 KiB, in one piece.
//!
//! `cargo bench --bench extract --features axum,actix-web`

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use ptolemy_webhooks::{Delivery, Event, SIGNATURE_HEADER, Secret, Signer, Verifier};

/// An event of 1 KiB and its signature.
fn signed() -> (Verifier, String, Bytes) {
    let secret = Secret::new("whsec_test_secret").expect("a secret in the documented form");
    let name = "x".repeat(1024 - 73);
    let body =
        format!(r#"{{"id":"evt_1","event_type":"instrument.created","data":{{"name":"{name}"}}}}"#);
    let header = Signer::new(&secret).sign(body.as_bytes());
    (Verifier::new(secret), header, body.into())
}

fn axum(c: &mut Criterion) {
    use axum::body::Body;
    use axum::extract::{FromRequest, Request};

    let (verifier, header, body) = signed();
    let request = || {
        Request::post("/")
            .header(SIGNATURE_HEADER, &header)
            .header("content-length", body.len())
            .body(Body::from(body.clone()))
            .expect("a request")
    };
    let runtime = runtime();
    let mut group = c.benchmark_group("axum");
    group.bench_function("Bytes", |b| {
        b.iter(|| {
            runtime
                .block_on(Bytes::from_request(black_box(request()), &verifier))
                .is_ok()
        });
    });
    group.bench_function("Delivery", |b| {
        b.iter(|| {
            runtime
                .block_on(Delivery::from_request(black_box(request()), &verifier))
                .is_ok()
        });
    });
    group.bench_function("Event", |b| {
        b.iter(|| {
            runtime
                .block_on(Event::from_request(black_box(request()), &verifier))
                .is_ok()
        });
    });
    group.finish();
}

fn actix(c: &mut Criterion) {
    use actix_web::FromRequest;
    use actix_web::test::TestRequest;

    let (verifier, header, body) = signed();
    let request = || {
        TestRequest::post()
            .app_data(verifier.clone())
            .insert_header((SIGNATURE_HEADER, header.as_str()))
            .insert_header(("content-length", body.len()))
            .set_payload(body.clone())
            .to_http_parts()
    };
    let runtime = runtime();
    let mut group = c.benchmark_group("actix-web");
    group.bench_function("Bytes", |b| {
        b.iter(|| {
            let (request, mut payload) = request();
            runtime.block_on(web_bytes(&request, &mut payload))
        });
    });
    group.bench_function("Delivery", |b| {
        b.iter(|| {
            let (request, mut payload) = request();
            runtime
                .block_on(Delivery::from_request(&request, &mut payload))
                .is_ok()
        });
    });
    group.bench_function("Event", |b| {
        b.iter(|| {
            let (request, mut payload) = request();
            runtime
                .block_on(Event::from_request(&request, &mut payload))
                .is_ok()
        });
    });
    group.finish();
}

async fn web_bytes(
    request: &actix_web::HttpRequest,
    payload: &mut actix_web::dev::Payload,
) -> bool {
    use actix_web::FromRequest;
    Bytes::from_request(request, payload).await.is_ok()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime")
}

criterion_group!(benches, axum, actix);
criterion_main!(benches);
