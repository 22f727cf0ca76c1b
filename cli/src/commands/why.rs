//! `why`: says, without a network, why a request was rejected.

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};
use time::OffsetDateTime;

use crate::output::Output;
use crate::secret::{PreviousSecretSource, SecretSource};
use crate::since;
use crate::stop::Stop;
use crate::why::{Case, Clock, Effort, Saved, Secrets};

/// Say why a request was rejected, and what to do about it.
///
/// Works offline, on a request that was saved: its signature header and its body, byte for byte.
/// Tries the usual accidents, such as a line feed at the end of the body, JSON that was written
/// again, or a secret with quotation marks, one and two at a time. A cause that makes the signature
/// valid is proven; everything else is called a suspicion. Never prints the secret or the body. The
/// exit code is 0 if the request is valid, and 1 if it is rejected.
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
    /// The file with the value of the header, or with header lines, also as `curl -v` or a log in
    /// JSON has them; `-` is standard input
    #[arg(long, value_name = "PATH", requires = "body_file")]
    header_file: Option<PathBuf>,

    /// The file with the body, byte for byte, at most 16 MiB; `-` is standard input
    #[arg(long, value_name = "PATH", requires = "header_file")]
    body_file: Option<PathBuf>,

    /// The file with one whole HTTP/1.1 request, as `send --print` prints it: head, empty line,
    /// body; `-` is standard input
    #[arg(long, value_name = "PATH", conflicts_with = "body_file")]
    request: Option<PathBuf>,

    /// When the request was received: a time such as 2026-04-15T09:30:00Z, or a span before now
    /// such as 2h. Without it, the clock is checked against now, which is only a guess
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

impl Why {
    pub(crate) fn run(&self, output: &Output) -> Result<(), Stop> {
        self.check_standard_input()?;
        let saved = self.saved()?;
        let secrets = self.secrets()?;
        let clock = Clock {
            time: self.at.unwrap_or_else(OffsetDateTime::now_utc),
            is_given: self.at.is_some(),
        };
        let case = Case::new(saved, &secrets, clock, self.tolerance, Effort::shown());
        let report = case.explain()?;
        report.print(*output)?;
        match report.is_valid() {
            true => Ok(()),
            false => Err(Stop::said_failed()),
        }
    }

    fn saved(&self) -> Result<Saved, Stop> {
        match (&self.request, &self.header_file, &self.body_file) {
            (Some(request), _, _) => Saved::from_request(request),
            (None, Some(header), Some(body)) => Saved::from_files(header, body),
            // Cannot happen: the parser wants one or the other.
            _ => Err(Stop::usage(
                "pass --request, or --header-file and --body-file",
            )),
        }
    }

    fn secrets(&self) -> Result<Secrets, Stop> {
        let secret = self.secret.read_as_it_is()?;
        // An empty secret is reported before anything about the other one.
        let previous = match secret.bytes.is_empty() {
            true => None,
            false => self.previous.read_as_it_is()?,
        };
        let secrets = Secrets::new(secret, previous)?;
        match &self.secrets_folder {
            Some(folder) => secrets.with_folder(folder),
            None => Ok(secrets),
        }
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
