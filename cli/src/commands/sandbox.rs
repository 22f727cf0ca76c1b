//! `sandbox`: the stand-in for Ptolemy as a process.

mod attempts;
mod drive;
mod fault;
mod files;
mod forward;
mod page;
mod report;

use std::env;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use ptolemy_webhooks::samples::{self, Sample};
use ptolemy_webhooks_sandbox::{Retries, Sandbox as StandIn, Shape};
use serde::Serialize;

pub(crate) use crate::commands::sandbox::attempts::outcome_words;
use crate::commands::sandbox::drive::Plan;
use crate::commands::sandbox::fault::Fault;
pub(crate) use crate::commands::sandbox::fault::{fault_names, plan_fault};
use crate::commands::sandbox::files::{Files, READY};
use crate::commands::sandbox::forward::{Forward, target};
use crate::commands::sandbox::page::Page;
use crate::commands::sandbox::report::Report;
use crate::notice;
use crate::output::Output;
use crate::since;
use crate::stop::Stop;
use crate::text;

/// How often the log is read and the clock is moved.
const TICK: Duration = Duration::from_millis(100);

#[derive(Args, Debug)]
#[command(after_help = "\
It is not Ptolemy: it follows Ptolemy's public documentation, and this project's assumptions if \
that says nothing.

The command prints shell lines that set PTOLEMY_API_URL, PTOLEMY_API_TOKEN_FILE, PTOLEMY_WORKSPACE \
and, with --forward, PTOLEMY_WEBHOOK_SECRET_FILE, and that unset PTOLEMY_API_TOKEN and \
PTOLEMY_WEBHOOK_SECRET if they are set. It logs each attempt of a delivery on standard \
error or, with --json, on standard output, at the time of its own clock, and prints the URL of a page that \
shows them on standard error; with --json, the file of `page_url_file` has it. Ctrl-C, SIGTERM and SIGHUP \
end it and remove its files.

With --forward, the secret in PTOLEMY_WEBHOOK_SECRET, or in the file named by \
PTOLEMY_WEBHOOK_SECRET_FILE, signs the deliveries, so that a receiver that already runs accepts \
them. Without these variables a secret is generated.

Faults: lose-answer, slow:SPAN, drip:SPAN, break-off, duplicate, duplicate-later:SPAN, hold:SPAN, \
wrong-secret, previous-secret, both-secrets, tampered, stale, future, milliseconds, no-header, \
header-twice, large-body:BYTES. Each can have a probability, such as lose-answer:0.1; without one, \
every attempt has the fault.

Examples:
  ptolemy-webhooks sandbox --forward http://127.0.0.1:3000/ --emit all --until-delivered
  ptolemy-webhooks sandbox --forward http://127.0.0.1:3000/ --emit all --until-delivered --json")]
