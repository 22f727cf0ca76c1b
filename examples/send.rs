//! Signs an event as Ptolemy does and posts it; see `--help`.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, Write as _};
use std::iter::successors;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use std::{fmt, fs};

use bytes::Bytes;
use clap::{CommandFactory, FromArgMatches, Parser};
use http::{Method, Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use ptolemy_webhooks::{LogText, SIGNATURE_HEADER, Secret, Signer, samples};
use serde_json::json;
use time::OffsetDateTime;
use tokio::time::timeout;

/// How long to wait for an answer. Ptolemy waits no longer.
const TIMEOUT: Duration = Duration::from_secs(10);

const MAX_ANSWER_BYTES: usize = 64 * 1024;

const MAX_SHOWN_CHARS: usize = 200;

/// Signs an event with PTOLEMY_WEBHOOK_SECRET as Ptolemy does, and posts it to a receiver.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Where to post to; plain http.
    #[arg(long, default_value = "http://127.0.0.1:3000/webhooks/ptolemy")]
    url: Uri,

    /// The event type; an unknown one is sent with empty data.
    #[arg(long, default_value = "instrument.created", value_name = "TYPE")]
    event: String,

    /// Post this file's bytes as they are instead of an event.
    #[arg(long, value_name = "PATH", conflicts_with = "event")]
    file: Option<PathBuf>,

    /// How many to post, one after the other; each event has its own id.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,

    /// Change one byte of the body after it was signed.
    #[arg(long)]
    tamper: bool,

    /// Sign with a timestamp this many seconds in the past; negative: in the future.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 0,
        allow_negative_numbers = true
    )]
    age: i64,

    /// Sign with another secret.
    #[arg(long)]
    wrong_secret: bool,

    /// Send no signature.
    #[arg(long, conflicts_with = "wrong_secret")]
    no_signature: bool,
}

fn help() -> String {
    let known: Vec<_> = samples::all().map(|sample| sample.event_type()).collect();
    format!(
        "Known event types:\n  {}\n\nPrints the status and the text of each answer. The exit code is 0 if \
         all answers are 2xx, 1 if one is not\nor none comes within {} s, and 2 if the command line or \
         the configuration cannot work.",
        known.join("\n  "),
        TIMEOUT.as_secs(),
    )
}

/// Why nothing more is sent.
enum Fault {
    /// The command line or the configuration cannot work.
    Usage(String),
    /// A request was not answered.
    NoAnswer(String),
}

