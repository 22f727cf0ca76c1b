//! Two faults of actix-web 4.18 (actix-http 3.20) that do not involve this crate: a path that does
//! not exist is enough. `SECURITY.md` says how to avoid them. A test here fails once its fault is
//! fixed.
#![cfg(all(target_os = "linux", feature = "actix-web"))]

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use actix_web::{App, HttpServer, rt};

/// Connects to an application that has no routes.
fn connect() -> TcpStream {
    let (sender, address) = mpsc::channel();
    thread::spawn(move || {
        let server = HttpServer::new(App::new).workers(1).disable_signals();
        let server = server.bind("127.0.0.1:0").unwrap();
        sender.send(server.addrs()[0]).unwrap();
        rt::System::new().block_on(server.run()).unwrap();
    });
    let stream = TcpStream::connect(address.recv().unwrap()).unwrap();
    let patience = Some(Duration::from_secs(8));
    stream.set_read_timeout(patience).unwrap();
    stream.set_write_timeout(patience).unwrap();
    stream
}

#[test]
#[ignore = "shows a fault of actix-web"]
fn a_chunked_request_is_answered_and_its_connection_is_never_closed() {
    let mut stream = connect();
    let head = "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 404");
    let error = stream.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock, "closed: {error}");
}

/// Returns the processor time of this process, in hundredths of a second.
fn processor_time() -> u64 {
    let status = fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = status.rsplit_once(") ").unwrap();
    let times = fields.split(' ').skip(11).take(2);
    times.map(|time| time.parse::<u64>().unwrap()).sum()
}

#[test]
#[ignore = "shows a fault of actix-web"]
fn pipelined_requests_whose_responses_are_not_read_keep_a_core_busy() {
    const REQUESTS: usize = 150_000;
    let mut stream = connect();
    let patience = Some(Duration::from_secs(2));
    stream.set_write_timeout(patience).unwrap();
    let request = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    // More responses than the kernel buffers. The server may stop reading, which ends this early.
    let error = stream.write_all(request.repeat(REQUESTS).as_bytes()).err();
    let is_blocked = |error: std::io::Error| error.kind() == ErrorKind::WouldBlock;
    assert!(error.is_none_or(is_blocked), "closed");
    thread::sleep(Duration::from_secs(1));
    let before = processor_time();
    thread::sleep(Duration::from_secs(4));
    let busy = processor_time() - before;
    assert!(busy > 40, "{busy} hundredths of a second in 4 s");
}
