//! Attacks on the page of `inspect`: other hosts, other origins, forms, and no token.

use std::net::SocketAddr;

use crate::inspect_http::{
    ByteReceiver, Inspected, Message, SECRET, change, exchange, get, post, signature,
};
use crate::program::Folder;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Each answer has the security headers, and none of CORS.
#[track_caller]
fn assert_hardened(answer: &Message) {
    for (name, value) in [
        ("content-security-policy", POLICY),
        ("x-content-type-options", "nosniff"),
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
    ] {
        assert_eq!(answer.values(name), [value], "{name}");
    }
    let headers = answer.headers();
    let is_cors = |name: &str| name.to_ascii_lowercase().starts_with("access-control-");
    assert!(
        !headers.iter().any(|(name, _)| is_cors(name)),
        "{headers:?}"
    );
}

fn set_up<'a>(folder: &'a Folder, receiver: &ByteReceiver) -> Inspected<'a> {
    let inspected = Inspected::start(folder, &receiver.url(), "");
    let body = b"{\"event_type\":\"market.created\"}";
    let lines = [
        signature(body, 0),
        "Authorization: Bearer of-the-sender".to_owned(),
        "Cookie: session=of-the-sender".to_owned(),
        format!("X-Oops: {SECRET}"),
    ];
    assert_eq!(inspected.send(&post("/", &lines, body)).status(), 204);
    inspected.ended(1);
    inspected
}

#[test]
fn files_need_no_token_and_the_api_does() {
    let folder = Folder::new();
    let receiver = ByteReceiver::accepting();
    let inspected = set_up(&folder, &receiver);
    for (path, content_type) in [
        ("/", "text/html; charset=utf-8"),
        ("/page.css", "text/css; charset=utf-8"),
        ("/page.js", "text/javascript; charset=utf-8"),
    ] {
        let answer = get(inspected.page, path, "");
        assert_eq!(answer.status(), 200, "{path}");
        assert_eq!(answer.values("content-type"), [content_type]);
        assert_hardened(&answer);
    }
    assert_eq!(get(inspected.page, "/favicon.ico", "").status(), 204);
    let missing = get(inspected.page, "/other", "");
    assert_eq!(missing.status(), 404);
    assert_hardened(&missing);
    let wrong = "0".repeat(64);
    let (short, long) = (&inspected.token[..63], format!("{}0", inspected.token));
    for authorization in [
        String::new(),
        format!("Authorization: Bearer {wrong}\r\n"),
        format!("Authorization: Bearer {short}\r\n"),
        format!("Authorization: Bearer {long}\r\n"),
        format!("Authorization: Basic {}\r\n", inspected.token),
        format!("Authorization: {}\r\n", inspected.token),
        format!(
            "Authorization: Bearer {0}\r\nAuthorization: Bearer {0}\r\n",
            inspected.token
        ),
        format!("Cookie: token={}\r\n", inspected.token),
    ] {
        for path in [
            "/api/stream",
            "/api/entries/1",
            "/api/entries/1/body",
            "/api/entries/1/answer",
            "/api/entries/1/curl",
            "/api/inbox",
            "/api/sandbox",
            "/api/none",
            "/api",
        ] {
            let answer = get(inspected.page, path, &authorization);
            assert_eq!(answer.status(), 403, "{path} {authorization}");
            assert!(answer.json()["error"].is_string());
            assert_hardened(&answer);
        }
    }
    let query = format!("/api/entries/1?token={}", inspected.token);
    assert_eq!(get(inspected.page, &query, "").status(), 403);
    assert_eq!(inspected.get("/api/entries/1").status(), 200);
    assert_eq!(inspected.get("/api/none").status(), 404);
    assert_eq!(inspected.get("/api/entries/99").status(), 404);
    assert_eq!(inspected.get("/api/entries/x").status(), 404);
    assert_hardened(&inspected.get("/api/entries/1"));
}

