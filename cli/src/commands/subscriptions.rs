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

Other subscriptions stay as they are. '*' stands for all event types. Requires the role Admin.")]
pub(crate) struct Subscribe {
    #[command(flatten)]
    change: Change,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ptolemy-webhooks unsubscribe production instrument.updated

Other subscriptions stay as they are. Requires the role Admin.")]
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
        let present = types(&read(&client, &webhook.id).await?);
        let mut changes = Changes::new(&webhook.id, &change.types);
        let ended = add(&client, &mut changes, present).await;
        changes.finish(output, ended)
    }
}

async fn add(
    client: &Client,
    changes: &mut Changes<'_>,
    mut present: Vec<String>,
) -> Result<(), Stop> {
    let subscriptions = client.webhooks().subscriptions(changes.webhook);
    for event_type in changes.types {
        if present.contains(event_type) {
            changes.done("unchanged");
            continue;
        }
        changes.is_calling = true;
        let added = notice::waiting(subscriptions.add(event_type)).await;
        changes.is_calling = false;
        added.map_err(|error| changes.failed(error.into()))?;
        present.push(event_type.clone());
        changes.done("added");
    }
    Ok(())
}

impl Unsubscribe {
    pub(crate) async fn run(&self, output: &Output) -> Result<(), Stop> {
        let change = &self.change;
        let client = change.api.client()?;
        let webhook = resolve(&client, &change.named.name).await?;
        let mut present = read(&client, &webhook.id).await?;
        let mut changes = Changes::new(&webhook.id, &change.types);
        let ended = take_away(&client, &mut changes, &mut present).await;
        let is_done = ended.is_ok();
        changes.finish(output, ended)?;
        if is_done && present.iter().any(|it| is_of(it, ALL)) {
            notice::warning(&format!(
                "webhook {} is subscribed to *, so all event types are still sent to it",
                webhook.id
            ));
        }
        Ok(())
    }
}

async fn take_away(
    client: &Client,
    changes: &mut Changes<'_>,
    present: &mut Vec<Subscription>,
) -> Result<(), Stop> {
    for event_type in changes.types {
        let (removed, kept): (Vec<_>, Vec<_>) = present
            .drain(..)
            .partition(|subscription| is_of(subscription, event_type));
        *present = kept;
        if removed.is_empty() {
            changes.done("unchanged");
            continue;
        }
        changes.is_calling = true;
        let ended = remove(client, changes.webhook, &removed, present).await;
        changes.is_calling = false;
        ended.map_err(|stop| changes.failed(stop))?;
        changes.done("removed");
    }
    Ok(())
}

/// The changes of a run, one event type after the other. They are printed when all are done: a
/// reader that closes its pipe does not stop them halfway. Dropped before [`finish`](Self::finish),
/// which is what a signal does, it says what was done.
struct Changes<'a> {
    webhook: &'a WebhookId,
    types: &'a [String],
    /// The results for the types, in their order.
    outcomes: Vec<&'static str>,
    /// Whether the type after those was sent, and no answer came yet.
    is_calling: bool,
    is_finished: bool,
}

impl<'a> Changes<'a> {
    fn new(webhook: &'a WebhookId, types: &'a [String]) -> Self {
        Self {
            webhook,
            types,
            outcomes: Vec::with_capacity(types.len()),
            is_calling: false,
            is_finished: false,
        }
    }

    fn done(&mut self, outcome: &'static str) {
        self.outcomes.push(outcome);
    }

    fn rows(&self) -> impl Iterator<Item = ChangeRow> {
        let outcomes = self.types.iter().zip(&self.outcomes);
        outcomes.map(|(event_type, outcome)| ChangeRow::new(self.webhook, event_type, outcome))
    }

    /// Adds to an error which type it is about, and which were not tried.
    fn failed(&self, stop: Stop) -> Stop {
        let mut rest = self.types.iter().skip(self.outcomes.len());
        let failed = rest.next().map(String::as_str).unwrap_or_default();
        let stop = stop.while_doing(&format!("subscription to {}", text::words(failed)));
        match listed(rest) {
            Some(rest) => stop.with_more(&format!("; not tried: {rest}")),
            None => stop,
        }
    }

    fn finish(mut self, output: &Output, ended: Result<(), Stop>) -> Result<(), Stop> {
        self.is_finished = true;
        let mut rows = output.records();
        let printed = self.rows().try_for_each(|row| rows.push(row));
        let printed = printed.and_then(|()| rows.finish());
        ended.and(printed)
    }
}

impl Drop for Changes<'_> {
    fn drop(&mut self) {
        if self.is_finished {
            return;
        }
        for row in self.rows() {
            let event_type = text::words(&row.event_type);
            notice::note(&format!("subscription to {event_type}: {}", row.outcome));
        }
        let mut rest = self.types.iter().skip(self.outcomes.len());
        if self.is_calling
            && let Some(event_type) = rest.next()
        {
            notice::note(&format!(
                "webhook {}: the change of the subscription to {} may have been carried out",
                self.webhook,
                text::words(event_type)
            ));
        }
        if let Some(rest) = listed(rest) {
            notice::note(&format!("not tried: {rest}"));
        }
    }
}

/// Event types, separated by commas; `None` if there are none.
fn listed<'a>(types: impl Iterator<Item = &'a String>) -> Option<String> {
    let types: Vec<String> = types.map(|it| text::words(it)).collect();
    (!types.is_empty()).then(|| types.join(", "))
}

/// Removes subscriptions by their ids. If the API lists a subscription without an id, all are
/// replaced by the remaining ones, which is the only documented call that does not need an id.
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
                 neither can be removed without risk to the others; nothing was removed",
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
    let list = client.webhooks().subscriptions(webhook).list();
    let mut list = list.max_pages(listing::MAX_PAGES);
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

/// The list of event types is open, so an unlisted one may be valid or a typo.
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
    outcome: &'static str,
}

impl ChangeRow {
    fn new(webhook: &WebhookId, event_type: &str, outcome: &'static str) -> Self {
        Self {
            webhook_id: webhook.as_str().to_owned(),
            event_type: event_type.to_owned(),
            outcome,
        }
    }
}

impl Record for ChangeRow {
    const COLUMNS: &'static [&'static str] = &["EVENT TYPE", "OUTCOME", "WEBHOOK"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.event_type.clone(),
            self.outcome.to_owned(),
            self.webhook_id.clone(),
        ]
    }
}
