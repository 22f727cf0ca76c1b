//! The commands, one file each.

pub(crate) mod catch_up;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod deliveries;
pub(crate) mod doctor;
pub(crate) mod events;
pub(crate) mod inbox;
pub(crate) mod inspect;
mod kept_secret;
pub(crate) mod man;
pub(crate) mod redeliver;
pub(crate) mod register;
pub(crate) mod rotate;
pub(crate) mod sandbox;
pub(crate) mod send;
pub(crate) mod signals;
pub(crate) mod subscriptions;
pub(crate) mod webhooks;
pub(crate) mod why;

use crate::command_line::Command;
use crate::output::Output;
use crate::stop::Stop;

/// Whether Ctrl-C is the way to end a command, so that it is not an error.
pub(crate) fn runs_until_interrupted(command: &Command) -> bool {
    match command {
        Command::Inbox(command) => command.runs_until_interrupted(),
        command => is_service(command),
    }
}

/// Whether a command serves others until it is stopped: SIGTERM and SIGHUP then end it as they
/// should.
pub(crate) fn is_service(command: &Command) -> bool {
    match command {
        Command::Sandbox(command) => command.runs_until_interrupted(),
        Command::Inspect(_) => true,
        _ => false,
    }
}

/// Whether the exit code of a command is an answer. If nobody reads the output to its end, the
/// answer is not 0.
pub(crate) fn answers(command: &Command) -> bool {
    match command {
        Command::Check(command) => command.answers(),
        Command::Sandbox(command) => !command.runs_until_interrupted(),
        Command::Send(command) => command.answers(),
        Command::CatchUp(command) => command.answers(),
        Command::Redeliver(command) => command.answers(),
        Command::Why(_) | Command::Doctor(_) => true,
        // These print data, or what was done.
        Command::Register(_)
        | Command::Webhooks(_)
        | Command::Subscribe(_)
        | Command::Unsubscribe(_)
        | Command::Subscriptions(_)
        | Command::Rotate(_)
        | Command::Deliveries(_)
        | Command::Events(_)
        | Command::Inspect(_)
        | Command::Inbox(_)
        | Command::Completions(_)
        | Command::Man(_) => false,
    }
}

/// Runs a command to its end.
pub(crate) async fn run(command: Command, output: &Output) -> Result<(), Stop> {
    match command {
        Command::Register(command) => command.run(output).await,
        Command::Webhooks(command) => command.run(output).await,
        Command::Subscribe(command) => command.run(output).await,
        Command::Unsubscribe(command) => command.run(output).await,
        Command::Subscriptions(command) => command.run(output).await,
        Command::Rotate(command) => command.run(output).await,
        Command::Deliveries(command) => command.run(output).await,
        Command::Redeliver(command) => command.run(output).await,
        Command::Events(command) => command.run(output).await,
        Command::CatchUp(command) => command.run(output).await,
        Command::Check(command) => command.run(output).await,
        Command::Completions(command) => command.run(output),
        Command::Doctor(command) => command.run(output).await,
        Command::Inbox(command) => command.run(output).await,
        Command::Inspect(command) => command.run(output).await,
        Command::Man(command) => command.run(output),
        Command::Send(command) => command.run(output).await,
        Command::Why(command) => command.run(output),
        Command::Sandbox(command) => command.run(output).await,
    }
}
