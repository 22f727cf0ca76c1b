//! Checks whether the configured secret is the right one, as far as that can be determined.
//!
//! The API shows a secret once, so it cannot be asked. There are two hints: the note that the
//! client's registration keeps beside a secret file, which names the webhook; and a delivery that
//! the receiver accepted, or rejected with 401, after the file was written.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use ptolemy_webhooks_client::Webhook;
use serde::Deserialize;
use time::OffsetDateTime;

use crate::commands::doctor::deliveries::{Log, is_success};
use crate::commands::doctor::finding::Report;
use crate::commands::doctor::{files, webhooks};
use crate::secret::{Place, SecretSource};
use crate::since;
use crate::stop::Stop;

/// More than a note, and an end for `/dev/zero`.
const MAX_NOTE_BYTES: u64 = 64 * 1024;

const UNREADABLE: &str = "correct the path, or the text of the file or the variable: it is the whole secret as Ptolemy \
                          showed it, and nothing else";

const OTHER: &str = "pass the file of this webhook's secret; if it is lost, `ptolemy-webhooks rotate WEBHOOK \
                     --secret-file PATH` issues a new one";

/// The webhooks that were checked, and all of the workspace.
type Webhooks<'a> = (&'a [Webhook], &'a [Webhook]);

/// The place of a readable secret. Its text is not kept, since nothing here depends on it.
pub(super) struct AtHand(Place);

/// The note that the client's registration keeps beside a secret file.
#[derive(Default, Deserialize)]
struct Note {
    webhook: Option<String>,
    creating: Option<String>,
    rotating: Option<String>,
}

impl AtHand {
    /// Reads the secret; `None` if there is none, or if it is not valid.
    pub(super) fn find(source: &SecretSource, report: &mut Report) -> Result<Option<Self>, Stop> {
        let place = match source.place() {
            Ok(Some(place)) => place,
            Ok(None) => {
                let text = "not checked: PTOLEMY_WEBHOOK_SECRET and PTOLEMY_WEBHOOK_SECRET_FILE are not set";
                let fix = "pass --secret-file, or set one of them as the receiver has it";
                report.unknown("secret", text, fix)?;
                return Ok(None);
            }
            Err(stop) => return problem(stop, "unset one of them", report),
        };
        if let Some(path) = place.path() {
            files::check("secret_file", path, report)?;
        }
        match place.read().and_then(|given| given.checked()) {
            Ok(_) => {
                let text = "the secret can be read and has the documented form";
                report.ok("secret", text)?;
                Ok(Some(Self(place)))
            }
            Err(stop) => problem(stop, UNREADABLE, report),
        }
    }

    /// Checks whose secret it is. Without webhooks nothing can be compared, for a reason.
    pub(super) fn check(
        &self,
        webhooks: Result<Webhooks<'_>, &'static str>,
        log: &Log,
        report: &mut Report,
    ) -> Result<(), Stop> {
        let cannot = "the API does not return the secret of a webhook";
        let Some(path) = self.0.path() else {
            let text =
                format!("{cannot}, and only a file has a note beside it that names the webhook");
            let fix =
                "keep the secret in a file that `ptolemy-webhooks register --secret-file` writes";
            return report.unknown("right_secret", &text, fix);
        };
        let webhooks = match webhooks {
            Ok(webhooks) => webhooks,
            Err(reason) => {
                let text = format!("not checked: {reason}");
                return report.unknown("right_secret", &text, "solve this problem first");
            }
        };
        match note(path) {
            Ok(Some(note)) => check_note(&note, webhooks, report)?,
            Ok(None) => {
                let text = format!("{cannot}, and no note beside the file names its webhook");
                let fix = "`ptolemy-webhooks register --secret-file` keeps such a note";
                report.unknown("right_secret", &text, fix)?;
            }
            Err(fault) => {
                let fix = "remove the note if the secret beside it is right";
                report.warning(
                    "right_secret",
                    &format!("the note beside the file {fault}"),
                    fix,
                )?;
            }
        }
        check_log(path, webhooks.0, log, report)
    }
}

/// Reports why a secret is missing.
fn problem(stop: Stop, fix: &str, report: &mut Report) -> Result<Option<AtHand>, Stop> {
    match stop {
        Stop::Error { message, .. } => report.problem("secret", &message, fix).map(|()| None),
        other => Err(other),
    }
}

/// Reads the note beside a secret file; `None` if there is none.
fn note(path: &Path) -> Result<Option<Note>, String> {
    let mut name = path.as_os_str().to_owned();
    name.push(".state");
    let mut text = String::new();
    match File::open(name) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("cannot be read: {error}")),
        Ok(file) => file
            .take(MAX_NOTE_BYTES)
            .read_to_string(&mut text)
            .map_err(|error| format!("cannot be read: {error}"))?,
    };
    let note = serde_json::from_str(&text);
    note.map(Some)
        .map_err(|_| "is not a note of the client's".to_owned())
}

fn check_note(note: &Note, (checked, all): Webhooks<'_>, report: &mut Report) -> Result<(), Stop> {
    if note.rotating.is_some() || note.creating.is_some() {
        let text =
            "a registration or a rotation was not finished: the secret in the file may be old";
        let fix = "run the same `register` or `rotate` again: it continues";
        return report.warning("right_secret", text, fix);
    }
    let id = note.webhook.as_deref().unwrap_or_default();
    let is_it = |webhook: &&Webhook| webhook.id.as_str() == id;
    if let Some(webhook) = checked.iter().find(is_it) {
        let text = format!(
            "the note beside the file says that it is the secret of {}; a rotation by others since then \
             would not show",
            webhooks::name(webhook)
        );
        return report.ok("right_secret", &text);
    }
    match all.iter().find(is_it) {
        Some(webhook) => {
            let text = format!(
                "the note beside the file says that it is the secret of another webhook, {}",
                webhooks::name(webhook)
            );
            report.problem("right_secret", &text, OTHER)
        }
        None => {
            let text = "the note beside the file names a webhook that the workspace does not have";
            let fix = "check the workspace and the path: the webhook may have been deleted";
            report.problem("right_secret", text, fix)
        }
    }
}

/// Compares the time of the file with the last deliveries, which is a hint if there is one webhook.
fn check_log(path: &Path, checked: &[Webhook], log: &Log, report: &mut Report) -> Result<(), Stop> {
    let changed = fs::metadata(path).and_then(|it| it.modified());
    let ([webhook], Ok(changed)) = (checked, changed) else {
        return Ok(());
    };
    let changed = OffsetDateTime::from(changed);
    let later = |time: Option<OffsetDateTime>| time.filter(|time| *time > changed);
    let accepted = later(log.latest(&webhook.id, is_success));
    let rejected = later(log.latest(&webhook.id, |it| it.response_status == Some(401)));
    let hint = "a hint only, because the receiver may have another secret than this file";
    match (accepted, rejected) {
        (None, None) => Ok(()),
        (accepted, Some(rejected)) if accepted.is_none_or(|it| it < rejected) => {
            let text = format!(
                "the receiver answered 401 at {}, after the file was changed: its secret may be wrong ({hint})",
                since::whole_seconds(&since::rfc3339(rejected))
            );
            let fix = "restart the receiver with this file, if it has the secret of this webhook";
            report.warning("secret_in_use", &text, fix)
        }
        (accepted, _) => {
            let at = accepted.map(since::rfc3339).unwrap_or_default();
            let at = since::whole_seconds(&at);
            let text = format!(
                "a delivery was accepted at {at}, after the file was changed, which suggests that the \
                 secret is right ({hint})"
            );
            report.ok("secret_in_use", &text)
        }
    }
}
