//! `inbox dead`: listing and showing dead letters.

use std::io::{self, IsTerminal as _};

use clap::{Args, Subcommand};
use ptolemy_webhooks_inbox::{DeadLetter, DeadLetterId, DeadLetters};
use serde::Serialize;
use time::OffsetDateTime;

use crate::commands::inbox::letters::no_letter;
use crate::commands::webhooks::or_unknown;
use crate::database::not_read;
use crate::listing;
use crate::notice::{self, Progress};
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
    /// List dead letters in the order in which they were accepted. A handler's error may quote its
    /// event
    #[command(after_help = "\
Examples:
  ptolemy-webhooks inbox dead list
  ptolemy-webhooks inbox dead list --limit 20 --json")]
    List {
        /// How many letters are listed at most
        #[arg(long, value_name = "N", default_value = "50", value_parser = listing::limit)]
        limit: usize,
    },
    /// Show one dead letter with its whole error, without its body
    #[command(after_help = "\
Examples:
  ptolemy-webhooks inbox dead show 1")]
    Show {
        /// The id, as `dead list` shows it
        id: DeadLetterId,
    },
    /// Print the body of one dead letter: exactly the bytes that were delivered. The body is not
    /// escaped, so it is not printed to a terminal
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
    const COLUMNS: &'static [&'static str] = &[
        "ID",
        "EVENT TYPE",
        "EVENT ID",
        "DIED AT",
        "ATTEMPTS",
        "ERROR",
    ];

    fn cells(&self) -> Vec<String> {
        let letter = &self.0;
        let mut error: String = letter.last_error.chars().take(MAX_ERROR_CHARS).collect();
        if error.len() < letter.last_error.len() {
            error.push('…');
        }
        vec![
            letter.id.to_string(),
            or_unknown(letter.event_type.as_deref()),
            or_unknown(letter.event_id.as_deref()),
            time(letter.died_at),
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
        "ID",
        "DEDUP KEY",
        "SOURCE",
        "EVENT TYPE",
        "EVENT ID",
        "RECEIVED AT",
        "DIED AT",
        "ATTEMPTS",
        "MALFORMED",
        "ERROR",
    ];

    fn cells(&self) -> Vec<String> {
        let letter = &self.0;
        vec![
            letter.id.to_string(),
            letter.dedup_key.clone(),
            // A webhook does not need a name, so a missing one is not unknown.
            letter.source.clone().unwrap_or_default(),
            or_unknown(letter.event_type.as_deref()),
            or_unknown(letter.event_id.as_deref()),
            time(letter.received_at),
            time(letter.died_at),
            letter.attempts.to_string(),
            if letter.malformed { "yes" } else { "no" }.to_owned(),
            letter.last_error.clone(),
        ]
    }
}

fn time(time: OffsetDateTime) -> String {
    since::whole_seconds(&since::rfc3339(time))
}

impl Dead {
    pub(super) async fn run(self, letters: &DeadLetters, output: &Output) -> Result<(), Stop> {
        match self.task {
            Task::List { limit } => list(letters, limit, output).await,
            Task::Show { id } => {
                let letter = letters.get(id).await.map_err(not_read)?;
                output.record(&Whole(letter.ok_or_else(|| no_letter(id))?))
            }
            Task::Body { id } => body(letters, id, output).await,
        }
    }
}

/// Reads one letter more than the limit, which shows whether there are more.
async fn list(letters: &DeadLetters, limit: usize, output: &Output) -> Result<(), Stop> {
    let progress = Progress::new("read dead letters:", None);
    let mut records = output.records();
    let (mut after, mut printed) = (None, 0);
    let mut has_more = false;
    while !has_more {
        let left = (limit - printed).saturating_add(1);
        let size = u32::try_from(left).unwrap_or(PAGE).min(PAGE);
        let page = letters.page(after, size).await.map_err(not_read)?;
        let Some(last) = page.last() else {
            break;
        };
        after = Some(last.id);
        progress.add(page.len() as u64);
        for letter in page {
            has_more = printed == limit;
            if !has_more {
                records.push(Line(letter))?;
                printed += 1;
            }
        }
    }
    drop(progress);
    records.finish()?;
    if has_more {
        notice::note(&format!(
            "there are more than these {printed}: pass a larger --limit"
        ));
    }
    if printed == 0 {
        notice::note("no dead letters in this inbox");
    }
    Ok(())
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
