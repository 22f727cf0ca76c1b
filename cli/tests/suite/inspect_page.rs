//! The API of the page of `inspect`: the stream, replays, curl, and the bounds of what is kept.

use std::io::Write as _;
use std::net::TcpStream;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::inspect_http::{ByteReceiver, Inspected, Stream, post, signature};
use crate::program::Folder;

const BODY: &[u8] = br#"{"id":"e1","event_type":"market.created","data":{}}"#;

#[test]
fn the_stream_says_hello_then_every_entry_and_its_changes() {
    let folder = Folder::new();
    let receiver = ByteReceiver::accepting();
    let inspected = Inspected::start(&folder, &receiver.url(), "");
    inspected.send(&post("/first", &[signature(BODY, 0)], BODY));
    inspected.ended(1);
    let mut stream = Stream::open(inspected.page, &inspected.token, 0);
    let hello = stream.next();
    assert_eq!(hello["kind"], "hello");
    assert_eq!(
        (&hello["mode"], &hello["sandbox"]),
        (&"inspect".into(), &false.into())
    );
    assert_eq!(
        (&hello["can_sign"], &hello["has_inbox"]),
        (&true.into(), &false.into())
    );
    assert_eq!(
        (&hello["tolerance_s"], &hello["kept_from"]),
        (&300.into(), &1.into())
    );
    assert_eq!(hello["forward"], receiver.url());
    let first = stream.next()["entry"].clone();
    assert_eq!(
        (&first["seq"], &first["path"]),
        (&1.into(), &"/first".into())
    );
    assert_eq!(first["event_id"], "e1");
    // A new one appears by itself.
    inspected.send(&post("/second", &[signature(BODY, 0)], BODY));
    let ended = |line: &Value| {
        line["entry"]["seq"] == 2 && line["entry"]["receiver"]["state"] == "answered"
    };
    let second = stream.until(ended)["entry"].clone();
    assert_eq!(second["attempt"], 2);
    // After a reconnect, only what changed since then comes.
    let after = first["change"].as_u64().unwrap();
    let mut again = Stream::open(inspected.page, &inspected.token, after);
    assert_eq!(again.next()["run"], hello["run"]);
    assert_eq!(again.next()["entry"]["seq"], 2);
    // A number of another run: everything.
    let mut other = Stream::open(inspected.page, &inspected.token, 9_999);
    other.next();
    assert_eq!(other.next()["entry"]["seq"], 1);
    assert_eq!(other.next()["entry"]["seq"], 2);
    for query in ["?after=x", "?after=-1", "?before=1"] {
        assert_eq!(
            inspected.get(&format!("/api/stream{query}")).status(),
            400,
            "{query}"
        );
    }
}

#[test]
fn the_last_500_entries_are_kept_while_a_page_stalls() {
    let folder = Folder::new();
    let receiver = ByteReceiver::accepting();
    let inspected = Inspected::start(&folder, &receiver.url(), "");
    // Nobody reads standard output either: its pipe fills, and lines of the log are left out. This
    // page reads nothing, so the stream fills the buffers of both sides and stops.
    let mut stalled = TcpStream::connect(inspected.page).unwrap();
    let request = format!(
        "GET /api/stream HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\r\n",
        inspected.page, inspected.token
    );
    stalled.write_all(request.as_bytes()).unwrap();
    let count = 1_200;
    let long_path = format!("/{}", "p".repeat(4_000));
    let lines = [signature(BODY, 0)];
    for _ in 0..count {
        let answer = inspected.send(&post(&long_path, &lines, BODY));
        assert_eq!(answer.status(), 204);
    }
    assert_eq!(receiver.received().len(), count);
    inspected.ended(1_200);
    let mut stream = Stream::open(inspected.page, &inspected.token, 0);
    assert_eq!(stream.next()["kept_from"], 701);
    let mut seqs = Vec::new();
    while seqs.len() < 500 {
        let line = stream.until(|line| line["kind"] == "entry");
        seqs.push(line["entry"]["seq"].as_u64().unwrap());
    }
    assert_eq!(seqs, (701..=1_200).collect::<Vec<_>>());
    assert_eq!(inspected.get("/api/entries/700").status(), 404);
    assert_eq!(inspected.get("/api/entries/701").status(), 200);
    // One more: the oldest is reported to have left.
    inspected.send(&post("/", &lines, BODY));
    let dropped = stream.until(|line| line["kind"] == "dropped");
    assert_eq!(dropped["before"], 702);
    drop(stalled);
}

#[test]
fn bodies_are_kept_up_to_64_mib_together() {
    let folder = Folder::new();
    let receiver = ByteReceiver::accepting();
    let inspected = Inspected::start(&folder, &receiver.url(), "");
    let body = vec![b'x'; 8 << 20];
    for _ in 0..9 {
        assert_eq!(inspected.send(&post("/", &[], &body)).status(), 204);
    }
    inspected.ended(9);
    // Seven and their heads fit; eight are 64 MiB without their heads.
    assert_eq!(inspected.get("/api/entries/2").status(), 404);
    assert_eq!(inspected.get("/api/entries/3").status(), 200);
}

