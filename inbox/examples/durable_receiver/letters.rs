//! What is not done, and what became of it: for people.

use std::io;
use std::str::FromStr;

use ptolemy_webhooks_inbox::{DeadLetter, DeadLetterId, Inbox, InboxError};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::output::{print, word};
use crate::{Fault, chain, failed};

/// How many dead letters are read at a time.
const PAGE: u32 = 500;

const MAX_TEXT_CHARS: usize = 200;

#[derive(Clone, Debug)]
pub(crate) enum Task {
    Stats,
    Dead,
    Replay(Letters),
    Discard(Letters),
}

/// Dead letters on the command line: an id, or `all`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Letters {
    One(DeadLetterId),
    All,
}

impl FromStr for Letters {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "all" => Ok(Self::All),
            id => id
                .parse()
                .map(Self::One)
                .map_err(|_| "neither an id nor `all`"),
        }
    }
}

pub(crate) async fn run(inbox: &Inbox, task: &Task) -> Result<(), Fault> {
    match *task {
        Task::Stats => stats(inbox).await,
        Task::Dead => dead(inbox).await,
        Task::Replay(Letters::All) => {
            count("replayed", inbox.dead_letters().replay_all().await).await
        }
        Task::Replay(Letters::One(id)) => {
            one("replayed", id, inbox.dead_letters().replay(id).await).await
        }
        Task::Discard(Letters::All) => {
            count("discarded", inbox.dead_letters().discard_all().await).await
        }
        Task::Discard(Letters::One(id)) => {
            one("discarded", id, inbox.dead_letters().discard(id).await).await
        }
    }
}

async fn stats(inbox: &Inbox) -> Result<(), Fault> {
    let stats = inbox.stats().await.map_err(database)?;
    let oldest = match stats.oldest_due {
        Some(age) => format!("{} s", age.as_secs()),
        None => "-".to_owned(),
    };
    let text = format!(
        "due {}\nretrying {}\npostponed {}\nblocked {}\nrunning {}\ndead {}\nmalformed {}\noldest due {oldest}",
        stats.due,
        stats.retrying,
        stats.postponed,
        stats.blocked,
        stats.running,
        stats.dead,
        stats.malformed
    );
    print(text).await.map_err(output)
}

async fn dead(inbox: &Inbox) -> Result<(), Fault> {
    let mut after = None;
    loop {
        let letters = inbox
            .dead_letters()
            .page(after, PAGE)
            .await
            .map_err(database)?;
        let Some(last) = letters.last() else {
            return Ok(());
        };
        after = Some(last.id);
        let lines: Vec<_> = letters.iter().map(line).collect();
        print(lines.join("\n")).await.map_err(output)?;
    }
}

fn line(letter: &DeadLetter) -> String {
    let name = |name: &Option<String>| word(name.as_deref().unwrap_or("-")).to_string();
    [
        letter.id.to_string(),
        name(&letter.event_type),
        name(&letter.event_id),
        moment(letter.received_at),
        moment(letter.died_at),
        letter.attempts.to_string(),
        text(&letter.last_error),
    ]
    .join("\t")
}

/// The beginning of a text of several words: spaces stay, since fields are separated by tabs.
fn text(text: &str) -> String {
    let beginning: String = text.chars().take(MAX_TEXT_CHARS).collect();
    let words = beginning.split(' ').map(|part| word(part).to_string());
    words.collect::<Vec<_>>().join(" ")
}

fn moment(time: OffsetDateTime) -> String {
    time.format(&Rfc3339).unwrap_or_else(|_| "-".to_owned())
}

async fn count(done: &str, result: Result<u64, InboxError>) -> Result<(), Fault> {
    let letters = result.map_err(database)?;
    print(format!("{done} {letters}")).await.map_err(output)
}

async fn one(done: &str, id: DeadLetterId, result: Result<bool, InboxError>) -> Result<(), Fault> {
    if result.map_err(database)? {
        print(format!("{done} 1")).await.map_err(output)
    } else {
        Err(failed(format_args!("no dead letter has the id {id}")))
    }
}

fn database(error: InboxError) -> Fault {
    failed(chain(&error))
}

fn output(error: io::Error) -> Fault {
    failed(format_args!("standard output: {error}"))
}
