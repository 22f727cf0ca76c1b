//! `why`: says, without a network, why a request was rejected.

mod body;
mod cause;
mod form;
mod guide;
mod header;
mod input;
mod json;
mod keys;
mod report;
mod search;
mod suspicions;
mod text_codes;
mod verdict;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgGroup, Args};
use ptolemy_webhooks::{Secret, Verifier};
use time::OffsetDateTime;

use crate::commands::why::header::Reading;
use crate::commands::why::input::Saved;
use crate::commands::why::keys::Key;
use crate::commands::why::report::Report;
use crate::commands::why::search::{Search, Searched};
use crate::commands::why::verdict::{Clock, EventReport, Verdict};
use crate::output::Output;
use crate::secret::{GivenSecret, PreviousSecretSource, SecretSource};
use crate::since;
use crate::stop::{Stop, chain};

/// Say why a request was rejected, and what to do about it.
///
/// Works offline, on a request that was saved: its signature header and its body, byte for byte. Tries
/// the usual accidents, such as a line feed at the end of the body, JSON that was written again, or a
/// secret with quotation marks, one and two at a time. A cause that makes the signature valid is proven;
/// everything else is called a suspicion. Never prints the secret or the body. The exit code is 0 if the
/// request is valid, and 1 if it is rejected.
#[derive(Args, Debug)]
#[command(
    group = ArgGroup::new("input").args(["header_file", "request"]).required(true),
    after_help = "\
Examples:
  ptolemy-webhooks why --header-file header.txt --body-file body.json --at 2026-04-15T09:00:00Z
  ptolemy-webhooks why --request request.txt --at 2026-04-15T09:00:00Z --secrets-folder secrets
  ptolemy-webhooks send --print | ptolemy-webhooks why --request -"
)]
pub(crate) struct Why {
    /// The file with the value of the header, or with header lines, also as `curl -v` or a log in JSON has
    /// them; `-` is standard input
    #[arg(long, value_name = "PATH", requires = "body_file")]
    header_file: Option<PathBuf>,

    /// The file with the body, byte for byte, at most 16 MiB; `-` is standard input
    #[arg(long, value_name = "PATH", requires = "header_file")]
    body_file: Option<PathBuf>,

    /// The file with one whole HTTP/1.1 request, as `send --print` prints it: head, empty line, body;
    /// `-` is standard input
    #[arg(long, value_name = "PATH", conflicts_with = "body_file")]
    request: Option<PathBuf>,

    /// When the request was received: a time such as 2026-04-15T09:30:00Z, or a span before now such as
    /// 2h. Without it, the clock is checked against now, which is only a guess
    #[arg(long, value_name = "TIME", value_parser = since::point)]
    at: Option<OffsetDateTime>,

    /// How far `t` may lie from that time, in seconds. Ptolemy documents 300
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    tolerance: u64,

    /// Try the secret in each file of this folder too
    #[arg(long, value_name = "PATH")]
    secrets_folder: Option<PathBuf>,

    #[command(flatten)]
    secret: SecretSource,

    #[command(flatten)]
    previous: PreviousSecretSource,
}

/// The request, the secrets and the time.
struct Case {
    saved: Saved,
    secret: GivenSecret,
    previous: Option<GivenSecret>,
    keys: Vec<Key>,
    /// How many files of the folder are not secrets.
    unreadable: usize,
    readings: Vec<Reading>,
    clock: Clock,
    tolerance_s: u64,
    signed_at: Option<OffsetDateTime>,
}

impl Why {
    pub(crate) fn run(&self, output: &Output) -> Result<(), Stop> {
        let case = self.case()?;
        let verifier = case.verifier()?;
        let verdict = verdict::verdict(&verifier, &case.saved, case.clock, case.signed_at);
        let mut report = case.report(&verdict);
        match &verdict.result {
            Ok(_) => suspicions::of_valid(&case, &mut report),
            Err(rejection) => cause::explain(&case, rejection, &verdict, &mut report),
        }
        report.print(*output)?;
        match verdict.result {
            Ok(_) => Ok(()),
            Err(_) => Err(Stop::said_failed()),
        }
    }