struct Sender {
    arguments: Arguments,
    signer: Option<Signer>,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Sender {
    fn new(arguments: Arguments) -> Result<Self, String> {
        if arguments.url.scheme_str() != Some("http") {
            return Err("--url must begin with http://".to_owned());
        }
        let secret = if arguments.no_signature {
            None
        } else if arguments.wrong_secret {
            Some(Secret::new("whsec_not_the_secret_of_the_receiver"))
        } else {
            Some(Secret::from_env("PTOLEMY_WEBHOOK_SECRET"))
        };
        let secret = secret.transpose().map_err(|error| error.to_string())?;
        Ok(Self {
            arguments,
            signer: secret.as_ref().map(Signer::new),
            client: Client::builder(TokioExecutor::new()).build_http(),
        })
    }

    /// Posts as many requests as were asked for, and prints and counts the answers.
    async fn send_all(&self, answers: &mut Answers) -> Result<(), Fault> {
        for number in 1..=self.arguments.count {
            let request = self.request(number).map_err(Fault::Usage)?;
            let (status, line) = match timeout(TIMEOUT, self.post(request)).await {
                Ok(answer) => answer.map_err(|error| self.no_answer(&error))?,
                Err(_) => {
                    let error = format!("no answer within {} s", TIMEOUT.as_secs());
                    return Err(self.no_answer(&error));
                }
            };
            print(&line)?;
            answers.count(status);
        }
        Ok(())
    }

    fn no_answer(&self, error: &str) -> Fault {
        Fault::NoAnswer(format!("{}: {error}", self.arguments.url))
    }

    fn body(&self, number: u32) -> Result<Vec<u8>, String> {
        if let Some(path) = &self.arguments.file {
            return fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
        }
        let now = OffsetDateTime::now_utc().unix_timestamp_nanos();
        let id = format!("evt_{now}_{number}");
        let event_type = &self.arguments.event;
        let body = match samples::of(event_type) {
            Some(sample) => sample.with_id(id).to_json(),
            None => json!({"id": id, "event_type": event_type, "data": {}}).to_string(),
        };
        Ok(body.into_bytes())
    }

    fn request(&self, number: u32) -> Result<Request<Full<Bytes>>, String> {
        let mut body = self.body(number)?;
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(&self.arguments.url)
            .header("content-type", "application/json");
        if let Some(signer) = &self.signer {
            let signed_at = OffsetDateTime::now_utc()
                .checked_sub(time::Duration::seconds(self.arguments.age))
                .ok_or("--age leads out of the calendar")?;
            request = request.header(SIGNATURE_HEADER, signer.sign_at(&body, signed_at));
        }
        if self.arguments.tamper {
            let last = body
                .last_mut()
                .ok_or("--tamper needs a body that is not empty")?;
            *last ^= 1;
        }
        let request = request.body(Full::new(body.into()));
        request.map_err(|error| error.to_string())
    }

    /// Posts one request and returns the status and the line to print.
    async fn post(&self, request: Request<Full<Bytes>>) -> Result<(u16, String), String> {
        let response = self
            .client
            .request(request)
            .await
            .map_err(|error| chain(&error))?;
        let status = response.status();
        let text = Limited::new(response.into_body(), MAX_ANSWER_BYTES)
            .collect()
            .await;
        let text = text.map_err(|error| chain(&*error))?.to_bytes();
        let text = one_line(&String::from_utf8_lossy(&text));
        let line = format!("{status} {text}").trim_end().to_owned();
        Ok((status.as_u16(), line))
    }
}

/// How many answers had which status.
#[derive(Default)]
struct Answers(BTreeMap<u16, u32>);

impl Answers {
    fn count(&mut self, status: u16) {
        *self.0.entry(status).or_default() += 1;
    }

    fn all_are_2xx(&self) -> bool {
        self.0.keys().all(|status| (200..300).contains(status))
    }
}

impl fmt::Display for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts: Vec<_> = self
            .0
            .iter()
            .map(|(status, n)| format!("{n} × {status}"))
            .collect();
        f.write_str(&counts.join(", "))
    }
}

/// The beginning of a text on one line: words are separated by spaces, and shown by `LogText`.
fn one_line(text: &str) -> String {
    let beginning: String = text.trim_end().chars().take(MAX_SHOWN_CHARS).collect();
    let words = beginning
        .split(' ')
        .map(|word| LogText::new(word).to_string());
    words.collect::<Vec<_>>().join(" ")
}

/// An error and its causes.
fn chain(error: &(dyn Error + 'static)) -> String {
    let errors = successors(Some(error), |&error| error.source());
    errors
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

fn print(line: &str) -> Result<(), Fault> {
    let printed = writeln!(io::stdout(), "{line}");
    printed.map_err(|error| Fault::Usage(format!("standard output: {error}")))
}

/// Returns whether all answers are 2xx.
async fn run(arguments: Arguments) -> Result<bool, Fault> {
    let count = arguments.count;
    let sender = Sender::new(arguments).map_err(Fault::Usage)?;
    let mut answers = Answers::default();
    let sent = sender.send_all(&mut answers).await;
    if count > 1 {
        let answered: u32 = answers.0.values().sum();
        print(&format!("{answered} of {count} answered: {answers}"))?;
    }
    sent?;
    Ok(answers.all_are_2xx())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let matches = Arguments::command().after_help(help()).get_matches();
    let arguments = Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let (code, reason) = match run(arguments).await {
        Ok(true) => return ExitCode::SUCCESS,
        Ok(false) => return ExitCode::FAILURE,
        Err(Fault::NoAnswer(reason)) => (1, reason),
        Err(Fault::Usage(reason)) => (2, reason),
    };
    eprintln!("error: {reason}");
    ExitCode::from(code)
}
