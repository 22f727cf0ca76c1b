//! The parts of a receiver apart from its HTTP server: a bounded queue, a log that cannot be
//! flooded, and a clean shutdown. Both example receivers use this file, and it is meant to be
//! copied.
//!
//! **Queue.** A request is answered as soon as its event is queued; one task hands the events to
//! the handler, in order. A semaphore with one permit for each byte of [`QUEUE_BYTES`] bounds the
//! memory: an event takes permits for its length and [`ENTRY_BYTES`], and returns them when it is
//! handled. If there are too few, the response is 503. The queue keeps a copy of the raw JSON,
//! because that is what the permits count: a decoded event takes several times as much memory as
//! its JSON, and a body that is not copied may keep alive the larger buffer that the server read it
//! into.
//!
//! **Shutdown.** After SIGTERM or Ctrl-C, or if the handler fails, the server stops accepting and
//! gets [`GRACE`] for its open requests. Then [`Receiver::run`] waits for all permits of the
//! semaphore. From then on nothing more is queued, and once it has all permits, every acknowledged
//! event is handled.
//!
//! **Log.** Anyone can cause rejections, so a request never waits for standard error: it leaves its
//! line to a task that writes. At most [`LINES_IN_FULL`] rejections a second are written in full.
//! If there are more, they are counted by reason, and the counts are written as one line per
//! second, and once at the end. After a second in which none was counted, rejections are
//! written in full again.

use std::collections::BTreeMap;
use std::env::{self, VarError};
use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::pin::pin;
use std::process;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{future::Future, mem};

use ptolemy_webhooks::{Event, LogText, Rejection, Verifier};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, TryAcquireError, mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

pub(crate) const PATH: &str = "/webhooks/ptolemy";

/// How long a request may take. Ptolemy waits 10 s for the response, the network's time included.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(8);

/// After how many seconds a delivery that was answered with 503 may be sent again.
pub(crate) const RETRY_AFTER: &str = "5";

/// The memory of the queue. It must have room for the largest body that the verifier accepts.
const QUEUE_BYTES: u32 = 16 * 1024 * 1024;

/// The memory that an event in the queue takes besides its JSON, rounded up: its entry and the
/// allocator's overhead.
const ENTRY_BYTES: usize = 128;

/// How long open requests may take after a signal to stop.
const GRACE: Duration = Duration::from_secs(10);

/// How long the queue may take to empty after that.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the last lines may take.
const LOG_TIMEOUT: Duration = Duration::from_secs(1);

const LINES_IN_FULL: u32 = 10;

const MAX_WORD_CHARS: usize = 200;

const HELP: &str = "\
Environment:
  PTOLEMY_WEBHOOK_SECRET                the webhook's secret (whsec_…), required
  PTOLEMY_WEBHOOK_SECRET_PREVIOUS       the secret before it, during a rotation
  PTOLEMY_WEBHOOK_SECRET_FILE,
  PTOLEMY_WEBHOOK_SECRET_PREVIOUS_FILE  files that contain them, instead
  PTOLEMY_LISTEN                        address and port [default: 127.0.0.1:3000]

Each delivery is acknowledged at once and handled in the background; standard output shows one line
for each: `accepted <event type> <event id>`, and what was done. Standard error shows why requests
were rejected: 10 a second in full, and in a flood one line of counts a second. If the queue is full
(16 MiB), the answer is 503 and Ptolemy sends the delivery again. A request may take 8 s.

THE QUEUE IS IN MEMORY: a crash loses the deliveries that were acknowledged and not yet handled.
SIGTERM and Ctrl-C lose none: the receiver stops accepting, gives open requests 10 s, and empties the
queue. The exit code is 0, or 1 if acknowledged deliveries were dropped or the server failed, or 2 if
the configuration cannot work.

The number of connections and the time that a request's head may take are not limited: put a proxy in
front of the receiver.";

/// Receives Ptolemy's webhooks on /webhooks/ptolemy and prints a line for each event.
#[derive(clap::Parser)]
#[command(version, after_help = HELP)]
struct Arguments {}

pub(crate) struct Settings {
    pub(crate) verifier: Verifier,
    pub(crate) listen: SocketAddr,
}

