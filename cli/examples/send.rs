//! `ptolemy-webhooks send`, under a short name for a clone of the repository; see `--help`.

use std::env::args_os;
use std::process::ExitCode;

fn main() -> ExitCode {
    let program = ["ptolemy-webhooks", "send"].map(Into::into);
    ptolemy_webhooks_cli::run(program.into_iter().chain(args_os().skip(1)))
}
