//! `doctor`: checks a set-up without changing anything.

mod access;
mod assumptions;
mod clock;
mod deliveries;
mod files;
mod finding;
mod inbox;
mod secret;
mod webhooks;

use clap::Args;

use crate::api::Api;
use crate::commands::doctor::access::Access;
use crate::commands::doctor::deliveries::Log;
use crate::commands::doctor::finding::Report;
use crate::commands::doctor::secret::AtHand;
use crate::output::Output;
use crate::secret::SecretSource;
use crate::stop::Stop;
use crate::webhook_name;

#[derive(Args, Debug)]
#[command(after_help = "\
Checks the token, the workspace, the clock, the webhooks, their last failures, the assumptions about events, the local secret and the inbox. It reads and changes nothing: about six calls of \
the API, and one for each webhook.

A finding is ok, a warning, a problem, or unknown if it was not checked or cannot be known. Exit \
code 1 if there is a problem, 2 if the configuration of the API cannot work, and 4 if the API \
rejected the token.

Examples:
  ptolemy-webhooks doctor
  ptolemy-webhooks doctor --webhook production --secret-file webhook.secret
  ptolemy-webhooks doctor --json")]
pub(crate) struct Doctor {
    #[command(flatten)]
    api: Api,
    /// Check only this webhook. NAME is its id, its label or its URL; only one webhook may have it
    #[arg(long, value_name = "NAME", value_parser = webhook_name::parse)]
    webhook: Option<String>,
    #[command(flatten)]
    secret: SecretSource,
}

impl Doctor {
    pub(crate) async fn run(self, output: &Output) -> Result<(), Stop> {
        let mut report = Report::new(*output);
        files::check_token_file(&mut report)?;
        let access = Access::check(&self.api, &mut report).await?;
        let mut webhooks = None;
        let mut log = Log::default();
        if let Some(access) = &access {
            clock::check(&mut report).await?;
            webhooks = webhooks::check(access, self.webhook.as_deref(), &mut report).await?;
            if let Some(webhooks) = &webhooks {
                let named = self.webhook.as_ref().and(webhooks.first());
                let id = named.map(|webhook| &webhook.id);
                log = deliveries::check(&access.client, id, &mut report).await?;
            }
            assumptions::check(&access.client, &mut report).await?;
            access::check_quota(&access.client, &mut report)?;
        }
        if let Some(secret) = AtHand::find(&self.secret, &mut report)? {
            let webhooks = match (&access, &webhooks) {
                (Some(access), Some(webhooks)) => Ok((&**webhooks, &*access.webhooks)),
                (Some(_), None) => Err("--webhook does not name one webhook"),
                (None, _) => Err("the API is not available"),
            };
            secret.check(webhooks, &log, &mut report)?;
        }
        inbox::check(&mut report).await?;
        report.finish()
    }
}
