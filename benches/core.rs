//! The core: verification by size, rejections, and the decoding of each resource.
//!
//! `cargo bench --bench core`

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ptolemy_webhooks::{Event, Payload, Secret, Signer, Verifier, samples};

fn secret() -> Secret {
    Secret::new("whsec_test_secret").expect("a secret in the documented form")
}

fn verify(c: &mut Criterion) {
    let verifier = Verifier::new(secret());
    let mut group = c.benchmark_group("verify");
    for length in [256, 1024, 16 * 1024, 1024 * 1024] {
        let body = vec![b'x'; length];
        let header = Signer::new(&secret()).sign(&body);
        group.throughput(Throughput::Bytes(length as u64));
        group.bench_function(BenchmarkId::from_parameter(length), |b| {
            b.iter(|| {
                verifier
                    .verify(black_box(&header), black_box(&body))
                    .is_ok()
            });
        });
    }
    group.finish();
}

/// Rejections before the hash: by the header's grammar, and by the clock.
fn reject(c: &mut Criterion) {
    let verifier = Verifier::new(secret());
    let tag = "0".repeat(64);
    let mut group = c.benchmark_group("reject");
    for (name, header) in [
        ("malformed", format!("t=1700000000,v1={tag}0")),
        ("stale", format!("t=1700000000,v1={tag}")),
        (
            "stale, 16 candidates",
            format!("t=1700000000{}", format!(",v1={tag}").repeat(16)),
        ),
    ] {
        group.bench_function(name, |b| {
            b.iter(|| verifier.verify(black_box(&header), b"").is_err());
        });
    }
    group.finish();
}

fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    let mut seen = String::new();
    for sample in samples::all() {
        let event_type = sample.event_type();
        let resource = event_type.split('.').next().unwrap_or_default();
        if resource == seen {
            continue;
        }
        seen = resource.to_owned();
        let body = bytes::Bytes::from(sample);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(resource, |b| {
            b.iter(|| Event::from_trusted_json(black_box(body.clone())));
        });
    }

    let body = bytes::Bytes::from(samples::instrument_created());
    group.bench_function("instrument, as a serde_json::Value", |b| {
        b.iter(|| serde_json::from_slice::<serde_json::Value>(black_box(&body)));
    });
    let body = samples::instrument_created().to_json();
    let body = bytes::Bytes::from(body.replace("instrument.created", "robot.created"));
    let event = Event::from_trusted_json(body.clone()).expect("an event");
    assert!(matches!(event.payload, Ok(Payload::Unknown)));
    group.bench_function("unknown type", |b| {
        b.iter(|| Event::from_trusted_json(black_box(body.clone())));
    });
    group.finish();
}

criterion_group!(benches, verify, reject, decode);
criterion_main!(benches);
