//! `rotate`: a new secret for a webhook.

use std::path::PathBuf;

use clap::Args;
use ptolemy_webhooks_client::WebhookId;
use serde::Serialize;

use super::kept_secret::{self, previous_path, shown};
use super::webhooks::Named;
use crate::api::Api;
use crate::notice::{self, IfInterrupted, Progress};
use crate::output::{Output, Record};
use crate::stop::Stop;
use crate::webhook_name::resolve;

/// Issue a new secret for a webhook, and store it
///
/// The new secret replaces the one in the file, which is kept in PATH.previous. Whether Ptolemy
/// signs with the old secret for a while is not documented, so a receiver must accept both. After a
/// lost answer or a killed process, run it again. Requires the role Admin, which a robot's token
/// cannot have.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ptolemy-webhooks rotate production --secret-file webhook.secret")]
pub(crate) struct Rotate {
    #[command(flatten)]
    api: Api,
    #[command(flatten)]
    named: Named,
    /// The file of the secret, the same as for `register`. A new file has mode 0600
    #[arg(long, value_name = "PATH")]
    secret_file: PathBuf,
    /// Print the new secret, alone on standard output
    #[arg(long)]
    print_secret: bool,
}

impl Rotate {
    pub(crate) async fn run(&self, output: &Output) -> Result<(), Stop> {
        kept_secret::check_print(self.print_secret, output)?;
        kept_secret::check(&self.secret_file)?;
        let client = self.api.client()?;
        let webhook = resolve(&client, &self.named.name).await?;
        let rotation = client.webhooks().rotate_secret(&webhook.id);
        let interrupted = IfInterrupted::new(
            "the secret may have been rotated without being stored: run the same command again",
        );
        let progress = Progress::of("rotating");
        let rotation = rotation.secret_file(&self.secret_file).into_future();
        let rotated = progress.during(rotation).await;
        drop(progress);
        interrupted.ended();
        rotated.map_err(|error| {
            let file = shown(&self.secret_file);
            let again = format!(
                "`ptolemy-webhooks rotate {} --secret-file {file}`",
                webhook.id
            );
            let print_to = self.print_secret.then_some(output);
            kept_secret::failed(error, &self.secret_file, print_to, &again)
        })?;
        self.report(&webhook.id);
        if self.print_secret {
            return kept_secret::print(&self.secret_file, output);
        }
        output.record(&Rotated {
            webhook_id: webhook.id.as_str().to_owned(),
            secret_file: self.secret_file.display().to_string(),
            previous_secret_file: previous_path(&self.secret_file).display().to_string(),
        })
    }

    fn report(&self, webhook: &WebhookId) {
        let previous = previous_path(&self.secret_file);
        let shown_previous = shown(&previous);
        notice::note(&format!(
            "webhook {webhook} has a new secret. Make every receiver accept both until none has only the old one: start it with PTOLEMY_WEBHOOK_SECRET_FILE={} and PTOLEMY_WEBHOOK_SECRET_PREVIOUS_FILE={shown_previous}, or \
             with the secrets themselves in PTOLEMY_WEBHOOK_SECRET and PTOLEMY_WEBHOOK_SECRET_PREVIOUS. \
             Ptolemy does not document whether the old secret still signs deliveries",
            shown(&self.secret_file),
        ));
        if std::fs::metadata(&previous).is_ok_and(|previous| previous.len() == 0) {
            notice::note(&format!(
                "{shown_previous} is empty, because the old secret was not in the file: the receivers have it already, or it is lost",
            ));
        }
    }
}

#[derive(Serialize)]
struct Rotated {
    webhook_id: String,
    secret_file: String,
    previous_secret_file: String,
}

impl Record for Rotated {
    const COLUMNS: &'static [&'static str] = &["WEBHOOK", "SECRET FILE", "PREVIOUS SECRET FILE"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.webhook_id.clone(),
            self.secret_file.clone(),
            self.previous_secret_file.clone(),
        ]
    }
}
