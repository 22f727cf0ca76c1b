//! Times the signature check against its floor and its peers, all in one run.
//!
//! Every round times the contenders in turn, once each, so that other load on the machine affects
//! all of them; the result is the median over the rounds of the ratio within a round. The floor is
//! the minimum cost of the check: clone a keyed HMAC-SHA256, three updates, finalize, compare; no
//! parsing, no clock. See `../README.md`.

mod contender;
mod decode;

use std::hint::black_box;
use std::process::ExitCode;

use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderValue};
use ptolemy_webhooks::{Secret, Signer, Verifier};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use contender::{Contender, ROUNDS, median, ratio, run};
use decode::{DERIVED, TYPED, UNKNOWN, VALUE, decode};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// The input of all contenders: one body, signed now for each scheme.
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
const BAD_HEADER: &str = "ours, rejected by the header";
const BAD_CLOCK: &str = "ours, rejected by the clock";

fn contend(delivery: &Delivery) -> Vec<Contender<'_>> {
    let body = || black_box(&delivery.body[..]);
    let tag = delivery.tag();
    let verifier = Verifier::new(secret());
    let rejecting = verifier.clone();
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
            let verified = rejecting.verify(black_box(&malformed), body());
            assert!(black_box(verified).is_err());
        }));
        contenders.push(Contender::new(BAD_CLOCK, move || {
            let verified = late.verify(black_box(&delivery.header), body());
            assert!(black_box(verified).is_err());
        }));
    }
    contenders
}

/// Prints a figure beside its bounds; returns `true` if it is within the first one.
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
    // `cargo run --release -- 1024` runs only one size.
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
        println!("| contender | over ours | ns |\n| --- | --- | --- |");
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
    println!("| contender | ns |\n| --- | --- |");
    for contender in &contenders {
        println!(
            "| {} | {:.0} |",
            contender.name,
            median(contender.times.clone()) * 1e9
        );
    }
    for (a, b) in [(TYPED, VALUE), (TYPED, DERIVED), (UNKNOWN, TYPED)] {
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
            (_, TYPED, VALUE) => (0.8, 0.65),
            (_, TYPED, DERIVED) => (1.3, 1.0),
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
