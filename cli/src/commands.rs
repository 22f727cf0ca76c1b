//! The commands, one file each.

pub(crate) mod completions;
pub(crate) mod doctor;
pub(crate) mod inbox;
pub(crate) mod man;
pub(crate) mod sandbox;

use crate::command_line::Command;
use crate::output::Output;
use crate::stop::Stop;

/// Runs a command to its end.
pub(crate) async fn run(command: Command, output: &Output) -> Result<(), Stop> {
    match command {
        Command::Completions(command) => command.run(output),
        Command::Doctor(command) => command.run(output).await,
        Command::Inbox(command) => command.run(output).await,
        Command::Man(command) => command.run(output),
        Command::Sandbox(command) => command.run(output).await,
    }
}