impl Settings {
    /// Reads the command line and the environment, and ends the program if they are invalid.
    pub(crate) fn read() -> Self {
        let Arguments {} = clap::Parser::parse();
        let verifier = Verifier::from_env().unwrap_or_else(|error| misconfigured(error));
        let listen = env::var("PTOLEMY_LISTEN").or_else(|error| match error {
            VarError::NotPresent => Ok("127.0.0.1:3000".to_owned()),
            error => Err(error),
        });
        let listen = listen.ok().and_then(|listen| listen.parse().ok());
        let listen = listen.unwrap_or_else(|| {
            misconfigured("PTOLEMY_LISTEN is not an address and a port, such as 127.0.0.1:3000")
        });
        Self { verifier, listen }
    }
}

/// Ends the program with the exit code for a configuration that cannot work.
pub(crate) fn misconfigured(reason: impl fmt::Display) -> ! {
    eprintln!("error: {reason}");
    process::exit(2)
}

/// The queue, the log and the shutdown of a receiver. A clone shares them.
#[derive(Clone)]
pub(crate) struct Receiver {
    queue: mpsc::UnboundedSender<Entry>,
    room: Arc<Semaphore>,
    unhandled: Arc<AtomicUsize>,
    stop: watch::Receiver<bool>,
    log: Log,
}

struct Entry {
    json: Box<[u8]>,
    room: OwnedSemaphorePermit,
}

impl Receiver {
    /// Starts a task that awaits `handle` for each event. If it returns an error or panics, the
    /// receiver stops.
    pub(crate) fn start<F>(mut handle: impl FnMut(Event) -> F + Send + 'static) -> io::Result<Self>
    where
        F: Future<Output = io::Result<()>> + Send,
    {
        // Listens from now on, so that no later signal is lost.
        let signal = stop_signal()?;
        let (queue, mut entries) = mpsc::unbounded_channel();
        let (stopping, stop) = watch::channel(false);
        let receiver = Self {
            queue,
            room: Arc::new(Semaphore::new(QUEUE_BYTES as usize)),
            unhandled: Arc::default(),
            stop,
            log: Log::start(),
        };
        let unhandled = receiver.unhandled.clone();
        let log = receiver.log.clone();
        let worker = tokio::spawn(async move {
            while let Some(Entry { json, room }) = entries.recv().await {
                let handled = match Event::from_trusted_json(json) {
                    Ok(event) => handle(event).await,
                    Err(error) => Err(io::Error::other(error)),
                };
                if let Err(error) = handled {
                    return log.line(format_args!("error: {error}"));
                }
                unhandled.fetch_sub(1, Ordering::Relaxed);
                drop(room);
            }
        });
        tokio::spawn(async move {
            tokio::select! {
                () = signal => {}
                _ = worker => {}
            }
            stopping.send_replace(true);
        });
        Ok(receiver)
    }

    /// Queues an event whose signature is valid, or returns the text of a 503.
    pub(crate) fn push(&self, event: &Event) -> Result<(), &'static str> {
        let json = event.raw.as_bytes();
        let weight = u32::try_from(json.len() + ENTRY_BYTES).unwrap_or(u32::MAX);
        let pushed = match self.room.clone().try_acquire_many_owned(weight) {
            Ok(room) => {
                self.unhandled.fetch_add(1, Ordering::Relaxed);
                let json = json.into();
                self.queue.send(Entry { json, room }).map_err(|_| {
                    self.unhandled.fetch_sub(1, Ordering::Relaxed);
                    ("stopping", "receiver is stopping")
                })
            }
            Err(TryAcquireError::NoPermits | TryAcquireError::Closed) => {
                Err(("queue_full", "queue is full"))
            }
        };
        pushed.map_err(|(code, text)| {
            self.log.rejected(503, code, text);
            text
        })
    }

    pub(crate) fn log_rejection(&self, rejection: &Rejection) {
        let code = rejection.reason().as_str();
        self.log.rejected(rejection.status(), code, rejection);
    }

    pub(crate) fn announce(&self, address: SocketAddr) {
        let line = format_args!("listening on http://{address}{PATH}");
        self.log.line(line);
    }

    /// Returns when the server should stop accepting requests.
    pub(crate) fn stopped(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut stop = self.stop.clone();
        async move {
            let _ = stop.wait_for(|stop| *stop).await;
        }
    }