#[test]
fn a_stale_request_is_rejected_as_it_was_and_accepted_signed_anew() {
    let folder = Folder::new();
    let verifying = ByteReceiver::start(|request| {
        let secret = ptolemy_webhooks::Secret::new(crate::inspect_http::SECRET).unwrap();
        let values = request.values("ptolemy-signature");
        let verified = ptolemy_webhooks::Verifier::new(secret)
            .receive(values.first().map_or("", |it| it), request.body.clone());
        let status = if verified.is_ok() && values.len() == 1 {
            204
        } else {
            401
        };
        format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n").into_bytes()
    });
    let inspected = Inspected::start(&folder, &verifying.url(), "");
    let lines = [signature(BODY, 900), "X-Kept: 1".to_owned()];
    assert_eq!(inspected.send(&post("/path", &lines, BODY)).status(), 401);
    let seq = |signing: &str| {
        let body = format!(r#"{{"signing":"{signing}"}}"#);
        let answer = inspected.change("/api/entries/1/replay", &body);
        assert_eq!(answer.status(), 202);
        answer.json()["seq"].as_u64().unwrap()
    };
    let same = inspected.ended(seq("as_it_was"))["entry"].clone();
    assert_eq!(
        (&same["source"], &same["of"]),
        (&"replay".into(), &1.into())
    );
    assert_eq!(
        (&same["verdict"], &same["receiver"]["status"]),
        (&"rejected".into(), &401.into())
    );
    let anew = inspected.ended(seq("anew"))["entry"].clone();
    assert_eq!(
        (&anew["source"], &anew["of"]),
        (&"signed_anew".into(), &1.into())
    );
    assert_eq!(
        (&anew["verdict"], &anew["receiver"]["status"]),
        (&"accepted".into(), &204.into())
    );
    assert_eq!(
        (&anew["path"], &anew["attempt"]),
        (&"/path".into(), &1.into())
    );
    let got = verifying.last();
    assert_eq!(
        (got.body.as_slice(), got.values("x-kept")),
        (BODY, vec!["1".to_owned()])
    );
}

#[test]
fn without_a_secret_nothing_is_signed_anew() {
    let folder = Folder::new();
    let receiver = ByteReceiver::accepting();
    let inspected = Inspected::with(&folder, &receiver.url(), "", &[]);
    inspected.send(&post("/", &[signature(BODY, 0)], BODY));
    let mut stream = Stream::open(inspected.page, &inspected.token, 0);
    assert_eq!(stream.next()["can_sign"], false);
    let answer = inspected.change("/api/entries/1/replay", r#"{"signing":"anew"}"#);
    assert_eq!(answer.status(), 409);
    assert!(answer.json()["error"].is_string());
    let answer = inspected.change("/api/entries/1/replay", r#"{"signing":"as_it_was"}"#);
    assert_eq!(answer.status(), 202);
}

/// The number of the last request. An entry is kept before its answer is sent.
fn last_seq(inspected: &Inspected<'_>) -> u64 {
    let is_kept = |seq: &u64| inspected.get(&format!("/api/entries/{seq}/body")).status() == 200;
    (1..=100).take_while(is_kept).last().unwrap()
}

#[test]
#[ignore = "needs curl"]
fn the_command_sends_the_same_request_through_a_shell() {
    let folder = Folder::new();
    let receiver = ByteReceiver::accepting();
    let inspected = Inspected::start(&folder, &receiver.url(), "");
    let all_bytes: Vec<u8> = (0..=255).collect();
    let tricky = "it's \"$HOME\" `id` $(id) \\ é \u{202e}x";
    let large = vec![b'x'; 200_000];
    let bodies: [&[u8]; 7] = [
        BODY,
        b"",
        &all_bytes,
        tricky.as_bytes(),
        b"@/etc/passwd",
        b"a\n",
        &large,
    ];
    for body in bodies {
        let mut request =
            b"POST /a HTTP/1.1\r\nHost: a\r\nX-Bytes: \xff'\\n%s\r\nX-Empty:\r\n".to_vec();
        request.extend_from_slice(
            b"X-Quote: it's \"$HOME\" `id` \\\r\nX-'$`: 1\r\nX-Two: 1\r\nX-Two: 2\r\n",
        );
        request.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
        request.extend_from_slice(body);
        inspected.send(&request);
        let original = receiver.last();
        let seq = last_seq(&inspected);
        let command = inspected.get(&format!("/api/entries/{seq}/curl")).text();
        let mut shell = Command::new("sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        shell
            .stdin
            .take()
            .unwrap()
            .write_all(command.as_bytes())
            .unwrap();
        let output = shell.wait_with_output().unwrap();
        assert!(output.status.success(), "{command}");
        let again = receiver.last();
        assert!(again.body == original.body, "{command}");
        let sorted = |message: &crate::inspect_http::Message| {
            let headers = message.headers().into_iter();
            let mut headers: Vec<_> = headers
                .map(|(name, value)| (name.to_ascii_lowercase(), value))
                .collect();
            // The command goes past the proxy, which adds it.
            headers.retain(|(name, _)| name != "via");
            headers.sort();
            headers
        };
        assert_eq!(sorted(&again), sorted(&original), "{command}");
    }
    for head in ["GET /", "HEAD /", "DELETE /"] {
        inspected.send(format!("{head} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        let original = receiver.last();
        let seq = last_seq(&inspected);
        let command = inspected.get(&format!("/api/entries/{seq}/curl")).text();
        let status = Command::new("sh")
            .args(["-c", &command])
            .stdout(Stdio::null())
            .status();
        assert!(status.unwrap().success(), "{command}");
        let again = receiver.last();
        let without_via = |message: &crate::inspect_http::Message| {
            let mut headers = message.headers();
            headers.retain(|(name, _)| !name.eq_ignore_ascii_case("via"));
            (message.first_line(), headers)
        };
        assert_eq!(without_via(&again), without_via(&original), "{command}");
    }
}
