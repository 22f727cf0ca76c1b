//! Probes of HTTP: methods, headers, connections, and many requests at once.

use reqwest::Method;

use super::forge::{Forge, Request, Via};
use super::probe::{Basis, Expected, Order, Plan, Probe};

const POST_ALONE: &str = "Route the path for POST alone, and answer other methods with 405.";
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

fn by_method(forge: &Forge, label: &str, method: Method) -> Plan {
    let mut request = forge.signed(forge.body(label));
    request.method = method;
    request.into()
}

fn with_content_type(forge: &Forge, label: &str, content_type: Option<&'static str>) -> Request {
    let mut request = forge.signed(forge.body(label));
    request.content_type = content_type;
    request
}

pub(super) const PROBES: &[Probe] = &[
    Probe::forged(
        "method-get",
        "GET instead of POST, signed",
        POST_ALONE,
        |f| by_method(f, "method-get", Method::GET),
    )
    .advice(Basis::OwnChoice)
    .expect(Expected::NotAccepted, false),
    Probe::forged(
        "method-put",
        "PUT instead of POST, signed",
        POST_ALONE,
        |f| by_method(f, "method-put", Method::PUT),
    )
    .advice(Basis::OwnChoice)
    .expect(Expected::NotAccepted, false),
    Probe::delivery(
        "content-type-absent",
        "no `Content-Type`",
        ANY_CONTENT_TYPE,
        |f| with_content_type(f, "content-type-absent", None).into(),
    )
    .advice(Basis::Assumed),
    Probe::delivery(
        "content-type-charset",
        "a `Content-Type` with a charset",
        ANY_CONTENT_TYPE,
        |f| {
            let content_type = Some("application/json; charset=utf-8");
            with_content_type(f, "content-type-charset", content_type).into()
        },
    )
    .advice(Basis::Assumed),
    Probe::delivery(
        "chunked",
        "a body in chunks, without `Content-Length`",
        "Accept chunked bodies, as HTTP/1.1 says.",
        |f| {
            let mut request = f.signed(f.body("chunked"));
            request.chunked = true;
            request.into()
        },
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
    .expect(Expected::NoFault, true),
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
    ),
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
    ),
];
