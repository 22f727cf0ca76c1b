//! `rotate`: a new secret for a webhook.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::webhooks::Named;
use crate::api::Api;
use crate::notice::{self, IfInterrupted, Progress};
use crate::output::{Output, Record};
use crate::secret_mode;
use crate::stop::Stop;
use crate::text;
use crate::webhook_name::resolve;

/// Have a new secret issued for a webhook, and store it
///
/// The new secret replaces the one in the file, which is kept in PATH.previous. Whether Ptolemy signs with
/// the old secret for a while is not documented, so a receiver has to accept both. After a lost answer or a
/// killed process, run it again. The role Admin is needed, which a robot's token cannot have.
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
}

impl Rotate {
    pub(crate) async fn run(&self, output: &Output) -> Result<(), Stop> {
        check_secret_files(&self.secret_file)?;
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
        rotated.map_err(|error| Stop::from_registration(&error))?;
        let previous = previous_path(&self.secret_file);
        let rotated = Rotated {
            id: webhook.id.as_str().to_owned(),
            secret_file: self.secret_file.display().to_string(),
            previous_secret_file: previous.display().to_string(),
        };
        notice::note(&format!(
            "webhook {} has a new secret. Have every receiver accept both until none has the old one alone: \
             start it with PTOLEMY_WEBHOOK_SECRET_FILE={} and PTOLEMY_WEBHOOK_SECRET_PREVIOUS_FILE={}, or \
             with the secrets themselves in PTOLEMY_WEBHOOK_SECRET and PTOLEMY_WEBHOOK_SECRET_PREVIOUS. \
             Ptolemy does not document whether the old secret still signs deliveries",
            webhook.id,
            text::words(&rotated.secret_file),
            text::words(&rotated.previous_secret_file),
        ));
        if std::fs::metadata(&previous).is_ok_and(|previous| previous.len() == 0) {
            notice::note(&format!(
                "{} is empty, because the old secret was not in the file: receivers have it already, or \
                 nobody does",
                text::words(&rotated.previous_secret_file)
            ));
        }
        output.record(&rotated)
    }
}

/// Returns an error if a secret would be written into a file that others can read.
pub(crate) fn check_secret_files(path: &Path) -> Result<(), Stop> {
    secret_mode::check_before_writing(path)?;
    secret_mode::check_before_writing(&previous_path(path))
}

/// The file beside the secret that has the one before it.
pub(crate) fn previous_path(path: &Path) -> PathBuf {
    let mut previous = OsString::from(path);
    previous.push(".previous");
    previous.into()
}

#[derive(Serialize)]
struct Rotated {
    id: String,
    secret_file: String,
    previous_secret_file: String,
}

impl Record for Rotated {
    const COLUMNS: &'static [&'static str] = &["ID", "SECRET FILE", "PREVIOUS SECRET FILE"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            self.secret_file.clone(),
            self.previous_secret_file.clone(),
        ]
    }
}
