//! Signs an event as Ptolemy does and posts it; see `--help`.

#[path = "receiver/line.rs"]
mod line;

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::iter::successors;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use clap::{CommandFactory, FromArgMatches, Parser};
use http::{Method, Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use ptolemy_webhooks::{SIGNATURE_HEADER, Secret, Signer, samples};
use serde_json::json;
use time::OffsetDateTime;

/// Ptolemy counts no answer within this time as a failure.
const TIMEOUT: Duration = Duration::from_secs(10);

const LONGEST_ANSWER: usize = 64 * 1024;

const USAGE_ERROR: u8 = 2;

/// Signs an event with PTOLEMY_WEBHOOK_SECRET as Ptolemy does, and posts it to a receiver.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Where to post to; plain http.
    #[arg(long, default_value = "http://127.0.0.1:3000/webhooks/ptolemy")]
    url: Uri,

    /// The event type; one that is not known goes out with empty data.
    #[arg(long, default_value = "instrument.created", value_name = "TYPE")]
    event: String,

    /// Post this file's bytes as they are instead of an event.
    #[arg(long, value_name = "PATH", conflicts_with = "event")]
    file: Option<PathBuf>,

    /// How many to post, one after the other; each event has an id of its own.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,

    /// Change one byte of the body after it was signed.
    #[arg(long)]
    tamper: bool,

    /// Sign as of so many seconds ago; a negative number for the future.
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
        "Known event types:\n  {}\n\nPrints the status and the text of each answer. Exits with 0 if \
         all were 2xx, with 1 if one was not or\nnone came within {} s, and with {USAGE_ERROR} if the \
         command line or the configuration cannot work.",
        known.join("\n  "),
        TIMEOUT.as_secs(),
    )
}

type HttpClient = Client<HttpConnector, Full<Bytes>>;

struct Sender {
    arguments: Arguments,
    signer: Option<Signer>,
    client: HttpClient,
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

    fn body(&self, number: u32) -> Result<Vec<u8>, String> {
        if let Some(path) = &self.arguments.file {
            return fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
        }
        let id = format!(
            "evt_{}_{number}",
            OffsetDateTime::now_utc().unix_timestamp_nanos()
        );
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
        request
            .body(Full::new(body.into()))
            .map_err(|error| error.to_string())
    }

    /// Posts one request and returns the status and what to print of the answer.
    async fn post(&self, request: Request<Full<Bytes>>) -> Result<(u16, String), String> {
        let answer = async {
            let response = self.client.request(request).await.map_err(|error| {
                let causes = successors(Some(&error as &dyn Error), |&error| error.source());
                let causes: Vec<_> = causes.map(ToString::to_string).collect();
                causes.join(": ")
            })?;
            let status = response.status();
            let text = Limited::new(response.into_body(), LONGEST_ANSWER)
                .collect()
                .await
                .map_err(|error| error.to_string())?
                .to_bytes();
            let text = String::from_utf8_lossy(&text);
            let line = format!("{status} {}", line::field(text.trim_end()));
            Ok((status.as_u16(), line.trim_end().to_owned()))
        };
        tokio::time::timeout(TIMEOUT, answer)
            .await
            .map_err(|_| format!("no answer within {} s", TIMEOUT.as_secs()))?
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let matches = Arguments::command().after_help(help()).get_matches();
    let arguments = Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let count = arguments.count;
    let sender = match Sender::new(arguments) {
        Ok(sender) => sender,
        Err(error) => return fail(USAGE_ERROR, &error),
    };

    let mut answers = BTreeMap::new();
    let mut all_accepted = true;
    for number in 1..=count {
        let request = match sender.request(number) {
            Ok(request) => request,
            Err(error) => return fail(USAGE_ERROR, &error),
        };
        match sender.post(request).await {
            Ok((status, line)) => {
                println!("{line}");
                all_accepted &= (200..300).contains(&status);
                *answers.entry(status).or_insert(0) += 1;
            }
            Err(error) => {
                fail(1, &format!("{}: {error}", sender.arguments.url));
                all_accepted = false;
                break;
            }
        }
    }
    if count > 1 {
        let answered: u32 = answers.values().sum();
        let answers: Vec<_> = answers.iter().map(|(s, n)| format!("{n} × {s}")).collect();
        println!("{answered} of {count} answered: {}", answers.join(", "));
    }
    if all_accepted {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn fail(code: u8, error: &str) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::from(code)
}
