//! The command line and the environment.

use std::env;
use std::net::SocketAddr;
use std::time::Duration;

use ptolemy_webhooks::Verifier;

use crate::{Fault, GRACE, misconfigured};

const HELP: &str = "\
Environment:
  PTOLEMY_WEBHOOK_SECRET           the webhook's secret (whsec_…), required to serve
  PTOLEMY_WEBHOOK_SECRET_PREVIOUS  the one before it, while you rotate
  PTOLEMY_LISTEN                   address and port [default: 127.0.0.1:3000]
  DATABASE_URL                     sqlite://FILE, or postgres://USER:PASSWORD@HOST/DATABASE
                                   [default: sqlite://inbox.db]
  RUST_LOG                         what the inbox logs on standard error [default: warn]

A delivery is answered with 202 when it is on disk, and then handled: one line on standard output
for each, `handled <event_type> <id or -> <typed|unknown> attempt <n>`. Rejected requests are
logged on standard error. If the database fails the answer is 503, and Ptolemy sends the
delivery again. A request that takes longer than 10 s is given up.

A crash at any moment loses nothing that was acknowledged. What was being handled is handled again
when its lease has expired, so a line may come twice; with --in-transaction each event has exactly
one row. An event that fails is tried again, 20 times at most, and is then dead. So is, at once, an event
that this version cannot read. `ptolemy-webhooks inbox` counts what is not done, and shows, replays and
discards dead letters. The rows of events that were done more than 90 days ago are removed. Any number
of these processes may share a database.

On SIGTERM and Ctrl-C it stops accepting and gives open requests 5 s. Then events that are being
handled may finish within --shutdown-timeout; the others go back into the inbox, and wait there. With
the default it exits within 25 s; Kubernetes and systemd have to give it that long, and more with a
longer timeout.

It exits with 0; or with 1 if it failed; or with 2 if its configuration cannot work.

It does not limit the number of connections, nor how slowly a request's head may come: put a proxy
in front of it.";

/// In seconds.
const SHUTDOWN_TIMEOUT: u32 = 15;

/// The time after that: 2 s for aborted events, and 1 s for standard error.
const REST: u64 = 3;

// Everything after a signal fits into the time that orchestrators give.
const _: () = assert!(GRACE.as_secs() + SHUTDOWN_TIMEOUT as u64 + REST <= 25);

/// Receives Ptolemy's webhooks on /webhooks/ptolemy into a database, and handles them from there.
#[derive(clap::Parser)]
#[command(version, after_help = HELP)]
struct Arguments {
    /// Write a row for each event into the table `example_changes`, in one transaction with "done",
    /// instead of printing a line. On SQLite events are then handled one at a time
    #[arg(long)]
    in_transaction: bool,

    /// Only accept: another process works
    #[arg(long)]
    no_worker: bool,

    /// Only work: another process accepts
    #[arg(long, conflicts_with = "no_worker")]
    no_server: bool,

    /// How many events are handled at the same time
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,

    /// After how long another worker takes over from one that died
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    lease: u32,

    /// The longest delay before an event that failed is tried again; the first is 1 s
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    longest_backoff: u32,

    /// How long events may take to finish after a signal to stop
    #[arg(long, value_name = "SECONDS", default_value_t = SHUTDOWN_TIMEOUT)]
    shutdown_timeout: u32,

    /// Let each event take so many milliseconds more; it stands for work
    #[arg(long, value_name = "N", default_value_t = 0)]
    work_ms: u32,
}

pub(crate) struct Settings {
    pub(crate) server: Option<Server>,
    pub(crate) works: bool,
    pub(crate) database: String,
    pub(crate) in_transaction: bool,
    pub(crate) concurrency: u16,
    pub(crate) lease: Duration,
    pub(crate) longest_backoff: Duration,
    pub(crate) shutdown_timeout: Duration,
    pub(crate) work: Duration,
}

pub(crate) struct Server {
    pub(crate) verifier: Verifier,
    pub(crate) listen: SocketAddr,
}

impl Settings {
    /// Reads the command line and the environment.
    pub(crate) fn read() -> Result<Self, Fault> {
        let arguments: Arguments = clap::Parser::parse();
        let server = match arguments.no_server {
            false => Some(Server::read()?),
            true => None,
        };
        Ok(Self {
            server,
            works: !arguments.no_worker,
            database: variable("DATABASE_URL", "sqlite://inbox.db")?,
            in_transaction: arguments.in_transaction,
            concurrency: arguments.concurrency,
            lease: Duration::from_secs(arguments.lease.into()),
            longest_backoff: Duration::from_secs(arguments.longest_backoff.into()),
            shutdown_timeout: Duration::from_secs(arguments.shutdown_timeout.into()),
            work: Duration::from_millis(arguments.work_ms.into()),
        })
    }
}

impl Server {
    fn read() -> Result<Self, Fault> {
        let verifier = Verifier::from_env().map_err(misconfigured)?;
        let listen = variable("PTOLEMY_LISTEN", "127.0.0.1:3000")?;
        let listen = listen.parse().map_err(|_| {
            misconfigured("PTOLEMY_LISTEN is not an address and a port, such as 127.0.0.1:3000")
        })?;
        Ok(Self { verifier, listen })
    }
}

fn variable(name: &str, default: &str) -> Result<String, Fault> {
    match env::var(name) {
        Ok(value) => Ok(value),
        Err(env::VarError::NotPresent) => Ok(default.to_owned()),
        Err(env::VarError::NotUnicode(_)) => {
            Err(misconfigured(format_args!("{name} is not UTF-8")))
        }
    }
}
