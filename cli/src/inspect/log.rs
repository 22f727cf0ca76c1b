//! One line for each request, on standard error or, with `--json`, on standard output.

use serde::Serialize;
use tokio::sync::mpsc;

use crate::inspect::entry::{Entry, Line};
use crate::notice;
use crate::output::Output;
use crate::stop::Stop;
use crate::text;

/// How many entries wait to be printed. If a terminal is slower, lines are left out: a request
/// never waits.
const MAX_WAITING: usize = 10_000;

/// Where entries go that are to be printed.
pub(crate) struct Log(Option<mpsc::Sender<Entry>>);

/// What prints them.
pub(crate) struct Printer {
    waiting: mpsc::Receiver<Entry>,
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
        (Self(Some(sender)), Printer { waiting, output })
    }

    /// For a command that logs in another way.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    pub(crate) fn push(&self, entry: &Entry) {
        if let Some(sender) = &self.0 {
            // Full, or the command ends.
            drop(sender.try_send(entry.clone()));
        }
    }
}

impl Printer {
    /// Prints until nobody adds entries any more. It blocks while a terminal or a pipe takes
    /// nothing, so it needs its own thread.
    pub(crate) fn run(mut self) -> Result<(), Stop> {
        while let Some(entry) = self.waiting.blocking_recv() {
            let line = entry.line();
            if self.output.is_json() {
                self.output.object(&JsonLine {
                    kind: "request",
                    line,
                })?;
            } else {
                notice::note(&text::words(&words(&line)));
            }
        }
        Ok(())
    }
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
    format!(
        "{} {} {event_type} {verdict}{reason}: {receiver}{took}",
        line.at, line.method
    )
}
