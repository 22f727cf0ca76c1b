//! The page of the sandbox, on its own port.

use std::fs;
use std::io::BufReader;
use std::net::SocketAddr;

use serde_json::Value;

use crate::inspect_http::{ByteReceiver, Message, Stream, change, get, next_line, until};
use crate::program::{Folder, Running, Scanned};

struct Page<'a> {
    _running: Running<'a>,
    _stdout: BufReader<Scanned>,
    ready: Value,
    address: SocketAddr,
    token: String,
}

impl<'a> Page<'a> {
    fn start(folder: &'a Folder, more: &str) -> Self {
        let line = format!("sandbox --folder box --json {more}");
        for name in ["box/token", "box/secret", "box/page_url"] {
            folder.names(name);
        }
        let mut running = folder.program(&line).start();
        let mut stdout = BufReader::new(running.stdout());
        let ready = next_line(&mut stdout);
        let file = ready["page_url_file"].as_str().unwrap();
        let url = fs::read_to_string(file).unwrap();
        let (address, token) = url.split_once("/#token=").unwrap();
        let address = address.strip_prefix("http://").unwrap().parse().unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(file).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        Self {
            _running: running,
            _stdout: stdout,
            ready,
            address,
            token: token.to_owned(),
        }
    }

    fn get(&self, path: &str) -> Message {
        let line = format!("Authorization: Bearer {}\r\n", self.token);
        get(self.address, path, &line)
    }

    fn change(&self, path: &str, body: &str) -> Message {
        change(self.address, &self.token, path, body)
    }

    fn shown(&self) -> Value {
        self.get("/api/sandbox").json()
    }

    /// Waits until the first delivery passes the check.
    fn delivery(&self, passes: impl Fn(&Value) -> bool) -> Value {
        until("the delivery", || {
            let delivery = self.shown()["deliveries"][0].clone();
            passes(&delivery).then_some(delivery)
        })
    }
}

