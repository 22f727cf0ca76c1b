//! The metrics of the extractors and of `Intake` are those of `docs/observability.md`.

use std::collections::{BTreeMap, BTreeSet};

use metrics_util::debugging::DebuggingRecorder;
use ptolemy_webhooks::{
    Assumption, Delivery, Event, Finding, Intake, Observations, Reason, Rejection, Verifier,
    describe_metrics, histogram_buckets,
};

use super::{SECRET, at, secret, signed, verifier};

mod table;
use table::{Row, Series, rows};

/// What a run records.
fn recorded(run: impl FnOnce()) -> Series {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, run);
    table::series(&snapshotter)
}

/// The series that were counted, without those that were only set to zero.
fn counted(series: &Series) -> BTreeMap<&str, f64> {
    let values = series.iter().map(|(name, it)| (name.as_str(), it.value));
    values.filter(|(_, value)| *value > 0.0).collect()
}

const BODY: &str = r#"{"event_type":"market.created"}"#;

fn now_signed(body: &str) -> String {
    ptolemy_webhooks::Signer::new(&secret(SECRET)).sign(body.as_bytes())
}

fn intake(header: &[&str], declared: Option<u64>, chunks: &[&str]) -> Result<Delivery, Reason> {
    let verifier = verifier().with_body_limit(100);
    let begun = Intake::begin_at(&verifier, header, declared, at(super::NOW));
    let mut intake = begun.map_err(|rejection| rejection.reason())?;
    for chunk in chunks {
        let pushed = intake.push(chunk.to_string());
        pushed.map_err(|rejection| rejection.reason())?;
    }
    intake.finish().map_err(|rejection| rejection.reason())
}

#[test]
fn each_end_of_an_intake_is_counted_once_with_its_reason() {
    let good = signed(BODY);
    let stale = ptolemy_webhooks::Signer::new(&secret(SECRET)).sign_at(BODY.as_bytes(), at(1));
    let ahead = ptolemy_webhooks::Signer::new(&secret(SECRET))
        .sign_at(BODY.as_bytes(), at(super::NOW + 400));
    let long = "x".repeat(60);
    for (reason, header, declared, chunks) in [
        ("missing_header", &[][..], None, &[BODY][..]),
        ("repeated_header", &[&*good, &*good], None, &[BODY]),
        ("malformed_header", &["t=1"], None, &[BODY]),
        ("timestamp_too_old", &[&*stale], None, &[BODY]),
        ("timestamp_too_far_ahead", &[&*ahead], None, &[BODY]),
        ("body_too_large", &[&*good], Some(101), &[]),
        ("body_too_large", &[&*good], None, &[&*long, &*long]),
        ("signature_mismatch", &[&*good], None, &["another body"]),
    ] {
        let series = recorded(|| {
            let rejected = intake(header, declared, chunks).unwrap_err();
            assert_eq!(rejected.as_str(), reason);
        });
        let name = format!("ptolemy_webhooks_deliveries_total{{outcome=rejected,reason={reason}}}");
        let mut expected = BTreeMap::from([(name.as_str(), 1.0)]);
        if reason == "signature_mismatch" {
            expected.insert("ptolemy_webhooks_verification_duration_seconds{}", 1.0);
        }
        assert_eq!(counted(&series), expected);
    }
    let series = recorded(|| drop(intake(&[&good], None, &[BODY]).unwrap()));
    let expected = BTreeMap::from([
        (
            "ptolemy_webhooks_deliveries_total{outcome=verified,reason=none}",
            1.0,
        ),
        ("ptolemy_webhooks_secret_matches_total{secret=current}", 1.0),
        ("ptolemy_webhooks_body_size_bytes{}", 1.0),
        ("ptolemy_webhooks_verification_duration_seconds{}", 1.0),
    ]);
    assert_eq!(counted(&series), expected);
}

#[test]
fn an_intake_that_is_dropped_is_an_incomplete_body_and_a_failed_one_is_counted_once() {
    let good = signed(BODY);
    let verifier = verifier().with_body_limit(4);
    let begin = || Intake::begin_at(&verifier, [&good], None, at(super::NOW)).unwrap();
    let name =
        |reason| format!("ptolemy_webhooks_deliveries_total{{outcome=rejected,reason={reason}}}");
    let series = recorded(|| drop(begin()));
    assert_eq!(
        counted(&series),
        BTreeMap::from([(&*name("body_incomplete"), 1.0)])
    );
    let series = recorded(|| {
        let mut intake = begin();
        for _ in 0..3 {
            intake.push("12345").unwrap_err();
        }
        intake.finish().unwrap_err();
    });
    assert_eq!(
        counted(&series),
        BTreeMap::from([(&*name("body_too_large"), 1.0)])
    );
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(future)
}

