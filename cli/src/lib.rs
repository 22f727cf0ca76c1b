//! The command line tool `ptolemy-webhooks`, as a library for its own binary and examples.
//!
//! The tool is documented in its [README](https://docs.rs/crate/ptolemy-webhooks-cli/latest) and by
//! `ptolemy-webhooks --help`. This library has one function, which runs a command line.

#![forbid(unsafe_code)]

mod api;
mod check;
mod command_line;
mod commands;
mod confirm;
mod database;
mod delivery_filter;
mod inspect;
mod listing;
mod mac;
mod marked_id;
mod notice;
mod output;
mod private_file;
mod receiver_url;
mod screen;
mod secret;
mod secret_mode;
mod since;
mod stop;
mod text;
mod webhook_name;
mod why;

use std::ffi::OsString;
use std::process::{self, ExitCode};
use std::thread;
use std::time::Duration;

use clap::Parser;
use tokio::sync::oneshot;

use crate::command_line::{Command, CommandLine};
use crate::commands::signals::Signals;
use crate::output::Output;
use crate::stop::{Code, Stop};

/// How long the write of a file may take after a signal.
const LAST_WRITE: Duration = Duration::from_secs(1);

/// How long a command may take to end after a signal: more than the end of its tasks and its last
/// write.
const LAST_MOMENT: Duration = Duration::from_secs(3);

/// Runs a command line, whose first argument is the name of the program, and returns its exit code.
///
/// Prints data to standard output and everything else to standard error.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    match screen::reject_secrets(&arguments).and_then(|()| parse_and_run(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(stop) => stop.report(),
    }
}

fn parse_and_run(arguments: &[OsString]) -> Result<(), Stop> {
    let line = CommandLine::try_parse_from(arguments).map_err(Stop::from_clap)?;
    let output = Output::new(line.json);
    let end = EndBySignal::of(&line.command);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Stop::failed(format!("could not start: {error}")))?;
    let answers = commands::answers(&line.command);
    let leaves_lease = matches!(line.command, Command::CatchUp(_));
    let ended = runtime.block_on(async {
        // Before the command begins, which may create files.
        let signals = Signals::listen(end.is_service)?;
        let (sender, signal) = oneshot::channel();
        let listening = tokio::spawn(async move {
            let code = signals.received().await;
            end.force(code);
            // The command may have ended.
            let _ = sender.send(code);
        });
        let ended = tokio::select! {
            // A command that ends in the same moment has ended.
            biased;
            ended = commands::run(line.command, &output) => ended,
            // The sender is dropped only after it has sent.
            Ok(code) = signal => end.result(code),
        };
        listening.abort();
        ended
    });
    if leaves_lease {
        runtime.block_on(end_of_tasks());
    }
    // A thread that reads from the terminal is not waited for; one that writes a file is.
    runtime.shutdown_timeout(LAST_WRITE);
    match ended {
        Err(Stop::ClosedPipe) if answers => Err(Stop::said_failed()),
        ended => ended,
    }
}

/// How a command ends by a signal.
#[derive(Clone, Copy)]
struct EndBySignal {
    runs_until_interrupted: bool,
    is_service: bool,
}

impl EndBySignal {
    fn of(command: &Command) -> Self {
        Self {
            runs_until_interrupted: commands::runs_until_interrupted(command),
            is_service: commands::is_service(command),
        }
    }

    fn result(self, signal: Code) -> Result<(), Stop> {
        match signal {
            Code::Terminated | Code::HungUp if self.is_service => Ok(()),
            signal if self.runs_until_interrupted => Err(Stop::Said(signal)),
            signal => Err(Stop::interrupted(signal)),
        }
    }

    /// Ends the process if the command does not end in time: it sees no signal while it reads from
    /// a terminal or writes to a pipe that nobody reads.
    fn force(self, signal: Code) {
        let code = self.result(signal).map_or_else(|stop| stop.code(), |()| 0);
        thread::spawn(move || {
            thread::sleep(LAST_MOMENT);
            process::exit(code.into());
        });
    }
}

/// Waits until the tasks of a command that was dropped have ended. One of them releases the lease
/// of a catch-up, which would keep the next one waiting for a minute.
async fn end_of_tasks() {
    let metrics = tokio::runtime::Handle::current().metrics();
    let all_ended = async {
        while metrics.num_alive_tasks() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    // If they have not ended by then, the lease ends by itself.
    let _ = tokio::time::timeout(LAST_WRITE, all_ended).await;
}
