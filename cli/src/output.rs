//! Data on standard output: tables for people, and one JSON object a line for programs.

use std::io::{self, Write as _};

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use crate::stop::Stop;
use crate::text;

/// Prints the data of a command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
}

/// One record, as an object of JSON and as a row of a table.
///
/// The names of the JSON fields are part of the tool's interface: they never change.
pub(crate) trait Record: Serialize {
    /// The heads of the columns.
    const COLUMNS: &'static [&'static str];

    /// The cells of the row. They are escaped where they are printed.
    fn cells(&self) -> Vec<String>;
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// Prints a line of data.
    pub(crate) fn line(self, line: &str) -> Result<(), Stop> {
        let mut out = io::stdout().lock();
        let written = writeln!(out, "{line}").and_then(|()| out.flush());
        written.map_err(|error| Stop::from_output(&error))
    }

    /// Prints bytes unchanged, for data that this tool did not make.
    pub(crate) fn bytes(self, bytes: &[u8]) -> Result<(), Stop> {
        let mut out = io::stdout().lock();
        let written = out.write_all(bytes).and_then(|()| out.flush());
        written.map_err(|error| Stop::from_output(&error))
    }

    /// Prints an object of JSON on a line.
    pub(crate) fn object(self, value: &impl Serialize) -> Result<(), Stop> {
        let line = text::json(value).map_err(|error| Stop::failed(format!("not JSON: {error}")))?;
        self.line(&line)
    }

    /// Records that come one after the other.
    pub(crate) fn records<R: Record>(self) -> Records<R> {
        Records {
            output: self,
            rows: Vec::new(),
        }
    }

    /// Prints one record: an object, or its fields one below the other.
    pub(crate) fn record<R: Record>(self, record: &R) -> Result<(), Stop> {
        if self.json {
            return self.object(record);
        }
        let cells = record.cells().into_iter().map(|cell| text::words(&cell));
        let rows = R::COLUMNS.iter().map(|head| (*head).to_owned()).zip(cells);
        self.table(None, rows.map(|(head, cell)| vec![head, cell]))
    }

    fn table(
        self,
        heads: Option<&[&str]>,
        rows: impl IntoIterator<Item = Vec<String>>,
    ) -> Result<(), Stop> {
        let mut table = Table::new();
        table
            .load_style(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled);
        if let Some(heads) = heads {
            table.set_header(heads);
        }
        table.add_rows(rows);
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        let mut lines = String::new();
        for line in table.lines() {
            lines.push_str(line.trim_end());
            lines.push('\n');
        }
        self.bytes(lines.as_bytes())
    }
}

/// Records of a list: JSON is printed immediately, a table at the end.
pub(crate) struct Records<R> {
    output: Output,
    rows: Vec<R>,
}

impl<R: Record> Records<R> {
    pub(crate) fn push(&mut self, record: R) -> Result<(), Stop> {
        if self.output.json {
            return self.output.object(&record);
        }
        self.rows.push(record);
        Ok(())
    }

    /// Prints the table, or nothing without records.
    pub(crate) fn finish(self) -> Result<(), Stop> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let cells = |row: &R| row.cells().iter().map(|cell| text::words(cell)).collect();
        let rows: Vec<Vec<String>> = self.rows.iter().map(cells).collect();
        self.output.table(Some(R::COLUMNS), rows)
    }
}
