//! Times the signature check against its floor and its peers, all in one run.
//!
//! Every round times each contender once, in turn, so that whatever the machine does besides falls
//! on all of them; what is told is the median over the rounds of the ratio within a round. The
//! floor is the least that the check can cost: clone a keyed HMAC-SHA256, three updates, finalize,
//! compare; no parsing, no clock. See `../README.md`.

use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderValue};
use ptolemy_webhooks::{Event, Payload, Secret, Signer, Verifier};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const ROUNDS: usize = 301;
/// How long a contender is timed in each round.
const SLICE: Duration = Duration::from_micros(400);

struct Contender<'a> {
    name: &'static str,
    work: Box<dyn Fn() + 'a>,
    batch: u32,
    times: Vec<f64>,
}

impl<'a> Contender<'a> {
    fn new(name: &'static str, work: impl Fn() + 'a) -> Self {
        let mut contender = Self {
            name,
            work: Box::new(work),
            batch: 1,
            times: Vec::with_capacity(ROUNDS),
        };
        while contender.time() * f64::from(contender.batch) < SLICE.as_secs_f64() {
            contender.batch *= 2;
        }
        contender
    }

    /// The time of one call, in seconds.
    fn time(&self) -> f64 {
        let begin = Instant::now();
        for _ in 0..self.batch {
            (self.work)();
        }
        begin.elapsed().as_secs_f64() / f64::from(self.batch)
    }
}

