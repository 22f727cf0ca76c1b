//! `inbox`: manages an inbox, beside the service that uses it.

mod dead;
mod letters;
mod stats;

use std::time::Duration;

use clap::{Args, Subcommand};
use ptolemy_webhooks_inbox::Inbox as Opened;
use serde::Serialize;

use crate::commands::inbox::dead::Dead;
use crate::commands::inbox::letters::{Discard, Replay, changing};
use crate::commands::inbox::stats::Watch;
use crate::confirm::ask;
use crate::database::Database;
use crate::notice;
use crate::output::Output;
use crate::since;
use crate::stop::Stop;

/// How long rows of done events should be kept, according to the inbox's documentation.
const SAFE_AGE: Duration = Duration::from_secs(30 * 86_400);

#[derive(Args, Debug)]
#[command(after_help = "\
For receivers that use ptolemy-webhooks-inbox, on SQLite or PostgreSQL, also while they run. Only \
`migrate` creates an inbox or migrates its tables, and only `prune` removes rows.

Examples:
  ptolemy-webhooks inbox stats --database sqlite://inbox.db
  ptolemy-webhooks inbox dead list
  ptolemy-webhooks inbox replay --all")]
pub(crate) struct Inbox {
    #[command(flatten)]
    database: Database,
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Print how many events are not done, by state, and for how long the oldest one has been due
    #[command(after_help = "\
Examples:
  ptolemy-webhooks inbox stats
  ptolemy-webhooks inbox stats --json")]
    Stats,
    /// Print the stats again and again, one line each, until Ctrl-C
    Watch(Watch),
    /// List and show dead letters: events that failed permanently
    Dead(Dead),
    /// Return dead letters to the queue
    Replay(Replay),
    /// Discard dead letters: they count as done, and `prune` removes them
    Discard(Discard),
    /// Remove the rows of events that are done
    Prune(Prune),
    /// Create the tables of an inbox, or migrate them to the version of this tool. Handles no
    /// event. A receiver does the same when it starts, if its role may
    #[command(after_help = "\
Examples:
  ptolemy-webhooks inbox migrate")]
    Migrate,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ptolemy-webhooks inbox prune --older-than 90d --yes")]
struct Prune {
    /// How long ago an event must have been done: a number and s, m, h or d. A delivery that is
    /// repeated after its row was removed is handled again, so keep at least 30d
    #[arg(long, value_name = "SPAN", value_parser = since::span)]
    older_than: Duration,
    /// Prune without asking; required without a terminal
    #[arg(long)]
    yes: bool,
}

/// How many rows a change affected.
#[derive(Serialize)]
struct Pruned {
    pruned: u64,
}

impl Inbox {
    /// Whether Ctrl-C is the way to end the command.
    pub(crate) fn runs_until_interrupted(&self) -> bool {
        matches!(&self.task, Task::Watch(watch) if watch.runs_until_interrupted())
    }

    pub(crate) async fn run(self, output: &Output) -> Result<(), Stop> {
        let open = self.database.open();
        match self.task {
            Task::Stats => stats::print(&open.await?, output).await,
            Task::Watch(task) => task.run(&open.await?, output).await,
            Task::Dead(task) => task.run(&open.await?.dead_letters(), output).await,
            Task::Replay(task) => task.run(&open.await?, output).await,
            Task::Discard(task) => task.run(&open.await?, output).await,
            Task::Prune(task) => task.run(&open.await?, output).await,
            Task::Migrate => migrate(&self.database, output).await,
        }
    }
}

/// The output of `migrate`.
#[derive(Serialize)]
struct Migrated {
    migrated: bool,
}

async fn migrate(database: &Database, output: &Output) -> Result<(), Stop> {
    let before = database.open().await;
    // Even if the tables are missing or older; any other fault will recur.
    drop(database.migrate().await?);
    let migrated = before.is_err();
    if output.is_json() {
        return output.object(&Migrated { migrated });
    }
    output.line(match migrated {
        true => "the inbox's tables are at the version of this tool now",
        false => "the inbox's tables already have the version of this tool",
    })
}

impl Prune {
    async fn run(self, inbox: &Opened, output: &Output) -> Result<(), Stop> {
        let days = self.older_than.as_secs() / 86_400;
        if self.older_than < SAFE_AGE {
            notice::warning(
                "a delivery that Ptolemy repeats after its row is gone is handled again; how long it \
                 repeats is not documented: keep at least 30d",
            );
        }
        if !self.yes {
            ask(format!(
                "remove the rows of events that were done more than {} ago for good?",
                match days {
                    0 => format!("{} s", self.older_than.as_secs()),
                    days => format!("{days} days"),
                }
            ))
            .await?;
        }
        let work = inbox.prune(self.older_than);
        let pruned = changing("pruning", "rows may have been removed", work).await?;
        if output.is_json() {
            return output.object(&Pruned { pruned });
        }
        output.line(&format!("pruned {pruned}"))
    }
}
