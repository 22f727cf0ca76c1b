//! The inbox of the receiver, if the environment names one.

use std::time::Duration;

use ptolemy_webhooks_inbox::Inbox;

use crate::commands::doctor::files;
use crate::commands::doctor::finding::Report;
use crate::database::{from_env, not_opened};
use crate::delivery_filter::plural;
use crate::stop::{Stop, chain};

/// The age from which due events show that no worker keeps up.
const LATE: Duration = Duration::from_secs(300);

pub(super) async fn check(report: &mut Report) -> Result<(), Stop> {
    files::check_database_file(report)?;
    let url = match from_env() {
        Ok(Some((url, _))) => url,
        Ok(None) => {
            let fix = "set DATABASE_URL if the receiver has an inbox";
            return report.unknown("inbox", "not checked: DATABASE_URL is not set", fix);
        }
        Err(stop) => return unusable(stop, report),
    };
    let inbox = match Inbox::open_existing(&url).await {
        Ok(inbox) => inbox,
        Err(error) => return unusable(not_opened(&error), report),
    };
    let stats = match inbox.stats().await {
        Ok(stats) => stats,
        Err(error) => return report.problem("inbox", &chain(&error), "check the database"),
    };
    let late = stats.oldest_due.filter(|age| *age >= LATE);
    if let Some(age) = late {
        let text = format!(
            "{} due, the first for {} s: no worker runs, or the workers are too slow",
            plural(stats.due, "event is", "events are"),
            age.as_secs()
        );
        report.problem(
            "inbox",
            &text,
            "start the receiver's worker, or more of them",
        )?;
    }
    if stats.dead > 0 {
        let text = format!(
            "{} failed permanently, {} malformed",
            plural(stats.dead, "event", "events"),
            stats.malformed
        );
        let fix = "`ptolemy-webhooks inbox dead list` shows why; fix the cause, then `inbox replay --all`";
        report.warning("inbox", &text, fix)?;
    }
    if late.is_none() && stats.dead == 0 {
        let waiting = stats.waiting();
        let text = format!(
            "events: {waiting} waiting, {} running, 0 dead",
            stats.running
        );
        report.ok("inbox", &text)?;
    }
    Ok(())
}

fn unusable(stop: Stop, report: &mut Report) -> Result<(), Stop> {
    match stop {
        Stop::Error { message, .. } => report.problem(
            "inbox",
            &message,
            "correct DATABASE_URL or DATABASE_URL_FILE, or start the receiver",
        ),
        other => Err(other),
    }
}
