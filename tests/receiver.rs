//! The example receivers as processes: what a user sees, and what a stop loses.
//!
//! `cargo test` builds the examples before it runs this; on its own (`cargo test --test receiver`)
//! it runs what was built last.
#![cfg(all(unix, feature = "actix-web", feature = "axum"))]

use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ptolemy_webhooks::{Secret, Signer};

const RECEIVERS: &[&str] = &["axum_receiver", "actix_receiver"];
const SECRET: &str = "whsec_test_secret";
const EVENT: &str = r#"{"id":"e 1","event_type":"instrument.created","data":{"name":"BHP"}}"#;

/// A receiver that is killed when the test ends.
struct Receiver {
    child: Child,
    address: SocketAddr,
    /// Reads standard error to its end, so that the receiver never waits for it.
    errors: Option<thread::JoinHandle<String>>,
}

fn command(name: &str) -> Command {
    let tests = env::current_exe().unwrap();
    let path = tests
        .ancestors()
        .nth(2)
        .unwrap()
        .join("examples")
        .join(name);
    assert!(path.exists(), "{} is not built", path.display());
    let mut command = Command::new(path);
    command
        .env_remove("PTOLEMY_WEBHOOK_SECRET_PREVIOUS")
        .env("PTOLEMY_WEBHOOK_SECRET", SECRET)
        .env("PTOLEMY_LISTEN", "127.0.0.1:0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

impl Receiver {
    fn start(name: &str) -> Self {
        let mut child = command(name).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        let address = line
            .strip_prefix("listening on http://")
            .and_then(|rest| rest.strip_suffix("/webhooks/ptolemy\n"))
            .unwrap_or_else(|| panic!("{name}: {line}"))
            .parse()
            .unwrap();
        let errors = thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).unwrap();
            text
        });
        Self {
            child,
            address,
            errors: Some(errors),
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        let patience = Some(Duration::from_secs(30));
        stream.set_read_timeout(patience).unwrap();
        stream.set_write_timeout(patience).unwrap();
        stream
    }

    fn stdout(&mut self) -> ChildStdout {
        self.child.stdout.take().unwrap()
    }

    fn terminate(&self) {
        let pid = self.child.id().to_string();
        let kill = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(kill.unwrap().success());
    }

    /// Waits for the end; returns the exit code and what stood on standard error.
    fn end(mut self) -> (Option<i32>, String) {
        let status = self.child.wait().unwrap();
        let errors = self.errors.take().unwrap().join().unwrap();
        (status.code(), errors)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn request(body: &str, signed_body: &str) -> String {
    let signature = Signer::new(&Secret::new(SECRET).unwrap()).sign(signed_body.as_bytes());
    format!(
        "POST /webhooks/ptolemy HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\
         Ptolemy-Signature: {signature}\r\n\r\n{body}",
        body.len()
    )
}

/// Posts on an open connection; returns the head and the body of the answer.
fn post(stream: &mut TcpStream, body: &str, signed_body: &str) -> (String, String) {
    stream
        .write_all(request(body, signed_body).as_bytes())
        .unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().unwrap());
    let mut text = vec![0; length];
    stream.read_exact(&mut text).unwrap();
    (head, String::from_utf8(text).unwrap())
}

fn status(head: &str) -> &str {
    head.split(' ').nth(1).unwrap()
}

#[test]
fn a_signed_event_is_accepted_and_a_changed_one_is_not() {
    for name in RECEIVERS {
        let mut receiver = Receiver::start(name);
        let mut lines = BufReader::new(receiver.stdout()).lines();
        let mut stream = receiver.connect();

        let (head, text) = post(&mut stream, EVENT, EVENT);
        assert_eq!((status(&head), &*text), ("202", ""), "{name}");
        let line = lines.next().unwrap().unwrap();
        assert_eq!(line, "accepted instrument.created e 1 typed", "{name}");

        let (head, text) = post(&mut stream, &EVENT.replace("BHP", "BHQ"), EVENT);
        assert_eq!(status(&head), "401", "{name}");
        assert_eq!(
            text,
            "signature does not match the body under any accepted secret"
        );

        receiver.terminate();
        assert_eq!(lines.next().map(Result::unwrap), None, "{name}");
        let (code, errors) = receiver.end();
        assert_eq!(code, Some(0), "{name}: {errors}");
        assert_eq!(
            errors,
            "refused 401: signature does not match the body under any accepted secret\n"
        );
    }
}

#[test]
fn another_method_is_405() {
    for name in RECEIVERS {
        let receiver = Receiver::start(name);
        for method in ["GET", "PUT", "DELETE"] {
            let mut stream = receiver.connect();
            let request = format!("{method} /webhooks/ptolemy HTTP/1.1\r\nHost: localhost\r\n\r\n");
            stream.write_all(request.as_bytes()).unwrap();
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).unwrap();
            assert_eq!(status(&line), "405", "{name} {method}");
        }
    }
}

