//! Why a command stops before its end, and the exit code for it.

use std::error::Error;
use std::io;
use std::iter::successors;
use std::process::ExitCode;

use ptolemy_webhooks_client::{
    ApiError, ApiErrorKind, ConfigError, Outcome, RegistrationError, RegistrationErrorKind, Role,
};

use crate::text;

/// Exit codes, as the README lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    Failed = 1,
    Usage = 2,
    OutcomeUnknown = 3,
    NotAllowed = 4,
    /// By SIGHUP.
    HungUp = 129,
    /// By Ctrl-C.
    Interrupted = 130,
    /// By SIGTERM.
    Terminated = 143,
}

/// Why a command stops.
#[derive(Debug)]
pub(crate) enum Stop {
    /// With an error message.
    Error { code: Code, message: String },
    /// After clap's own message, or its help.
    Clap(clap::Error),
    /// Everything was printed; only the exit code is left.
    Said(Code),
    /// Nobody reads the output any more.
    ClosedPipe,
}

impl Stop {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        let message = message.into();
        Self::Error { code, message }
    }

    /// Exit code 1: the command failed, or its answer is negative.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(Code::Failed, message)
    }

    /// Exit code 2: the command line or the configuration is invalid.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Code::Usage, message)
    }

    /// Exit code 3: the operation may or may not have happened.
    pub(crate) fn unknown(message: impl Into<String>) -> Self {
        Self::new(Code::OutcomeUnknown, message)
    }

    /// Exit code 1 after everything was printed.
    pub(crate) fn said_failed() -> Self {
        Self::Said(Code::Failed)
    }

    /// The exit code of a signal.
    pub(crate) fn interrupted(signal: Code) -> Self {
        let message = match signal {
            Code::Terminated => "interrupted by SIGTERM",
            Code::HungUp => "interrupted by SIGHUP",
            _ => "interrupted",
        };
        Self::new(signal, message)
    }

    pub(crate) fn from_registration(error: &RegistrationError) -> Self {
        let code = match (error.api_error(), error.kind()) {
            (Some(api), _) => api_code(api),
            (None, RegistrationErrorKind::InvalidUrl | RegistrationErrorKind::Place) => Code::Usage,
            (None, _) => Code::Failed,
        };
        Self::new(code, chain(error))
    }

    pub(crate) fn from_clap(error: clap::Error) -> Self {
        Self::Clap(error)
    }

    /// Turns the error of a write to standard output into a stop.
    pub(crate) fn from_output(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ClosedPipe,
            _ => Self::failed(format!("standard output: {error}")),
        }
    }

    /// Adds what was being done: `doing: message`.
    pub(crate) fn while_doing(self, doing: &str) -> Self {
        match self {
            Self::Error { code, message } => Self::new(code, format!("{doing}: {message}")),
            other => other,
        }
    }

    /// Appends a clause to the message, such as the next step.
    pub(crate) fn with_more(self, more: &str) -> Self {
        match self {
            Self::Error { code, message } => Self::new(code, format!("{message}{more}")),
            other => other,
        }
    }

    /// Returns the message, to show it elsewhere without stopping.
    pub(crate) fn text(self) -> String {
        match self {
            Self::Error { message, .. } => message,
            _ => String::new(),
        }
    }

    pub(crate) fn is_unknown(&self) -> bool {
        self.code() == Code::OutcomeUnknown as u8
    }

    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Error { code, .. } | Self::Said(code) => *code as u8,
            Self::Clap(error) => u8::try_from(error.exit_code()).unwrap_or(2),
            Self::ClosedPipe => 0,
        }
    }

    /// Prints the message and returns the exit code.
    pub(crate) fn report(self) -> ExitCode {
        match &self {
            Self::Error { message, .. } => crate::notice::error(message),
            // Help goes to standard output, errors to standard error.
            Self::Clap(error) => {
                if let Err(failed) = error.print()
                    && !error.use_stderr()
                {
                    return Self::from_output(&failed).report();
                }
            }
            Self::Said(_) | Self::ClosedPipe => {}
        }
        ExitCode::from(self.code())
    }
}

impl From<ConfigError> for Stop {
    fn from(error: ConfigError) -> Self {
        Self::usage(chain(&error))
    }
}

impl From<ApiError> for Stop {
    fn from(error: ApiError) -> Self {
        Self::new(api_code(&error), chain(&error))
    }
}

impl From<RegistrationError> for Stop {
    fn from(error: RegistrationError) -> Self {
        Self::from_registration(&error)
    }
}

pub(crate) fn api_code(error: &ApiError) -> Code {
    // Calls for which the role Viewer suffices are reads, so it does not matter whether they were
    // carried out.
    let is_write = error.role() > Role::Viewer;
    match (error.outcome(), error.kind()) {
        (Outcome::Unknown, _) if is_write => Code::OutcomeUnknown,
        (_, ApiErrorKind::Unauthorized | ApiErrorKind::Forbidden) => Code::NotAllowed,
        (_, ApiErrorKind::InvalidArgument) => Code::Usage,
        (_, _) => Code::Failed,
    }
}

/// An error and its causes on one line, escaped. A cause that the error before it quotes is left
/// out.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut line = String::new();
    for error in successors(Some(error), |&error| error.source()) {
        let text = text::message(&error.to_string());
        if line.is_empty() {
            line = text;
        } else if !line.ends_with(&text) {
            line = format!("{line}: {text}");
        }
    }
    line
}
