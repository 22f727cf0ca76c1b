//! One table of requests, sent over a socket to both frameworks and to bare hyper, by a client that
//! can send requests that HTTP libraries do not.

pub(crate) mod client;
pub(crate) mod server;

use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;

use ptolemy_webhooks::{SIGNATURE_HEADER, Signer};

use crate::vectors::{self, Outcome};
use crate::{NOW, SECRET, at, only_header, secret, signed, verifier};
use client::Client;
use server::{ALL, BOTH, Framework, Server, fingerprint};

const LIMIT: usize = 1000;
const EVENT: &str = r#"{"id":"1","event_type":"market.created","data":{"identifier":"asx"}}"#;

const MISSING: &str = "header `Ptolemy-Signature` is missing";
const REPEATED: &str = "header `Ptolemy-Signature` is repeated";
const MISMATCH: &str = "signature does not match the body under any accepted secret";
const TOO_LONG: &str = "body is longer than 1000 bytes";
const BROKE_OFF: &str = "body broke off before its end";

fn start(framework: Framework) -> Server {
    let verifier = verifier().with_body_limit(LIMIT).with_clock(|| at(NOW));
    Server::start(framework, Some(verifier))
}

/// How a body is sent, and how its length is declared.
#[derive(Clone)]
enum Body {
    /// With a Content-Length, in one piece.
    Whole(Vec<u8>),
    /// In chunks of this many bytes.
    Chunked(Vec<u8>, usize),
    /// With a Content-Length that may be false.
    Declared(u64, Vec<u8>),
}

struct Case {
    name: &'static str,
    path: &'static str,
    headers: Vec<String>,
    body: Body,
    /// Whether the client closes its side of the connection after the request, and waits for the
    /// response.
    end: bool,
    status: u16,
    text: String,
}

fn case(name: &'static str, status: u16, text: impl Into<String>) -> Case {
    Case {
        name,
        path: "/delivery",
        headers: vec![signature(EVENT)],
        body: Body::Whole(EVENT.into()),
        end: false,
        status,
        text: text.into(),
    }
}

impl Case {
    fn path(self, path: &'static str) -> Self {
        Self { path, ..self }
    }

    fn headers<T: Into<String>>(self, headers: impl IntoIterator<Item = T>) -> Self {
        let headers = headers.into_iter().map(Into::into).collect();
        Self { headers, ..self }
    }

    fn body(self, body: Body) -> Self {
        Self { body, ..self }
    }

    /// A body that is signed and answered with its fingerprint.
    fn signed(self, body: Body) -> Self {
        let bytes = match &body {
            Body::Whole(bytes) | Body::Chunked(bytes, _) | Body::Declared(_, bytes) => bytes,
        };
        let headers = vec![signature(bytes)];
        Self {
            headers,
            body,
            ..self
        }
    }

    fn end(self) -> Self {
        Self { end: true, ..self }
    }

    fn head(&self) -> Vec<u8> {
        let length = match &self.body {
            Body::Whole(body) => format!("Content-Length: {}", body.len()),
            Body::Declared(length, _) => format!("Content-Length: {length}"),
            Body::Chunked(..) => "Transfer-Encoding: chunked".to_owned(),
        };
        let headers: String = self
            .headers
            .iter()
            .map(|line| format!("{line}\r\n"))
            .collect();
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: localhost\r\n{length}\r\n{headers}\r\n",
            self.path
        );
        head.into_bytes()
    }

    fn body_bytes(&self) -> Vec<u8> {
        match &self.body {
            Body::Whole(body) | Body::Declared(_, body) => body.clone(),
            Body::Chunked(body, length) => {
                let mut bytes = Vec::new();
                for chunk in body.chunks(*length) {
                    bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
                    bytes.extend(chunk);
                    bytes.extend(b"\r\n");
                }
                bytes.extend(b"0\r\n\r\n");
                bytes
            }
        }
    }
}

fn signature(body: impl AsRef<[u8]>) -> String {
    format!("Ptolemy-Signature: {}", signed(body))
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|i| b"0123456789abcdef"[i % 16]).collect()
}

const GZIP: &[u8] = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x03\0\0\0\0\0\0\0\0\0";

