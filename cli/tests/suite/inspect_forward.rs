//! `inspect` as a proxy: byte for byte in both directions, and its messages if that is not
//! possible.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use crate::help_examples::examples;
#[cfg(target_os = "linux")]
use crate::https;
use crate::inspect_http::{
    ByteReceiver, Inspected, next_line, post, read_message, signature, until,
};
use crate::program::Folder;
#[cfg(unix)]
use crate::signals;

fn pairs(headers: &[(&str, &[u8])]) -> Vec<(String, Vec<u8>)> {
    let headers = headers.iter();
    headers
        .map(|(name, value)| ((*name).to_owned(), value.to_vec()))
        .collect()
}

#[test]
fn every_byte_of_a_body_and_every_header_reaches_the_receiver() {
    let folder = Folder::new();
    let receiver = ByteReceiver::accepting();
    let inspected = Inspected::start(&folder, &receiver.url(), "");
    let body: Vec<u8> = (0..=255).cycle().take(1_000).collect();
    let mut request =
        b"POST /any/path?x=%20 HTTP/1.1\r\nHost: sender.example\r\nX-B: 1\r\n".to_vec();
    request.extend_from_slice(
        b"X-lOUD: \xe9\xff\r\nx-a: 2\r\nX-B: 3\r\nConnection: keep-alive, X-Hop\r\n",
    );
    request.extend_from_slice(
        b"X-Hop: 4\r\nKeep-Alive: timeout=5\r\nTE: trailers\r\nUpgrade: h2c\r\n",
    );
    request
        .extend_from_slice(b"Proxy-Connection: close\r\nX-Empty:\r\nContent-Length: 1000\r\n\r\n");
    request.extend_from_slice(&body);
    assert_eq!(inspected.send(&request).status(), 204);
    let got = receiver.last();
    assert_eq!(got.first_line(), "POST /hook?secure=1 HTTP/1.1");
    assert_eq!(got.body, body);
    let host = receiver.address.to_string();
    let expected = pairs(&[
        ("X-B", b"1"),
        ("X-B", b"3"),
        ("X-lOUD", b"\xe9\xff"),
        ("x-a", b"2"),
        ("X-Empty", b""),
        ("Content-Length", b"1000"),
    ]);
    let mut headers = got.headers();
    headers.retain(|(name, _)| !["host", "via"].contains(&name.to_ascii_lowercase().as_str()));
    assert_eq!(headers, expected);
    assert_eq!(got.values("via").len(), 1);
    assert_eq!(got.values("host"), [host]);
    // The page shows the path that the sender used, and the bytes.
    let detail = inspected.ended(1);
    assert_eq!(detail["entry"]["path"], "/any/path?x=%20");
    let loud = detail["headers"].as_array().unwrap();
    let loud = loud.iter().find(|it| it["name"] == "x-loud").unwrap();
    assert_eq!(
        (&loud["value"], &loud["hex"]),
        (&serde_json::Value::Null, &"e9ff".into())
    );
    let kept = inspected.get("/api/entries/1/body");
    assert_eq!(kept.body, body);
    assert_eq!(kept.values("content-type"), ["application/octet-stream"]);
    assert_eq!(kept.values("content-disposition"), ["attachment"]);
}

#[test]
fn bodies_of_any_length_and_methods_without_one_pass() {
    let folder = Folder::new();
    let receiver = ByteReceiver::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let inspected = Inspected::start(&folder, &receiver.url(), "");
    let large: Vec<u8> = (0..1 << 20).map(|at: u32| (at % 251) as u8).collect();
    for body in [&large[..], b""] {
        assert_eq!(inspected.send(&post("/", &[], body)).body, b"ok");
        let got = receiver.last();
        assert!(got.body == body);
        assert_eq!(got.values("content-length"), [body.len().to_string()]);
    }
    // Without a length there is none, also behind the proxy.
    let answer = inspected.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((answer.status(), answer.text()), (200, "ok".to_owned()));
    assert!(receiver.last().values("content-length").is_empty());
    assert!(receiver.last().first_line().starts_with("GET "));
    // A chunked body gets its exact length.
    let chunked = b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    assert_eq!(inspected.send(chunked).status(), 200);
    let got = receiver.last();
    assert_eq!(
        (got.body, got.head.starts_with(b"PUT ")),
        (b"abcde".to_vec(), true)
    );
    let got = receiver.last();
    assert_eq!(got.values("content-length"), ["5"]);
    assert!(got.values("transfer-encoding").is_empty());
}