pub(crate) struct Sandbox {
    /// The port on 127.0.0.1. By default the system chooses a free one
    #[arg(long, value_name = "N")]
    port: Option<u16>,
    /// Register this receiver for all event types, and deliver to it. Only http, and only localhost
    /// and loopback addresses unless --any-host is set
    #[arg(long, value_name = "URL")]
    forward: Option<String>,
    /// Deliver to any host that a webhook names, such as a receiver in a container
    #[arg(long)]
    any_host: bool,
    /// Emit one event of each of these types, or of each known type
    #[arg(long, value_name = "all|TYPE,…", value_delimiter = ',')]
    emit: Vec<String>,
    /// Emit them again and again, after this time: a number and s, m, h or d, at least 1s
    #[arg(long, value_name = "SPAN", requires = "emit", value_parser = since::span)]
    every: Option<Duration>,
    /// Stop emitting after this many rounds; the API still answers
    #[arg(long, value_name = "N", requires = "every", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End when every emitted event was delivered or has failed permanently. Retries are then made
    /// at once. Exit code 1 if a delivery failed, and not 0 if a signal came first
    #[arg(long, requires_all = ["emit", "forward"])]
    until_delivered: bool,
    /// Let deliveries go wrong; can be given several times. See below for the names
    #[arg(long = "fault", value_name = "NAME[:SPAN|:BYTES][:P]")]
    faults: Vec<Fault>,
    /// How many attempts a delivery has, the first one included. Ptolemy documents no number
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..))]
    attempts: u32,
    /// The time before the first retry; each later one is four times as long. Ptolemy documents
    /// that retries back off exponentially, and no numbers
    #[arg(long, value_name = "SPAN", default_value = "5s", value_parser = since::span)]
    first_retry: Duration,
    /// The seed of ids, secrets, tokens and faults. By default it is random, and printed
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Turn an assumption about Ptolemy into another one; can be given several times
    #[arg(long = "shape", value_name = "NAME", value_parser = shape)]
    shapes: Vec<Shape>,
    /// The slug of the workspace. By default it is random
    #[arg(long, value_name = "SLUG", value_parser = slug)]
    workspace: Option<String>,
    /// The folder for the files `token`, `secret` and, with --json, `page_url`, which must not
    /// exist yet; it is created if it is missing. By default a new folder in the temporary
    /// folder, which is removed at the end
    #[arg(long, value_name = "PATH")]
    folder: Option<PathBuf>,
    /// Write what --json prints first into this file when everything is ready. The file of an
    /// earlier run is removed at the start, and the new one at the end
    #[arg(long, value_name = "PATH")]
    ready_file: Option<PathBuf>,
    /// Serve no page
    #[arg(long)]
    no_page: bool,
}

/// Reads the name of a shape.
fn shape(name: &str) -> Result<Shape, String> {
    let mut shapes = Shape::ALL.iter();
    shapes
        .find(|shape| shape.name() == name)
        .copied()
        .ok_or_else(|| {
            let known: Vec<_> = Shape::ALL.iter().map(|shape| shape.name()).collect();
            format!("unknown; known are {}", known.join(", "))
        })
}

/// Reads a slug, which becomes a part of URLs.
fn slug(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.is_empty() || text.len() > 64 || !text.chars().all(plain) {
        return Err("expected 1 to 64 lower-case letters, digits and `-`".to_owned());
    }
    Ok(text.to_owned())
}

/// The first line of the output, when everything is ready.
#[derive(Serialize)]
struct Ready<'a> {
    kind: &'static str,
    url: &'a str,
    workspace: &'a str,
    workspace_id: &'a str,
    token_file: &'a str,
    forward: Option<&'a str>,
    webhook_id: Option<&'a str>,
    secret_file: Option<&'a str>,
    seed: u64,
    /// The page, and the file that has its URL with the token.
    page: Option<&'a str>,
    page_url_file: Option<&'a str>,
}

impl Sandbox {
    /// Whether Ctrl-C is the way to end the command.
    pub(crate) fn runs_until_interrupted(&self) -> bool {
        !self.until_delivered
    }

    pub(crate) async fn run(self, output: &Output) -> Result<(), Stop> {
        let plan = Plan {
            samples: samples_of(&self.emit)?,
            every: match self.every {
                Some(Duration::ZERO) => return Err(Stop::usage("--every must be at least 1s")),
                every => every,
            },
            count: self.count,
            ends: self.until_delivered,
        };
        let url = self.forward.as_deref();
        let url = url.map(|url| target(url, self.any_host)).transpose()?;
        let mut files = Files::new(self.folder.as_deref(), self.ready_file.clone())?;
        let sandbox = Arc::new(self.start().await?);
        // After the port is bound: until then the file could belong to a running sandbox.
        files.remove_old_ready()?;
        let token_file = files.write("token", sandbox.token())?;
        let forward_to = url.clone();
        let forward = match url {
            Some(url) => Some(Forward::register(&sandbox, url, &mut files).await?),
            None => None,
        };
        for fault in &self.faults {
            fault.plan(&sandbox);
        }
        let page = match self.no_page {
            true => None,
            false => Some(Page::open(&sandbox, forward_to)?),
        };
        let page_url_file = match &page {
            Some(page) if output.is_json() || self.ready_file.is_some() => {
                Some(files.write("page_url", &page.url)?)
            }
            _ => None,
        };
        let ready = Ready {
            kind: READY,
            url: sandbox.url(),
            workspace: sandbox.workspace(),
            workspace_id: sandbox.workspace_id(),
            token_file: &token_file,
            forward: forward.as_ref().map(|it| &*it.url),
            webhook_id: forward.as_ref().map(|it| it.webhook.as_str()),
            secret_file: forward.as_ref().map(|it| &*it.secret_file),
            seed: sandbox.seed(),
            page: page.as_ref().map(|page| &*page.shown),
            page_url_file: page_url_file.as_deref(),
        };
        files.write_ready(&ready)?;
        print_ready(&ready, output)?;
        if let Some(page) = page.filter(|_| !output.is_json()) {
            notice::note(&format!("page: {}", *page.url));
        }
        run_until_end(&sandbox, plan, *output).await
    }