fn cases() -> Vec<Case> {
    let good = signature(EVENT);
    let bad = signature("another body");
    let bad_value = bad.split_once(": ").unwrap().1.to_owned();
    let accepted = |name, body: Body| {
        let bytes = match &body {
            Body::Whole(bytes) | Body::Chunked(bytes, _) | Body::Declared(_, bytes) => bytes,
        };
        let text = fingerprint(bytes);
        case(name, 200, text).signed(body)
    };
    let event = fingerprint(EVENT.as_bytes());
    vec![
        accepted("a signed body", Body::Whole(EVENT.into())),
        case("an event", 200, "market.created").path("/event"),
        case("a nested router", 200, event.clone()).path("/nested/deeper/delivery"),
        case("any case of the header's name", 200, event.clone())
            .headers([good.replace("Ptolemy-Signature", "pTOLEMY-sIGNATURE")]),
        case("spaces around the header's value", 200, event.clone())
            .headers([good.replace(": ", ":  \t") + " \t"]),
        case("another content type", 200, event.clone())
            .headers([&good, "Content-Type: application/x-www-form-urlencoded"]),
        case("no signature", 401, MISSING).headers([""; 0]),
        case("no signature for an event", 401, MISSING)
            .headers([""; 0])
            .path("/event"),
        case(
            "an empty signature",
            401,
            "header `Ptolemy-Signature` is malformed: no `t`",
        )
        .headers(["Ptolemy-Signature:"]),
        case(
            "a malformed signature",
            401,
            "header `Ptolemy-Signature` is malformed: no `v1`",
        )
        .headers(["Ptolemy-Signature: t=1"]),
        case("the signature twice, the same", 401, REPEATED).headers([&good, &good]),
        case("the signature twice, the first good", 401, REPEATED).headers([&good, &bad]),
        case("the signature twice, the second good", 401, REPEATED).headers([&bad, &good]),
        case(
            "two signatures folded into one line",
            401,
            format!(
                "header `Ptolemy-Signature` is malformed: a second `t` at byte {}",
                signed(EVENT).len() + 1
            ),
        )
        .headers([format!("{good}, {bad_value}")]),
        case(
            "a stale signature",
            401,
            "timestamp is 301 s old, tolerance is 300 s",
        )
        .headers([format!(
            "Ptolemy-Signature: t={},v1={}",
            NOW - 301,
            "0".repeat(64)
        )]),
        case(
            "a signature from the future",
            401,
            "timestamp is 301 s ahead, tolerance is 300 s",
        )
        .headers([format!(
            "Ptolemy-Signature: t={},v1={}",
            NOW + 301,
            "0".repeat(64)
        )]),
        case("another body's signature", 401, MISMATCH).headers([&bad]),
        case("a changed body", 401, MISMATCH).body(Body::Whole(EVENT.replace("asx", "asy").into())),
        case("a changed body in chunks", 401, MISMATCH)
            .body(Body::Chunked(EVENT.replace("asx", "asy").into(), 7)),
        accepted("an empty body", Body::Whole(Vec::new())),
        accepted("an empty body in no chunks", Body::Chunked(Vec::new(), 1)),
        accepted("a body in chunks of 1 byte", Body::Chunked(EVENT.into(), 1)),
        accepted("a body in one chunk", Body::Chunked(EVENT.into(), LIMIT)),
        accepted("as long as the limit", Body::Whole(bytes(LIMIT))),
        accepted(
            "as long as the limit, in chunks",
            Body::Chunked(bytes(LIMIT), 300),
        ),
        accepted(
            "as long as the limit, in one chunk",
            Body::Chunked(bytes(LIMIT), LIMIT),
        ),
        case("over the limit by 1", 413, TOO_LONG).signed(Body::Whole(bytes(LIMIT + 1))),
        case("over the limit by 1, in chunks", 413, TOO_LONG)
            .signed(Body::Chunked(bytes(LIMIT + 1), 300)),
        case("over the limit by 1, in one chunk", 413, TOO_LONG)
            .signed(Body::Chunked(bytes(LIMIT + 1), LIMIT + 1)),
        case("far over the limit", 413, TOO_LONG).signed(Body::Whole(bytes(50 * LIMIT))),
        case("far over the limit, in chunks", 413, TOO_LONG)
            .signed(Body::Chunked(bytes(50 * LIMIT), 500)),
        case("unsigned and over the limit", 401, MISSING)
            .headers([""; 0])
            .body(Body::Whole(bytes(LIMIT + 1))),
        case("mismatched and over the limit", 413, TOO_LONG)
            .headers([&bad])
            .body(Body::Whole(bytes(LIMIT + 1))),
        case("a declared length that is too long by 1", 400, BROKE_OFF)
            .body(Body::Declared(EVENT.len() as u64 + 1, EVENT.into()))
            .end(),
        case("compressed bytes", 200, fingerprint(GZIP))
            .headers([&signature(GZIP), "Content-Encoding: gzip"])
            .body(Body::Whole(GZIP.into())),
        case(
            "a compressed body whose plain text is signed",
            401,
            MISMATCH,
        )
        .headers([&signature(""), "Content-Encoding: gzip"])
        .body(Body::Whole(GZIP.into())),
        case("bytes that are not UTF-8", 200, fingerprint(b"\xff\0\r\n"))
            .signed(Body::Whole(b"\xff\0\r\n".to_vec())),
        case("not an event, for a delivery", 200, fingerprint(b"x"))
            .signed(Body::Whole(b"x".into())),
        case(
            "not an event, for an event",
            422,
            "body is not valid JSON at line 1, column 1",
        )
        .signed(Body::Whole(b"x".into()))
        .path("/event"),
        case("an unsigned body that is not an event", 401, MISSING)
            .headers([""; 0])
            .body(Body::Whole(b"x".into()))
            .path("/event"),
        case("an event of an unknown type", 200, "robot.created")
            .signed(Body::Whole(br#"{"event_type":"robot.created"}"#.into()))
            .path("/event"),
        case("an event of another shape", 200, "webhook.created")
            .signed(Body::Whole(
                br#"{"event_type":"webhook.created","data":7}"#.into(),
            ))
            .path("/event"),
        case("a JSON extractor beside", 200, "[1]")
            .headers(["Content-Type: application/json"])
            .body(Body::Whole(b"[1]".into()))
            .path("/json"),
    ]
}

/// Sends a good request on a connection that was used before. It gets its own response, or the
/// connection is closed: it is never mistaken for something else.
fn is_not_confused(client: &mut Client, name: &str) -> bool {
    let body = b"the next request";
    let next = case("next", 200, "").signed(Body::Whole(body.into()));
    client.send(&[next.head(), next.body_bytes()].concat());
    match client.answer() {
        None => false,
        Some(answer) => {
            assert_eq!(
                (answer.status, answer.text()),
                (200, &*fingerprint(body)),
                "{name}: the connection is confused"
            );
            true
        }
    }
}

#[test]
fn both_frameworks_and_bare_hyper_answer_every_request_of_the_table_alike() {
    for framework in ALL {
        let server = start(framework);
        for case in cases() {
            let name = format!("{framework:?}: {}", case.name);
            let before = server.calls();
            let mut client = Client::connect(server.address);
            client.send(&case.head());
            client.send(&case.body_bytes());
            if case.end {
                client.end_sending();
            }
            let answer = client.answer().unwrap_or_else(|| panic!("{name}: closed"));
            assert_eq!(
                (answer.status, answer.text()),
                (case.status, &*case.text),
                "{name}"
            );
            assert_eq!(
                answer.has_header("www-authenticate: ptolemy-signature"),
                case.status == 401,
                "{name}"
            );
            assert!(
                answer.has_header("content-type: text/plain; charset=utf-8"),
                "{name}: {:?}",
                answer.headers
            );
            let mut calls = usize::from(case.status == 200 && case.path != "/json");
            if !case.end {
                calls += usize::from(is_not_confused(&mut client, &name));
            }
            assert_eq!(server.calls() - before, calls, "{name}");
        }
    }
}

pub(crate) fn names() -> Vec<&'static str> {
    cases().iter().map(|case| case.name).collect()
}

#[test]
fn names_of_cases_are_unique() {
    let distinct: std::collections::HashSet<_> = names().into_iter().collect();
    assert_eq!(distinct.len(), names().len());
}

/// A request that can be rejected without its body is rejected before the body is sent. The body
/// that follows consists of requests that would be good, and is never mistaken for one.
#[test]
fn a_rejection_does_not_wait_for_the_body_and_the_body_is_not_a_request() {
    let mut threads = Vec::new();
    for framework in ALL {
        for expect in [false, true] {
            for (headers, copies, status) in [
                (vec![], 1, 401),
                (vec!["Ptolemy-Signature: t=1".to_owned()], 1, 401),
                (vec![signature("x").replace("t=17", "t=16")], 1, 401),
                (vec![signature("x"), signature("x")], 1, 401),
                (vec![], 20, 401),
                (vec![signature("x")], 20, 413),
            ] {
                // The cases run side by side, because a server may take a second before it closes a
                // connection whose body is unread.
                threads.push(thread::spawn(move || {
                    reject_early(framework, expect, headers, copies, status);
                }));
            }
        }
    }
    for thread in threads {
        thread.join().unwrap();
    }
}

fn reject_early(
    framework: Framework,
    expect: bool,
    headers: Vec<String>,
    copies: usize,
    status: u16,
) {
    let name = format!("{framework:?} {headers:?} {copies} expect: {expect}");
    let server = start(framework);
    let smuggled = {
        let case = case("smuggled", 200, "").signed(Body::Whole(b"smuggled".into()));
        [case.head(), case.body_bytes()].concat()
    };
    let mut case = case("", status, "").body(Body::Whole(smuggled.repeat(copies)));
    case.headers = headers;
    if expect {
        case.headers.push("Expect: 100-continue".to_owned());
    }
    let mut client = Client::connect(server.address);
    client.send(&case.head());
    let answer = client.answer().unwrap_or_else(|| panic!("{name}: closed"));
    assert_eq!(answer.status, status, "{name}");

    client.send(&case.body_bytes());
    let calls = usize::from(is_not_confused(&mut client, &name));
    assert_eq!(server.calls(), calls, "{name}");
}

#[test]
fn a_client_that_waits_for_100_continue_receives_it() {
    for framework in ALL {
        let server = start(framework);
        let case = case("", 200, "").headers([signature(EVENT), "Expect: 100-continue".into()]);
        let mut client = Client::connect(server.address);
        client.send(&case.head());
        // `answer` skips the 100, and would time out if neither response came, so send now.
        client.send(&case.body_bytes());
        assert_eq!(client.answer().unwrap().status, 200, "{framework:?}");
    }
}

#[test]
fn a_false_length_that_is_too_short_cuts_the_body_and_the_rest_is_not_a_request() {
    for framework in ALL {
        let server = start(framework);
        let case = case("", 401, "").body(Body::Declared(10, EVENT.into()));
        let mut client = Client::connect(server.address);
        client.send(&[case.head(), case.body_bytes()].concat());
        let answer = client.answer().unwrap();
        assert_eq!(
            (answer.status, answer.text()),
            (401, MISMATCH),
            "{framework:?}"
        );
        // The rest is not HTTP; the server responds with an error or closes the connection.
        if let Some(answer) = client.answer() {
            assert_eq!(answer.status, 400, "{framework:?}");
        }
        assert_eq!(server.calls(), 0, "{framework:?}");
    }
}

#[test]
fn a_huge_declared_length_is_rejected_without_a_byte_of_the_body() {
    for framework in ALL {
        let server = start(framework);
        for length in [LIMIT as u64 + 1, 1 << 40, u64::MAX / 2] {
            let case = case("", 413, "").body(Body::Declared(length, Vec::new()));
            let mut client = Client::connect(server.address);
            client.send(&case.head());
            let answer = client.answer().unwrap();
            assert_eq!(
                (answer.status, answer.text()),
                (413, TOO_LONG),
                "{framework:?} {length}"
            );
        }
    }
}

#[test]
fn a_chunked_body_that_breaks_off_is_never_a_delivery() {
    for framework in ALL {
        let server = start(framework);
        let half = &EVENT.as_bytes()[..10];
        for rest in [&b""[..], b"5\r\nab", b"zz\r\n", b"ffffffffffffffffff\r\n"] {
            let case = case("", 400, "")
                .headers([signature(half)])
                .body(Body::Chunked(half.into(), 10));
            let mut client = Client::connect(server.address);
            client.send(&case.head());
            let body = case.body_bytes();
            // The last chunk is missing, so the signed bytes arrive but the body is incomplete.
            client.send(&body[..body.len() - b"0\r\n\r\n".len()]);
            client.send(rest);
            client.end_sending();
            if let Some(answer) = client.answer() {
                assert_eq!(answer.status, 400, "{framework:?} {rest:?}");
            }
            assert_eq!(server.calls(), 0, "{framework:?} {rest:?}");
        }
    }
}

#[test]
fn a_client_that_leaves_in_mid_body_does_no_harm() {
    for framework in ALL {
        let server = start(framework);
        for _ in 0..50 {
            let case = case("", 200, "");
            let mut client = Client::connect(server.address);
            client.send(&case.head());
            client.send(&case.body_bytes()[..20]);
        }
        let mut client = Client::connect(server.address);
        assert!(is_not_confused(&mut client, "after the others"));
        assert_eq!(server.calls(), 1, "{framework:?}");
    }
}

#[test]
fn a_client_that_leaves_while_the_handler_runs_does_no_harm() {
    for framework in ALL {
        let server = start(framework);
        for _ in 0..20 {
            let case = case("", 200, "").path("/slow/delivery");
            let mut client = Client::connect(server.address);
            client.send(&[case.head(), case.body_bytes()].concat());
            // The handler signals that it runs, and continues; no client waits for its response.
            server.wait_for_slow_handler();
        }
        let mut client = Client::connect(server.address);
        assert!(is_not_confused(&mut client, "after the others"));
        assert_eq!(server.calls(), 21, "{framework:?}");
    }
}

#[test]
fn trailers_of_a_chunked_body_are_neither_body_nor_header() {
    for framework in ALL {
        let server = start(framework);
        for (headers, status) in [(vec![signature(EVENT)], 200), (vec![], 401)] {
            let mut case = case("", status, "").body(Body::Chunked(EVENT.into(), 20));
            case.headers = headers;
            let mut body = case.body_bytes();
            body.truncate(body.len() - 2);
            body.extend(format!("{}\r\n\r\n", signature(EVENT)).bytes());
            let mut client = Client::connect(server.address);
            client.send(&[case.head(), body].concat());
            // actix-web does not accept trailers: it responds with 400 or closes the connection.
            // Neither framework accepts a signature in a trailer.
            match client.answer() {
                Some(answer) if framework != Framework::Actix => {
                    assert_eq!(answer.status, status, "{framework:?}");
                }
                Some(answer) => assert!([status, 400].contains(&answer.status), "{answer:?}"),
                None => assert_eq!(framework, Framework::Actix),
            }
            assert!(server.calls() <= 1, "{framework:?}");
        }
    }
}

#[test]
fn a_layer_that_compresses_responses_changes_nothing() {
    for framework in BOTH {
        let server = start(framework);
        for (headers, status) in [(vec![signature(EVENT)], 200), (vec![], 401)] {
            let mut case = case("", status, "").path("/compressed/delivery");
            case.headers = headers;
            case.headers.push("Accept-Encoding: gzip".to_owned());
            let mut client = Client::connect(server.address);
            client.send(&[case.head(), case.body_bytes()].concat());
            let answer = client.answer().unwrap();
            assert_eq!(answer.status, status, "{framework:?}");
            assert!(answer.has_header("content-encoding: gzip"), "{framework:?}");
        }
    }
}

#[test]
fn the_framework_s_own_limit_applies_if_it_is_a_layer() {
    // In axum a `RequestBodyLimitLayer` wraps the body, and applies; actix-web's `PayloadConfig`
    // only configures the extractors of actix-web, and does not apply.
    for (framework, status) in [(Framework::Axum, 413), (Framework::Actix, 200)] {
        let server = start(framework);
        for body in [Body::Whole(EVENT.into()), Body::Chunked(EVENT.into(), 4)] {
            let case = case("", status, "").body(body).path("/limited/delivery");
            let mut client = Client::connect(server.address);
            client.send(&[case.head(), case.body_bytes()].concat());
            assert_eq!(client.answer().unwrap().status, status, "{framework:?}");
        }
    }
}

#[test]
fn two_hundred_connections_at_once_each_get_their_own_answer() {
    for framework in ALL {
        let server = start(framework);
        let address = server.address;
        let clients: Vec<_> = (0..200)
            .map(|number| {
                thread::spawn(move || {
                    let mut client = Client::connect(address);
                    for round in 0..10 {
                        let body = format!("{number} {round}").into_bytes();
                        let mut case = case("", 200, "").signed(Body::Chunked(body.clone(), 3));
                        let is_good = (number + round) % 2 == 0;
                        if !is_good {
                            case.headers = vec![signature("another body")];
                        }
                        client.send(&[case.head(), case.body_bytes()].concat());
                        let answer = client.answer().unwrap();
                        let expected = if is_good {
                            (200, fingerprint(&body))
                        } else {
                            (401, MISMATCH.to_owned())
                        };
                        assert_eq!((answer.status, answer.text().to_owned()), expected);
                        // actix-web closes the connection of a rejected request.
                        if answer.has_header("connection: close") {
                            client = Client::connect(address);
                        }
                    }
                })
            })
            .collect();
        for client in clients {
            client.join().unwrap();
        }
        assert_eq!(server.calls(), 1000, "{framework:?}");
    }
}

/// Sends a good request, signed with `secret_text`, and returns the status.
fn status_for(client: &mut Client, secret_text: &str) -> u16 {
    let header = Signer::new(&secret(secret_text)).sign_at(EVENT.as_bytes(), at(NOW));
    let case = case("", 200, "").headers([format!("Ptolemy-Signature: {header}")]);
    client.send(&[case.head(), case.body_bytes()].concat());
    client.answer().unwrap().status
}

#[test]
fn secrets_are_replaced_while_requests_run_without_a_gap() {
    const OTHER: &str = "whsec_another_secret";
    const THIRD: &str = "whsec_third_secret";
    for framework in ALL {
        let verifier = verifier()
            .with_clock(|| at(NOW))
            .with_previous(secret(OTHER));
        let server = Server::start(framework, Some(verifier.clone()));
        let address = server.address;
        let clients: Vec<_> = [SECRET, OTHER, SECRET, OTHER]
            .map(|text| {
                thread::spawn(move || {
                    let mut client = Client::connect(address);
                    for _ in 0..100 {
                        assert_eq!(status_for(&mut client, text), 200, "{framework:?} {text}");
                    }
                })
            })
            .into();
        let mut rotations = 0;
        while clients.iter().any(|client| !client.is_finished()) {
            verifier.replace_secrets(secret(OTHER), [secret(SECRET)]);
            verifier.replace_secrets(secret(SECRET), [secret(OTHER)]);
            rotations += 2;
        }
        for client in clients {
            client.join().unwrap();
        }
        assert!(rotations > 2, "{framework:?}: {rotations}");

        // The next request on an open connection is checked with the new secret.
        let mut client = Client::connect(address);
        assert_eq!(status_for(&mut client, SECRET), 200, "{framework:?}");
        verifier.replace_secrets(secret(THIRD), []);
        assert_eq!(status_for(&mut client, THIRD), 200, "{framework:?}");
        for text in [SECRET, OTHER] {
            // actix-web closes the connection of a rejected request.
            let mut client = Client::connect(address);
            assert_eq!(status_for(&mut client, text), 401, "{framework:?} {text}");
        }
    }
}

static CLOCK: AtomicI64 = AtomicI64::new(0);

#[test]
fn every_vector_gives_its_result_over_a_socket() {
    let clock = || at(CLOCK.load(Ordering::SeqCst));
    for framework in ALL {
        let mut rejected_by_http = Vec::new();
        // Vectors with the same secrets and tolerance could share a server; most do.
        let mut servers: Vec<(String, Server)> = Vec::new();
        for vector in vectors::load() {
            if vector.name == "line feed after v1" {
                // In HTTP the line feed ends the header's line, and is not part of the value.
                continue;
            }
            let settings = vector.settings();
            let position = servers.iter().position(|(key, _)| *key == settings);
            let position = position.unwrap_or_else(|| {
                let verifier = vector.verifier().with_clock(clock);
                servers.push((settings, Server::start(framework, Some(verifier))));
                servers.len() - 1
            });
            let server = &servers[position].1;
            CLOCK.store(vector.now().unix_timestamp(), Ordering::SeqCst);

            let mut request = format!(
                "POST /delivery HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n",
                vector.body().len()
            )
            .into_bytes();
            for header in vector.headers() {
                request.extend(SIGNATURE_HEADER.bytes());
                request.extend(b": ");
                request.extend(header);
                request.extend(b"\r\n");
            }
            request.extend(b"\r\n");
            request.extend(vector.body());
            let mut client = Client::connect(server.address);
            client.send(&request);
            let answer = client.answer().unwrap();

            let headers = vector.headers();
            let expected = only_header(&headers)
                .and_then(|header| {
                    vector
                        .verifier()
                        .verify_at(header, &vector.body(), vector.now())
                })
                .map_or_else(
                    |error| (401, error.to_string()),
                    |_| (200, fingerprint(&vector.body())),
                );
            let name = format!("{framework:?}: {}", vector.name);
            if answer.status == 400 {
                rejected_by_http.push(vector.name);
                continue;
            }
            assert_eq!(
                (answer.status, answer.text()),
                (expected.0, &*expected.1),
                "{name}"
            );
            assert_eq!(
                answer.status == 200,
                vector.expect == Outcome::Accept,
                "{name}"
            );
        }
        // No HTTP message can carry NUL.
        assert_eq!(
            rejected_by_http,
            ["NUL in an unknown part", "NUL in t"],
            "{framework:?}"
        );
    }
}
