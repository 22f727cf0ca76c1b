//! What a run prints: its attempts and, if it has an end, a summary.

use ptolemy_webhooks_sandbox::{Log, Sandbox};
use serde::Serialize;

use crate::commands::sandbox::attempts::Attempts;
use crate::delivery_filter::plural;
use crate::notice;
use crate::output::Output;
use crate::stop::Stop;

/// The output of a run. Dropped before [`finish`](Self::finish), which is what a signal does, it
/// prints the attempts and the summary so far.
pub(super) struct Report<'a> {
    sandbox: &'a Sandbox,
    attempts: Attempts,
    output: Output,
    has_summary: bool,
    is_finished: bool,
}

impl<'a> Report<'a> {
    pub(super) fn new(sandbox: &'a Sandbox, output: Output, has_summary: bool) -> Self {
        Self {
            sandbox,
            attempts: Attempts::new(output),
            output,
            has_summary,
            is_finished: false,
        }
    }

    pub(super) fn print_attempts(&mut self) -> Result<(), Stop> {
        let printed = self.attempts.print_new(self.sandbox);
        // What could not be printed is not printed at the end either.
        self.is_finished |= printed.is_err();
        printed
    }

    /// Prints the rest, and returns an error if a delivery was not made.
    pub(super) fn finish(mut self, log: &Log) -> Result<(), Stop> {
        self.print_attempts()?;
        self.is_finished = true;
        let summary = Summary::of(log);
        summary.print(self.output)?;
        match summary.failed {
            0 => Ok(()),
            _ => Err(Stop::said_failed()),
        }
    }
}

impl Drop for Report<'_> {
    fn drop(&mut self) {
        if self.is_finished || self.print_attempts().is_err() || !self.has_summary {
            return;
        }
        // The command ends with another error already.
        let _ = Summary::of(&self.sandbox.log()).print(self.output);
    }
}

/// How the deliveries of a plan ended.
#[derive(Serialize)]
struct Summary {
    kind: &'static str,
    attempts: usize,
    succeeded: usize,
    failed: usize,
    /// Neither: there are some only if the run was interrupted.
    pending: usize,
}

impl Summary {
    fn of(log: &Log) -> Self {
        Self {
            kind: "summary",
            attempts: log.attempts(),
            succeeded: log.succeeded(),
            failed: log.failed(),
            pending: log.pending(),
        }
    }

    fn print(&self, output: Output) -> Result<(), Stop> {
        if output.is_json() {
            return output.object(self);
        }
        let pending = match self.pending {
            0 => String::new(),
            pending => format!(", {pending} pending"),
        };
        notice::note(&format!(
            "{} delivered, {} failed{pending}, {}",
            self.succeeded,
            self.failed,
            plural(self.attempts as u64, "attempt", "attempts")
        ));
        Ok(())
    }
}