#[test]
fn the_answer_of_a_head_request_keeps_its_length() {
    let folder = Folder::new();
    let receiver = ByteReceiver::answering("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n");
    let inspected = Inspected::start(&folder, &receiver.url(), "");
    let answer = inspected.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(answer.values("content-length"), ["7"]);
    assert_eq!(inspected.ended(1)["entry"]["receiver"]["status"], 200);
}

#[test]
fn the_answer_passes_as_it_came() {
    let folder = Folder::new();
    // gzip of nothing in particular: it is not decompressed, and the redirect is not followed.
    let mut answer =
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nSet-cookie: a=1\r\n".to_vec();
    answer.extend_from_slice(
        b"X-Byte: \xfe\r\nSet-cookie: b=2\r\nContent-Encoding: gzip\r\nKeep-Alive: timeout=1\r\n",
    );
    answer.extend_from_slice(b"Content-Length: 5\r\n\r\n\x1f\x8b\x00\xff\n");
    let receiver = ByteReceiver::answering(answer);
    // A proxy of the environment is not used.
    let variables = [
        ("HTTP_PROXY", "http://127.0.0.1:1"),
        ("http_proxy", "http://127.0.0.1:1"),
    ];
    let inspected = Inspected::with(&folder, &receiver.url(), "", &variables);
    let got = inspected.send(&post("/", &["Accept-Encoding: gzip".to_owned()], b"x"));
    assert_eq!(got.first_line(), "HTTP/1.1 302 Found");
    assert_eq!(got.body, b"\x1f\x8b\x00\xff\n");
    let expected = pairs(&[
        ("Location", b"http://127.0.0.1:1/"),
        ("Set-cookie", b"a=1"),
        ("Set-cookie", b"b=2"),
        ("X-Byte", b"\xfe"),
        ("Content-Encoding", b"gzip"),
        ("Content-Length", b"5"),
    ]);
    assert_eq!(got.headers(), expected);
    assert_eq!(receiver.received().len(), 1);
    let answer = inspected.get("/api/entries/1/answer");
    assert_eq!(answer.body, b"\x1f\x8b\x00\xff\n");
    // Without a secret, nothing is checked.
    let detail = inspected.ended(1);
    assert_eq!(detail["entry"]["verdict"], "not_checked");
    assert_eq!(
        detail["why"]["title"],
        "no secret given: signature not checked"
    );
}

#[test]
fn a_long_answer_passes_whole_and_its_beginning_is_kept() {
    let folder = Folder::new();
    let long = "y".repeat(70_000);
    let receiver = ByteReceiver::answering(format!(
        "HTTP/1.1 500 X\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{long}\r\n0\r\n\r\n",
        long.len()
    ));
    let inspected = Inspected::start(&folder, &receiver.url(), "");
    let got = inspected.send(&post("/", &[], b"x"));
    assert_eq!((got.status(), got.text() == long), (500, true));
    let detail = until("the answer is kept", || {
        Some(inspected.ended(1)).filter(|detail| !detail["answer"].is_null())
    });
    assert_eq!(detail["answer"]["cut_at"], 65_536);
    assert_eq!(detail["answer"]["body_bytes"], 65_536);
    assert_eq!(
        inspected.get("/api/entries/1/answer").text(),
        "y".repeat(65_536)
    );
}

#[test]
fn a_receiver_that_cannot_be_reached_is_502_and_a_slow_one_504() {
    let folder = Folder::new();
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let inspected = Inspected::start(&folder, &format!("http://{closed}/"), "");
    let got = inspected.send(&post("/", &[], b"x"));
    let text = "the receiver did not accept a connection: connection refused\n";
    assert_eq!((got.status(), got.text().as_str()), (502, text));
    let detail = inspected.ended(1);
    let receiver = &detail["entry"]["receiver"];
    assert_eq!(receiver["state"], "failed");
    assert_eq!(receiver["error"], text.trim_end());
    drop(inspected);

    let hangs_up = ByteReceiver::answering("");
    let inspected = Inspected::start(&folder, &hangs_up.url(), "");
    let got = inspected.send(&post("/", &[], b"x"));
    let text = "the receiver closed the connection before it answered\n";
    assert_eq!((got.status(), got.text().as_str()), (502, text));
    assert_eq!(hangs_up.received().len(), 1, "a request is never repeated");
    drop(inspected);

    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let inspected = Inspected::start(&folder, &url, "--timeout 1s");
    let got = inspected.send(&post("/", &[], b"x"));
    let text = "the receiver did not answer within 1 s\n";
    assert_eq!((got.status(), got.text().as_str()), (504, text));
}

