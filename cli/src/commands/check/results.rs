//! The results while probes run, and their output.

use crate::check::Outcome;
use crate::commands::check::report::{self, Result as Row};
use crate::notice::{self, Progress};
use crate::output::{Output, Records};
use crate::stop::Stop;

/// Results so far. If they are dropped before the end, as they are on a signal, they are printed:
/// some probes have found what later ones would not change.
pub(super) struct Results {
    rows: Vec<Row>,
    /// `None` after the table was printed, or could not be.
    records: Option<Records<Row>>,
    progress: Option<Progress>,
    probes: usize,
}

impl Results {
    pub(super) fn new(output: Output, probes: usize) -> Self {
        Self {
            rows: Vec::new(),
            records: Some(output.records()),
            progress: Some(Progress::new("checking: probe", u64::try_from(probes).ok())),
            probes,
        }
    }

    pub(super) fn push(&mut self, row: Row) -> Result<(), Stop> {
        self.rows.push(row.clone());
        if let Some(progress) = &self.progress {
            progress.add(1);
        }
        let Some(records) = &mut self.records else {
            return Ok(());
        };
        let pushed = records.push(row);
        if pushed.is_err() {
            // What could not be printed is not printed at the end either.
            self.records = None;
        }
        pushed
    }

    pub(super) fn has_failure(&self) -> bool {
        self.rows.iter().any(|row| row.outcome() == Outcome::Fail)
    }

    /// Prints the table and the next steps.
    pub(super) fn finish(mut self) -> Result<(), Stop> {
        self.print()
    }

    fn print(&mut self) -> Result<(), Stop> {
        // Clears its line.
        self.progress = None;
        if let Some(records) = self.records.take() {
            records.finish()?;
            report::explain(&self.rows);
        }
        Ok(())
    }
}

impl Drop for Results {
    fn drop(&mut self) {
        if self.records.is_none() || self.rows.is_empty() {
            return;
        }
        // The command ends with another error already.
        if self.print().is_ok() {
            let left = self.probes.saturating_sub(self.rows.len());
            notice::note(&format!("{left} more probes did not run"));
        }
    }
}
