//! Standard error, written by a thread of its own.
//!
//! Anyone can have requests refused. If a handler wrote a line for each and waited for it, whoever
//! reads standard error too slowly, or no more, would hold up the receiver.

use std::io::{self, Write};
use std::sync::LazyLock;
use std::time::Duration;

use super::background::Background;

const CAPACITY: usize = 1024;

const PATIENCE: Duration = Duration::from_secs(1);

static LOG: LazyLock<Background<String>> =
    LazyLock::new(|| Background::start(CAPACITY, |line| writeln!(io::stderr(), "{line}"), drop));

/// Writes a line some time soon; drops it if too many are waiting.
pub(crate) fn line(line: impl ToString) {
    let _ = LOG.offer(line.to_string());
}

/// Writes what is waiting, unless that takes too long. Later lines are dropped.
pub(crate) fn finish() {
    LOG.finish(PATIENCE);
}