#[cfg(target_os = "linux")]
#[test]
fn the_innermost_cause_of_a_failed_connection_is_named_with_the_next_step() {
    let folder = Folder::new();
    let url = https::start();
    let reason = "no connection to the receiver: invalid peer certificate: UnknownIssuer. Set \
                  SSL_CERT_FILE to a PEM file with the certificate of its CA, or correct the URL";
    let inspected = Inspected::start(&folder, &url, "");
    let got = inspected.send(&post("/", &[], b"x"));
    assert_eq!((got.status(), got.text()), (502, format!("{reason}\n")));
    assert_eq!(inspected.ended(1)["entry"]["receiver"]["error"], reason);
    drop(inspected);
    let inspected = Inspected::with(&folder, &url, "", &[("SSL_CERT_FILE", https::CA)]);
    assert_eq!(inspected.send(&post("/", &[], b"x")).status(), 204);
    drop(inspected);

    let send = || {
        let program = folder.program(&format!("send {url}"));
        program.variable("PTOLEMY_WEBHOOK_SECRET", "whsec_test_secret")
    };
    let ended = send().run().with_code(1);
    let step = "invalid peer certificate: UnknownIssuer. Set SSL_CERT_FILE to a PEM file";
    assert!(ended.stderr.contains(step), "{}", ended.stderr);
    send()
        .variable("SSL_CERT_FILE", https::CA)
        .run()
        .with_code(0);

    // A server without TLS, and a name that is too long for the DNS.
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = plain.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut connection in plain.incoming().flatten() {
            let _ = connection.write_all(b"no TLS");
        }
    });
    for (url, part) in [
        (
            format!("https://localhost:{port}/"),
            "received corrupt message of type InvalidContentType\n",
        ),
        (
            format!("http://{}.example/", "a".repeat(64)),
            "failed to lookup address information: ",
        ),
    ] {
        let inspected = Inspected::start(&folder, &url, "");
        let got = inspected.send(&post("/", &[], b"x"));
        let begin = format!("the receiver did not accept a connection: {part}");
        assert!(got.text().starts_with(&begin), "{}", got.text());
    }
}

