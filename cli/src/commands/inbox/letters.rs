//! `inbox replay` and `inbox discard`.

use clap::{ArgGroup, Args};
use ptolemy_webhooks_inbox::{DeadLetterId, Inbox, InboxError};
use serde::Serialize;

use crate::confirm::ask;
use crate::database::{not_changed, not_read};
use crate::notice::{IfInterrupted, Progress};
use crate::output::Output;
use crate::stop::Stop;

/// Which dead letters are meant.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("letters").required(true).args(["id", "all"])))]
struct Chosen {
    /// The id, as `dead list` shows it
    id: Option<DeadLetterId>,
    /// All dead letters
    #[arg(long)]
    all: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ptolemy-webhooks inbox replay 1
  ptolemy-webhooks inbox replay --all")]
pub(super) struct Replay {
    #[command(flatten)]
    chosen: Chosen,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ptolemy-webhooks inbox discard 1 --yes
  ptolemy-webhooks inbox discard --all --yes")]
pub(super) struct Discard {
    #[command(flatten)]
    chosen: Chosen,
    /// Discard without asking; required without a terminal
    #[arg(long)]
    yes: bool,
}

#[derive(Serialize)]
struct Replayed {
    replayed: u64,
}

#[derive(Serialize)]
struct Discarded {
    discarded: u64,
}

/// The error for an id that no dead letter has.
pub(super) fn no_letter(id: DeadLetterId) -> Stop {
    Stop::failed(format!(
        "no dead letter has the id {id}: `ptolemy-webhooks inbox dead list` lists them"
    ))
}

/// Waits for a change. If a signal ends it, the note says what may have happened.
pub(super) async fn changing<T>(
    doing: &'static str,
    note: &str,
    work: impl Future<Output = Result<T, InboxError>>,
) -> Result<T, Stop> {
    let interrupted = IfInterrupted::new(format!("{note}: look at `inbox stats`"));
    let changed = Progress::of(doing).during(work).await;
    interrupted.ended();
    changed.map_err(not_changed)
}

impl Replay {
    pub(super) async fn run(self, inbox: &Inbox, output: &Output) -> Result<(), Stop> {
        let letters = inbox.dead_letters();
        let replayed = match self.chosen.id {
            Some(id) => {
                let note = format!("dead letter {id} may have been replayed");
                match changing("replaying", &note, letters.replay(id)).await? {
                    true => 1,
                    false => return Err(no_letter(id)),
                }
            }
            None => {
                let note = "dead letters may have been replayed";
                changing("replaying", note, letters.replay_all()).await?
            }
        };
        if output.is_json() {
            return output.object(&Replayed { replayed });
        }
        output.line(&format!("replayed {replayed}"))
    }
}

impl Discard {
    pub(super) async fn run(self, inbox: &Inbox, output: &Output) -> Result<(), Stop> {
        let letters = inbox.dead_letters();
        if !self.yes {
            let question = match self.chosen.id {
                Some(id) => {
                    let letter = letters.get(id).await.map_err(not_read)?;
                    letter.ok_or_else(|| no_letter(id))?;
                    format!("discard dead letter {id} for good?")
                }
                None => {
                    let dead = inbox.stats().await.map_err(not_read)?.dead;
                    format!("discard all dead letters, {dead} at this moment, for good?")
                }
            };
            ask(question).await?;
        }
        let discarded = match self.chosen.id {
            Some(id) => {
                let note = format!("dead letter {id} may have been discarded");
                match changing("discarding", &note, letters.discard(id)).await? {
                    true => 1,
                    false => return Err(no_letter(id)),
                }
            }
            None => {
                let note = "dead letters may have been discarded";
                changing("discarding", note, letters.discard_all()).await?
            }
        };
        if output.is_json() {
            return output.object(&Discarded { discarded });
        }
        output.line(&format!("discarded {discarded}"))
    }
}