    fn case(&self) -> Result<Case, Stop> {
        self.check_standard_input()?;
        let saved = match (&self.request, &self.header_file, &self.body_file) {
            (Some(request), _, _) => Saved::from_request(request)?,
            (None, Some(header), Some(body)) => Saved::from_files(header, body)?,
            // Cannot happen: the parser wants one or the other.
            _ => {
                return Err(Stop::usage(
                    "pass --request, or --header-file and --body-file",
                ));
            }
        };
        let secret = self.secret.read_as_it_is()?;
        if secret.bytes.is_empty() {
            return Err(Stop::usage(format!("{}: secret is empty", secret.place)));
        }
        let previous = self.previous.read_as_it_is()?;
        let previous = previous.filter(|previous| !previous.bytes.is_empty());
        let mut keys = keys::accepted(&secret, "the secret");
        if let Some(previous) = &previous {
            keys.extend(keys::accepted(previous, "the previous secret"));
        }
        let folder = self.secrets_folder.as_deref().map(keys::in_folder);
        let (others, unreadable) = folder.transpose()?.unwrap_or_default();
        keys.extend(others);
        let readings = header::readings(&saved.signatures);
        Ok(Case {
            signed_at: readings.first().and_then(|reading| signed_at(&reading.t)),
            clock: Clock {
                time: self.at.unwrap_or_else(OffsetDateTime::now_utc),
                is_given: self.at.is_some(),
            },
            tolerance_s: self.tolerance,
            saved,
            secret,
            previous,
            keys,
            unreadable,
            readings,
        })
    }

    fn check_standard_input(&self) -> Result<(), Stop> {
        let files = [&self.request, &self.header_file, &self.body_file];
        let files = files.into_iter().flatten();
        let from_input = files
            .filter(|path| path.as_path() == Path::new("-"))
            .count();
        match from_input + usize::from(self.secret.is_standard_input()) {
            0 | 1 => Ok(()),
            _ => Err(Stop::usage("only one file can be standard input")),
        }
    }
}

/// The time of a `t` that counts seconds.
fn signed_at(t: &[u8]) -> Option<OffsetDateTime> {
    let seconds: i64 = str::from_utf8(t).ok()?.parse().ok()?;
    OffsetDateTime::from_unix_timestamp(seconds).ok()
}

impl Case {
    /// A receiver that accepts the secrets as they are, right or wrong.
    fn verifier(&self) -> Result<Verifier, Stop> {
        let secret = |given: &GivenSecret| {
            Secret::from_bytes(given.bytes.to_vec())
                .map_err(|error| Stop::usage(format!("{}: {}", given.place, chain(&error))))
        };
        let mut verifier = Verifier::new(secret(&self.secret)?)
            .with_tolerance(Duration::from_secs(self.tolerance_s));
        if let Some(previous) = &self.previous {
            verifier = verifier.with_previous(secret(previous)?);
        }
        Ok(verifier)
    }

    fn report(&self, verdict: &Verdict) -> Report {
        let rejection = verdict.result.as_ref().err();
        let delivery = verdict.result.as_ref().ok();
        let secret = delivery.map(|delivery| match delivery.secret_index() {
            0 => "the secret",
            _ => "the previous secret",
        });
        Report {
            verdict: if rejection.is_some() {
                "rejected"
            } else {
                "valid"
            },
            code: rejection.map(|it| it.reason().as_str()),
            reason: rejection.map(ToString::to_string),
            cause: None,
            fix: None,
            proven: false,
            suspicions: Vec::new(),
            signed_with: secret.map(str::to_owned),
            signed_at: self.signed_at.map(since::rfc3339),
            received_at: since::rfc3339(self.clock.time),
            clock: if self.clock.is_given { "given" } else { "now" },
            age_s: self.age_s(),
            event: delivery.map(EventReport::new),
        }
    }

    /// How old the request is, in seconds.
    fn age_s(&self) -> Option<i64> {
        self.signed_at
            // Both are cut to whole seconds, as the library does.
            .map(|it| self.clock.time.unix_timestamp() - it.unix_timestamp())
    }

    fn search(&self) -> Searched {
        let bodies = body::signed_bodies(&self.saved.body, &self.saved.extra);
        let search = Search {
            readings: &self.readings,
            keys: &self.keys,
            forms: &form::forms(),
            bodies: &bodies,
        };
        search.run()
    }
}