async fn in_axum<T>(request: axum::extract::Request, verifier: Verifier) -> Result<T, Rejection>
where
    T: axum::extract::FromRequest<Verifier, Rejection = Rejection>,
{
    T::from_request(request, &verifier).await
}

async fn in_actix<T>(
    request: &actix_web::HttpRequest,
    payload: &mut actix_web::dev::Payload,
) -> Result<T, Rejection>
where
    T: actix_web::FromRequest<Error = Rejection>,
{
    T::from_request(request, payload).await
}

/// The same request through both frameworks, as a `Delivery` and as an `Event`; the reasons.
fn through_both(headers: &[&str], body: &str) -> Vec<Option<Reason>> {
    wait(async {
        let mut reasons = Vec::new();
        for as_event in [false, true] {
            let mut request = axum::http::Request::post("/");
            for header in headers {
                request = request.header("Ptolemy-Signature", *header);
            }
            let request = request
                .body(axum::body::Body::from(body.to_owned()))
                .unwrap();
            let verifier = verifier();
            reasons.push(match as_event {
                false => in_axum::<Delivery>(request, verifier.clone()).await.err(),
                true => in_axum::<Event>(request, verifier.clone()).await.err(),
            });
            let mut request = actix_web::test::TestRequest::post().app_data(verifier);
            for header in headers {
                request = request.append_header(("Ptolemy-Signature", *header));
            }
            let (request, mut payload) = request.set_payload(body.to_owned()).to_http_parts();
            reasons.push(match as_event {
                false => in_actix::<Delivery>(&request, &mut payload).await.err(),
                true => in_actix::<Event>(&request, &mut payload).await.err(),
            });
        }
        reasons.into_iter().map(|it| Some(it?.reason())).collect()
    })
}

#[test]
fn both_frameworks_count_the_same() {
    let count = |series: &Series, labels: &str| {
        let name = format!("ptolemy_webhooks_deliveries_total{{{labels}}}");
        series.get(&name).map_or(0.0, |it| it.value)
    };
    let series = recorded(|| {
        assert_eq!(through_both(&[&now_signed(BODY)], BODY), [None; 4]);
    });
    assert_eq!(count(&series, "outcome=verified,reason=none"), 4.0);
    assert_eq!(counted(&series).len(), 4, "{series:?}");

    let series = recorded(|| {
        let missing = Some(Reason::MissingHeader);
        assert_eq!(through_both(&[], BODY), [missing; 4]);
    });
    assert_eq!(
        count(&series, "outcome=rejected,reason=missing_header"),
        4.0
    );
    assert_eq!(counted(&series).len(), 1, "{series:?}");

    // A body that is not an event is a valid delivery, and is rejected as an event.
    let series = recorded(|| {
        let not_an_event = Some(Reason::NotAnEvent);
        let reasons = through_both(&[&now_signed("[]")], "[]");
        assert_eq!(reasons, [None, None, not_an_event, not_an_event]);
    });
    assert_eq!(count(&series, "outcome=verified,reason=none"), 2.0);
    assert_eq!(count(&series, "outcome=rejected,reason=not_an_event"), 2.0);
}

/// Bodies that break off, over the limit of a layer, and without a verifier.
fn broken_bodies() -> Vec<Reason> {
    wait(async {
        let header = now_signed(BODY);
        let mut reasons = Vec::new();
        let broken = futures_util::stream::iter([Err::<String, _>(std::io::Error::other("gone"))]);
        let request = axum::http::Request::post("/").header("Ptolemy-Signature", &header);
        let request = request.body(axum::body::Body::from_stream(broken)).unwrap();
        reasons.push(in_axum::<Delivery>(request, verifier()).await.unwrap_err());
        let limited = http_body_util::Limited::new(axum::body::Body::from(BODY), 3);
        let request = axum::http::Request::post("/").header("Ptolemy-Signature", &header);
        let request = request.body(axum::body::Body::new(limited)).unwrap();
        reasons.push(in_axum::<Delivery>(request, verifier()).await.unwrap_err());
        let request = actix_web::test::TestRequest::post();
        let (request, mut payload) = request.set_payload(BODY).to_http_parts();
        let delivery = in_actix::<Delivery>(&request, &mut payload);
        reasons.push(delivery.await.unwrap_err());
        reasons.iter().map(|rejection| rejection.reason()).collect()
    })
}

#[test]
fn bodies_that_break_off_and_a_missing_verifier_are_counted_once() {
    let series = recorded(|| {
        let expected = [
            Reason::BodyIncomplete,
            Reason::BodyTooLarge,
            Reason::NotConfigured,
        ];
        assert_eq!(broken_bodies(), expected);
    });
    let reasons = ["body_incomplete", "body_too_large", "not_configured"];
    let names = reasons.map(|reason| {
        format!("ptolemy_webhooks_deliveries_total{{outcome=rejected,reason={reason}}}")
    });
    let expected: BTreeMap<_, _> = names.iter().map(|name| (name.as_str(), 1.0)).collect();
    assert_eq!(counted(&series), expected);
}

