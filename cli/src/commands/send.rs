//! `send`: signs an event as Ptolemy does, or wrongly, and posts it.

mod answer;
mod fault;
mod post;
mod request;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use ptolemy_webhooks::samples;
use reqwest::Url;
use tokio::time::{MissedTickBehavior, interval};

use crate::commands::send::answer::{Answers, Outcome};
use crate::commands::send::fault::{Fault, Faults};
use crate::commands::send::post::Sender;
use crate::commands::send::request::{Body, Maker};
use crate::notice::{self, Progress};
use crate::output::Output;
use crate::receiver_url;
use crate::secret::{PreviousSecretSource, SecretSource};
use crate::stop::{Code, Stop};

/// The longest file that is sent: 64 MiB, far more than a receiver accepts.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// Sign an event as Ptolemy does, or wrongly, and post it to a receiver.
///
/// Prints the status and the text of each answer. The exit code is 0 if all answers are 2xx, 1 if
/// one is not or the receiver cannot be reached, and 3 if a request was sent, in whole or in part,
/// and no answer came within 10 s: the receiver may have handled it. Nothing is sent again.
#[derive(Args, Debug)]
#[command(after_help = after_help())]
pub(crate) struct Send {
    /// The receiver: an http or https URL without a user and a password
    #[arg(default_value = "http://127.0.0.1:3000/webhooks/ptolemy", value_parser = receiver_url::parse)]
    url: Url,

    /// The event type; an unknown one is sent with empty data
    #[arg(long, default_value = "instrument.created", value_name = "TYPE")]
    event: String,

    /// Send this id in every event instead of a new one each, as a repetition does
    #[arg(long)]
    id: Option<String>,

    /// Post the bytes of this file as they are instead of an event, at most 64 MiB; `-` is standard
    /// input
    #[arg(long, value_name = "PATH", conflicts_with_all = ["event", "id"])]
    file: Option<PathBuf>,

    /// How many requests to post, one after the other. Stops at the first that cannot be sent or is
    /// not answered, unless it was broken off on purpose
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,

    /// How many requests to post in a second, at most; without it, each follows the answer to the
    /// one before
    #[arg(long, value_name = "N", value_parser = parse_rate)]
    rate: Option<Duration>,

    /// Print the request instead of sending it: the head and the body, byte for byte. With --count,
    /// one after the other. Cannot be used with --json
    #[arg(long, conflicts_with = "rate")]
    print: bool,

    /// Inject a fault; repeatable. The faults are listed below
    #[arg(long = "fault", value_name = "NAME[:VALUE]", value_parser = fault::parse)]
    faults: Vec<Fault>,

    #[command(flatten)]
    secret: SecretSource,

    #[command(flatten)]
    previous: PreviousSecretSource,
}

impl Send {
    /// Whether the exit code is an answer.
    pub(crate) fn answers(&self) -> bool {
        !self.print
    }

    pub(crate) async fn run(&self, output: &Output) -> Result<(), Stop> {
        let maker = self.maker()?;
        if self.print {
            if output.is_json() {
                return Err(Stop::usage(
                    "--print prints the request as HTTP, not as JSON; pass either --print or --json",
                ));
            }
            for _ in 0..self.count {
                output.bytes(&maker.request(&self.url)?.raw())?;
            }
            return Ok(());
        }
        let sender = Sender::new()?;
        let mut answers = Answers::default();
        let sent = self.send_all(&maker, &sender, &mut answers, *output).await;
        if self.count > 1 && !output.is_json() {
            notice::note(&answers.summary(self.count));
        }
        match sent {
            // Also if nobody reads the output any more.
            Ok(()) | Err(Stop::ClosedPipe) if answers.have_broken_off() => {
                return Err(Stop::Said(Code::OutcomeUnknown));
            }
            sent => sent?,
        }
        match answers.all_are_2xx() {
            true => Ok(()),
            false => Err(Stop::said_failed()),
        }
    }

