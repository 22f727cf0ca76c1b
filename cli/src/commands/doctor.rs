//! `doctor`: what is right and what is wrong with a set-up, without changing anything.

mod access;
mod assumptions;
mod clock;
mod deliveries;
mod files;
mod finding;
mod inbox;
mod secret;
mod webhooks;

use std::path::PathBuf;

use clap::Args;

use crate::commands::doctor::access::Access;
use crate::commands::doctor::deliveries::Log;
use crate::commands::doctor::finding::Report;
use crate::commands::doctor::secret::AtHand;
use crate::output::Output;
use crate::stop::Stop;

#[derive(Args, Debug)]
#[command(after_help = "\
Checks the token, the workspace, the clock, the webhooks, their last failures, the assumptions \
about events, the secret at hand and the inbox. It reads and changes nothing: about six calls of \
the API, and one for each webhook.

A finding is ok, a warning, a problem, or unknown if it was not checked or cannot be known. Exit \
code 1 if there is a problem, and 4 if the API rejected the token.

Examples:
  ptolemy-webhooks doctor
  ptolemy-webhooks doctor --webhook production --secret-file webhook.secret
  ptolemy-webhooks doctor --json")]
pub(crate) struct Doctor {
    /// Check only this webhook: its id, label or URL
    #[arg(long, value_name = "ID|LABEL|URL")]
    webhook: Option<String>,
    /// The file that holds the secret. Without this option the secret is read from
    /// PTOLEMY_WEBHOOK_SECRET or from the file named by PTOLEMY_WEBHOOK_SECRET_FILE
    #[arg(long, value_name = "PATH")]
    secret_file: Option<PathBuf>,
}

impl Doctor {
    pub(crate) async fn run(self, output: &Output) -> Result<(), Stop> {
        let mut report = Report::new(*output);
        files::check_token_file(&mut report)?;
        let access = Access::check(&mut report).await?;
        let mut webhooks = Vec::new();
        let mut log = Log::default();
        if let Some(access) = &access {
            clock::check(&mut report).await?;
            webhooks = webhooks::check(access, self.webhook.as_deref(), &mut report).await?;
            log = deliveries::check(
                &access.client,
                &webhooks,
                self.webhook.is_some(),
                &mut report,
            )
            .await?;
            assumptions::check(&access.client, &mut report).await?;
            access::check_quota(&access.client, &mut report)?;
        }
        let secret = AtHand::find(self.secret_file, &mut report)?;
        if let Some(secret) = secret {
            let webhooks = access
                .as_ref()
                .map(|access| (&*webhooks, &*access.webhooks));
            secret.check(webhooks, &log, &mut report)?;
        }
        inbox::check(&mut report).await?;
        report.finish()
    }
}