/// Bodies that together deviate from each assumption in each way that is possible.
const DEVIANT: &[&str] = &[
    "[]",
    r#"{"event_type":"instrument.created"}"#,
    r#"{"type":"instrument.created","id":7,"workspace_id":7,"created_at":7,"actor":7,"data":{"name":7}}"#,
    r#"{"event_type":"x.y","id":"1","data":{"id":"1"},"created_at":"x"}"#,
    r#"{"event_type":"instrument.created","data":[]}"#,
    r#"{"event_type":"instrument.created","data":{"id":7}}"#,
];

fn run_of_all() {
    describe_metrics();
    let good = signed(BODY);
    let rotated = Verifier::new(secret("whsec_new")).with_previous(secret(SECRET));
    let mut intake = Intake::begin_at(&rotated, [&good], None, at(super::NOW)).unwrap();
    intake.push(BODY).unwrap();
    assert_eq!(intake.finish().unwrap().secret_index(), 1);
    let stale = ptolemy_webhooks::Signer::new(&secret(SECRET)).sign_at(BODY.as_bytes(), at(1));
    let ahead = ptolemy_webhooks::Signer::new(&secret(SECRET))
        .sign_at(BODY.as_bytes(), at(super::NOW + 400));
    for header in [
        &[][..],
        &[&*good, &*good],
        &["t=1"],
        &[&*stale],
        &[&*ahead],
        &[&*good],
    ] {
        let _ = intake_of(header, "another body");
    }
    through_both(&[&now_signed("[]")], "[]");
    broken_bodies();
    let observations = Observations::new();
    for body in DEVIANT {
        let header = signed(body);
        let delivery = verifier()
            .receive_at(header, *body, at(super::NOW))
            .unwrap();
        observations.observe(&delivery);
    }
}

fn intake_of(header: &[&str], body: &str) -> Result<Delivery, Reason> {
    intake(header, None, &[body])
}

#[test]
fn a_run_emits_each_row_of_the_table_and_nothing_else() {
    let series = recorded(run_of_all);
    let rows: Vec<Row> = rows("ptolemy_webhooks_");
    assert_eq!(rows.len(), 5);
    table::compare(&rows, &series);
}

/// The first deviation is then an increase, and not a new series.
#[test]
fn each_counter_of_deviations_begins_at_zero() {
    let series = recorded(describe_metrics);
    for assumption in Assumption::ALL {
        for finding in [Finding::Missing, Finding::AnotherShape] {
            let (assumption, finding) = (assumption.as_str(), finding.as_str());
            let name = format!(
                "ptolemy_webhooks_assumption_deviations_total{{assumption={assumption},finding={finding}}}"
            );
            assert_eq!(series.get(&name).map(|it| it.value), Some(0.0), "{name}");
        }
    }
}

#[test]
fn the_labels_of_assumptions_are_their_codes() {
    let codes: BTreeSet<_> = Assumption::ALL.iter().map(|it| it.as_str()).collect();
    assert_eq!(codes.len(), Assumption::ALL.len());
    for code in codes {
        assert!(
            code.chars().all(|c| c.is_ascii_lowercase() || c == '_'),
            "{code}"
        );
    }
    assert_eq!(Finding::Missing.as_str(), "missing");
    assert_eq!(Finding::AnotherShape.as_str(), "another_shape");
}

#[test]
fn no_text_of_a_delivery_becomes_a_label() {
    let series = recorded(|| {
        for number in 0..1_000 {
            let body = format!(
                r#"{{"id":"xyzzy{number}","event_type":"xyzzy{number}.\nplugh","data":{{"id":"xyzzy"}}}}"#
            );
            let delivery = verifier()
                .receive_at(signed(&body), body, at(super::NOW))
                .unwrap();
            Observations::new().observe(&delivery);
            let header = signed(delivery.body());
            let body = std::str::from_utf8(delivery.body()).unwrap();
            let verifier = verifier();
            let mut intake = Intake::begin_at(&verifier, [&header], None, at(super::NOW)).unwrap();
            intake.push(body.to_owned()).unwrap();
            drop(intake.finish().unwrap());
        }
    });
    assert!(series.len() < 20, "{}", series.len());
    for name in series.keys() {
        for text in ["xyzzy", "plugh", "whsec", SECRET] {
            assert!(!name.contains(text), "{name}");
        }
    }
}

#[test]
fn the_list_of_buckets_and_its_table_have_each_histogram_of_the_page() {
    let listed = table::buckets_in(histogram_buckets());
    assert_eq!(listed, table::buckets_of(&rows("ptolemy_webhooks_")));
    assert_eq!(listed.len(), 2);
}
