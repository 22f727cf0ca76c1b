//! Questions to a person at a terminal.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use crate::stop::Stop;

/// Asks a question; `y` or `yes` confirms. Without a terminal it does not ask, and returns an error
/// that names `--yes`.
pub(crate) fn confirm(question: &str) -> Result<(), Stop> {
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Err(Stop::usage(format!(
            "{question} There is no terminal to ask on: pass --yes to continue"
        )));
    }
    let mut answer = String::new();
    let mut error = io::stderr();
    // Without a terminal for the question, no answer is taken.
    let asked = write!(error, "{question} [y/N] ").and_then(|()| error.flush());
    asked
        .and_then(|()| io::stdin().lock().read_line(&mut answer))
        .map_err(|error| Stop::failed(format!("could not ask: {error}")))?;
    if matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    Err(Stop::failed("not confirmed: nothing was done"))
}

/// Same as [`confirm`], for a command that has made calls: a signal ends it at the question too.
pub(crate) async fn ask(question: String) -> Result<(), Stop> {
    match tokio::task::spawn_blocking(move || confirm(&question)).await {
        Ok(answer) => answer,
        Err(error) => Err(Stop::failed(format!("could not ask: {error}"))),
    }
}
