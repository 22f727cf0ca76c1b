//! `inbox dead`: listing and showing dead letters.

use std::io::{self, IsTerminal as _};

use clap::{Args, Subcommand};
use ptolemy_webhooks_inbox::{DeadLetter, DeadLetterId, DeadLetters};
use serde::Serialize;

use crate::commands::inbox::letters::no_letter;
use crate::database::not_read;
use crate::notice::Progress;
use crate::output::{Output, Record};
use crate::since;
use crate::stop::Stop;

/// How many letters are read at a time.
const PAGE: u32 = 500;

/// How much of an error a table shows.
const MAX_ERROR_CHARS: usize = 80;

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ptolemy-webhooks inbox dead list
  ptolemy-webhooks inbox dead show 1")]
pub(super) struct Dead {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// List dead letters in the order in which they were accepted. A handler's error may quote its event
    #[command(after_help = "\
Examples:
  ptolemy-webhooks inbox dead list
  ptolemy-webhooks inbox dead list --limit 20 --json")]
    List {
        /// List this many letters at most
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        limit: Option<u64>,
    },
    /// Show one dead letter with its whole error, without its body
    #[command(after_help = "\
Examples:
  ptolemy-webhooks inbox dead show 1")]
    Show {
        /// The id, as `dead list` shows it
        id: DeadLetterId,
    },
    /// Print the body of one dead letter: exactly the bytes that were delivered. The body is not escaped,
    /// so it is not printed to a terminal
    #[command(after_help = "\
Examples:
  ptolemy-webhooks inbox dead body 1")]
    Body {
        /// The id, as `dead list` shows it
        id: DeadLetterId,
    },
}

/// A dead letter as a line of the list.
#[derive(Serialize)]
#[serde(transparent)]
struct Line(DeadLetter);

impl Record for Line {
    const COLUMNS: &'static [&'static str] =
        &["id", "event type", "event id", "died", "attempts", "error"];

    fn cells(&self) -> Vec<String> {
        let letter = &self.0;
        let mut error: String = letter.last_error.chars().take(MAX_ERROR_CHARS).collect();
        if error.len() < letter.last_error.len() {
            error.push('…');
        }
        vec![
            letter.id.to_string(),
            or_dash(&letter.event_type),
            or_dash(&letter.event_id),
            since::rfc3339(letter.died_at),
            letter.attempts.to_string(),
            error,
        ]
    }
}

/// A dead letter with all that is known of it.
#[derive(Serialize)]
#[serde(transparent)]
struct Whole(DeadLetter);

impl Record for Whole {
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "dedup key",
        "source",
        "event type",
        "event id",
        "received",
        "died",
        "attempts",
        "malformed",
        "error",
    ];

    fn cells(&self) -> Vec<String> {
        let letter = &self.0;
        vec![
            letter.id.to_string(),
            letter.dedup_key.clone(),
            or_dash(&letter.source),
            or_dash(&letter.event_type),
            or_dash(&letter.event_id),
            since::rfc3339(letter.received_at),
            since::rfc3339(letter.died_at),
            letter.attempts.to_string(),
            if letter.malformed { "yes" } else { "no" }.to_owned(),
            letter.last_error.clone(),
        ]
    }
}

fn or_dash(text: &Option<String>) -> String {
    text.clone().unwrap_or_else(|| "-".to_owned())
}

impl Dead {
    pub(super) async fn run(self, letters: &DeadLetters, output: &Output) -> Result<(), Stop> {
        match self.task {
            Task::List { limit } => list(letters, limit.unwrap_or(u64::MAX), output).await,
            Task::Show { id } => {
                let letter = letters.get(id).await.map_err(not_read)?;
                output.record(&Whole(letter.ok_or_else(|| no_letter(id))?))
            }
            Task::Body { id } => body(letters, id, output).await,
        }
    }
}

async fn list(letters: &DeadLetters, limit: u64, output: &Output) -> Result<(), Stop> {
    let progress = Progress::new("read dead letters:", None);
    let mut records = output.records();
    let (mut after, mut left) = (None, limit);
    while left > 0 {
        let size = u32::try_from(left).unwrap_or(PAGE).min(PAGE);
        let page = letters.page(after, size).await.map_err(not_read)?;
        let Some(last) = page.last() else {
            break;
        };
        after = Some(last.id);
        let count = u64::try_from(page.len()).unwrap_or(left);
        left = left.saturating_sub(count);
        progress.add(count);
        for letter in page {
            records.push(Line(letter))?;
        }
    }
    drop(progress);
    records.finish()
}

async fn body(letters: &DeadLetters, id: DeadLetterId, output: &Output) -> Result<(), Stop> {
    if output.is_json() {
        return Err(Stop::usage(
            "a body is printed as it was delivered: leave --json out",
        ));
    }
    if io::stdout().is_terminal() {
        return Err(Stop::usage(
            "a body can change a terminal: send it to a file or to a program such as `less`",
        ));
    }
    let body = letters.body(id).await.map_err(not_read)?;
    output.bytes(&body.ok_or_else(|| no_letter(id))?)
}