#[test]
fn a_rebound_host_name_reaches_nothing() {
    let folder = Folder::new();
    let receiver = ByteReceiver::accepting();
    let inspected = set_up(&folder, &receiver);
    let (page, token) = (inspected.page, &inspected.token);
    let port = page.port();
    let ask = |target: &str, host: &str| {
        let request =
            format!("GET {target} HTTP/1.1\r\n{host}Authorization: Bearer {token}\r\n\r\n");
        exchange(page, request.as_bytes())
    };
    for name in [
        format!("127.0.0.1:{port}"),
        format!("localhost:{port}"),
        format!("[::1]:{port}"),
    ] {
        let answer = ask("/api/entries/1", &format!("Host: {name}\r\n"));
        assert_eq!(answer.status(), 200, "{name}");
    }
    for host in [
        String::new(),
        "Host:\r\n".to_owned(),
        format!("Host: 127.0.0.1.evil.com:{port}\r\n"),
        format!("Host: localhost.evil:{port}\r\n"),
        format!("Host: evil.com:{port}\r\n"),
        "Host: 127.0.0.1\r\n".to_owned(),
        format!("Host: 127.0.0.1:{}\r\n", port ^ 1),
        format!("Host: localhost:{port}\r\nHost: evil.com\r\n"),
    ] {
        for target in ["/", "/page.js", "/api/entries/1"] {
            let answer = ask(target, &host);
            assert_eq!(answer.status(), 421, "{target} {host}");
            assert_eq!(answer.values("content-type"), ["text/plain; charset=utf-8"]);
            assert_hardened(&answer);
        }
    }
    let foreign = format!("http://evil.com:{port}/api/entries/1");
    let answer = ask(&foreign, &format!("Host: localhost:{port}\r\n"));
    assert_eq!(answer.status(), 421);
}

/// A change with these header lines.
fn replay(page: SocketAddr, lines: &str, body: &str) -> Message {
    let length = body.len();
    let request = format!(
        "POST /api/entries/1/replay HTTP/1.1\r\nHost: {page}\r\n{lines}Content-Length: {length}\r\n\r\n{body}"
    );
    exchange(page, request.as_bytes())
}

#[test]
fn another_page_can_change_nothing() {
    let folder = Folder::new();
    let receiver = ByteReceiver::accepting();
    let inspected = set_up(&folder, &receiver);
    let page = inspected.page;
    let token = format!("Authorization: Bearer {}\r\n", inspected.token);
    let json = "Content-Type: application/json\r\n";
    let body = r#"{"signing":"as_it_was"}"#;
    let port = page.port();
    for lines in [
        // Without the token.
        json.to_owned(),
        "Content-Type: text/plain\r\n".to_owned(),
        // With it, from elsewhere.
        format!("{token}{json}Origin: http://evil.com\r\n"),
        format!("{token}{json}Origin: null\r\n"),
        format!("{token}{json}Origin: http://127.0.0.1:{}\r\n", port ^ 1),
        format!("{token}{json}Origin: http://127.0.0.1.evil.com:{port}\r\n"),
        format!("{token}{json}Sec-Fetch-Site: cross-site\r\n"),
        format!("{token}{json}Sec-Fetch-Site: same-site\r\n"),
        format!("{token}{json}Sec-Fetch-Site: cross-site\r\nOrigin: http://evil.com\r\n"),
        // Requests that a form can send.
        format!("{token}Content-Type: application/x-www-form-urlencoded\r\n"),
        format!("{token}Content-Type: multipart/form-data; boundary=a\r\n"),
        format!("{token}Content-Type: text/plain\r\n"),
        token.clone(),
    ] {
        let answer = replay(page, &lines, body);
        assert_eq!(answer.status(), 403, "{lines}");
        assert_hardened(&answer);
    }
    assert_eq!(receiver.received().len(), 1);
    let preflight = format!(
        "OPTIONS /api/entries/1/replay HTTP/1.1\r\nHost: {page}\r\nOrigin: http://evil.com\r\n\
         Access-Control-Request-Method: POST\r\n\r\n"
    );
    let answer = exchange(page, preflight.as_bytes());
    assert_eq!(answer.status(), 403);
    assert_hardened(&answer);
    assert_eq!(
        change(page, &inspected.token, "/api/entries/1/replay", body).status(),
        202
    );
}

