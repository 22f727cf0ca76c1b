//! `inbox stats` and `inbox watch`.

use std::time::Duration;

use clap::Args;
use ptolemy_webhooks_inbox::{Inbox, Stats};
use serde::Serialize;
use time::OffsetDateTime;

use crate::database::not_read;
use crate::output::{Output, Record};
use crate::since;
use crate::stop::Stop;

/// The stats of an inbox at a time.
#[derive(Serialize)]
struct Row {
    at: String,
    #[serde(flatten)]
    stats: Stats,
}

impl Record for Row {
    const COLUMNS: &'static [&'static str] = &[
        "AT",
        "DUE",
        "RETRYING",
        "POSTPONED",
        "BLOCKED",
        "RUNNING",
        "DEAD",
        "MALFORMED",
        "OLDEST DUE",
    ];

    fn cells(&self) -> Vec<String> {
        let Stats {
            due,
            retrying,
            postponed,
            blocked,
            running,
            dead,
            malformed,
            oldest_due,
            ..
        } = self.stats;
        let counts = [due, retrying, postponed, blocked, running, dead, malformed];
        let age = oldest_due.map_or(String::new(), |age| format!("{} s", age.as_secs()));
        let mut cells = vec![since::whole_seconds(&self.at)];
        cells.extend(counts.map(|count| count.to_string()));
        cells.push(age);
        cells
    }
}

async fn read(inbox: &Inbox) -> Result<Row, Stop> {
    let stats = inbox.stats().await.map_err(not_read)?;
    let now = OffsetDateTime::now_utc();
    Ok(Row {
        at: since::rfc3339(now.replace_nanosecond(0).unwrap_or(now)),
        stats,
    })
}

pub(super) async fn print(inbox: &Inbox, output: &Output) -> Result<(), Stop> {
    output.record(&read(inbox).await?)
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ptolemy-webhooks inbox watch --count 1
  ptolemy-webhooks inbox watch --every 1s --count 2 --json")]
pub(super) struct Watch {
    /// The time between two lines: a number and s, m, h or d, at least 1s
    #[arg(long, value_name = "SPAN", default_value = "2s", value_parser = since::interval)]
    every: Duration,
    /// End after this many lines. Without it, Ctrl-C ends the command
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

impl Watch {
    /// Whether Ctrl-C is the way to end the command.
    pub(super) fn runs_until_interrupted(&self) -> bool {
        self.count.is_none()
    }

    pub(super) async fn run(self, inbox: &Inbox, output: &Output) -> Result<(), Stop> {
        let mut ticks = tokio::time::interval(self.every);
        // A database that was slow for a while is not queried several times at once.
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let widths = Row::COLUMNS.iter().map(|head| head.len().max(7));
        let widths: Vec<usize> = widths.collect();
        let mut printed = 0;
        loop {
            ticks.tick().await;
            let row = read(inbox).await?;
            if output.is_json() {
                output.object(&row)?;
            } else {
                if printed % 40 == 0 {
                    output.line(&line(Row::COLUMNS, &widths))?;
                }
                output.line(&line(&row.cells(), &widths))?;
            }
            printed += 1;
            if Some(printed) == self.count {
                return Ok(());
            }
        }
    }
}

/// Cells beside each other; the first one is a time, which always has the same width.
fn line(cells: &[impl AsRef<str>], widths: &[usize]) -> String {
    let mut line = String::new();
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let width = if column == 0 { 20 } else { *width };
        line.push_str(&format!("{:<width$}  ", cell.as_ref()));
    }
    line.trim_end().to_owned()
}
