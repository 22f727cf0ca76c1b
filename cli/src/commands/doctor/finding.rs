//! Findings, printed as they are made.

use serde::Serialize;

use crate::output::Output;
use crate::stop::{Code, Stop};
use crate::text;

/// The result of a check. The names of the checks are words with `_` between them, as programs read
/// them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Level {
    Ok,
    Warning,
    Problem,
    /// It was not checked, or cannot be known.
    Unknown,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
            Self::Unknown => "unknown",
        }
    }
}

#[derive(Serialize)]
struct Finding<'a> {
    check: &'static str,
    outcome: Level,
    text: &'a str,
    fix: Option<&'a str>,
}

/// The findings so far.
pub(super) struct Report {
    output: Output,
    problems: usize,
    is_rejected: bool,
    is_misconfigured: bool,
}

impl Report {
    pub(super) fn new(output: Output) -> Self {
        Self {
            output,
            problems: 0,
            is_rejected: false,
            is_misconfigured: false,
        }
    }

    pub(super) fn ok(&mut self, check: &'static str, text: &str) -> Result<(), Stop> {
        self.add(check, Level::Ok, text, None)
    }

    pub(super) fn warning(
        &mut self,
        check: &'static str,
        text: &str,
        fix: &str,
    ) -> Result<(), Stop> {
        self.add(check, Level::Warning, text, Some(fix))
    }

    pub(super) fn problem(
        &mut self,
        check: &'static str,
        text: &str,
        fix: &str,
    ) -> Result<(), Stop> {
        self.problems += 1;
        self.add(check, Level::Problem, text, Some(fix))
    }

    pub(super) fn unknown(
        &mut self,
        check: &'static str,
        text: &str,
        fix: &str,
    ) -> Result<(), Stop> {
        self.add(check, Level::Unknown, text, Some(fix))
    }

    /// Notes that the API does not let the token in, which has its own exit code.
    pub(super) fn reject(&mut self) {
        self.is_rejected = true;
    }

    /// Notes that the configuration cannot work, which has its own exit code.
    pub(super) fn misconfigured(&mut self) {
        self.is_misconfigured = true;
    }

    fn add(
        &mut self,
        check: &'static str,
        outcome: Level,
        text: &str,
        fix: Option<&str>,
    ) -> Result<(), Stop> {
        let finding = Finding {
            check,
            outcome,
            text,
            fix,
        };
        if self.output.is_json() {
            return self.output.object(&finding);
        }
        let name = outcome.name();
        let check = check.replace('_', " ");
        self.output
            .line(&text::words(&format!("{name:<8}  {check}: {text}")))?;
        match fix {
            Some(fix) => self
                .output
                .line(&text::words(&format!("          fix: {fix}"))),
            None => Ok(()),
        }
    }

    pub(super) fn finish(self) -> Result<(), Stop> {
        if self.is_rejected {
            return Err(Stop::Said(Code::NotAllowed));
        }
        if self.is_misconfigured {
            return Err(Stop::Said(Code::Usage));
        }
        match self.problems {
            0 => Ok(()),
            _ => Err(Stop::said_failed()),
        }
    }
}
