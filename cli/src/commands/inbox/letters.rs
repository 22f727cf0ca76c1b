//! `inbox replay` and `inbox discard`.

use clap::Args;
use ptolemy_webhooks_inbox::{DeadLetterId, Inbox};
use serde::Serialize;

use crate::confirm::ask;
use crate::database::{not_changed, not_read};
use crate::notice::Progress;
use crate::output::Output;
use crate::stop::Stop;

/// Which dead letters are meant.
#[derive(Args, Debug)]
struct Chosen {
    /// The id, as `dead list` shows it
    #[arg(required_unless_present = "all", conflicts_with = "all")]
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
    /// Do not ask
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

impl Replay {
    pub(super) async fn run(self, inbox: &Inbox, output: &Output) -> Result<(), Stop> {
        let letters = inbox.dead_letters();
        let replayed = match self.chosen.id {
            Some(id) => match letters.replay(id).await.map_err(not_changed)? {
                true => 1,
                false => return Err(no_letter(id)),
            },
            None => {
                let work = letters.replay_all();
                Progress::of("replaying")
                    .during(work)
                    .await
                    .map_err(not_changed)?
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
                    format!("Discard dead letter {id} for good?")
                }
                None => {
                    let dead = inbox.stats().await.map_err(not_read)?.dead;
                    format!("Discard all dead letters, {dead} at this moment, for good?")
                }
            };
            ask(question).await?;
        }
        let discarded = match self.chosen.id {
            Some(id) => match letters.discard(id).await.map_err(not_changed)? {
                true => 1,
                false => return Err(no_letter(id)),
            },
            None => {
                let work = letters.discard_all();
                Progress::of("discarding")
                    .during(work)
                    .await
                    .map_err(not_changed)?
            }
        };
        if output.is_json() {
            return output.object(&Discarded { discarded });
        }
        output.line(&format!("discarded {discarded}"))
    }
}
