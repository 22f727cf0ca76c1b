//! Words on standard error: errors, warnings, notes and progress.

use std::io::{self, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How long work may take before its progress is shown.
const SHOWN_AFTER: Duration = Duration::from_secs(1);

/// Prints an error; the exit code follows it.
pub(crate) fn error(message: &str) {
    say("error", message);
}

/// Prints a warning: the command goes on.
pub(crate) fn warning(message: &str) {
    say("warning", message);
}

/// Prints what a person wants to know beside the data.
pub(crate) fn note(message: &str) {
    // Nothing can be said if standard error is closed.
    let _ = writeln!(io::stderr(), "{message}");
}

fn say(kind: &str, message: &str) {
    note(&format!("{kind}: {message}"));
}

/// The progress of work, on standard error if it is a terminal and the work takes over a second.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Work of so many steps; `None` if that is not known.
    pub(crate) fn new(doing: &'static str, steps: Option<u64>) -> Self {
        let bar = ProgressBar::with_draw_target(steps, ProgressDrawTarget::hidden());
        let template = match steps {
            Some(_) => "{msg} {pos} of {len}",
            None => "{msg} {pos}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(doing);
        Self(bar)
    }

    /// Counts steps that are done.
    pub(crate) fn add(&self, steps: u64) {
        // indicatif draws nothing if standard error is not a terminal.
        if self.0.is_hidden() && self.0.elapsed() >= SHOWN_AFTER {
            self.0
                .set_draw_target(ProgressDrawTarget::stderr_with_hz(4));
        }
        self.0.inc(steps);
    }

    /// Waits for work whose steps are not known, and shows for how long.
    pub(crate) async fn of<F: Future>(doing: &'static str, work: F) -> F::Output {
        let waiting = async {
            tokio::time::sleep(SHOWN_AFTER).await;
            let progress = Self::new(doing, None);
            if let Ok(style) = ProgressStyle::with_template("{msg} {elapsed}") {
                progress.0.set_style(style);
            }
            progress
                .0
                .set_draw_target(ProgressDrawTarget::stderr_with_hz(4));
            loop {
                progress.0.tick();
                tokio::time::sleep(SHOWN_AFTER).await;
            }
        };
        tokio::select! {
            ended = work => ended,
            () = waiting => std::future::pending().await,
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
