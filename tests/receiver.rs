//! The example receivers as processes: their log lines, their responses, and a shutdown that loses
//! nothing.
//!
//! `cargo test` builds the examples before it runs this; on its own (`cargo test --test receiver`)
//! it runs the examples that were built last.
#![cfg(all(unix, feature = "actix-web", feature = "axum"))]

#[path = "receiver/memory.rs"]
mod memory;
#[path = "receiver/process.rs"]
mod process;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, PipeWriter, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use process::{EVENT, RECEIVERS, Receiver, answer, command, fill_pipe, post, request, status};

#[test]
fn a_signed_event_is_accepted_and_a_changed_one_is_not() {
    for name in RECEIVERS {
        let mut receiver = Receiver::start(name);
        let mut lines = receiver.lines();
        let mut stream = receiver.connect();

        let (head, text) = post(&mut stream, EVENT, EVENT);
        assert_eq!((status(&head), &*text), ("202", ""), "{name}");
        let line = lines.next().unwrap().unwrap();
        assert_eq!(
            line, r"accepted instrument.created e\u{20}1: upsert BHP",
            "{name}"
        );

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
            "rejected 401 signature_mismatch: signature does not match the body under any accepted secret\n"
        );
    }
}

#[test]
fn each_delivery_is_logged_on_one_line_whatever_it_contains() {
    let long = "x".repeat(199);
    let wide = "\u{1}".repeat(100);
    for name in RECEIVERS {
        let mut receiver = Receiver::start(name);
        let mut lines = receiver.lines();
        let mut stream = receiver.connect();
        for (body, line) in [
            (
                r#"{"event_type":"a.b"}"#.into(),
                "accepted a.b -: unknown event type".into(),
            ),
            (
                r#"{"event_type":"market.created","id":""}"#.into(),
                "accepted market.created -: malformed data: missing".into(),
            ),
            (
                r#"{"event_type":"a.b\naccepted","id":"1\r\u001b[2J\u0085\u2028\u202e\u200bé"}"#.into(),
                r"accepted a.b\u{a}accepted 1\u{d}\u{1b}[2J\u{85}\u{2028}\u{202e}\u{200b}é: unknown event type".into(),
            ),
            (
                format!(r#"{{"event_type":"{long}ab","id":"{long}\n"}}"#),
                format!("accepted {long}a {long}: unknown event type"),
            ),
            (
                format!(
                    r#"{{"event_type":"a.b","id":{}}}"#,
                    serde_json::Value::from(wide.as_str())
                ),
                format!("accepted a.b {}: unknown event type", r"\u{1}".repeat(40)),
            ),
            (
                r#"{"event_type":"instrument.updated","id":"1","data":{"identifier":"x y\n"}}"#.into(),
                r"accepted instrument.updated 1: upsert x\u{20}y\u{a}".into(),
            ),
            (
                r#"{"event_type":"instrument.deleted","id":"1","data":{"identifier":"\u001b"}}"#.into(),
                r"accepted instrument.deleted 1: remove \u{1b}".into(),
            ),
            // An action that Ptolemy adds later must cause neither a write nor a removal.
            (
                r#"{"event_type":"instrument.merged","id":"1","data":{"identifier":"BHP"}}"#.into(),
                "accepted instrument.merged 1".into(),
            ),
        ] as [(String, String); 8]
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
        // Nothing reads standard output, so the worker blocks and the queue fills.
        let stdout = receiver.stdout();
        let mut stream = receiver.connect();
        let mut acknowledged = 0;
        let body = format!(r#"{{"event_type":"a.b","id":"{}"}}"#, "x".repeat(100_000));
        let response = loop {
            let (head, text) = post(&mut stream, &body, &body);
            match status(&head) {
                "202" => acknowledged += 1,
                "503" => break (head, text),
                other => panic!("{name}: {other}"),
            }
            assert!(acknowledged < 1_000, "{name}: the queue is unbounded");
        };
        assert!(
            response.0.contains("\r\nretry-after: 5\r\n"),
            "{name}: {response:?}"
        );
        assert_eq!(response.1, "queue is full", "{name}");

        receiver.terminate();
        drop(stream);
        let lines = BufReader::new(stdout).lines().count();
        assert_eq!(lines, acknowledged, "{name}");
        let (code, errors) = receiver.end();
        assert_eq!(code, Some(0), "{name}");
        assert_eq!(errors, "rejected 503 queue_full: queue is full\n", "{name}");
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
            errors.contains("error: acknowledged deliveries that were dropped: 1"),
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

/// Starts a receiver whose standard error is this pipe, and connects to it.
fn start_with_stderr(name: &str, stderr: PipeWriter) -> Receiver {
    let port = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = port.local_addr().unwrap();
    drop(port);
    let child = command(name)
        .env("PTOLEMY_LISTEN", address.to_string())
        .stderr(stderr)
        .spawn()
        .unwrap();
    let begin = Instant::now();
    while TcpStream::connect(address).is_err() {
        assert!(begin.elapsed() < Duration::from_secs(10), "{name}");
        thread::sleep(Duration::from_millis(10));
    }
    Receiver {
        child,
        address,
        errors: Some(thread::spawn(String::new)),
    }
}

/// The reader of standard error may stop reading or exit; neither may affect deliveries.
#[test]
fn standard_error_that_is_full_or_closed_harms_no_delivery() {
    for name in RECEIVERS {
        for close in [false, true] {
            let (reader, writer) = std::io::pipe().unwrap();
            let reader = (!close).then_some(reader);
            if !close {
                fill_pipe(&writer);
            }
            let mut receiver = start_with_stderr(name, writer);
            let stdout = receiver.stdout();
            let mut stream = receiver.connect();
            for _ in 0..5_000 {
                let (head, _) = post(&mut stream, EVENT, "");
                assert_eq!(status(&head), "401", "{name} {close}");
                receiver.reconnect_if_closed(&mut stream, &head);
            }
            let (head, _) = post(&mut stream, EVENT, EVENT);
            assert_eq!(status(&head), "202", "{name} {close}");
            receiver.terminate();
            drop(stream);
            assert_eq!(BufReader::new(stdout).lines().count(), 1, "{name} {close}");
            assert_eq!(receiver.end().0, Some(0), "{name} {close}");
            drop(reader);
        }
    }
}

/// Counts the rejections by reason: those in full lines, and those in lines such as `rejected 7
/// more: missing_header 2, signature_mismatch 5`.
fn rejections(errors: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for line in errors.lines() {
        let line = line
            .strip_prefix("rejected ")
            .unwrap_or_else(|| panic!("{line}"));
        let (head, rest) = line.split_once(": ").unwrap();
        let (number, word) = head.split_once(' ').unwrap();
        if word != "more" {
            *counts.entry(word.to_owned()).or_default() += 1;
            continue;
        }
        let mut total = 0;
        for count in rest.split(", ") {
            let (reason, count) = count.split_once(' ').unwrap();
            let count: usize = count.parse().unwrap();
            *counts.entry(reason.to_owned()).or_default() += count;
            total += count;
        }
        assert_eq!(number.parse(), Ok(total), "{line}");
    }
    counts
}

#[test]
fn a_flood_of_rejections_is_logged_in_a_few_lines_that_count_each_of_them() {
    const EACH: usize = 1_500;
    for name in RECEIVERS {
        let receiver = Receiver::start(name);
        let begin = Instant::now();
        // The requests have no body, because axum may close a connection whose body it did not
        // read.
        let unsigned =
            "POST /webhooks/ptolemy HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
        thread::scope(|scope| {
            for flood in [request(EVENT, ""), unsigned.to_owned()] {
                for _ in 0..2 {
                    let mut stream = receiver.connect();
                    let flood = flood.clone();
                    let receiver = &receiver;
                    scope.spawn(move || {
                        for _ in 0..EACH {
                            stream.write_all(flood.as_bytes()).unwrap();
                            let (head, _) = answer(&mut stream);
                            assert_eq!(status(&head), "401");
                            receiver.reconnect_if_closed(&mut stream, &head);
                        }
                    });
                }
            }
        });
        let seconds = begin.elapsed().as_secs();
        // Stop at once, so that the last counts are written by the shutdown.
        receiver.terminate();
        let (code, errors) = receiver.end();
        println!("{name}, {seconds} s:\n{errors}");
        assert_eq!(code, Some(0), "{name}");
        let expected = ["missing_header", "signature_mismatch"];
        let expected = expected.map(|reason| (reason.to_owned(), 2 * EACH));
        assert_eq!(rejections(&errors), BTreeMap::from(expected), "{name}");
        let lines = errors.lines().count();
        // Ten lines in the second before the first counts, ten in the one before, and then one line
        // a second.
        assert!(
            lines as u64 <= 10 + 10 + seconds + 2,
            "{name}: {lines} lines"
        );
    }
}

#[test]
fn after_a_flood_each_rejection_is_logged_again() {
    for name in RECEIVERS {
        let receiver = Receiver::start(name);
        let mut stream = receiver.connect();
        // More than two seconds' worth of lines in full, since a second may end among them.
        for _ in 0..30 {
            let (head, _) = post(&mut stream, EVENT, "");
            receiver.reconnect_if_closed(&mut stream, &head);
        }
        thread::sleep(Duration::from_millis(2_500));
        post(&mut stream, EVENT, "");
        receiver.terminate();
        let (_, errors) = receiver.end();
        let expected = BTreeMap::from([("signature_mismatch".to_owned(), 31)]);
        assert_eq!(rejections(&errors), expected, "{name}");
        let [.., counts, in_full] = &*errors.lines().collect::<Vec<_>>() else {
            panic!("{name}: {errors}")
        };
        assert!(counts.contains(" more: "), "{name}: {errors}");
        assert!(in_full.starts_with("rejected 401 "), "{name}: {errors}");
    }
}

#[test]
fn another_method_is_405_and_another_path_is_404() {
    for name in RECEIVERS {
        let receiver = Receiver::start(name);
        let mut stream = receiver.connect();
        for (method, path, expected) in [
            ("GET", "/webhooks/ptolemy", "405"),
            ("PUT", "/webhooks/ptolemy", "405"),
            ("DELETE", "/webhooks/ptolemy", "405"),
            ("POST", "/webhooks", "404"),
        ] {
            let request =
                format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(request.as_bytes()).unwrap();
            let (head, _) = answer(&mut stream);
            assert_eq!(status(&head), expected, "{name}: {method} {path}");
            if expected == "405" {
                assert!(head.contains("\r\nallow: post\r\n"), "{name}: {head}");
            }
        }
    }
}

#[test]
fn a_request_that_takes_ten_seconds_is_ended() {
    let checks: [fn(&str); 2] = [cut, give_up];
    let threads = RECEIVERS
        .iter()
        .flat_map(|name| checks.map(|check| thread::spawn(move || check(name))));
    for thread in threads.collect::<Vec<_>>() {
        thread.join().unwrap();
    }
}

/// A body that does not arrive is answered with 408.
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

/// An unfinished request does not delay a shutdown for longer than its ten seconds.
fn cut(name: &str) {
    let mut receiver = Receiver::start(name);
    let stdout = receiver.stdout();
    let request = request(EVENT, EVENT);
    // One stops in the middle of the head, the other in the middle of the body.
    let unfinished = [20, request.len() - 1].map(|length| {
        let mut stream = receiver.connect();
        stream.write_all(&request.as_bytes()[..length]).unwrap();
        stream
    });
    // After a whole exchange on another connection, the receiver has read the unfinished requests.
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

#[cfg(feature = "samples")]
#[test]
fn every_known_event_is_accepted_and_its_line_says_what_it_asks_for() {
    let mut receiver = Receiver::start(RECEIVERS[0]);
    let mut lines = receiver.lines();
    let mut stream = receiver.connect();
    let mut seen = 0;
    for sample in ptolemy_webhooks::samples::all() {
        let event_type = sample.event_type();
        let body = sample.with_id("evt_1").to_json();
        assert_eq!(status(&post(&mut stream, &body, &body).0), "202");
        let expected = match event_type {
            "instrument.archived" | "instrument.deleted" => ": remove bhp.ax",
            event_type if event_type.starts_with("instrument.") => ": upsert bhp.ax",
            event_type if event_type.starts_with("time_series_value.") => ": value 45.82",
            _ => "",
        };
        assert_eq!(
            lines.next().unwrap().unwrap(),
            format!("accepted {event_type} evt_1{expected}")
        );
        seen += 1;
    }
    assert_eq!(seen, 25);
}