#[test]
fn the_target_of_a_replay_cannot_be_chosen() {
    let folder = Folder::new();
    let receiver = ByteReceiver::accepting();
    let other = ByteReceiver::accepting();
    let inspected = set_up(&folder, &receiver);
    let other_url = other.url();
    for body in [
        format!(r#"{{"signing":"as_it_was","url":"{other_url}"}}"#),
        format!(r#"{{"signing":"as_it_was","forward":"{other_url}"}}"#),
        format!(r#"{{"signing":"{other_url}"}}"#),
        "[]".to_owned(),
        String::new(),
    ] {
        let answer = inspected.change("/api/entries/1/replay", &body);
        assert_eq!(answer.status(), 400, "{body}");
    }
    let long = format!(r#"{{"signing":"as_it_was","a":"{}"}}"#, "x".repeat(70_000));
    assert_eq!(
        inspected.change("/api/entries/1/replay", &long).status(),
        413
    );
    // Nor by a header of the sender.
    let lines = [format!("X-Forwarded-Host: {}", other.address)];
    inspected.send(&post(&other_url, &lines, b"x"));
    assert_eq!(
        inspected
            .change("/api/entries/2/replay", r#"{"signing":"as_it_was"}"#)
            .status(),
        202
    );
    inspected.ended(3);
    assert!(other.received().is_empty());
    assert_eq!(receiver.received().len(), 3);
    assert_eq!(
        inspected
            .change("/api/entries/9/replay", r#"{"signing":"anew"}"#)
            .status(),
        404
    );
}

#[test]
fn secrets_are_masked_and_in_no_answer() {
    let folder = Folder::new();
    let receiver = ByteReceiver::answering(
        "HTTP/1.1 200 OK\r\nSet-Cookie: session=of-the-receiver\r\nContent-Length: 0\r\n\r\n",
    );
    let inspected = Inspected::start(&folder, &receiver.url(), "");
    let body = b"{\"event_type\":\"market.created\"}";
    let lines = [
        signature(body, 0),
        "Authorization: Bearer of-the-sender".to_owned(),
        "Cookie: session=of-the-sender".to_owned(),
        format!("X-Oops: {SECRET}"),
    ];
    inspected.send(&post("/", &lines, body));
    let detail = inspected.ended(1);
    for (list, name) in [
        (&detail["headers"], "authorization"),
        (&detail["headers"], "cookie"),
        (&detail["headers"], "x-oops"),
        (&detail["answer"]["headers"], "set-cookie"),
    ] {
        let headers = list.as_array().unwrap();
        let header = headers.iter().find(|it| it["name"] == name).unwrap();
        assert_eq!(
            (&header["value"], &header["masked"]),
            (&"masked".into(), &true.into())
        );
    }
    // The receiver still got them, also again.
    inspected.change("/api/entries/1/replay", r#"{"signing":"anew"}"#);
    inspected.ended(2);
    assert_eq!(receiver.last().values("cookie"), ["session=of-the-sender"]);
    for path in [
        "/",
        "/page.js",
        "/api/entries/1",
        "/api/entries/2",
        "/api/entries/1/curl",
    ] {
        let text = inspected.get(path).text();
        for secret in [SECRET, "of-the-sender", "of-the-receiver", &inspected.token] {
            assert!(!text.contains(secret), "{path} has {secret}");
        }
    }
    let curl = inspected.get("/api/entries/1/curl").text();
    for name in ["authorization", "cookie", "x-oops"] {
        assert!(
            curl.contains(&format!("# the value of {name} is left out\n")),
            "{curl}"
        );
    }
}