    /// Runs the server, which ends some time after `stopped`, and then ends the program.
    pub(crate) async fn run(self, server: impl Future<Output = io::Result<()>>) -> ! {
        let mut code = 0;
        tokio::select! {
            ended = server => if let Err(error) = ended {
                code = 1;
                self.log.line(format_args!("error: the server failed: {error}"));
            },
            () = async { self.stopped().await; sleep(GRACE).await } => {
                let seconds = GRACE.as_secs();
                self.log.line(format_args!("open connections were closed after {seconds} s"));
            }
        }
        // Kept until the end: a request that is still open cannot be acknowledged any more.
        let mut room = pin!(self.room.acquire_many(QUEUE_BYTES));
        let drained = timeout(DRAIN_TIMEOUT, &mut room).await;
        if drained.is_err() {
            let seconds = DRAIN_TIMEOUT.as_secs();
            self.log.line(format_args!(
                "error: the queue is not empty after {seconds} s"
            ));
        }
        let dropped = self.unhandled.load(Ordering::Relaxed);
        if dropped > 0 {
            code = 1;
            self.log.line(format_args!(
                "error: acknowledged deliveries that were dropped: {dropped}"
            ));
        }
        let _ = timeout(LOG_TIMEOUT, self.log.flush(true)).await;
        // Returning from `main` would wait for writes to a pipe that nothing reads.
        process::exit(code)
    }
}

#[cfg(unix)]
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

#[cfg(not(unix))]
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
    })
}

/// Standard error.
#[derive(Clone, Default)]
struct Log(Arc<SharedLog>);

#[derive(Default)]
struct SharedLog {
    unwritten: Mutex<Unwritten>,
    has_lines: Notify,
    /// Locked while lines are being written.
    writing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Unwritten {
    lines: String,
    in_full: u32,
    counts: BTreeMap<&'static str, u64>,
}

impl Log {
    fn start() -> Self {
        let log = Self::default();
        let writer = log.clone();
        tokio::spawn(async move {
            let mut second = interval(Duration::from_secs(1));
            second.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                let with_counts = tokio::select! {
                    _ = second.tick() => true,
                    () = writer.0.has_lines.notified() => false,
                };
                writer.flush(with_counts).await;
            }
        });
        log
    }

    fn line(&self, line: impl fmt::Display) {
        let _ = writeln!(self.unwritten().lines, "{line}");
        self.0.has_lines.notify_one();
    }

    fn rejected(&self, status: u16, code: &'static str, text: impl fmt::Display) {
        let mut unwritten = self.unwritten();
        if unwritten.in_full < LINES_IN_FULL {
            unwritten.in_full += 1;
            drop(unwritten);
            self.line(format_args!("rejected {status} {code}: {text}"));
        } else {
            *unwritten.counts.entry(code).or_default() += 1;
        }
    }

    /// Writes the waiting lines. Errors are ignored: there is nowhere left to report them.
    async fn flush(&self, with_counts: bool) {
        let _writing = self.0.writing.lock().await;
        let text = self.unwritten().take(with_counts);
        if !text.is_empty() {
            let write = move || io::stderr().write_all(text.as_bytes());
            let _ = spawn_blocking(write).await;
        }
    }

    fn unwritten(&self) -> MutexGuard<'_, Unwritten> {
        let unwritten = self.0.unwritten.lock();
        unwritten.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Unwritten {
    fn take(&mut self, with_counts: bool) -> String {
        let mut text = mem::take(&mut self.lines);
        if !with_counts {
            return text;
        }
        if self.counts.is_empty() {
            self.in_full = 0;
            return text;
        }
        let counts = mem::take(&mut self.counts);
        let total: u64 = counts.values().sum();
        let counts: Vec<_> = counts
            .iter()
            .map(|(code, n)| format!("{code} {n}"))
            .collect();
        let _ = writeln!(text, "rejected {total} more: {}", counts.join(", "));
        text
    }
}

/// Text from a delivery as one word of a line, `-` if there is none.
pub(crate) fn word(text: Option<&str>) -> LogText<'_> {
    let text = text.filter(|text| !text.is_empty());
    LogText::new(text.unwrap_or("-")).with_max_chars(MAX_WORD_CHARS)
}

/// Writes a line to standard output. A slow reader delays the handler, not the server.
pub(crate) async fn print(line: String) -> io::Result<()> {
    let write = move || {
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{line}")?;
        stdout.flush()
    };
    let written = spawn_blocking(write).await.map_err(io::Error::other)?;
    written.map_err(|error| io::Error::new(error.kind(), format!("standard output: {error}")))
}
