//! Unexpected input, and clients that are not part of this project.

use std::io::Write as _;
use std::process::{Command, Stdio};

use ptolemy_webhooks::samples;
use ptolemy_webhooks_sandbox::{CallEnd, Sandbox, Shape};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::client::{address, call, call_as};
use crate::receiver::raw_receiver;

/// Most calls are a POST.
const METHODS: [&str; 8] = [
    "GET", "POST", "POST", "POST", "PUT", "PATCH", "DELETE", "OPTIONS",
];

/// Parts of paths; `ID` is replaced by an id that exists.
const SEGMENTS: [&str; 14] = [
    "/webhooks",
    "/webhook-deliveries",
    "/events",
    "/filter",
    "/count",
    "/ID",
    "/subscriptions",
    "/rotate-secret",
    "/redeliver",
    "/",
    "/..",
    "/%00",
    "?limit=3",
    "?after=x&limit=1",
];

/// Parts of bodies.
const PARTS: [&str; 26] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"filter\"",
    "\"and\"",
    "\"field\"",
    "\"op\"",
    "\"eq\"",
    "\"value\"",
    "\"sort\"",
    "\"direction\"",
    "\"desc\"",
    "\"limit\"",
    "1",
    "null",
    "\"url\"",
    "\"http://127.0.0.1:9/\"",
    "\"event_type\"",
    "\"*\"",
    "-1e999",
    "\"\\ud800\"",
    "true",
    "\"after\"",
];

/// Bodies that are read beyond the first byte.
const WHOLE: [&str; 10] = [
    "",
    "{}",
    "[]",
    "[\"*\"]",
    "{\"event_type\":\"a.b\"}",
    "{\"url\":\"http://127.0.0.1:9/\"}",
    "{\"filter\":{\"and\":[{\"field\":\"id\",\"op\":\"eq\",\"value\":{}}]},\"limit\":1}",
    "{\"sort\":[{\"field\":\"id\",\"direction\":\"desc\"}],\"after\":\"x\"}",
    "{\"active\":false}",
    "{\"label\":null}",
];

/// Paths of documented calls.
const PATHS: [&str; 9] = [
    "/webhooks",
    "/webhooks/filter",
    "/webhooks/ID",
    "/webhooks/ID/subscriptions",
    "/webhooks/ID/rotate-secret",
    "/webhook-deliveries/filter",
    "/webhook-deliveries/ID/redeliver",
    "/events/ID",
    "/events/count",
];

fn path(random: &mut fastrand::Rng, id: &str) -> String {
    if random.bool() {
        return random.choice(&PATHS).unwrap().replace("ID", id);
    }
    let segments = (0..random.usize(1..5)).map(|_| *random.choice(&SEGMENTS).unwrap());
    segments.collect::<String>().replace("ID", id)
}

fn body(random: &mut fastrand::Rng) -> String {
    if random.u8(..4) > 0 {
        return (*random.choice(&WHOLE).unwrap()).to_owned();
    }
    let parts = (0..random.usize(..12)).map(|_| *random.choice(&PARTS).unwrap());
    parts.collect()
}

#[tokio::test]
async fn random_calls_have_answers_that_the_readme_names() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut seen = std::collections::BTreeSet::new();
    for shapes in [Vec::new(), Shape::ALL.to_vec()] {
        let sandbox = Sandbox::builder()
            .seed(seed)
            .shapes(shapes)
            .start()
            .await
            .unwrap();
        for _ in 0..3_000 {
            if sandbox.webhooks().is_empty() {
                sandbox.register("http://127.0.0.1:9/").await;
                sandbox.emit(samples::market_created()).await;
            }
            let log = sandbox.log();
            let ids = [
                sandbox.webhooks()[0].id().to_owned(),
                log.deliveries().last().unwrap().id().to_owned(),
                log.deliveries().last().unwrap().event_id().to_owned(),
            ];
            let id = random.choice(&ids).unwrap();
            let path = path(&mut random, id);
            let method = random.choice(METHODS).unwrap();
            let body = body(&mut random);
            let answer = call(&sandbox, method, &path, &body).await;
            // A panic would end the connection without an answer.
            let known = [200, 201, 202, 204, 403, 404, 409, 422, 501];
            let status = answer.status;
            assert!(known.contains(&status), "{status}: {method} {path} {body}");
            assert!(answer.header("x-ratelimit-remaining").is_some());
            seen.insert(answer.status);
        }
        sandbox.settle().await;
    }
    // The calls produce every kind of answer.
    for status in [200, 201, 202, 204, 404, 422, 501] {
        assert!(seen.contains(&status), "{status} is not among {seen:?}");
    }
}

