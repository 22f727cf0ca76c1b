//! The binary `ptolemy-webhooks`; `ptolemy-webhooks --help` says what it does.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    ptolemy_webhooks_cli::run(std::env::args_os())
}