#[test]
fn a_body_over_16_mib_is_413_and_is_not_sent_on() {
    let folder = Folder::new();
    let receiver = ByteReceiver::accepting();
    let inspected = Inspected::start(&folder, &receiver.url(), "");
    let text = "the body is longer than 16777216 bytes, and was not forwarded\n";
    // A sender that waits to be asked for the body is not.
    let expecting =
        b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 16777217\r\n\r\n";
    let got = inspected.send(expecting);
    assert_eq!((got.status(), got.text().as_str()), (413, text));
    // Others send the whole body before they read the answer.
    let body = vec![b'x'; 24 << 20];
    let got = inspected.send(&post("/", &[], &body));
    assert_eq!((got.status(), got.text().as_str()), (413, text));
    let mut chunked = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for chunk in body.chunks(1 << 20) {
        chunked.extend_from_slice(&[b"100000\r\n", chunk, b"\r\n"].concat());
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    let got = inspected.send(&chunked);
    assert_eq!((got.status(), got.text().as_str()), (413, text));
    for seq in [1, 2, 3] {
        let entry = inspected.ended(seq)["entry"].clone();
        assert_eq!(entry["reason"], "body_too_large");
        assert_eq!(entry["receiver"]["state"], "not_sent");
    }
    assert!(receiver.received().is_empty());
}

#[test]
fn requests_with_silent_bodies_take_no_room_from_others() {
    let folder = Folder::new();
    let receiver = ByteReceiver::accepting();
    let inspected = Inspected::start(&folder, &receiver.url(), "");
    let chunked = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
    let _silent: Vec<_> = (0..8)
        .map(|_| {
            let mut stream = TcpStream::connect(inspected.sender).unwrap();
            stream.write_all(chunked).unwrap();
            stream
        })
        .collect();
    assert_eq!(inspected.send(&post("/", &[], b"x")).status(), 204);
    // It is the first one that ended: it waited for none of them.
    assert_eq!(inspected.ended(1)["entry"]["body_bytes"], 1);
}

#[test]
fn an_answer_that_breaks_off_is_named() {
    let folder = Folder::new();
    let broken = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nno length\r\n";
    let receiver = ByteReceiver::answering(broken);
    let mut inspected = Inspected::start(&folder, &receiver.url(), "");
    let mut stream = TcpStream::connect(inspected.sender).unwrap();
    stream.write_all(&post("/", &[], b"x")).unwrap();
    // The sender sees the break, too.
    let got = read_message(&mut stream, true);
    assert!(got.is_none(), "{got:?}");
    let text = "the receiver's answer broke off before its end";
    let lines = [(); 2].map(|()| next_line(&mut inspected.stdout));
    assert_eq!(lines[1]["receiver"]["broken"], text, "{lines:?}");
    let detail = inspected.ended(1);
    assert_eq!(detail["answer"]["broken"], text);
    assert_eq!(detail["answer"]["body_bytes"], 3);
}

#[test]
fn an_answer_that_stalls_ends_after_the_timeout() {
    let folder = Folder::new();
    let receiver = ByteReceiver::answering("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc");
    let inspected = Inspected::start(&folder, &receiver.url(), "--timeout 1s");
    let mut stream = TcpStream::connect(inspected.sender).unwrap();
    stream.write_all(&post("/", &[], b"x")).unwrap();
    let got = read_message(&mut stream, true).unwrap();
    assert_eq!(got.text(), "abc");
    let detail = until("the answer ended", || {
        Some(inspected.ended(1)).filter(|detail| !detail["answer"].is_null())
    });
    let text = "the receiver sent nothing of its answer for 1 s";
    assert_eq!(detail["answer"]["broken"], text);
}

#[test]
fn a_receiver_that_is_the_command_itself_is_an_error() {
    let folder = Folder::new();
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let port = free.port();
    for host in ["127.0.0.1", "localhost"] {
        for option in ["--page-port 0 --port", "--port 0 --page-port"] {
            let line = format!("inspect --forward http://{host}:{port}/ {option} {port}");
            let ended = folder.program(&line).run().with_code(2);
            assert!(ended.stderr.contains("own port"), "{}", ended.stderr);
        }
    }
}

#[test]
fn a_request_that_comes_back_from_the_receiver_is_508() {
    let folder = Folder::new();
    let receiver = ByteReceiver::accepting();
    let inspected = Inspected::start(&folder, &receiver.url(), "");
    assert_eq!(inspected.send(&post("/", &[], b"x")).status(), 204);
    let via = receiver.last().values("via");
    let joined = format!("Via: 1.1 other, {}", via[0]);
    assert_eq!(inspected.send(&post("/", &[joined], b"x")).status(), 508);
    let foreign = "Via: 1.1 other".to_owned();
    assert_eq!(inspected.send(&post("/", &[foreign], b"x")).status(), 204);
    assert_eq!(receiver.received().len(), 2);
}

#[test]
fn tunnels_and_other_protocols_do_not_pass() {
    let folder = Folder::new();
    let switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n";
    let receiver = ByteReceiver::answering(switching);
    let inspected = Inspected::start(&folder, &receiver.url(), "");
    let connect = b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n";
    assert_eq!(inspected.send(connect).status(), 501);
    assert!(receiver.received().is_empty());
    assert_eq!(inspected.send(&post("/", &[], b"x")).status(), 502);
}

#[test]
fn a_signature_that_is_not_sent_on_is_missing() {
    let folder = Folder::new();
    let receiver = ByteReceiver::accepting();
    let inspected = Inspected::start(&folder, &receiver.url(), "");
    let body = br#"{"event_type":"market.created","data":{}}"#;
    let hop = "Connection: ptolemy-signature".to_owned();
    inspected.send(&post("/", &[signature(body, 0), hop], body));
    assert_eq!(inspected.ended(1)["entry"]["reason"], "missing_header");
    assert!(receiver.last().values("ptolemy-signature").is_empty());
}

#[test]
fn a_request_that_is_not_http_is_logged() {
    let folder = Folder::new();
    let receiver = ByteReceiver::accepting();
    let mut inspected = Inspected::start(&folder, &receiver.url(), "");
    assert_eq!(inspected.send(b"no HTTP\r\n\r\n").status(), 400);
    let line = next_line(&mut inspected.stdout);
    assert_eq!(line["kind"], "invalid_request");
    assert_eq!(
        line["error"],
        "a request was not valid HTTP, and was not forwarded"
    );
}

#[test]
fn a_request_may_have_many_headers() {
    let folder = Folder::new();
    let receiver = ByteReceiver::accepting();
    let inspected = Inspected::start(&folder, &receiver.url(), "");
    let lines: Vec<_> = (0..500).map(|at| format!("X-{at}: 1")).collect();
    assert_eq!(inspected.send(&post("/", &lines, b"x")).status(), 204);
    assert_eq!(receiver.last().values("x-499"), ["1"]);
}

#[test]
fn a_port_that_is_full_answers_503() {
    let folder = Folder::new();
    let receiver = ByteReceiver::accepting();
    let inspected = Inspected::start(&folder, &receiver.url(), "");
    let mut silent: Vec<TcpStream> = Vec::new();
    let full = until("the port is full", || {
        silent.extend((0..50).map(|_| TcpStream::connect(inspected.sender).unwrap()));
        let answer = inspected.send(&post("/", &[], b"x"));
        (answer.status() == 503).then_some(answer)
    });
    assert_eq!(full.text(), "too many connections are open here\n");
    drop(silent);
    until("the port is free again", || {
        let answer = inspected.send(&post("/", &[], b"x"));
        (answer.status() == 204).then_some(())
    });
}

#[test]
fn a_sender_that_goes_away_is_named() {
    let folder = Folder::new();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let inspected = Inspected::start(&folder, &url, "");
    let mut stream = TcpStream::connect(inspected.sender).unwrap();
    stream.write_all(&post("/", &[], b"x")).unwrap();
    let (mut receiver, _) = silent.accept().unwrap();
    receiver.read_exact(&mut [0; 10]).unwrap();
    drop(stream);
    let detail = inspected.ended(1);
    let text = "the sender disconnected before the receiver answered";
    assert_eq!(detail["entry"]["receiver"]["error"], text);

    let mut stream = TcpStream::connect(inspected.sender).unwrap();
    stream
        .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf")
        .unwrap();
    drop(stream);
    let detail = inspected.ended(2);
    assert_eq!(detail["entry"]["reason"], "body_incomplete");
    assert_eq!(detail["entry"]["receiver"]["state"], "not_sent");
}

#[test]
fn each_verdict_is_logged_and_shown_with_its_reason() {
    let folder = Folder::new();
    let receiver = ByteReceiver::accepting();
    let mut inspected = Inspected::start(&folder, &receiver.url(), "");
    let good = r#"{"id":"e1","event_type":"market.created","data":{}}"#;
    let malformed = r#"{"id":"e2","event_type":"market_listing.updated","data":{"currency":[1]}}"#;
    let cases: [(&str, Vec<String>, &str, Option<&str>); 8] = [
        (good, vec![signature(good.as_bytes(), 0)], "accepted", None),
        (
            good,
            vec![signature(b"other", 0)],
            "rejected",
            Some("signature_mismatch"),
        ),
        (
            good,
            vec![signature(good.as_bytes(), 412)],
            "rejected",
            Some("timestamp_too_old"),
        ),
        (
            good,
            vec![signature(good.as_bytes(), -412)],
            "rejected",
            Some("timestamp_too_far_ahead"),
        ),
        (good, vec![], "rejected", Some("missing_header")),
        (
            good,
            vec![signature(good.as_bytes(), 0); 2],
            "rejected",
            Some("repeated_header"),
        ),
        (
            malformed,
            vec![signature(malformed.as_bytes(), 0)],
            "malformed_data",
            Some("malformed_data"),
        ),
        (
            "[]",
            vec![signature(b"[]", 0)],
            "not_an_event",
            Some("not_an_event"),
        ),
    ];
    for (body, lines, verdict, reason) in cases {
        assert_eq!(
            inspected.send(&post("/", &lines, body.as_bytes())).status(),
            204
        );
        let line = next_line(&mut inspected.stdout);
        assert_eq!(line["kind"], "request");
        assert_eq!(line["verdict"], verdict, "{line}");
        assert_eq!(line["reason"].as_str(), reason, "{line}");
        assert_eq!(line["receiver"]["status"], 204);
        let detail = inspected.ended(line["seq"].as_u64().unwrap());
        assert_eq!(detail["why"]["verdict"], verdict);
        if reason.is_some() {
            assert!(detail["why"]["help"].is_string(), "{detail}");
            let has = |name: &str| !detail["why"][name].as_array().unwrap().is_empty();
            assert!(has("causes") || has("suspicions"), "{detail}");
            assert!(has("fix"), "{detail}");
        }
    }
    // The receiver got all of them: the proxy rejects nothing.
    assert_eq!(receiver.received().len(), 8);
    let stale = inspected.ended(3);
    assert_eq!(stale["why"]["basis"], "proven");
    let summary = stale["entry"]["summary"].as_str().unwrap();
    assert!(summary.starts_with("timestamp is 41") && summary.ends_with("tolerance is 300 s"));
    assert_eq!(inspected.ended(6)["entry"]["attempt"], 1);
    let malformed = inspected.ended(7);
    let path = "data.currency";
    assert_eq!(malformed["malformed"]["path"], path);
    assert_eq!(
        malformed["why"]["causes"][0],
        "`data.currency` has another JSON type than this crate expects"
    );
    assert_eq!(
        malformed["why"]["help"],
        "422: malformed data › …: expected …, found …"
    );
    let fields = malformed["decoded"].as_array().unwrap();
    let problem = |field: &&serde_json::Value| field["problem"].is_string();
    assert_eq!(fields.iter().find(problem).unwrap()["path"], path);
}

/// The numbers of a detail, as `name value`.
fn numbers(detail: &serde_json::Value) -> Vec<String> {
    let numbers = detail["why"]["numbers"].as_array().unwrap().iter();
    let text = |it: &serde_json::Value| it.as_str().unwrap().to_owned();
    numbers
        .map(|it| format!("{} {}", text(&it["name"]), text(&it["value"])))
        .collect()
}

#[test]
fn a_time_ahead_is_shown_as_such_and_milliseconds_as_they_came() {
    let folder = Folder::new();
    let receiver = ByteReceiver::accepting();
    let inspected = Inspected::start(&folder, &receiver.url(), "");
    let body = br#"{"event_type":"market.created","data":{}}"#;
    inspected.send(&post("/", &[signature(body, -4_000)], body));
    let ahead = numbers(&inspected.ended(1));
    assert!(ahead[0].starts_with("ahead "), "{ahead:?}");
    assert!(
        !ahead
            .iter()
            .any(|it| it.contains('-') && it.ends_with(" s"))
    );
    let digits = "0".repeat(64);
    let header = format!("Ptolemy-Signature: t=1776243600123,v1={digits}");
    inspected.send(&post("/", &[header], body));
    let detail = inspected.ended(2);
    let title = detail["why"]["title"].as_str().unwrap();
    assert!(title.ends_with("looks like milliseconds"), "{title}");
    assert_eq!(numbers(&detail)[0], "t 1776243600123");
    assert!(!numbers(&detail).iter().any(|it| it.starts_with("ahead ")));
}

#[test]
fn a_mismatch_is_only_suspected_and_its_likeliest_cause_leads() {
    let folder = Folder::new();
    let receiver = ByteReceiver::accepting();
    let inspected = Inspected::start(&folder, &receiver.url(), "");
    let body = b"{\n  \"event_type\": \"market.created\",\n  \"data\": {}\n}";
    inspected.send(&post("/", &[signature(b"other", 0)], body));
    let why = inspected.ended(1)["why"].clone();
    assert_eq!(why["basis"], serde_json::Value::Null);
    assert_eq!(why["causes"], serde_json::json!([]));
    let suspicions = why["suspicions"].as_array().unwrap();
    assert_eq!(
        suspicions[0]["cause"],
        "The secret is another one. Each webhook has its own secret, and `rotate-secret` makes a new one."
    );
    assert!(suspicions[0]["check"].is_string());
    let last = suspicions.last().unwrap()["cause"].as_str().unwrap();
    assert!(last.starts_with("the body has several lines"), "{last}");
    assert!(
        why["fix"][0]
            .as_str()
            .unwrap()
            .starts_with("copy the secret again")
    );
    assert!(
        why["help"]
            .as_str()
            .unwrap()
            .starts_with("401: the signature › signature does")
    );
}

#[test]
fn a_receiver_that_rejects_a_valid_request_is_suspected_by_its_status() {
    let folder = Folder::new();
    for (status, cause) in [
        (401, "it has another secret"),
        (404, "the receiver has no route"),
        (413, "the body is longer than a limit"),
        (503, "the receiver failed"),
    ] {
        let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
        let receiver = ByteReceiver::answering(answer);
        let inspected = Inspected::start(&folder, &receiver.url(), "");
        let body = br#"{"event_type":"market.created","data":{}}"#;
        inspected.send(&post("/", &[signature(body, 0)], body));
        let why = inspected.ended(1)["why"].clone();
        assert_eq!(why["basis"], "certain");
        assert_eq!(
            why["causes"],
            serde_json::json!([format!(
                "the signature is valid, and the receiver answered {status}"
            )])
        );
        let suspicion = why["suspicions"][0]["cause"].as_str().unwrap();
        assert!(suspicion.starts_with(cause), "{status}: {suspicion}");
        assert_eq!(
            why["suspicions"].to_string().contains("secret"),
            status == 401
        );
        assert!(why["fix"][0].is_string(), "{why}");
    }
}

#[test]
fn an_accident_is_proven_with_its_fix() {
    let folder = Folder::new();
    let receiver = ByteReceiver::accepting();
    let inspected = Inspected::start(&folder, &receiver.url(), "");
    let signed = br#"{"event_type":"market.created","data":{}}"#;
    let sent = [&signed[..], b"\n"].concat();
    inspected.send(&post("/", &[signature(signed, 0)], &sent));
    let why = inspected.ended(1)["why"].clone();
    assert_eq!(why["basis"], "proven");
    assert_eq!(
        why["causes"][0],
        "the body ends in a line feed that was not signed"
    );
    assert!(
        why["fix"][0]
            .as_str()
            .unwrap()
            .starts_with("do not add a line end")
    );
}

#[test]
#[cfg(unix)]
fn the_examples_work_and_signals_end_them() {
    let folder = Folder::new();
    let receiver = ByteReceiver::accepting();
    let all = examples(&folder, "inspect");
    assert_eq!(all.len(), 2);
    for (example, signal) in all.iter().zip(["TERM", "INT"]) {
        let line = example.replace(
            "http://127.0.0.1:3000",
            &format!("http://{}", receiver.address),
        );
        let line = line.strip_prefix("ptolemy-webhooks ").unwrap();
        // The usual ports may be taken on a machine that runs tests.
        let more = if line.contains("--port") {
            ""
        } else {
            " --port 0 --page-port 0"
        };
        let variables = ("PTOLEMY_WEBHOOK_SECRET", crate::inspect_http::SECRET);
        let program = folder.program(&format!("{line}{more}"));
        let mut running = program.variable(variables.0, variables.1).start();
        match line.contains("--json") {
            true => {
                let mut stdout = std::io::BufReader::new(running.stdout());
                assert_eq!(next_line(&mut stdout)["kind"], "ready");
            }
            false => {
                let mut stderr = running.0.stderr.take().unwrap();
                let mut text = String::new();
                while !text.contains("#token=") {
                    let mut bytes = [0; 256];
                    let count = stderr.read(&mut bytes).unwrap();
                    assert!(count > 0, "{text}");
                    text.push_str(&String::from_utf8_lossy(&bytes[..count]));
                }
                assert!(text.contains("page: http://127.0.0.1:"), "{text}");
            }
        }
        signals::send(&running, signal);
        let expected = if signal == "TERM" { 0 } else { 130 };
        assert_eq!(signals::exit_code(&mut running), Some(expected));
    }
}

#[test]
fn a_password_in_the_url_and_a_port_in_use_are_errors() {
    let folder = Folder::new();
    let program = folder.program("inspect --forward http://user:hunter2@127.0.0.1:3000/");
    let ended = program.run().with_code(2);
    assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let line = format!("inspect --forward http://127.0.0.1:3000/ --page-port 0 --port {port}");
    let ended = folder.program(&line).run().with_code(1);
    assert!(
        ended.stderr.contains(&format!("127.0.0.1:{port}: ")),
        "{}",
        ended.stderr
    );
}
