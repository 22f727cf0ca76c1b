//! The resident memory of the receivers, under forgeries and with a full queue.
#![cfg(target_os = "linux")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::thread;

use ptolemy_webhooks::{Secret, Signer};

use crate::process::{
    EVENT, RECEIVERS, Receiver, answer, command, fill_pipe, post, request, status,
};

const MEBIBYTE: usize = 1024 * 1024;

/// The memory that the examples' queue takes, in KiB.
const QUEUE: u64 = 16 * 1024;

/// Returns a figure of `/proc/<pid>/status`, in KiB.
fn memory(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    let figure = line.split_whitespace().nth(1).unwrap();
    figure.parse().unwrap()
}

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

#[test]
fn two_hundred_megabytes_of_forgeries_leave_the_memory_where_it_was() {
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
        let mut lines = receiver.lines();
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
                // Only as much as the server reads is sent: it may close the connection.
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

        // Below the limit each body is read to its end, and the wrong signature is found there.
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

/// Posts on some connections at once until the queue is full; returns how many deliveries were
/// acknowledged. A connection has one request at a time: if a part of the next one is there when
/// actix-web responds without a body, it closes the connection.
fn fill(receiver: &Receiver, body: &str, connections: usize) -> usize {
    let mut connections: Vec<_> = (0..connections)
        .map(|_| BufReader::new(receiver.connect()))
        .collect();
    let request = request(body, body);
    let mut acknowledged = 0;
    loop {
        for connection in &mut connections {
            let stream = connection.get_mut();
            stream.write_all(request.as_bytes()).unwrap();
        }
        let mut is_full = false;
        for connection in &mut connections {
            match status(&answer(connection).0) {
                "202" => acknowledged += 1,
                "503" => is_full = true,
                other => panic!("{other}"),
            }
        }
        if is_full {
            return acknowledged;
        }
    }
}

/// The queue is bounded by the bytes that it keeps, so neither the size of the bodies nor the
/// buffers that they were read into matter.
#[test]
fn a_full_queue_takes_the_memory_that_it_states_whatever_the_size_of_the_bodies() {
    for name in RECEIVERS {
        // Memory apart from the queue: requests that are being read, the decoded event in the
        // handler, and freed memory that the allocator keeps.
        for (size, connections, expected, allowed) in [
            (MEBIBYTE, 1, 15..=16, 16 * 1024),
            (60, 16, 89_000..=89_300, 0),
        ] {
            // Nothing reads standard output, so the worker blocks on the first event.
            let (stdout, pipe) = std::io::pipe().unwrap();
            fill_pipe(&pipe);
            let mut command = command(name);
            command.stdout(pipe);
            let receiver = Receiver::spawn(name, command);
            let pid = receiver.child.id();
            let padding = "x".repeat(size - 36);
            let body = format!(r#"{{"event_type":"a.b","id":"1","x":"{padding}"}}"#);
            assert_eq!(body.len(), size);
            // The server allocates its memory for connections before the first figure is read.
            let forged = "x".repeat(size);
            for _ in 0..4 {
                post(&mut receiver.connect(), &forged, "");
            }
            let before = memory(pid, "VmRSS");
            let acknowledged = fill(&receiver, &body, connections);
            let grown = memory(pid, "VmHWM").saturating_sub(before);
            println!("{name}: {acknowledged} of {size} bytes, grown by {grown} KiB");
            assert!(
                expected.contains(&acknowledged),
                "{name}: {acknowledged} of {size} bytes"
            );
            assert!(grown <= QUEUE + allowed, "{name}: grown by {grown} KiB");

            if connections == 1 {
                receiver.terminate();
                let lines = BufReader::new(stdout).lines().map(Result::unwrap);
                let handled = lines.filter(|line| line.contains("accepted a.b 1"));
                assert_eq!(handled.count(), acknowledged, "{name}");
                assert_eq!(receiver.end().0, Some(0), "{name}");
            }
        }
    }
}