#[test]
fn a_sandbox_shows_its_attempts_and_does_what_the_page_asks() {
    let folder = Folder::new();
    let receiver = ByteReceiver::answering("HTTP/1.1 503 X\r\nContent-Length: 4\r\n\r\nbusy");
    let page = Page::start(
        &folder,
        &format!("--forward {} --first-retry 1h", receiver.url()),
    );
    let text = page.ready.to_string();
    assert!(!text.contains(&page.token), "{text}");
    assert_eq!(page.ready["page"], format!("http://{}/", page.address));
    assert_eq!(
        page.get("/").values("content-type"),
        ["text/html; charset=utf-8"]
    );
    let mut stream = Stream::open(page.address, &page.token, 0);
    let hello = stream.next();
    assert_eq!(
        (&hello["mode"], &hello["sandbox"]),
        (&"sandbox".into(), &true.into())
    );
    assert_eq!(hello["forward"], receiver.url());

    let shown = page.shown();
    let has = |list: &str, name: &str| {
        let list = shown[list].as_array().unwrap();
        list.iter().any(|it| it == name || it["name"] == name)
    };
    assert!(has("samples", "market.created") && has("faults", "tampered"));
    assert_eq!(shown["webhooks"][0]["url"], receiver.url());
    assert_eq!(shown["webhooks"][0]["subscriptions"][0], "*");

    assert_eq!(
        page.change(
            "/api/sandbox/fault",
            r#"{"name":"tampered","argument":null,"times":1}"#
        )
        .status(),
        204
    );
    assert_eq!(
        page.change("/api/sandbox/emit", r#"{"event_type":"market.created"}"#)
            .status(),
        202
    );
    let entry = stream.until(|line| line["kind"] == "entry")["entry"].clone();
    assert_eq!(
        (&entry["source"], &entry["fault"]),
        (&"sandbox".into(), &"tampered".into())
    );
    assert_eq!(
        (&entry["verdict"], &entry["reason"]),
        (&"rejected".into(), &"signature_mismatch".into())
    );
    assert_eq!(
        (&entry["receiver"]["status"], &entry["path"]),
        (&503.into(), &"/hook?secure=1".into())
    );
    let detail = page.get("/api/entries/1").json();
    assert_eq!(
        (&detail["why"]["causes"], &detail["why"]["basis"]),
        (
            &serde_json::json!(["the sandbox injected the fault `tampered`"]),
            &"certain".into()
        )
    );
    assert_eq!(detail["why"]["suspicions"], serde_json::json!([]));
    assert_eq!(
        (&detail["answer"]["status"], &detail["answer"]["body_bytes"]),
        (&503.into(), &4.into())
    );
    assert_eq!(page.get("/api/entries/1/answer").text(), "busy");
    assert_eq!(page.get("/api/entries/1/body").body, receiver.last().body);
    assert!(
        page.get("/api/entries/1/curl")
            .text()
            .contains(&receiver.url())
    );

    // A retry is due in an hour of the sandbox's clock.
    let delivery = page.delivery(|it| it["next_at"].is_string());
    assert_eq!(
        (&delivery["status"], &delivery["id"]),
        (&"pending".into(), &entry["delivery_id"])
    );
    assert_eq!(delivery["attempts"][0]["outcome"], "answered 503");
    assert_eq!(receiver.received().len(), 1);
    let moved = page.change("/api/sandbox/advance", r#"{"to_next_retry":true}"#);
    assert_eq!(moved.status(), 200);
    assert!(moved.json()["now"].as_str().unwrap() >= delivery["next_at"].as_str().unwrap());
    page.delivery(|it| it["attempts"].as_array().is_some_and(|all| all.len() == 2));
    let second = stream.until(|line| line["entry"]["seq"] == 2)["entry"].clone();
    assert_eq!(
        (&second["verdict"], &second["attempt"]),
        (&"accepted".into(), &2.into())
    );
    let id = delivery["id"].as_str().unwrap();
    let body = format!(r#"{{"delivery_id":"{id}"}}"#);
    assert_eq!(page.change("/api/sandbox/redeliver", &body).status(), 202);
    stream.until(|line| line["entry"]["seq"] == 3);
    assert_eq!(
        page.change("/api/sandbox/advance", r#"{"seconds":60}"#)
            .status(),
        200
    );

    // Sent again from the page, signed with the webhook's secret.
    let answer = page.change("/api/entries/1/replay", r#"{"signing":"anew"}"#);
    assert_eq!(answer.status(), 202);
    let anew = |line: &Value| {
        line["entry"]["source"] == "signed_anew" && line["entry"]["receiver"]["state"] == "answered"
    };
    let anew = stream.until(anew)["entry"].clone();
    assert_eq!(
        (&anew["verdict"], &anew["receiver"]["status"]),
        (&"accepted".into(), &503.into())
    );
}

#[test]
fn a_delivery_to_another_webhook_stays_with_it() {
    let folder = Folder::new();
    let (forward, other) = (ByteReceiver::accepting(), ByteReceiver::accepting());
    let page = Page::start(&folder, &format!("--forward {}", forward.url()));
    let token = fs::read_to_string(page.ready["token_file"].as_str().unwrap()).unwrap();
    let api = page.ready["url"].as_str().unwrap();
    let (_, base) = api.split_once("://").unwrap();
    let base = base
        .split_once('/')
        .map_or(String::new(), |(_, path)| format!("/{path}"));
    let workspace = page.ready["workspace"].as_str().unwrap();
    let call = |path: &str, body: &str| {
        let request = format!(
            "POST {}/workspaces/{workspace}{path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            base.trim_end_matches('/'),
            page.address,
            token.trim(),
            body.len()
        );
        let answer = crate::inspect_http::exchange(page.address, request.as_bytes());
        assert_eq!(answer.status(), 201, "{}", answer.text());
        answer.json()
    };
    let body = format!(
        r#"{{"url":"{}","label":"other","active":true}}"#,
        other.url()
    );
    let id = call("/webhooks", &body)["id"].as_str().unwrap().to_owned();
    call(
        &format!("/webhooks/{id}/subscriptions"),
        r#"{"event_type":"*"}"#,
    );
    let mut stream = Stream::open(page.address, &page.token, 0);
    let emitted = page.change("/api/sandbox/emit", r#"{"event_type":"market.created"}"#);
    assert_eq!(emitted.status(), 202);
    stream.until(|line| line["entry"]["seq"].as_u64() >= Some(2));
    let replay = r#"{"signing":"anew"}"#;
    let mut statuses = Vec::new();
    for seq in 1..=2 {
        let curl = page.get(&format!("/api/entries/{seq}/curl")).text();
        let is_other = curl.contains(&other.url());
        assert_ne!(is_other, curl.contains(&forward.url()));
        let answer = page.change(&format!("/api/entries/{seq}/replay"), replay);
        statuses.push((is_other, answer.status()));
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [(false, 202), (true, 409)]);
}

#[test]
fn wrong_actions_are_named_and_change_nothing() {
    let folder = Folder::new();
    let page = Page::start(&folder, "");
    for (path, body, status) in [
        ("emit", r#"{"event_type":"market.exploded"}"#, 400),
        ("emit", "{}", 400),
        ("fault", r#"{"name":"nonsense"}"#, 400),
        ("fault", r#"{"name":"slow"}"#, 400),
        ("fault", r#"{"name":"slow","argument":"2s:0.5"}"#, 400),
        ("fault", r#"{"name":"slow","argument":"10"}"#, 400),
        ("fault", r#"{"name":"tampered","argument":"2s"}"#, 400),
        ("fault", r#"{"name":"tampered","times":0}"#, 400),
        ("fault", r#"{"name":"slow","argument":"2s","times":2}"#, 204),
        ("fault", r#"{"name":"large-body","argument":"5000"}"#, 204),
        ("advance", r#"{"seconds":99999999999}"#, 400),
        ("advance", r#"{"seconds":1,"to_next_retry":true}"#, 400),
        ("advance", r#"{"to_next_retry":true}"#, 409),
        ("redeliver", r#"{"delivery_id":"none"}"#, 404),
    ] {
        let answer = page.change(&format!("/api/sandbox/{path}"), body);
        assert_eq!(answer.status(), status, "{path} {body}");
    }
    assert_eq!(get(page.address, "/api/sandbox", "").status(), 403);
    // The API of the stand-in does not look at the name of the host; its page does.
    let port = page.address.port();
    for (path, status) in [("/", 421), ("/api/sandbox", 421), ("/v1/workspaces/x", 401)] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: evil.com:{port}\r\n\r\n");
        let answer = crate::inspect_http::exchange(page.address, request.as_bytes());
        assert_eq!(answer.status(), status, "{path}");
    }
}

#[test]
fn a_sandbox_without_a_page_answers_as_before() {
    let folder = Folder::new();
    for name in ["box/token", "box/secret"] {
        folder.names(name);
    }
    let mut running = folder
        .program("sandbox --folder box --json --no-page")
        .start();
    let mut stdout = BufReader::new(running.stdout());
    let ready = next_line(&mut stdout);
    assert_eq!(
        (&ready["page"], &ready["page_url_file"]),
        (&Value::Null, &Value::Null)
    );
    let url = ready["url"].as_str().unwrap();
    let address = url
        .strip_prefix("http://")
        .unwrap()
        .strip_suffix("/v1")
        .unwrap();
    assert_eq!(get(address.parse().unwrap(), "/", "").status(), 401);
}
