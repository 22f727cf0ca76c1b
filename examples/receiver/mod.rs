//! What the example receivers share: everything but the HTTP server.

mod line;
mod queue;

use std::env;
use std::fmt;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use ptolemy_webhooks::{Event, Payload, Rejection, Verifier};

pub(crate) use queue::Queue;

pub(crate) const PATH: &str = "/webhooks/ptolemy";

/// How long open connections may go on after a signal to stop.
pub(crate) const GRACE: Duration = Duration::from_secs(10);

/// How many seconds a sender should wait when the queue is full.
pub(crate) const RETRY_AFTER: &str = "5";

pub(crate) const QUEUE_IS_FULL: &str = "queue is full";

/// The exit code for a configuration that cannot work.
const MISCONFIGURED: u8 = 2;

const HELP: &str = "\
Environment:
  PTOLEMY_WEBHOOK_SECRET           the webhook's secret (whsec_…), required
  PTOLEMY_WEBHOOK_SECRET_PREVIOUS  the one before it, while you rotate
  PTOLEMY_LISTEN                   address and port [default: 127.0.0.1:3000]

Each delivery is answered at once and handled in the background, one line on standard output for
each: `accepted <event_type> <id or -> <typed|unknown|malformed>`. What is refused is told on
standard error. When the queue is full the answer is 503, and Ptolemy sends the delivery again.

THE QUEUE IS IN MEMORY: a crash loses the deliveries that were acknowledged and not yet handled.
SIGTERM and Ctrl-C lose none: the receiver stops accepting, gives open requests 10 s, and finishes
the queue. It exits with 0, or with 1 if it had to drop deliveries, or with 2 if its configuration
cannot work.";

/// Receives Ptolemy's webhooks on /webhooks/ptolemy and prints a line for each event.
#[derive(clap::Parser)]
#[command(version, after_help = HELP)]
struct Arguments {}

pub(crate) struct Settings {
    pub(crate) verifier: Verifier,
    pub(crate) listen: SocketAddr,
}

impl Settings {
    /// Reads the command line and the environment; tells on standard error what is wrong with them.
    pub(crate) fn read() -> Result<Self, ExitCode> {
        let Arguments {} = clap::Parser::parse();
        let verifier = Verifier::from_env().map_err(misconfigured)?;
        let listen = match env::var("PTOLEMY_LISTEN") {
            Ok(listen) => listen,
            Err(env::VarError::NotPresent) => "127.0.0.1:3000".to_owned(),
            Err(error) => {
                return Err(misconfigured(format_args!("PTOLEMY_LISTEN: {error}")));
            }
        };
        let listen = listen.parse().map_err(|_| {
            misconfigured("PTOLEMY_LISTEN is not an address and a port, such as 127.0.0.1:3000")
        })?;
        Ok(Self { verifier, listen })
    }
}

pub(crate) fn misconfigured(reason: impl fmt::Display) -> ExitCode {
    eprintln!("error: {reason}");
    ExitCode::from(MISCONFIGURED)
}

pub(crate) fn announce(address: SocketAddr) {
    eprintln!("listening on http://{address}{PATH}");
}

pub(crate) fn log_refusal(rejection: &Rejection) {
    eprintln!("refused {}: {rejection}", rejection.status());
}

pub(crate) fn log_cut() {
    eprintln!("open connections were cut");
}

/// Ends when the process is told to stop.
pub(crate) async fn stop_signal() {
    if let Err(error) = signal().await {
        eprintln!("error: no signal to stop can be received: {error}");
    }
}

#[cfg(unix)]
async fn signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        result = tokio::signal::ctrl_c() => result,
    }
}

#[cfg(not(unix))]
async fn signal() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}

/// The line that is printed for a delivery.
fn accepted(event: &Event) -> String {
    let understood = match event.payload {
        Payload::Unknown(_) => "unknown",
        Payload::Malformed(_) => "malformed",
        _ => "typed",
    };
    let id = event.id.as_deref().filter(|id| !id.is_empty());
    format!(
        "accepted {} {} {understood}",
        line::field(event.event_type.as_str()),
        line::field(id.unwrap_or("-")),
    )
}
