//! The definition of the command line.

use clap::{Parser, Subcommand};

use crate::commands::completions::Completions;
use crate::commands::doctor::Doctor;
use crate::commands::inbox::Inbox;
use crate::commands::man::Man;
use crate::commands::sandbox::Sandbox;

/// Receive Ptolemy's webhooks: register an endpoint, check a receiver, send events, explain rejections,
/// have deliveries sent again, and look after an inbox.
#[derive(Debug, Parser)]
#[command(
    name = "ptolemy-webhooks",
    version,
    propagate_version = true,
    disable_help_subcommand = true
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
    /// Print the completions for a shell
    Completions(Completions),
    /// Check a set-up: token, clock, webhooks, failures, secret, inbox, with a fix for each finding
    Doctor(Doctor),
    /// Look after the inbox of a receiver: stats, dead letters, replay, discard, prune
    Inbox(Inbox),
    /// Print a man page, or write all of them into a folder
    Man(Man),
    /// Run a local stand-in for Ptolemy: its API, and signed deliveries to a receiver
    Sandbox(Sandbox),
}
