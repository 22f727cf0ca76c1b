//! `webhooks`: the registered endpoints.

use clap::{Args, Subcommand};
use ptolemy_webhooks_client::{Client, Webhook, WebhookChanges};
use serde::Serialize;

use crate::api::Api;
use crate::confirm;
use crate::listing::{self, Step};
use crate::notice;
use crate::output::{Output, Record};
use crate::since;
use crate::stop::Stop;
use crate::text;
use crate::webhook_name::{self, resolve};

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ptolemy-webhooks webhooks
  ptolemy-webhooks webhooks list --json
  ptolemy-webhooks webhooks disable production")]
pub(crate) struct Webhooks {
    #[command(flatten)]
    api: Api,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List all webhooks, which is what happens without a subcommand
    #[command(after_help = "\
Examples:
  ptolemy-webhooks webhooks list
  ptolemy-webhooks webhooks list --workspace acme-capital")]
    List,
    /// Show one webhook
    #[command(after_help = "\
Examples:
  ptolemy-webhooks webhooks show production
  ptolemy-webhooks webhooks show https://your-app.example.com/webhooks/ptolemy")]
    Show(Named),
    /// Start sending events to a webhook; requires the role Admin
    #[command(after_help = "\
Examples:
  ptolemy-webhooks webhooks enable production")]
    Enable(Named),
    /// Stop sending events to a webhook, which keeps its secret and its subscriptions; requires the
    /// role Admin
    #[command(after_help = "\
Examples:
  ptolemy-webhooks webhooks disable production")]
    Disable(Named),
    /// Delete a webhook with its secret and its subscriptions; requires the role Admin
    #[command(after_help = "\
Examples:
  ptolemy-webhooks webhooks delete production --yes")]
    Delete {
        #[command(flatten)]
        named: Named,
        /// Delete without asking; required without a terminal
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Args, Debug)]
pub(crate) struct Named {
    /// The id, the label or the URL of the webhook; only one webhook may have it
    #[arg(value_name = "NAME", value_parser = webhook_name::parse)]
    pub(crate) name: String,
}

impl Webhooks {
    pub(crate) async fn run(&self, output: &Output) -> Result<(), Stop> {
        let client = self.api.client()?;
        match &self.action {
            None | Some(Action::List) => list(&client, output).await,
            Some(Action::Show(named)) => {
                let webhook = resolve(&client, &named.name).await?;
                output.record(&WebhookRow::new(&webhook))
            }
            Some(Action::Enable(named)) => set_active(&client, output, &named.name, true).await,
            Some(Action::Disable(named)) => set_active(&client, output, &named.name, false).await,
            Some(Action::Delete { named, yes }) => delete(&client, output, &named.name, *yes).await,
        }
    }
}

async fn list(client: &Client, output: &Output) -> Result<(), Stop> {
    let row = |webhook: Webhook| Step::Print(WebhookRow::new(&webhook));
    if listing::print(output, client.webhooks().list(), None, row).await? == 0 {
        notice::note("no webhooks in this workspace; `ptolemy-webhooks register` creates one");
    }
    Ok(())
}

async fn set_active(
    client: &Client,
    output: &Output,
    name: &str,
    active: bool,
) -> Result<(), Stop> {
    let mut webhook = resolve(client, name).await?;
    let state = if active { "active" } else { "inactive" };
    if webhook.active == Some(active) {
        notice::note(&format!(
            "webhook {} was {state} already: nothing changed",
            webhook.id
        ));
    } else {
        let changes = WebhookChanges::new();
        let changes = if active {
            changes.activate()
        } else {
            changes.deactivate()
        };
        let webhooks = client.webhooks();
        let change = format!("the change of webhook {} to {state}", webhook.id);
        webhook = notice::changing(&change, webhooks.update(&webhook.id, changes)).await?;
        notice::note(&format!("webhook {} is {state} now", webhook.id));
    }
    output.record(&WebhookRow::new(&webhook))
}

async fn delete(client: &Client, output: &Output, name: &str, yes: bool) -> Result<(), Stop> {
    let webhook = resolve(client, name).await?;
    if !yes {
        let question = format!(
            "delete webhook {} ({}) with its secret and its subscriptions?",
            webhook.id,
            text::words(&describe(&webhook))
        );
        confirm::ask(question).await?;
    }
    let webhooks = client.webhooks();
    let change = format!("the deletion of webhook {}", webhook.id);
    notice::changing(&change, webhooks.delete(&webhook.id)).await?;
    notice::note(&format!("webhook {} is deleted", webhook.id));
    output.record(&WebhookRow::new(&webhook))
}

fn describe(webhook: &Webhook) -> String {
    let url = webhook.url.as_deref().map(text::url);
    let texts = [webhook.label.clone(), url].into_iter().flatten();
    let texts: Vec<String> = texts.filter(|text| !text.is_empty()).collect();
    texts.join(", ")
}

/// A webhook as it is printed. Fields that the API did not send are null, and `?` in a table.
#[derive(Serialize)]
pub(crate) struct WebhookRow {
    id: String,
    label: Option<String>,
    url: Option<String>,
    active: Option<bool>,
    created_at: Option<String>,
}

impl WebhookRow {
    pub(crate) fn new(webhook: &Webhook) -> Self {
        Self {
            id: webhook.id.as_str().to_owned(),
            label: webhook.label.clone(),
            url: webhook.url.as_deref().map(text::url),
            active: webhook.active,
            created_at: webhook.created_at.map(since::rfc3339),
        }
    }
}

impl Record for WebhookRow {
    const COLUMNS: &'static [&'static str] = &["ID", "LABEL", "ACTIVE", "URL", "CREATED AT"];

    fn cells(&self) -> Vec<String> {
        let active = self.active.map(|active| if active { "yes" } else { "no" });
        vec![
            self.id.clone(),
            // A webhook does not need a label, so a missing one is not unknown.
            self.label.clone().unwrap_or_default(),
            active.unwrap_or("?").to_owned(),
            or_unknown(self.url.as_deref()),
            time_or_unknown(self.created_at.as_deref()),
        ]
    }
}

/// The cell of a time that the API may have left out.
pub(crate) fn time_or_unknown(time: Option<&str>) -> String {
    or_unknown(time.map(since::whole_seconds).as_deref())
}

/// The cell of a field that the API may have left out.
pub(crate) fn or_unknown(text: Option<&str>) -> String {
    text.unwrap_or("?").to_owned()
}