#[test]
fn each_delivery_is_one_line_whatever_it_holds() {
    let long = "x".repeat(199);
    let wide = "\u{1}".repeat(100);
    for name in RECEIVERS {
        let mut receiver = Receiver::start(name);
        let mut lines = BufReader::new(receiver.stdout()).lines();
        let mut stream = receiver.connect();
        for (body, line) in [
            (
                r#"{"event_type":"a.b"}"#.into(),
                "accepted a.b - unknown".into(),
            ),
            (
                r#"{"event_type":"market.created","id":""}"#.into(),
                "accepted market.created - malformed".into(),
            ),
            (
                r#"{"event_type":"a.b\naccepted","id":"1\r\u001b[2J\u0085\u2028\u2029é"}"#.into(),
                r"accepted a.b\u{a}accepted 1\u{d}\u{1b}[2J\u{85}\u{2028}\u{2029}é unknown".into(),
            ),
            (
                format!(r#"{{"event_type":"{long}ab","id":"{long}\n"}}"#),
                format!("accepted {long}a {long} unknown"),
            ),
            (
                format!(
                    r#"{{"event_type":"a.b","id":{}}}"#,
                    serde_json::Value::from(wide.as_str())
                ),
                format!("accepted a.b {} unknown", r"\u{1}".repeat(40)),
            ),
        ] as [(String, String); 5]
        {
            assert_eq!(status(&post(&mut stream, &body, &body).0), "202", "{name}");
            assert_eq!(lines.next().unwrap().unwrap(), line, "{name}");
        }
    }
}

#[test]
fn a_full_queue_is_503_and_a_stop_finishes_all_that_was_acknowledged() {
    for name in RECEIVERS {
        let mut receiver = Receiver::start(name);
        // Nobody reads standard output, so the worker stands still and the queue fills.
        let stdout = receiver.stdout();
        let mut stream = receiver.connect();
        let mut acknowledged = 0;
        let body = format!(r#"{{"event_type":"a.b","id":"{}"}}"#, "x".repeat(200));
        let refusal = loop {
            let (head, text) = post(&mut stream, &body, &body);
            match status(&head) {
                "202" => acknowledged += 1,
                "503" => break (head, text),
                other => panic!("{name}: {other}"),
            }
            assert!(acknowledged < 10_000, "{name}: the queue has no end");
        };
        assert!(
            refusal.0.contains("\r\nretry-after: 5\r\n"),
            "{name}: {refusal:?}"
        );
        assert_eq!(refusal.1, "queue is full", "{name}");

        receiver.terminate();
        drop(stream);
        let lines = BufReader::new(stdout).lines().count();
        assert_eq!(lines, acknowledged, "{name}");
        let (code, errors) = receiver.end();
        assert_eq!((code, &*errors), (Some(0), ""), "{name}");
    }
}

#[test]
fn a_receiver_that_cannot_work_ends_by_itself_and_counts_what_it_dropped() {
    for name in RECEIVERS {
        let mut receiver = Receiver::start(name);
        // The line of the first event cannot be printed.
        drop(receiver.stdout());
        let mut stream = receiver.connect();
        assert_eq!(status(&post(&mut stream, EVENT, EVENT).0), "202", "{name}");
        let (code, errors) = receiver.end();
        assert_eq!(code, Some(1), "{name}: {errors}");
        assert!(
            errors.contains("error: 1 of 1 acknowledged deliveries were dropped"),
            "{name}: {errors}"
        );
    }
}

#[test]
fn a_signal_right_after_the_start_is_a_stop_like_any_other() {
    for name in RECEIVERS {
        for _ in 0..20 {
            let receiver = Receiver::start(name);
            receiver.terminate();
            assert_eq!(receiver.end(), (Some(0), String::new()), "{name}");
        }
    }
}

#[test]
fn an_idle_connection_does_not_hold_up_a_stop() {
    for name in RECEIVERS {
        let receiver = Receiver::start(name);
        let mut idle = receiver.connect();
        assert_eq!(status(&post(&mut idle, EVENT, EVENT).0), "202", "{name}");
        let begin = Instant::now();
        receiver.terminate();
        let (code, errors) = receiver.end();
        assert_eq!(code, Some(0), "{name}: {errors}");
        assert!(!errors.contains("cut"), "{name}: {errors}");
        println!("{name}: stopped after {:?}", begin.elapsed());
    }
}

/// Whoever reads standard error may stop reading it, or go away: neither may harm deliveries.
#[test]
fn standard_error_that_is_full_or_closed_harms_no_delivery() {
    for name in RECEIVERS {
        for close in [false, true] {
            let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = port.local_addr().unwrap();
            drop(port);
            let mut child = command(name)
                .env("PTOLEMY_LISTEN", address.to_string())
                .spawn()
                .unwrap();
            let mut stderr = child.stderr.take().unwrap();
            // Only the announcement is read.
            let mut byte = [0];
            while byte != *b"\n" {
                stderr.read_exact(&mut byte).unwrap();
            }
            let stderr = (!close).then_some(stderr);
            let stdout = child.stdout.take().unwrap();
            let receiver = Receiver {
                child,
                address,
                errors: Some(thread::spawn(String::new)),
            };
            let mut stream = receiver.connect();
            for _ in 0..5_000 {
                let (head, _) = post(&mut stream, EVENT, "");
                assert_eq!(status(&head), "401", "{name} {close}");
                // actix-web closes the connection of a rejected request.
                if head.contains("connection: close") {
                    stream = receiver.connect();
                }
            }
            assert_eq!(
                status(&post(&mut stream, EVENT, EVENT).0),
                "202",
                "{name} {close}"
            );
            receiver.terminate();
            drop(stream);
            assert_eq!(BufReader::new(stdout).lines().count(), 1, "{name} {close}");
            assert_eq!(receiver.end().0, Some(0), "{name} {close}");
            drop(stderr);
        }
    }
}

#[test]
fn what_takes_ten_seconds_is_ended() {
    let checks: [fn(&str); 2] = [cut, give_up];
    let threads = RECEIVERS
        .iter()
        .flat_map(|name| checks.map(|check| thread::spawn(move || check(name))));
    for thread in threads.collect::<Vec<_>>() {
        thread.join().unwrap();
    }
}

/// A body that does not come is answered with 408.
fn give_up(name: &str) {
    let receiver = Receiver::start(name);
    let mut stream = receiver.connect();
    let request = request(EVENT, EVENT);
    stream
        .write_all(&request.as_bytes()[..request.len() - 1])
        .unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408", "{name}");
}

/// A request that is not ended does not hold up a stop for more than its ten seconds.
fn cut(name: &str) {
    let mut receiver = Receiver::start(name);
    let stdout = receiver.stdout();
    let request = request(EVENT, EVENT);
    // In the middle of the head, and in the middle of the body.
    let unfinished = [20, request.len() - 1].map(|length| {
        let mut stream = receiver.connect();
        stream.write_all(&request.as_bytes()[..length]).unwrap();
        stream
    });
    // A whole exchange on another connection: by then the receiver has read the unfinished ones.
    let mut stream = receiver.connect();
    assert_eq!(status(&post(&mut stream, EVENT, EVENT).0), "202");
    let begin = Instant::now();
    receiver.terminate();
    assert_eq!(BufReader::new(stdout).lines().count(), 1, "{name}");
    let (code, errors) = receiver.end();
    assert_eq!(code, Some(0), "{name}: {errors}");
    let seconds = begin.elapsed().as_secs();
    assert!(
        (1..15).contains(&seconds),
        "{name}: ended after {seconds} s"
    );
    drop(unfinished);
}

#[test]
fn a_configuration_that_cannot_work_is_one_clear_line_and_exit_code_2() {
    let occupied = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let occupied = occupied.local_addr().unwrap().to_string();
    for name in RECEIVERS {
        for (variable, value, line) in [
            (
                "PTOLEMY_WEBHOOK_SECRET",
                "",
                "PTOLEMY_WEBHOOK_SECRET: secret is empty",
            ),
            ("PTOLEMY_WEBHOOK_SECRET", "ptk_live_x", "API token"),
            ("PTOLEMY_WEBHOOK_SECRET", "whsec_x\n", "trailing newline"),
            (
                "PTOLEMY_WEBHOOK_SECRET_PREVIOUS",
                "x",
                "PTOLEMY_WEBHOOK_SECRET_PREVIOUS: secret does not begin",
            ),
            ("PTOLEMY_LISTEN", "somewhere", "PTOLEMY_LISTEN"),
            ("PTOLEMY_LISTEN", &occupied, "in use"),
        ] {
            let output = command(name).env(variable, value).output().unwrap();
            let errors = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{name}: {errors}");
            assert_eq!(errors.lines().count(), 1, "{name}: {errors}");
            assert!(errors.contains(line), "{name}: {errors}");
        }
        let output = command(name)
            .env_remove("PTOLEMY_WEBHOOK_SECRET")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(errors.contains("PTOLEMY_WEBHOOK_SECRET: secret is not set"));

        let output = command(name).arg("--help").output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(help.contains("a crash loses the deliveries that were acknowledged"));
    }
}

#[test]
fn the_sender_sends_every_known_event_and_tells_faults_by_its_exit_code() {
    let mut receiver = Receiver::start(RECEIVERS[0]);
    let mut lines = BufReader::new(receiver.stdout()).lines();
    let url = format!("http://{}/webhooks/ptolemy", receiver.address);
    let send = |arguments: &[&str]| {
        let output = command("send")
            .args(["--url", &url])
            .args(arguments)
            .output();
        let output = output.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), text)
    };
    let (code, help) = send(&["--help"]);
    assert_eq!(code, Some(0));
    let known: Vec<_> = help
        .lines()
        .filter_map(|line| line.strip_prefix("  "))
        .filter(|line| line.contains('.') && !line.contains(' '))
        .collect();
    assert_eq!(known.len(), 25);
    for event_type in known {
        let sent = send(&["--event", event_type]);
        assert_eq!(sent, (Some(0), "202 Accepted\n".to_owned()));
        let line = lines.next().unwrap().unwrap();
        assert!(
            line.starts_with(&format!("accepted {event_type} evt_")),
            "{line}"
        );
        assert!(line.ends_with(" typed"), "{line}");
    }
    assert_eq!(send(&["--event", "robot.created"]).0, Some(0));
    assert!(lines.next().unwrap().unwrap().ends_with(" unknown"));

    for (arguments, answer) in [
        (&["--tamper"][..], "does not match"),
        (&["--age", "301"], "s old"),
        (&["--age", "-310"], "s ahead"),
        (&["--wrong-secret"], "does not match"),
        (&["--no-signature"], "is missing"),
    ] {
        let (code, text) = send(arguments);
        assert_eq!(code, Some(1), "{arguments:?}");
        assert!(
            text.starts_with("401 Unauthorized ") && text.contains(answer),
            "{text}"
        );
    }
    let (code, text) = send(&["--count", "3"]);
    assert_eq!(
        (code, text.lines().last()),
        (Some(0), Some("3 of 3 answered: 3 × 202"))
    );
    assert_eq!(send(&["--file", "/does/not/exist"]).0, Some(2));
    assert_eq!(send(&["--count", "0"]).0, Some(2));
}

