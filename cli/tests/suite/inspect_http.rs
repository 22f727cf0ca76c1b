//! HTTP byte by byte, a receiver that keeps bytes, and a run of `inspect` between both.

use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use ptolemy_webhooks::{Secret, Signer};
use serde_json::Value;
use time::OffsetDateTime;

use crate::program::{Folder, Running, Scanned};

pub(crate) const SECRET: &str = "whsec_test_secret";

const LIMIT: Duration = Duration::from_secs(60);

/// A request or an answer as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) head: Vec<u8>,
    pub(crate) body: Vec<u8>,
}

impl Message {
    pub(crate) fn first_line(&self) -> String {
        let line = self.head.split(|byte| *byte == b'\r').next().unwrap();
        String::from_utf8_lossy(line).into_owned()
    }

    pub(crate) fn status(&self) -> u16 {
        let line = self.first_line();
        line.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// Names as they were spelled, and values, in order.
    pub(crate) fn headers(&self) -> Vec<(String, Vec<u8>)> {
        let lines = self.head.split(|byte| *byte == b'\n').skip(1);
        let lines = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let lines = lines.filter(|line| !line.is_empty());
        let split = |line: &[u8]| {
            let colon = line.iter().position(|byte| *byte == b':').unwrap();
            let name = String::from_utf8(line[..colon].to_vec()).unwrap();
            (name, line[colon + 1..].trim_ascii().to_vec())
        };
        lines.map(split).collect()
    }

    /// The values of a header, as text.
    pub(crate) fn values(&self, name: &str) -> Vec<String> {
        let headers = self.headers().into_iter();
        let named = headers.filter(|(it, _)| it.eq_ignore_ascii_case(name));
        named
            .map(|(_, value)| String::from_utf8_lossy(&value).into_owned())
            .collect()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&self.body)))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Reads a message; `None` at the end of the connection.
pub(crate) fn read_message(stream: &mut impl Read, has_body: bool) -> Option<Message> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    let mut message = Message {
        head,
        body: Vec::new(),
    };
    if !has_body {
        return Some(message);
    }
    if message.values("transfer-encoding") == ["chunked"] {
        loop {
            let mut line = Vec::new();
            while !line.ends_with(b"\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).ok()?;
                line.push(byte[0]);
            }
            let line = String::from_utf8(line).unwrap();
            let length = usize::from_str_radix(line.trim(), 16).unwrap();
            let mut chunk = vec![0; length + 2];
            stream.read_exact(&mut chunk).ok()?;
            message.body.extend_from_slice(&chunk[..length]);
            if length == 0 {
                return Some(message);
            }
        }
    }
    let length = message.values("content-length");
    let length: u64 = length.first().map_or(0, |it| it.parse().unwrap());
    stream.take(length).read_to_end(&mut message.body).ok()?;
    Some(message)
}

/// Sends bytes, and returns the answer.
pub(crate) fn exchange(address: SocketAddr, request: &[u8]) -> Message {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(request).unwrap();
    let has_body = !request.starts_with(b"HEAD");
    read_message(&mut stream, has_body).expect("an answer")
}

/// A POST with these header lines.
pub(crate) fn post(path: &str, lines: &[String], body: &[u8]) -> Vec<u8> {
    let mut request = format!("POST {path} HTTP/1.1\r\nHost: sender.example\r\n").into_bytes();
    for line in lines {
        request.extend_from_slice(format!("{line}\r\n").as_bytes());
    }
    let length = format!("Content-Length: {}\r\n\r\n", body.len());
    request.extend_from_slice(length.as_bytes());
    request.extend_from_slice(body);
    request
}

/// The signature header of a body, signed this many seconds ago.
pub(crate) fn signature(body: &[u8], seconds_ago: i64) -> String {
    let signer = Signer::new(&Secret::new(SECRET).unwrap());
    let at = OffsetDateTime::now_utc() - time::Duration::seconds(seconds_ago);
    format!("Ptolemy-Signature: {}", signer.sign_at(body, at))
}

/// A receiver that keeps the received bytes, on threads that end with the process.
pub(crate) struct ByteReceiver {
    pub(crate) address: SocketAddr,
    received: Arc<Mutex<Vec<Message>>>,
}

