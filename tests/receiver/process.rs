//! The example receivers as processes, and a client.

use std::env;
use std::io::{BufRead, BufReader, Lines, PipeWriter, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use ptolemy_webhooks::{Secret, Signer};

pub(crate) const RECEIVERS: &[&str] = &["axum_receiver", "actix_receiver"];
pub(crate) const SECRET: &str = "whsec_test_secret";
pub(crate) const EVENT: &str =
    r#"{"id":"e 1","event_type":"instrument.created","data":{"identifier":"BHP"}}"#;

/// A receiver that is killed when the test ends.
pub(crate) struct Receiver {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
    /// Reads standard error to its end, so that the receiver never waits for it.
    pub(crate) errors: Option<thread::JoinHandle<String>>,
}

pub(crate) fn command(name: &str) -> Command {
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
        .env_remove("PTOLEMY_WEBHOOK_SECRET_FILE")
        .env_remove("PTOLEMY_WEBHOOK_SECRET_PREVIOUS_FILE")
        .env("PTOLEMY_WEBHOOK_SECRET", SECRET)
        .env("PTOLEMY_LISTEN", "127.0.0.1:0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

impl Receiver {
    pub(crate) fn start(name: &str) -> Self {
        Self::spawn(name, command(name))
    }

    pub(crate) fn spawn(name: &str, mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
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

    /// actix-web closes the connection of a rejected request.
    pub(crate) fn reconnect_if_closed(&self, stream: &mut TcpStream, head: &str) {
        if head.contains("connection: close") {
            *stream = self.connect();
        }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        let patience = Some(Duration::from_secs(30));
        stream.set_read_timeout(patience).unwrap();
        stream.set_write_timeout(patience).unwrap();
        stream
    }

    pub(crate) fn stdout(&mut self) -> ChildStdout {
        self.child.stdout.take().unwrap()
    }

    pub(crate) fn lines(&mut self) -> Lines<BufReader<ChildStdout>> {
        BufReader::new(self.stdout()).lines()
    }

    pub(crate) fn terminate(&self) {
        let pid = self.child.id().to_string();
        let kill = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(kill.unwrap().success());
    }

    /// Waits for the end; returns the exit code and the text on standard error.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
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

/// Fills a pipe that nothing reads.
pub(crate) fn fill_pipe(pipe: &PipeWriter) {
    let written = Arc::new(AtomicUsize::new(0));
    let is_full = Arc::new(AtomicBool::new(false));
    let (counter, stop) = (written.clone(), is_full.clone());
    let mut pipe = pipe.try_clone().unwrap();
    // The thread blocks on the first byte that does not fit.
    thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) && pipe.write_all(b"x").is_ok() {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    });
    let mut before = 0;
    while before == 0 || before != written.load(Ordering::Relaxed) {
        before = written.load(Ordering::Relaxed);
        thread::sleep(Duration::from_millis(100));
    }
    is_full.store(true, Ordering::Relaxed);
}

pub(crate) fn request(body: &str, signed_body: &str) -> String {
    let signature = Signer::new(&Secret::new(SECRET).unwrap()).sign(signed_body.as_bytes());
    format!(
        "POST /webhooks/ptolemy HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\
         Ptolemy-Signature: {signature}\r\n\r\n{body}",
        body.len()
    )
}

/// Posts on an open connection; returns the head and the body of the response.
pub(crate) fn post(stream: &mut TcpStream, body: &str, signed_body: &str) -> (String, String) {
    let request = request(body, signed_body);
    stream.write_all(request.as_bytes()).unwrap();
    answer(stream)
}

/// Reads the head and the body of a response.
pub(crate) fn answer(stream: &mut impl Read) -> (String, String) {
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

pub(crate) fn status(head: &str) -> &str {
    head.split(' ').nth(1).unwrap()
}