    async fn start(&self) -> Result<StandIn, Stop> {
        let port = self.port.unwrap_or(0);
        let retries = Retries::new()
            .attempts(self.attempts)
            .first_delay(self.first_retry);
        let mut builder = StandIn::builder()
            .port(port)
            .retries(retries)
            .shapes(self.shapes.iter().copied());
        if let Some(seed) = self.seed {
            builder = builder.seed(seed);
        }
        if let Some(workspace) = &self.workspace {
            builder = builder.workspace(workspace);
        }
        if self.any_host {
            builder = builder.deliver_to_any_host();
        }
        let started = builder.start().await;
        started.map_err(|error| Stop::failed(format!("127.0.0.1:{port}: {error}")))
    }
}

/// Returns the samples of event types.
fn samples_of(types: &[String]) -> Result<Vec<Sample>, Stop> {
    if types.iter().any(|name| name == "all") {
        return Ok(samples::all().collect());
    }
    let sample = |name: &String| {
        samples::of(name).ok_or_else(|| {
            let known: Vec<_> = samples::all().map(|it| it.event_type()).collect();
            Stop::usage(format!(
                "--emit: event type {} is unknown; known are all, {}",
                text::words(name),
                known.join(", ")
            ))
        })
    };
    types.iter().map(sample).collect()
}

fn print_ready(ready: &Ready<'_>, output: &Output) -> Result<(), Stop> {
    if output.is_json() {
        return output.object(ready);
    }
    let variables = [
        ("PTOLEMY_API_URL", Some(ready.url)),
        ("PTOLEMY_API_TOKEN_FILE", Some(ready.token_file)),
        ("PTOLEMY_WORKSPACE", Some(ready.workspace)),
        ("PTOLEMY_WEBHOOK_SECRET_FILE", ready.secret_file),
    ];
    for (name, value) in variables {
        if let Some(value) = value {
            output.line(&format!("export {name}={}", quoted(value)))?;
            // With both, it would be ambiguous which one to use.
            let plain = name.strip_suffix("_FILE");
            if let Some(plain) = plain.filter(|plain| env::var_os(plain).is_some()) {
                output.line(&format!("unset {plain}"))?;
            }
        }
    }
    notice::note(&format!("seed {}; Ctrl-C ends the sandbox", ready.seed));
    Ok(())
}

/// A word of a shell, in quotes if it has anything but plain characters.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/:._-".contains(c);
    if word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Emits, moves the clock and logs, until the plan ends or a signal drops it.
async fn run_until_end(sandbox: &StandIn, plan: Plan, output: Output) -> Result<(), Stop> {
    let mut report = Report::new(sandbox, output, plan.ends);
    let mut ticks = tokio::time::interval(TICK);
    let work = drive::run(sandbox, plan);
    tokio::pin!(work);
    loop {
        tokio::select! {
            log = &mut work => return report.finish(&log),
            _ = ticks.tick() => report.print_attempts()?,
        }
    }
}