#[tokio::test]
async fn bytes_that_are_not_http_end_only_their_connection() {
    let sandbox = Sandbox::start().await;
    let endless = vec![b'a'; 1024 * 1024];
    let inputs: [&[u8]; 5] = [
        b"\x16\x03\x01\x02\x00",
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\ncontent-length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        &endless,
    ];
    for input in inputs {
        let mut stream = TcpStream::connect(address(&sandbox)).await.unwrap();
        // The sandbox may close before it has read everything.
        let _ = stream.write_all(input).await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
    assert_eq!(call(&sandbox, "GET", "/webhooks", "").await.status, 200);
}

#[tokio::test]
async fn a_receiver_that_answers_without_end_does_not_keep_an_attempt() {
    let sandbox = Sandbox::start().await;
    let (url, _) = raw_receiver("HTTP/1.1 200 OK\r\ncontent-length: 10000000000\r\n\r\nabc").await;
    sandbox.register(&url).await;
    sandbox.emit(samples::market_created()).await;
    assert_eq!(sandbox.settle().await.attempts(), 1);
}

#[tokio::test]
async fn a_token_in_another_form_is_a_stranger() {
    let sandbox = Sandbox::start().await;
    let upper = sandbox.token().to_uppercase();
    for token in ["", "ptk_live_", &upper, &sandbox.token()[..40]] {
        let answer = call_as(&sandbox, token, "GET", "/webhooks", "")
            .await
            .unwrap();
        assert_eq!(answer.status, 401);
    }
    assert_eq!(sandbox.strangers(), 4);
}

/// A client and a receiver that share no code with this project.
const PYTHON: &str = r#"
import hashlib, hmac, http.server, json, sys, threading, time, urllib.request, urllib.error

base, workspace, token = sys.argv[1:4]
root = f"{base}/workspaces/{workspace}"
seen = []

class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        parts = dict(part.split("=", 1) for part in self.headers["Ptolemy-Signature"].split(","))
        expected = hmac.new(secret.encode(), parts["t"].encode() + b"." + body, hashlib.sha256)
        ok = hmac.compare_digest(expected.hexdigest(), parts["v1"]) and abs(time.time() - int(parts["t"])) <= 300
        self.send_response(200 if ok else 401)
        self.end_headers()
        seen.append((ok, json.loads(body)["event_type"]))
        print("seen", flush=True)
    def log_message(self, *args):
        pass

def call(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(root + path, data, method=method)
    request.add_header("Authorization", "Bearer " + token)
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=10) as answer:
        text = answer.read()
        return json.loads(text) if text else None

server = http.server.HTTPServer(("127.0.0.1", 0), Receiver)
threading.Thread(target=server.serve_forever, daemon=True).start()
webhook = call("POST", "/webhooks", {"url": f"http://127.0.0.1:{server.server_port}/", "active": True})
secret = webhook["secret"]
call("PUT", f"/webhooks/{webhook['id']}/subscriptions", ["*"])
print("ready", flush=True)
sys.stdin.readline()
assert seen == [(True, "market.created")], seen
page = call("POST", "/webhook-deliveries/filter", {"filter": {"and": [{"field": "status", "op": "eq", "value": "succeeded"}]}})
assert page["data"][0]["webhook_id"] == webhook["id"], page
call("POST", f"/webhook-deliveries/{page['data'][0]['id']}/redeliver")
sys.stdin.readline()
assert len(seen) == 2 and all(ok for ok, _ in seen), seen
call("DELETE", f"/webhooks/{webhook['id']}")
try:
    call("GET", "/instruments")
    raise SystemExit("an undocumented call was answered")
except urllib.error.HTTPError as error:
    assert error.code == 501, error.code
print("done", flush=True)
"#;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs python3"]
async fn a_client_and_a_receiver_in_python_agree() {
    let sandbox = Sandbox::start().await;
    let mut child = Command::new("python3")
        .args([
            "-c",
            PYTHON,
            sandbox.url(),
            sandbox.workspace(),
            sandbox.token(),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let mut expect = |word: &str| assert_eq!(lines.next().unwrap().unwrap(), word);
    expect("ready");
    sandbox.emit(samples::market_created()).await;
    expect("seen");
    stdin.write_all(b"\n").unwrap();
    expect("seen");
    sandbox.settle().await;
    stdin.write_all(b"\n").unwrap();
    expect("done");
    assert!(child.wait().unwrap().success());
    assert_eq!(
        sandbox.calls().last().unwrap().end(),
        CallEnd::Answered(501)
    );
}
