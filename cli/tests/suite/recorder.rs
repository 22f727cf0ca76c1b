//! A receiver in the test's own process: keeps each request as it came, and answers as the library
//! does.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use ptolemy_webhooks::{Rejection, Secret, Verifier, only_header};

pub(crate) const SECRET: &str = "whsec_test_secret";

/// What the receiver does when a request is complete.
#[derive(Clone)]
pub(crate) enum Behaviour {
    /// Verifies it: 202, or the status and the text of the rejection.
    Verify,
    /// Sends these bytes.
    Answer(&'static str),
    /// Closes the connection.
    HangUp,
    /// Keeps the connection open and says nothing.
    Silence,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) head: String,
    /// The body without its framing.
    pub(crate) body: Vec<u8>,
    pub(crate) is_complete: bool,
}

impl Received {
    pub(crate) fn headers(&self, name: &str) -> Vec<String> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines
            .filter(|(it, _)| it.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim().to_owned())
            .collect()
    }
}

pub(crate) struct Recorder {
    pub(crate) address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Recorder {
    pub(crate) fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&received);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (behaviour, record) = (behaviour.clone(), Arc::clone(&record));
                thread::spawn(move || serve(stream.unwrap(), &behaviour, &record));
            }
        });
        Self { address, received }
    }

    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn url(&self) -> String {
        format!("{}/webhooks/ptolemy", self.origin())
    }

    /// All requests so far. A request stands here before its answer is sent.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }
}

fn serve(mut stream: TcpStream, behaviour: &Behaviour, record: &Mutex<Vec<Received>>) {
    let limit = Some(Duration::from_secs(60));
    stream.set_read_timeout(limit).unwrap();
    while let Some(request) = read(&mut stream) {
        let complete = request.is_complete;
        record.lock().unwrap().push(request.clone());
        if !complete {
            return;
        }
        let answer = match behaviour {
            Behaviour::Verify => verified(&request),
            Behaviour::Answer(bytes) => (*bytes).to_owned(),
            Behaviour::HangUp => return,
            Behaviour::Silence => {
                // Until the other side gives up.
                let _ = stream.read(&mut [0]);
                return;
            }
        };
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn verified(request: &Received) -> String {
    let verifier = Verifier::new(Secret::new(SECRET).unwrap());
    let header = only_header(request.headers("ptolemy-signature")).map_err(Rejection::from);
    let verified = header.and_then(|header| {
        let verified = verifier.verify(header, &request.body);
        verified.map_err(Rejection::from)
    });
    let (status, text) = match verified {
        Ok(_) => ("202 Accepted".to_owned(), String::new()),
        Err(rejection) => (
            format!("{} Rejected", rejection.status()),
            rejection.to_string(),
        ),
    };
    let length = text.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{text}")
}

/// Reads one request; `None` at the end of the connection.
fn read(stream: &mut TcpStream) -> Option<Received> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    let mut received = Received {
        head: String::from_utf8(head).unwrap(),
        body: Vec::new(),
        is_complete: true,
    };
    if received.headers("transfer-encoding") == ["chunked"] {
        received.is_complete = read_chunks(stream, &mut received.body).is_some();
        return Some(received);
    }
    let length = received.headers("content-length");
    let length: u64 = length.first().map_or(0, |length| length.parse().unwrap());
    let read = stream.take(length).read_to_end(&mut received.body);
    received.is_complete = read.is_ok_and(|read| read as u64 == length);
    Some(received)
}

fn read_chunks(stream: &mut TcpStream, body: &mut Vec<u8>) -> Option<()> {
    loop {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).ok()?;
            line.push(byte[0]);
        }
        let length = String::from_utf8(line).ok()?;
        let length = usize::from_str_radix(length.trim(), 16).ok()?;
        let mut chunk = vec![0; length + 2];
        stream.read_exact(&mut chunk).ok()?;
        body.extend_from_slice(&chunk[..length]);
        if length == 0 {
            return Some(());
        }
    }
}