fn run(contenders: &mut [Contender<'_>]) {
    for _ in 0..ROUNDS {
        for contender in &mut *contenders {
            let time = contender.time();
            contender.times.push(time);
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn find<'s>(contenders: &'s [Contender<'_>], name: &str) -> &'s [f64] {
    let contender = contenders.iter().find(|contender| contender.name == name);
    &contender
        .unwrap_or_else(|| panic!("no contender {name}"))
        .times
}

fn ratio(contenders: &[Contender<'_>], a: &str, b: &str) -> f64 {
    let (a, b) = (find(contenders, a), find(contenders, b));
    median(a.iter().zip(b).map(|(a, b)| a / b).collect())
}

/// What all contenders are given: one body, signed for each scheme, now.
struct Delivery {
    body: Vec<u8>,
    t: String,
    header: String,
    sixteen: String,
    stripe: [(String, String); 1],
    standard: HeaderMap,
    svix: HeaderMap,
}

impl Delivery {
    fn new(length: usize) -> Self {
        let body: Vec<u8> = (0..length).map(|i| b'a' + (i % 26) as u8).collect();
        let header = Signer::new(&secret()).sign(&body);
        let (t, v1) = header.split_once(',').expect("t and v1");
        let forged = ",v1=0000000000000000000000000000000000000000000000000000000000000000";
        let t = t[2..].to_owned();
        let seconds: i64 = t.parse().expect("seconds");
        let standard = standardwebhooks::Webhook::new(SECRET).expect("base64");
        let standard = standard.sign("msg_1", seconds, &body).expect("UTF-8");
        let headers = |prefix: &str| {
            let mut headers = HeaderMap::new();
            for (name, value) in [("id", "msg_1"), ("timestamp", &t), ("signature", &standard)] {
                let name = format!("{prefix}-{name}").parse::<http::HeaderName>();
                let value = HeaderValue::from_str(value).expect("a header's value");
                headers.insert(name.expect("a header's name"), value);
            }
            headers
        };
        Self {
            sixteen: format!("t={t}{},{v1}", forged.repeat(15)),
            stripe: [("Stripe-Signature".to_owned(), header.clone())],
            standard: headers("webhook"),
            svix: headers("svix"),
            t,
            header,
            body,
        }
    }

    fn tag(&self) -> [u8; 32] {
        let hex = self.header.split_once("v1=").expect("v1").1;
        std::array::from_fn(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).expect("hex"))
    }
}

fn secret() -> Secret {
    Secret::new(SECRET).expect("a secret in the documented form")
}

fn equal(a: &[u8], b: &[u8; 32]) -> bool {
    use subtle::ConstantTimeEq;
    let words = |bytes: &[u8]| -> [u64; 4] {
        std::array::from_fn(|i| {
            u64::from_ne_bytes(bytes[8 * i..8 * i + 8].try_into().expect("eight bytes"))
        })
    };
    let (a, b) = (words(a), words(b));
    let pairs = a.iter().zip(&b);
    pairs
        .fold(subtle::Choice::from(1), |equal, (a, b)| equal & a.ct_eq(b))
        .into()
}

const OURS: &str = "ours";
const FLOOR: &str = "floor: keyed clone, 3 updates, compare";
const SHA256: &str = "SHA-256 of the body alone";
const RING: &str = "ring, keyed, 3 updates, compare";
const AWS_LC: &str = "aws-lc-rs, keyed, 3 updates, compare";
const WEBHOOK_VERIFY: &str = "webhook-verify (Stripe)";
const SVIX: &str = "svix";
const STANDARD: &str = "standardwebhooks";
const SIXTEEN: &str = "ours, 16 candidates";
const BAD_HEADER: &str = "ours, refused by the header";
const BAD_CLOCK: &str = "ours, refused by the clock";

fn contend(delivery: &Delivery) -> Vec<Contender<'_>> {
    let body = || black_box(&delivery.body[..]);
    let tag = delivery.tag();
    let verifier = Verifier::new(secret());
    let refusing = verifier.clone();
    let sixteen = verifier.clone();
    let late = verifier
        .clone()
        .with_clock(|| OffsetDateTime::now_utc() + time::Duration::hours(1));
    let keyed = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any length");
    let ring = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET.as_bytes());
    let aws = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SECRET.as_bytes());
    let svix = svix::webhooks::Webhook::new(SECRET).expect("base64");
    let standard = standardwebhooks::Webhook::new(SECRET).expect("base64");
    let stripe = webhook_verify::Secret::new(SECRET.to_owned());
    let malformed = format!("{}x", delivery.header);

    let mut contenders = vec![
        Contender::new(OURS, move || {
            let verified = verifier.verify(black_box(&delivery.header), body());
            assert!(black_box(verified).is_ok());
        }),
        Contender::new(FLOOR, move || {
            let mut mac = keyed.clone();
            mac.update(delivery.t.as_bytes());
            mac.update(b".");
            mac.update(body());
            assert!(black_box(equal(&mac.finalize().into_bytes(), &tag)));
        }),
        Contender::new(SHA256, move || {
            black_box(Sha256::digest(body()));
        }),
        Contender::new(RING, move || {
            let mut mac = ring::hmac::Context::with_key(&ring);
            mac.update(delivery.t.as_bytes());
            mac.update(b".");
            mac.update(body());
            assert!(black_box(equal(mac.sign().as_ref(), &tag)));
        }),
        Contender::new(AWS_LC, move || {
            let mut mac = aws_lc_rs::hmac::Context::with_key(&aws);
            mac.update(delivery.t.as_bytes());
            mac.update(b".");
            mac.update(body());
            assert!(black_box(equal(mac.sign().as_ref(), &tag)));
        }),
        Contender::new(WEBHOOK_VERIFY, move || {
            let result = webhook_verify::verify(
                webhook_verify::Provider::Stripe,
                black_box(&delivery.stripe),
                body(),
                &stripe,
                Default::default(),
            );
            assert!(black_box(result).is_ok());
        }),
        Contender::new(SVIX, move || {
            assert!(black_box(svix.verify(body(), black_box(&delivery.svix))).is_ok());
        }),
        Contender::new(STANDARD, move || {
            assert!(black_box(standard.verify(body(), black_box(&delivery.standard))).is_ok());
        }),
    ];
    if [1024, 16 * 1024].contains(&delivery.body.len()) {
        contenders.push(Contender::new(SIXTEEN, move || {
            let verified = sixteen.verify(black_box(&delivery.sixteen), body());
            assert!(black_box(verified).is_ok());
        }));
    }
    if delivery.body.len() == 16 * 1024 {
        contenders.push(Contender::new(BAD_HEADER, move || {
            let verified = refusing.verify(black_box(&malformed), body());
            assert!(black_box(verified).is_err());
        }));
        contenders.push(Contender::new(BAD_CLOCK, move || {
            let verified = late.verify(black_box(&delivery.header), body());
            assert!(black_box(verified).is_err());
        }));
    }
    contenders
}

const TYPED: &str = "ours, typed";
const UNKNOWN: &str = "ours, a type that is not known";
const VALUE: &str = "from_slice::<serde_json::Value>";

/// An instrument's event of 1 KiB, with the custom fields of a real one.
fn event(event_type: &str) -> Bytes {
    let data = r#"{"id":"0198c7a2-1d20-7b31-8f4e-5a6b7c8d9e0f","identifier":"bhp.ax","name":"BHP Group Ltd.","type_id":"0198c7a2-0a10-7c00-9b1a-2c3d4e5f6071","extra_fields_snapshot":{"exchange":"ASX","isin":"AU000000BHP4","sector":"Materials","industry":"Diversified Metals & Mining","currency":"AUD","lei":"WZE1WSENV6JSZFK0JC28"},"extras":{"bloomberg_figi":"BBG000BKRN43","ric":"BHP.AX","sedol":"6144690","note":"NOTE"},"archived_at":null,"created_at":"2026-04-15T09:30:00Z"}"#;
    let body = format!(
        r#"{{"id":"0198c7a2-4a54-7c1e-9d5f-2f1c1a3b4d5e","event_type":"{event_type}","workspace_id":"6f1c2d3e-4f50-4a61-8b72-93a4b5c6d7e8","created_at":"2026-04-15T09:30:00Z","actor":{{"type":"robot","id":"5e0b1c2d-3e4f-4950-8a61-72839405a6b7"}},"data":{data}}}"#
    );
    let note = "x".repeat(1024 - body.len() + "NOTE".len());
    let body = body.replace("NOTE", &note);
    assert_eq!(body.len(), 1024);
    body.into()
}

fn decode() -> Vec<Contender<'static>> {
    let known = event("instrument.updated");
    let value = known.clone();
    let unknown = event("robot.renamed");
    vec![
        Contender::new(TYPED, move || {
            let event = Event::from_trusted_json(black_box(&known).clone());
            assert!(matches!(
                black_box(event).expect("an event").payload,
                Ok(Payload::Instrument(..))
            ));
        }),
        Contender::new(UNKNOWN, move || {
            let event = Event::from_trusted_json(black_box(&unknown).clone());
            assert!(matches!(
                black_box(event).expect("an event").payload,
                Ok(Payload::Unknown)
            ));
        }),
        Contender::new(VALUE, move || {
            let value = serde_json::from_slice::<serde_json::Value>(black_box(&value));
            assert!(black_box(value).is_ok());
        }),
    ]
}

/// Prints a figure beside its bounds; `true` if it keeps the first of them.
fn judge(what: &str, ratio: f64, at_least: f64, aim: f64) -> bool {
    let word = if ratio <= aim {
        "aim reached"
    } else if ratio <= at_least {
        "ok"
    } else {
        "MISSED"
    };
    println!("| {what} | {ratio:.3} | {at_least:.2} | {aim:.2} | {word} |");
    ratio <= at_least
}

fn main() -> ExitCode {
    let mut results = Vec::new();
    // `cargo run --release -- 1024` runs one size alone.
    let only: Option<usize> = std::env::args()
        .nth(1)
        .map(|size| size.parse().expect("bytes"));
    let lengths = [256, 1024, 16 * 1024, 1024 * 1024];
    for length in lengths
        .into_iter()
        .filter(|length| only.is_none_or(|only| only == *length))
    {
        let delivery = Delivery::new(length);
        let mut contenders = contend(&delivery);
        run(&mut contenders);
        println!("\n{length} bytes, {ROUNDS} rounds\n");
        println!("| what | over ours | ns |\n| --- | --- | --- |");
        for contender in &contenders {
            let time = median(contender.times.clone()) * 1e9;
            let over = ratio(&contenders, contender.name, OURS);
            println!("| {} | {over:.3} | {time:.0} |", contender.name);
        }
        let names: Vec<_> = contenders.iter().map(|c| c.name).collect();
        let pairs = [
            (OURS, FLOOR),
            (OURS, SHA256),
            (OURS, WEBHOOK_VERIFY),
            (OURS, SVIX),
            (OURS, STANDARD),
        ]
        .into_iter()
        .chain(
            [SIXTEEN, BAD_HEADER, BAD_CLOCK]
                .into_iter()
                .filter(|n| names.contains(n))
                .map(|n| (n, OURS)),
        );
        for (a, b) in pairs {
            results.push((length, a, b, ratio(&contenders, a, b)));
        }
    }

    let mut contenders = decode();
    run(&mut contenders);
    println!("\ndecoding 1024 bytes, {ROUNDS} rounds\n");
    println!("| what | ns |\n| --- | --- |");
    for contender in &contenders {
        println!(
            "| {} | {:.0} |",
            contender.name,
            median(contender.times.clone()) * 1e9
        );
    }
    for (a, b) in [(TYPED, VALUE), (UNKNOWN, TYPED)] {
        results.push((1024, a, b, ratio(&contenders, a, b)));
    }

    println!("\n| bound | ratio | at most | aim | |\n| --- | --- | --- | --- | --- |");
    let mut all = true;
    for (length, a, b, ratio) in results {
        let (at_least, aim) = match (length, a, b) {
            (1024, OURS, FLOOR) => (1.25, 1.15),
            (16_384.., OURS, SHA256) => (1.05, 1.03),
            (1024, OURS, WEBHOOK_VERIFY) => (1.0, 1.0 / 1.2),
            (_, OURS, WEBHOOK_VERIFY) => (1.0, 1.0),
            (1024.., OURS, SVIX | STANDARD) => (1.0 / 4.5, 1.0 / 5.0),
            (1024, SIXTEEN, _) => (2.5, 1.5),
            (16_384, SIXTEEN, _) => (1.2, 1.1),
            (_, BAD_HEADER | BAD_CLOCK, _) => (0.05, 0.03),
            (_, TYPED, _) => (0.8, 0.6),
            (_, UNKNOWN, _) => (1.0, 0.7),
            _ => continue,
        };
        all &= judge(&format!("{length} bytes: {a} / {b}"), ratio, at_least, aim);
    }
    if all {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
