//! `subscribe`, `unsubscribe` and `subscriptions`: the event types of a webhook.

use clap::{Args, builder::NonEmptyStringValueParser};
use ptolemy_webhooks::EventType;
use ptolemy_webhooks_client::{Client, Subscription, Subscriptions, WebhookId};
use serde::Serialize;

use super::webhooks::{Named, or_unknown};
use crate::api::Api;
use crate::listing::{self, Step};
use crate::notice;
use crate::output::{Output, Record};
use crate::stop::Stop;
use crate::text;
use crate::webhook_name::resolve;

/// The documented name of all event types.
const ALL: &str = "*";

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ptolemy-webhooks subscriptions production
  ptolemy-webhooks subscriptions production --json")]
pub(crate) struct ListSubscriptions {
    #[command(flatten)]
    api: Api,
    #[command(flatten)]
    named: Named,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ptolemy-webhooks subscribe production instrument.created instrument.updated
  ptolemy-webhooks subscribe production '*'

Other subscriptions stay as they are. '*' stands for all event types. The role Admin is needed.")]
pub(crate) struct Subscribe {
    #[command(flatten)]
    change: Change,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ptolemy-webhooks unsubscribe production instrument.updated

Other subscriptions stay as they are. The role Admin is needed.")]
pub(crate) struct Unsubscribe {
    #[command(flatten)]
    change: Change,
}

#[derive(Args, Debug)]
struct Change {
    #[command(flatten)]
    api: Api,
    #[command(flatten)]
    named: Named,
    /// Event types, such as instrument.created
    #[arg(value_name = "TYPE", required = true, value_parser = NonEmptyStringValueParser::new())]
    types: Vec<String>,
}

impl ListSubscriptions {
    pub(crate) async fn run(&self, output: &Output) -> Result<(), Stop> {
        let client = self.api.client()?;
        let webhook = resolve(&client, &self.named.name).await?;
        let list = client.webhooks().subscriptions(&webhook.id).list();
        let row = |subscription: Subscription| Step::Print(SubscriptionRow::new(&subscription));
        if listing::print(output, list, None, row).await? == 0 {
            notice::note(&format!(
                "webhook {} has no subscriptions, so no events are sent to it; \
                 `ptolemy-webhooks subscribe` adds some",
                webhook.id
            ));
        }
        Ok(())
    }
}

impl Subscribe {
    pub(crate) async fn run(&self, output: &Output) -> Result<(), Stop> {
        let change = &self.change;
        warn_of_unlisted_types(&change.types);
        let client = change.api.client()?;
        let webhook = resolve(&client, &change.named.name).await?;
        let mut present = types(&read(&client, &webhook.id).await?);
        let subscriptions = client.webhooks().subscriptions(&webhook.id);
        let mut rows = output.records();
        for event_type in &change.types {
            let is_new = !present.contains(event_type);
            if is_new {
                let doing = format!("subscription to {}", text::words(event_type));
                let added = notice::waiting(subscriptions.add(event_type)).await;
                added.map_err(|error| Stop::from(error).while_doing(&doing))?;
                present.push(event_type.clone());
            }
            let result = if is_new { "added" } else { "unchanged" };
            rows.push(ChangeRow::new(&webhook.id, event_type, result))?;
        }
        rows.finish()
    }
}

impl Unsubscribe {
    pub(crate) async fn run(&self, output: &Output) -> Result<(), Stop> {
        let change = &self.change;
        let client = change.api.client()?;
        let webhook = resolve(&client, &change.named.name).await?;
        let mut present = read(&client, &webhook.id).await?;
        let mut rows = output.records();
        for event_type in &change.types {
            let (removed, kept): (Vec<_>, Vec<_>) =
                present.into_iter().partition(|it| is_of(it, event_type));
            present = kept;
            let is_removed = !removed.is_empty();
            remove(&client, &webhook.id, &removed, &present)
                .await
                .map_err(|stop| stop.while_doing(&text::words(event_type)))?;
            let result = if is_removed { "removed" } else { "unchanged" };
            rows.push(ChangeRow::new(&webhook.id, event_type, result))?;
        }
        rows.finish()?;
        if present.iter().any(|it| is_of(it, ALL)) {
            notice::warning(&format!(
                "webhook {} is subscribed to *, so all event types are sent to it all the same",
                webhook.id
            ));
        }
        Ok(())
    }
}

/// Removes subscriptions by their ids. If the API lists a subscription without an id, all are replaced
/// by those that stay, which is the only documented call that does not need one.
async fn remove(
    client: &Client,
    webhook: &WebhookId,
    removed: &[Subscription],
    kept: &[Subscription],
) -> Result<(), Stop> {
    let subscriptions = client.webhooks().subscriptions(webhook);
    if removed.iter().any(|it| it.id.is_none()) {
        if kept.iter().any(|it| it.event_type.is_none()) {
            return Err(Stop::failed(
                "the API lists a subscription without an id and one without an event type, so that \
                 neither can be removed without a risk for the others; nothing was removed",
            ));
        }
        let kept: Subscriptions = types(kept).into_iter().collect();
        return Ok(notice::waiting(subscriptions.replace(kept)).await?);
    }
    for id in removed.iter().filter_map(|it| it.id.as_ref()) {
        notice::waiting(subscriptions.remove(id)).await?;
    }
    Ok(())
}

async fn read(client: &Client, webhook: &WebhookId) -> Result<Vec<Subscription>, Stop> {
    let mut list = client.webhooks().subscriptions(webhook).list();
    let mut subscriptions = Vec::new();
    while let Some(subscription) = notice::waiting(list.try_next()).await? {
        subscriptions.push(subscription);
    }
    Ok(subscriptions)
}

fn types(subscriptions: &[Subscription]) -> Vec<String> {
    let types = subscriptions.iter().filter_map(|it| it.event_type.as_ref());
    types.map(|it| it.as_str().to_owned()).collect()
}

fn is_of(subscription: &Subscription, event_type: &str) -> bool {
    let present = subscription.event_type.as_ref();
    present.is_some_and(|present| *present == event_type)
}

/// The list of event types is open, so one that is not listed may be right, or a slip.
pub(crate) fn warn_of_unlisted_types(types: &[String]) {
    for event_type in types {
        let listed = [EventType::DOCUMENTED, EventType::ASSUMED];
        let is_listed = listed
            .iter()
            .any(|list| list.contains(&event_type.as_str()));
        if event_type != ALL && !is_listed {
            notice::warning(&format!(
                "{} is not among the event types that Ptolemy's public documentation lists: check the spelling",
                text::words(event_type)
            ));
        }
    }
}

#[derive(Serialize)]
struct SubscriptionRow {
    id: Option<String>,
    event_type: Option<String>,
}

impl SubscriptionRow {
    fn new(subscription: &Subscription) -> Self {
        let event_type = subscription.event_type.as_ref();
        Self {
            id: subscription.id.as_ref().map(|id| id.as_str().to_owned()),
            event_type: event_type.map(|it| it.as_str().to_owned()),
        }
    }
}

impl Record for SubscriptionRow {
    const COLUMNS: &'static [&'static str] = &["EVENT TYPE", "ID"];

    fn cells(&self) -> Vec<String> {
        let fields = [&self.event_type, &self.id];
        fields.map(|field| or_unknown(field.as_deref())).into()
    }
}

#[derive(Serialize)]
struct ChangeRow {
    webhook_id: String,
    event_type: String,
    result: &'static str,
}

impl ChangeRow {
    fn new(webhook: &WebhookId, event_type: &str, result: &'static str) -> Self {
        Self {
            webhook_id: webhook.as_str().to_owned(),
            event_type: event_type.to_owned(),
            result,
        }
    }
}

impl Record for ChangeRow {
    const COLUMNS: &'static [&'static str] = &["EVENT TYPE", "RESULT", "WEBHOOK"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.event_type.clone(),
            self.result.to_owned(),
            self.webhook_id.clone(),
        ]
    }
}