/// A figure of `/proc/<pid>/status`, in KiB.
#[cfg(target_os = "linux")]
fn memory(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    let figure = line.split_whitespace().nth(1).unwrap();
    figure.parse().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn many_rejected_bodies_at_once_are_not_kept() {
    const SENDERS: usize = 32;
    const LENGTH: usize = 12 * 1024 * 1024;
    /// In KiB. hyper reads through a buffer of up to 400 KiB for each connection.
    const ALLOWED: u64 = 64 * 1024;

    let body = vec![b'x'; LENGTH];
    for name in RECEIVERS {
        let receiver = Receiver::start(name);
        let before = memory(receiver.child.id(), "VmRSS");
        thread::scope(|scope| {
            for _ in 0..SENDERS {
                scope.spawn(|| {
                    let mut stream = receiver.connect();
                    let head = format!(
                        "POST /webhooks/ptolemy HTTP/1.1\r\nHost: localhost\r\n\
                         Content-Length: {LENGTH}\r\n\r\n"
                    );
                    stream.write_all(head.as_bytes()).unwrap();
                    // actix-web stops after 1 s, which a busy machine may exceed.
                    let _ = stream.write_all(&body);
                });
            }
        });
        let grown = memory(receiver.child.id(), "VmHWM").saturating_sub(before);
        println!("{name}: {SENDERS} bodies of {LENGTH} bytes at once: grew by {grown} KiB");
        assert!(grown <= ALLOWED, "{name}: grew by {grown} KiB");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn two_hundred_megabytes_of_forgeries_leave_the_memory_where_it_was() {
    const MEBIBYTE: usize = 1024 * 1024;
    const TOTAL: usize = 200 * 1_000_000;
    const ALLOWED: u64 = 16 * 1024;

    let piece = vec![b'x'; MEBIBYTE];
    let wrong = || {
        let signature = Signer::new(&Secret::new("whsec_wrong").unwrap()).sign(b"");
        format!("Ptolemy-Signature: {signature}\r\n")
    };
    for name in RECEIVERS {
        let mut receiver = Receiver::start(name);
        let pid = receiver.child.id();
        let mut lines = BufReader::new(receiver.stdout()).lines();
        assert_eq!(
            status(&post(&mut receiver.connect(), EVENT, EVENT).0),
            "202"
        );
        lines.next().unwrap().unwrap();
        let before = memory(pid, "VmRSS");
        let check = |what: &str| {
            for figure in ["VmRSS", "VmHWM"] {
                let now = memory(pid, figure);
                let grown = now.saturating_sub(before);
                println!("{name}: {what}: {figure} {before} KiB before, {now} KiB now");
                assert!(
                    grown <= ALLOWED,
                    "{name}: {what}: {figure} grew by {grown} KiB"
                );
            }
        };

        for signature in [String::new(), wrong()] {
            for framing in [
                format!("Content-Length: {TOTAL}"),
                "Transfer-Encoding: chunked".into(),
            ] {
                let mut stream = receiver.connect();
                let head = format!(
                    "POST /webhooks/ptolemy HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n{signature}\r\n"
                );
                stream.write_all(head.as_bytes()).unwrap();
                let is_chunked = framing.starts_with("Transfer");
                let mut sent = 0;
                // As much of it as the server takes: it may close the connection.
                while sent < TOTAL {
                    let length = piece.len().min(TOTAL - sent);
                    let size = format!("{length:x}\r\n");
                    let framed = [size.as_bytes(), &piece[..length], b"\r\n"];
                    let parts = if is_chunked {
                        &framed[..]
                    } else {
                        &framed[1..2]
                    };
                    if parts.iter().any(|part| stream.write_all(part).is_err()) {
                        break;
                    }
                    sent += length;
                }
                check(&format!(
                    "{framing}, {sent} bytes taken, signed: {}",
                    !signature.is_empty()
                ));
            }
        }

        // Below the limit each of them is read to its end, and the wrong signature is found there.
        for _ in 0..TOTAL / MEBIBYTE + 1 {
            let mut stream = receiver.connect();
            let head = format!(
                "POST /webhooks/ptolemy HTTP/1.1\r\nHost: localhost\r\nContent-Length: {MEBIBYTE}\r\n{}\r\n",
                wrong()
            );
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(&piece).unwrap();
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"HTTP/1.1 401");
        }
        check("1 MiB at a time");
    }
}
