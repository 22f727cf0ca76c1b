//! What the example receivers share: everything but the HTTP server.

mod background;
mod line;
mod log;
mod queue;
mod stop;

use std::env;
use std::fmt;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use ptolemy_webhooks::{Event, Payload, Rejection, Verifier};

pub(crate) use queue::Queue;
pub(crate) use stop::Stop;

pub(crate) const PATH: &str = "/webhooks/ptolemy";

/// How long open requests may go on after a signal to stop.
pub(crate) const GRACE: Duration = Duration::from_secs(10);

/// How long a request may take; after that Ptolemy has given it up.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How many seconds a sender should wait when the queue is full.
pub(crate) const RETRY_AFTER: &str = "5";

/// The exit code for a configuration that cannot work.
const MISCONFIGURED: u8 = 2;

const HELP: &str = "\
Environment:
  PTOLEMY_WEBHOOK_SECRET           the webhook's secret (whsec_…), required
  PTOLEMY_WEBHOOK_SECRET_PREVIOUS  the one before it, while you rotate
  PTOLEMY_LISTEN                   address and port [default: 127.0.0.1:3000]

Each delivery is answered at once and handled in the background, one line on standard output for
each: `accepted <event_type> <id or -> <typed|unknown|malformed>`. What is refused is told on
standard error. When the queue is full the answer is 503, and Ptolemy sends the delivery again. A
request that takes longer than 10 s is given up.

THE QUEUE IS IN MEMORY: a crash loses the deliveries that were acknowledged and not yet handled.
It holds up to 1,024 of them, each as long as a body may be. SIGTERM and Ctrl-C lose none: the
receiver stops accepting, gives open requests 10 s, and finishes the queue. It exits with 0, or
with 1 if it had to drop deliveries, or with 2 if its configuration cannot work.

It does not limit the number of connections, nor how slowly a request's head may come: put a proxy
in front of it.";

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
    log::line(format_args!("listening on http://{address}{PATH}"));
}

pub(crate) fn log_refusal(rejection: &Rejection) {
    log::line(format_args!("refused {}: {rejection}", rejection.status()));
}

pub(crate) fn log_cut() {
    log::line("open connections were cut");
}

pub(crate) fn log_error(error: impl fmt::Display) {
    log::line(format_args!("error: {error}"));
}

/// The line that is printed for a delivery.
fn accepted(event: &Event) -> String {
    let understood = match event.payload {
        Ok(Payload::Unknown) => "unknown",
        Ok(_) => "typed",
        Err(_) => "malformed",
    };
    let id = event.id.as_deref().filter(|id| !id.is_empty());
    format!(
        "accepted {} {} {understood}",
        line::field(event.event_type.as_str()),
        line::field(id.unwrap_or("-")),
    )
}
