//! The definition of the command line.

use clap::{Parser, Subcommand};

use crate::commands::catch_up::CatchUp;
use crate::commands::check::Check;
use crate::commands::completions::Completions;
use crate::commands::deliveries::Deliveries;
use crate::commands::doctor::Doctor;
use crate::commands::events::Events;
use crate::commands::inbox::Inbox;
use crate::commands::inspect::Inspect;
use crate::commands::man::Man;
use crate::commands::redeliver::Redeliver;
use crate::commands::register::Register;
use crate::commands::rotate::Rotate;
use crate::commands::sandbox::Sandbox;
use crate::commands::send::Send;
use crate::commands::subscriptions::{ListSubscriptions, Subscribe, Unsubscribe};
use crate::commands::webhooks::Webhooks;
use crate::commands::why::Why;

/// Receive Ptolemy's webhooks: register an endpoint, check a receiver, send events, explain
/// rejections, redeliver, and look after an inbox.
#[derive(Debug, Parser)]
#[command(
    name = "ptolemy-webhooks",
    version,
    propagate_version = true,
    disable_help_subcommand = true,
    after_help = "`ptolemy-webhooks COMMAND --help` shows the options of a command, and examples."
)]
pub(crate) struct CommandLine {
    /// Print one JSON object a line instead of tables
    #[arg(long, global = true)]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Register(Register),
    /// List, show, enable, disable or delete webhooks
    Webhooks(Webhooks),
    /// Subscribe a webhook to event types
    Subscribe(Subscribe),
    /// Remove subscriptions of a webhook
    Unsubscribe(Unsubscribe),
    /// List the event types that a webhook is subscribed to
    Subscriptions(ListSubscriptions),
    Rotate(Rotate),
    Deliveries(Deliveries),
    Redeliver(Redeliver),
    CatchUp(CatchUp),
    /// List, show or count the events of the workspace
    Events(Events),
    Send(Send),
    /// Test whether a receiver does what Ptolemy documents
    Check(Check),
    Why(Why),
    Inspect(Inspect),
    /// Look after the inbox of a receiver: stats, dead letters, replay, discard, prune, migrate
    Inbox(Inbox),
    /// Run a local stand-in for Ptolemy: its API, and signed deliveries to a receiver
    Sandbox(Sandbox),
    /// Check a set-up: token, clock, webhooks, failures, secret, inbox, with a fix for each finding
    Doctor(Doctor),
    /// Print the completions for a shell
    Completions(Completions),
    /// Print a man page, or write all of them into a folder
    Man(Man),
}