    async fn send_all(
        &self,
        maker: &Maker,
        sender: &Sender,
        answers: &mut Answers,
        output: Output,
    ) -> Result<(), Stop> {
        let mut pace = self.rate.map(|period| {
            let mut pace = interval(period);
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            pace
        });
        let progress = Progress::new("requests sent:", Some(self.count.into()));
        for number in 1..=self.count {
            if let Some(pace) = &mut pace {
                pace.tick().await;
            }
            let answer = sender.post(number, maker.request(&self.url)?).await;
            progress.add(1);
            answers.count(&answer);
            let printed = match answer.line() {
                _ if output.is_json() => output.object(&answer),
                Some(line) => output.line(&line),
                None => Ok(()),
            };
            // The remaining ones would very likely end in the same way.
            match answer.outcome {
                Outcome::NotConnected => {
                    let step = receiver_url::certificate_step(&answer.text);
                    let step = step.map_or(String::new(), |step| format!(". {step}"));
                    return Err(Stop::failed(format!("{}: {}{step}", self.url, answer.text)));
                }
                Outcome::NoAnswer => {
                    return Err(Stop::unknown(format!(
                        "{}: {}; the receiver may have handled the request",
                        self.url, answer.text
                    )));
                }
                Outcome::Accepted | Outcome::Rejected | Outcome::BrokenOff => printed?,
            }
        }
        Ok(())
    }

    fn maker(&self) -> Result<Maker, Stop> {
        let faults = Faults::new(&self.faults)?;
        if self.print && faults.pause().is_some() {
            return Err(Stop::usage(
                "a pause cannot be printed: leave out either --print or the pause",
            ));
        }
        let body = match &self.file {
            Some(path) if path == Path::new("-") && self.secret.is_standard_input() => {
                return Err(Stop::usage(
                    "--file and --secret-file cannot both be standard input",
                ));
            }
            Some(path) => Body::Bytes(read(path)?),
            None => Body::Event {
                event_type: self.event.clone(),
                id: self.id.clone(),
            },
        };
        let secret = match (faults.is_unsigned(), faults.is_foreign()) {
            (true, _) | (_, true) => None,
            _ if faults.is_previous() => Some(self.previous.read_as_it_is()?.ok_or_else(|| {
                Stop::usage(
                    "the fault `previous-secret` needs PTOLEMY_WEBHOOK_SECRET_PREVIOUS or \
                     --previous-secret-file",
                )
            })?),
            _ => Some(self.secret.read_as_it_is()?),
        };
        Maker::new(body, faults, secret)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Stop> {
    if path == Path::new("-") {
        let read = read_limited(io::stdin().lock());
        return read.map_err(|error| Stop::usage(format!("standard input: {error}")));
    }
    let read = File::open(path).and_then(read_limited);
    read.map_err(|error| Stop::usage(format!("{}: {error}", path.display())))
}

fn read_limited(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let message = format!(
            "longer than {MAX_FILE_BYTES} bytes, the most that is sent; --fault large-body makes longer bodies"
        );
        return Err(io::Error::other(message));
    }
    Ok(bytes)
}

fn parse_rate(text: &str) -> Result<Duration, String> {
    let rate: f64 = text.parse().map_err(|_| "expected a number".to_owned())?;
    if !(0.001..=1_000.0).contains(&rate) {
        return Err("must be from 0.001 to 1000".to_owned());
    }
    Ok(Duration::from_secs_f64(1.0 / rate))
}

const TRUST: &str = "\
If a certificate is not trusted, SSL_CERT_FILE can name a PEM file with its CA (not on macOS and Windows, \
where the system's own list counts).
";

const EXAMPLES: &str = "\
Examples:
  ptolemy-webhooks send http://127.0.0.1:3000/webhooks/ptolemy
  ptolemy-webhooks send http://127.0.0.1:3000/webhooks/ptolemy --event market.updated --count 3
  ptolemy-webhooks send http://127.0.0.1:3000/webhooks/ptolemy --id evt_1 --count 2 --rate 5
  ptolemy-webhooks send http://127.0.0.1:3000/webhooks/ptolemy --fault chunked --fault age:290s
  ptolemy-webhooks send --print | ptolemy-webhooks why --request -
";

fn after_help() -> String {
    let faults = fault::HELP
        .iter()
        .map(|(name, help)| format!("  {name:<20} {help}"));
    let known = samples::all().map(|sample| format!("  {}", sample.event_type()));
    let lines = [TRUST.to_owned(), EXAMPLES.to_owned()]
        .into_iter()
        .chain(["Faults:".to_owned()])
        .chain(faults)
        .chain(["\nKnown event types:".to_owned()])
        .chain(known);
    lines.collect::<Vec<_>>().join("\n")
}