impl ByteReceiver {
    /// A receiver that sends these bytes, and closes the connection if they are empty.
    pub(crate) fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::start(move |_| answer.clone())
    }

    pub(crate) fn accepting() -> Self {
        Self::answering("HTTP/1.1 204 No Content\r\n\r\n")
    }

    pub(crate) fn start(answer: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::<Mutex<Vec<Message>>>::default();
        let (kept, answer) = (Arc::clone(&received), Arc::new(answer));
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let (kept, answer) = (Arc::clone(&kept), Arc::clone(&answer));
                thread::spawn(move || {
                    while let Some(request) = read_message(&mut stream, true) {
                        kept.lock().unwrap().push(request.clone());
                        let answer = answer(&request);
                        if answer.is_empty() || stream.write_all(&answer).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, received }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook?secure=1", self.address)
    }

    pub(crate) fn received(&self) -> Vec<Message> {
        self.received.lock().unwrap().clone()
    }

    pub(crate) fn last(&self) -> Message {
        self.received().pop().expect("a request")
    }
}

/// A run of `inspect --json`.
pub(crate) struct Inspected<'a> {
    _running: Running<'a>,
    pub(crate) stdout: BufReader<Scanned>,
    pub(crate) sender: SocketAddr,
    pub(crate) page: SocketAddr,
    pub(crate) token: String,
}

impl<'a> Inspected<'a> {
    pub(crate) fn start(folder: &'a Folder, forward: &str, more: &str) -> Self {
        Self::with(folder, forward, more, &[("PTOLEMY_WEBHOOK_SECRET", SECRET)])
    }

    pub(crate) fn with(
        folder: &'a Folder,
        forward: &str,
        more: &str,
        variables: &[(&str, &str)],
    ) -> Self {
        let line = format!("inspect --forward {forward} --port 0 --page-port 0 --json {more}");
        let mut program = folder.program(&line);
        for (name, value) in variables {
            program = program.variable(name, *value);
        }
        let mut running = program.start();
        let mut stdout = BufReader::new(running.stdout());
        let ready = next_line(&mut stdout);
        assert_eq!(ready["kind"], "ready");
        let address = |name: &str| {
            let url = ready[name].as_str().unwrap();
            let address = url.strip_prefix("http://").unwrap().strip_suffix('/');
            address.unwrap().parse().unwrap()
        };
        let page_url = fs::read_to_string(ready["page_url_file"].as_str().unwrap()).unwrap();
        let (_, token) = page_url.split_once("#token=").unwrap();
        Self {
            sender: address("url"),
            page: address("page"),
            token: token.to_owned(),
            _running: running,
            stdout,
        }
    }

    /// Sends a request through the sender's port.
    pub(crate) fn send(&self, request: &[u8]) -> Message {
        exchange(self.sender, request)
    }

    /// Calls the page's API.
    pub(crate) fn get(&self, path: &str) -> Message {
        let (page, token) = (self.page, &self.token);
        get(page, path, &format!("Authorization: Bearer {token}\r\n"))
    }

    pub(crate) fn change(&self, path: &str, body: &str) -> Message {
        change(self.page, &self.token, path, body)
    }

    /// Waits for an entry that the receiver has answered or not, and returns its detail.
    pub(crate) fn ended(&self, seq: u64) -> Value {
        until("the entry ended", || {
            let answer = self.get(&format!("/api/entries/{seq}"));
            let detail = (answer.status() == 200).then(|| answer.json());
            detail.filter(|it| it["entry"]["receiver"]["state"] != "pending")
        })
    }
}

pub(crate) fn get(page: SocketAddr, path: &str, lines: &str) -> Message {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {page}\r\n{lines}\r\n");
    exchange(page, request.as_bytes())
}

pub(crate) fn change(page: SocketAddr, token: &str, path: &str, body: &str) -> Message {
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {page}\r\nOrigin: http://{page}\r\nSec-Fetch-Site: same-origin\r\n\
         Authorization: Bearer {token}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    exchange(page, request.as_bytes())
}

pub(crate) fn next_line(stdout: &mut impl std::io::BufRead) -> Value {
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"))
}

/// A stream of the page's API.
pub(crate) struct Stream(BufReader<TcpStream>);

impl Stream {
    pub(crate) fn open(page: SocketAddr, token: &str, after: u64) -> Self {
        let mut stream = TcpStream::connect(page).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let request = format!(
            "GET /api/stream?after={after} HTTP/1.0\r\nHost: {page}\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut stream = BufReader::new(stream);
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            if line == "\r\n" {
                return Self(stream);
            }
        }
    }

    pub(crate) fn next(&mut self) -> Value {
        next_line(&mut self.0)
    }

    /// Reads until a line passes, and returns it.
    pub(crate) fn until(&mut self, passes: impl Fn(&Value) -> bool) -> Value {
        let begin = Instant::now();
        loop {
            let line = self.next();
            if passes(&line) {
                return line;
            }
            assert!(begin.elapsed() < LIMIT, "not within {LIMIT:?}");
        }
    }
}

/// Waits for an answer other than `None`.
pub(crate) fn until<T>(what: &str, mut answer: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(answer) = answer() {
            return answer;
        }
        assert!(begin.elapsed() < LIMIT, "{what}: not within {LIMIT:?}");
        thread::sleep(Duration::from_millis(5));
    }
}
