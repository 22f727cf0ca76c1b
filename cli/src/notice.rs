//! Messages on standard error: errors, warnings, notes and progress.

use std::io::{self, Write as _};
use std::pin::pin;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How long work may take before its progress is shown.
const SHOWN_AFTER: Duration = Duration::from_secs(1);

/// Prints an error; the exit code follows it.
pub(crate) fn error(message: &str) {
    say("error", message);
}

/// Prints a warning; the command continues.
pub(crate) fn warning(message: &str) {
    say("warning", message);
}

/// Prints information for people, beside the data.
pub(crate) fn note(message: &str) {
    // Nothing can be printed if standard error is closed.
    let _ = writeln!(io::stderr(), "{message}");
}

fn say(kind: &str, message: &str) {
    note(&format!("{kind}: {message}"));
}

/// A note that is printed if the work is dropped before its end, as it is on a signal.
#[must_use = "the note is printed as soon as it is dropped"]
pub(crate) struct IfInterrupted(Option<String>);

impl IfInterrupted {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(Some(message.into()))
    }

    /// Records that the work has ended, successfully or not.
    pub(crate) fn ended(mut self) {
        self.0 = None;
    }
}

impl Drop for IfInterrupted {
    fn drop(&mut self) {
        if let Some(message) = &self.0 {
            note(message);
        }
    }
}

/// The progress of work, on standard error if it is a terminal and the work takes over a second.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Work with this many steps; `None` if the number is not known.
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

    /// Work without visible steps.
    pub(crate) fn of(doing: &'static str) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template("{msg}, {elapsed} so far") {
            bar.set_style(style);
        }
        bar.set_message(doing);
        Self(bar)
    }

    /// Says what is being done now, for work that was begun by [`of`](Self::of).
    pub(crate) fn now(&self, doing: String) {
        self.0.set_message(doing);
    }

    /// Counts steps that are done.
    pub(crate) fn add(&self, steps: u64) {
        if self.0.elapsed() >= SHOWN_AFTER {
            self.show();
        }
        self.0.inc(steps);
    }

    /// Waits for a part of the work, and shows the progress as soon as a second has passed.
    pub(crate) async fn during<F: Future>(&self, work: F) -> F::Output {
        let mut work = pin!(work);
        let until_shown = SHOWN_AFTER.saturating_sub(self.0.elapsed());
        // Work that is ready is seen before the time.
        if let Ok(output) = tokio::time::timeout(until_shown, &mut work).await {
            return output;
        }
        self.show();
        work.await
    }

    fn show(&self) {
        if self.0.is_hidden() {
            // indicatif draws nothing if standard error is not a terminal.
            self.0
                .set_draw_target(ProgressDrawTarget::stderr_with_hz(4));
            self.0.enable_steady_tick(Duration::from_secs(1));
        }
    }

    /// Prints a warning above the progress.
    pub(crate) fn warning(&self, message: &str) {
        self.0.suspend(|| warning(message));
    }
}

/// Waits for a call, and says so if it takes over a second: it can be repeated for minutes.
pub(crate) async fn waiting<F: Future>(call: F) -> F::Output {
    Progress::of("waiting for the API").during(call).await
}

/// Same as [`waiting`], for a call that changes something. `change` says on a signal what may have
/// been carried out, such as "the deletion of webhook W".
pub(crate) async fn changing<F: Future>(change: &str, call: F) -> F::Output {
    let interrupted = IfInterrupted::new(format!("{change} may have been carried out"));
    let output = waiting(call).await;
    interrupted.ended();
    output
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
