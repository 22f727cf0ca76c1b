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
use std::future::poll_fn;
use std::pin::pin;
use std::process::ExitCode;
use std::task::Poll;
use std::time::Duration;

use clap::Parser;

use crate::command_line::{Command, CommandLine};
use crate::output::Output;
use crate::stop::{Code, Stop};

/// How long the write of a file may take after Ctrl-C.
const LAST_WRITE: Duration = Duration::from_secs(1);

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
    let ends_by_interrupt = commands::runs_until_interrupted(&line.command);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Stop::failed(format!("could not start: {error}")))?;
    let leaves_lease = matches!(line.command, Command::CatchUp(_));
    let interrupted = |interrupt: std::io::Result<()>| match interrupt {
        Ok(()) if ends_by_interrupt => Err(Stop::Said(Code::Interrupted)),
        Ok(()) => Err(Stop::interrupted()),
        Err(error) => Err(Stop::failed(format!("could not listen to Ctrl-C: {error}"))),
    };
    let ended = runtime.block_on(async {
        let mut interrupt = pin!(tokio::signal::ctrl_c());
        // It listens from its first poll on. Without this, that would be the first wait of the
        // command, which may have created files by then.
        if let Poll::Ready(interrupt) = poll_fn(|cx| Poll::Ready(interrupt.as_mut().poll(cx))).await
        {
            return interrupted(interrupt);
        }
        tokio::select! {
            // A command that ends in the same moment has ended.
            biased;
            ended = commands::run(line.command, &output) => ended,
            interrupt = interrupt => interrupted(interrupt),
        }
    });
    if leaves_lease {
        runtime.block_on(end_of_tasks());
    }
    // A thread that reads from the terminal is not waited for; one that writes a file is.
    runtime.shutdown_timeout(LAST_WRITE);
    ended
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
