//! A receiver as a process, and a connection to it.

pub(crate) mod load;

use std::env;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ptolemy_webhooks::{Secret, Signer};

const SECRET: &str = "whsec_test_secret";

/// How long a test waits for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

/// A process that is killed when the test ends.
pub(crate) struct Process {
    child: Child,
    /// Where it listens, if it does.
    address: Option<SocketAddr>,
    /// Reads standard error to its end, so that the process never waits for it.
    errors: Option<JoinHandle<String>>,
}

/// The tests' receiver on a database, without arguments.
pub(crate) fn command(database: &str) -> Command {
    command_of("receiver_for_tests", database)
}

/// An example that is a receiver, on a database.
pub(crate) fn command_of(example: &str, database: &str) -> Command {
    let tests = env::current_exe().unwrap();
    let built = tests.ancestors().nth(2).unwrap();
    let path = built.join("examples").join(example);
    assert!(path.exists(), "{} is not built", path.display());
    let mut command = Command::new(path);
    on_database(&mut command, database);
    command
}

/// Sets what each receiver needs to run on a database.
pub(crate) fn on_database<'c>(command: &'c mut Command, database: &str) -> &'c mut Command {
    command
        .env_remove("PTOLEMY_WEBHOOK_SECRET_PREVIOUS")
        .env_remove("RUST_LOG")
        .env("PTOLEMY_WEBHOOK_SECRET", SECRET)
        .env("PTOLEMY_LISTEN", "127.0.0.1:0")
        .env("DATABASE_URL", database)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
}

impl Process {
    /// Starts it, and waits until it listens or works.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut before = String::new();
        let address = loop {
            let mut line = String::new();
            stderr.read_line(&mut line).unwrap();
            assert!(!line.is_empty(), "it did not start: {before}");
            if line == "working without a server\n" {
                break None;
            }
            if let Some((_, address)) = line.split_once("listening on http://") {
                let address = address.strip_suffix("/webhooks/ptolemy\n").unwrap();
                break Some(address.parse().unwrap());
            }
            before.push_str(&line);
        };
        let errors = thread::spawn(move || {
            stderr.read_to_string(&mut before).unwrap();
            before
        });
        Self {
            child,
            address,
            errors: Some(errors),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address.expect("it has no server")
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let kill = Command::new("kill").args([name, &pid]).status();
        assert!(kill.unwrap().success());
    }

    /// Ends it as a crash does; returns its standard error.
    pub(crate) fn kill(mut self) -> String {
        self.child.kill().unwrap();
        self.end().1
    }

    /// Stops it, and checks that it ends well; returns its standard error.
    pub(crate) fn stop(self) -> String {
        self.signal("-TERM");
        let (code, errors) = self.end();
        assert_eq!(code, Some(0), "{errors}");
        errors
    }

    fn end(mut self) -> (Option<i32>, String) {
        let code = self.child.wait().unwrap().code();
        (code, self.errors.take().unwrap().join().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts the example, and kills it after some time.
pub(crate) fn start_and_kill(mut command: Command, after: Duration) {
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    thread::sleep(after);
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A file that takes the lines of many processes, and is removed when the test ends.
///
/// Each process writes to it directly, so a kill loses no written line.
pub(crate) struct Lines(PathBuf);

impl Lines {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let file = format!("ptolemy_{}_{number}.lines", std::process::id());
        let path = env::temp_dir().join(file);
        File::create(&path).unwrap();
        Self(path)
    }

    pub(crate) fn file(&self) -> File {
        File::options().append(true).open(&self.0).unwrap()
    }

    /// The ids of the events that were handled, in the order of the lines.
    pub(crate) fn handled(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.0).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "a line is cut");
        let id = |line: &str| {
            let fields: Vec<_> = line.split(' ').collect();
            match fields[..] {
                ["handled", "market.created", id, _, "attempt", _] => id.to_owned(),
                _ => panic!("no line of the example: {line:?}"),
            }
        };
        text.lines().map(id).collect()
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A connection that is kept open from request to request.
pub(crate) struct Connection(BufReader<TcpStream>);

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Posts an event, signed as Ptolemy signs; returns the status of the answer.
    pub(crate) fn post(&mut self, id: &str) -> io::Result<u16> {
        let body = format!(
            r#"{{"id":"{id}","event_type":"market.created","created_at":"2026-04-15T09:30:00Z","data":{{"id":"m"}}}}"#
        );
        let signature = Signer::new(&Secret::new(SECRET).unwrap()).sign(body.as_bytes());
        let request = format!(
            "POST /webhooks/ptolemy HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\
             Ptolemy-Signature: {signature}\r\n\r\n{body}",
            body.len()
        );
        self.0.get_mut().write_all(request.as_bytes())?;
        let mut status = None;
        let mut length = 0;
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            }
            status = status.or_else(|| line.split(' ').nth(1)?.parse().ok());
        }
        io::copy(&mut (&mut self.0).take(length), &mut io::sink())?;
        status.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

/// Waits until something holds.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < PATIENCE, "{what}: not after {PATIENCE:?}");
        thread::sleep(Duration::from_millis(20));
    }
}
