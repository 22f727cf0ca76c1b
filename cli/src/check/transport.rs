//! Probes of HTTP: methods, headers, connections, and many requests at once.

use reqwest::Method;

use super::forge::Via;
use super::key::forgery;
use super::probe::{Basis, Expected, Order, Plan, Probe};

const POST_ALONE: &str = "Route the path only for POST, and answer other methods with 405.";
const ANY_CONTENT_TYPE: &str =
    "Read the body without regard to its `Content-Type`, which is not signed.";
const AS_SENT: &str =
    "Compute the HMAC over the bytes of the body as they were sent, before they are decompressed.";
const DRAIN: &str = "After a rejection, read the rest of the body or close the connection with `Connection: close`.";

/// How many deliveries arrive at the same time.
const AT_ONCE: usize = 50;

/// How long the body of a rejected request is.
const REJECTED_BYTES: usize = 256 * 1024;

/// An event as a gzip file, made by `gzip -n`. The event's id is the same in each run.
const GZIPPED: &[u8] = include_bytes!("event.json.gz");
const GUNZIPPED: &[u8] = include_bytes!("event.json");

pub(super) const PROBES: &[Probe] = &[
    Probe::forged(
        "method-get",
        "GET instead of POST, signed",
        POST_ALONE,
        |f| f.signed(f.body("method-get")).by(Method::GET).into(),
    )
    .advice(Basis::OwnChoice)
    .expect(Expected::NotAccepted, false),
    Probe::forged(
        "method-put",
        "PUT instead of POST, signed",
        POST_ALONE,
        |f| f.signed(f.body("method-put")).by(Method::PUT).into(),
    )
    .advice(Basis::OwnChoice)
    .expect(Expected::NotAccepted, false),
    Probe::delivery(
        "content-type-absent",
        "no `Content-Type`",
        ANY_CONTENT_TYPE,
        |f| f.signed(f.body("content-type-absent")).of_type(None).into(),
    )
    .advice(Basis::Assumed),
    Probe::delivery(
        "content-type-charset",
        "a `Content-Type` with a charset",
        ANY_CONTENT_TYPE,
        |f| {
            let request = f.signed(f.body("content-type-charset"));
            request.of_type(Some("application/json; charset=utf-8")).into()
        },
    )
    .advice(Basis::Assumed),
    Probe::delivery(
        "chunked",
        "a body in chunks, without `Content-Length`",
        "Accept chunked bodies, as HTTP/1.1 says.",
        |f| f.signed(f.body("chunked")).in_chunks().into(),
    )
    .advice(Basis::Standard),
    Probe::delivery(
        "gzip-signed-as-sent",
        "a compressed body, signed as it is sent",
        AS_SENT,
        |f| {
            f.signed(GZIPPED)
                .with_header("content-encoding", "gzip")
                .into()
        },
    )
    .advice(Basis::OwnChoice)
    .expect(Expected::NoFault, true)
    .hostile(),
    Probe::forged(
        "gzip-signed-before",
        "a compressed body, signed before it was compressed",
        AS_SENT,
        |f| {
            let request = f.signed(GUNZIPPED).sending(GZIPPED);
            request.with_header("content-encoding", "gzip").into()
        },
    )
    .advice(Basis::OwnChoice)
    .expect(Expected::Rejected, true),
    Probe::delivery(
        "after-a-rejection",
        "a good delivery on the connection of a rejected one of 256 KiB",
        DRAIN,
        |f| {
            let rejected = f.signed("").sending("x".repeat(REJECTED_BYTES));
            let good = f.signed(f.body("after-a-rejection"));
            Plan {
                requests: vec![
                    rejected.via(Via::KeptConnection),
                    good.via(Via::KeptConnection),
                ],
                order: Order::LastCounts,
            }
        },
    )
    .basis(Basis::Standard),
    Probe::forged(
        "forgery-after-good",
        "a wrong signature on the connection of a good delivery",
        "Verify each request, also on a connection that carried a good one before.",
        |f| {
            let label = "forgery-after-good";
            let good = f.signed(f.body(label));
            let forged = forgery(f, "forgery-after-good-forged");
            Plan {
                requests: vec![good.via(Via::KeptConnection), forged.via(Via::KeptConnection)],
                order: Order::LastCounts,
            }
        },
    )
    .expect(Expected::Rejected, true),
    Probe::delivery(
        "50-at-once",
        "50 deliveries at the same time",
        "Answer before the work is done: store the delivery or queue it, and handle it in the background.",
        |f| Plan {
            requests: (1..=AT_ONCE)
                .map(|number| f.signed(f.body(&format!("50-at-once-{number}"))))
                .collect(),
            order: Order::AtOnce,
        },
    )
    .advice(Basis::Assumed),
];
