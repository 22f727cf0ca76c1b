//! One line for each request, on standard error or, with `--json`, on standard output.

use serde::Serialize;
use tokio::sync::mpsc;

use crate::inspect::entry::{Entry, Line};
use crate::notice;
use crate::output::Output;
use crate::stop::Stop;
use crate::text;

/// How many lines wait to be printed, each of at most some KiB. If a terminal is slower, lines are
/// left out: a request never waits.
const MAX_WAITING: usize = 1_000;

/// A longer path is cut.
const MAX_PATH_CHARS: usize = 2_048;

/// Where entries become lines that are to be printed. An entry that waited would keep its body.
pub(crate) struct Log(Option<(mpsc::Sender<String>, Output)>);

/// The printer of these entries.
pub(crate) struct Printer {
    waiting: mpsc::Receiver<String>,
    output: Output,
}

/// An entry as a line of JSON.
#[derive(Serialize)]
struct JsonLine<'a> {
    kind: &'static str,
    #[serde(flatten)]
    line: Line<'a>,
}

impl Log {
    pub(crate) fn new(output: Output) -> (Self, Printer) {
        let (sender, waiting) = mpsc::channel(MAX_WAITING);
        (Self(Some((sender, output))), Printer { waiting, output })
    }

    /// Returns a log that does nothing, for a command that logs in another way.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// Logs a request that could not be read.
    pub(crate) fn push_invalid(&self) {
        if let Some((sender, output)) = &self.0 {
            let line = match output.is_json() {
                true => text::json(&INVALID).unwrap_or_default(),
                false => INVALID.error.to_owned(),
            };
            drop(sender.try_send(line));
        }
    }

    pub(crate) fn push(&self, entry: &Entry) {
        if let Some((sender, output)) = &self.0
            && let Some(line) = finished(entry, *output)
        {
            // Full, or the command ends.
            drop(sender.try_send(line));
        }
    }
}

/// The line of a request that is in no list.
#[derive(Serialize)]
struct Invalid {
    kind: &'static str,
    error: &'static str,
}

const INVALID: Invalid = Invalid {
    kind: "invalid_request",
    error: "a request was not valid HTTP, and was not forwarded",
};

impl Printer {
    /// Prints until nobody adds entries any more. It blocks while a terminal or a pipe accepts no
    /// output, so it needs its own thread.
    pub(crate) fn run(mut self) -> Result<(), Stop> {
        while let Some(line) = self.waiting.blocking_recv() {
            if self.output.is_json() {
                self.output.line(&line)?;
            } else {
                notice::note(&line);
            }
        }
        Ok(())
    }
}

fn finished(entry: &Entry, output: Output) -> Option<String> {
    let mut line = entry.line();
    if output.is_json() {
        line.path = line.path.chars().take(MAX_PATH_CHARS).collect();
        let kind = "request";
        return text::json(&JsonLine { kind, line }).ok();
    }
    Some(text::words(&words(&line)))
}

/// The line for people: time, type, verdict, status and milliseconds.
fn words(line: &Line<'_>) -> String {
    let event_type = line.event_type.as_deref().unwrap_or("-");
    let verdict = serde_json::to_value(line.verdict).unwrap_or_default();
    let verdict = verdict.as_str().unwrap_or_default().replace('_', " ");
    let reason = match line.reason {
        Some(reason) => format!(" ({reason})"),
        None => String::new(),
    };
    let receiver = match (line.receiver.status, line.receiver.error) {
        (Some(status), _) => status.to_string(),
        (None, Some(error)) => error.to_owned(),
        (None, None) => "no answer".to_owned(),
    };
    let took = match line.receiver.ms {
        Some(ms) => format!(" in {ms} ms"),
        None => String::new(),
    };
    let broken = line.receiver.broken.map(|broken| format!("; {broken}"));
    let broken = broken.unwrap_or_default();
    format!(
        "{} {} {event_type} {verdict}{reason}: {receiver}{took}{broken}",
        line.at, line.method
    )
}
