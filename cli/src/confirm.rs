//! Questions, which only a person at a terminal is asked.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use crate::stop::Stop;

/// Asks a question that is answered by `y` or `yes`. Without a terminal there is no question: the error
/// names `--yes`.
pub(crate) fn confirm(question: &str) -> Result<(), Stop> {
    ask(
        question,
        "pass --yes to go on, or --dry-run to see the plan",
    )
}

/// Same as `confirm`, for what cannot be undone and has no plan to show.
pub(crate) fn confirm_for_good(question: &str) -> Result<(), Stop> {
    ask(question, "pass --yes to go on")
}

fn ask(question: &str, instead: &str) -> Result<(), Stop> {
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Err(Stop::usage(format!(
            "{question} There is no terminal to ask at: {instead}"
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
