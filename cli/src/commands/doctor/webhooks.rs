//! Checks whether the webhooks receive events at all.

use std::collections::BTreeMap;

use ptolemy_webhooks_client::Webhook;
use reqwest::Url;

use crate::commands::doctor::access::Access;
use crate::commands::doctor::finding::Report;
use crate::delivery_filter::plural;
use crate::listing::MAX_PAGES;
use crate::stop::{Stop, chain};
use crate::webhook_name::choose;

/// For how many webhooks the subscriptions are read: each one costs a call.
const MAX_SUBSCRIPTION_CALLS: usize = 25;

/// Checks the webhook that is named, or all, and returns those that were checked; `None` if no
/// webhook, or more than one, has the name.
pub(super) async fn check(
    access: &Access,
    name: Option<&str>,
    report: &mut Report,
) -> Result<Option<Vec<Webhook>>, Stop> {
    let fix =
        "`ptolemy-webhooks register` registers one, `ptolemy-webhooks webhooks list` lists them";
    let chosen = match name.map(|name| choose(&access.webhooks, name)) {
        None => access.webhooks.clone(),
        Some(Ok(webhook)) => vec![webhook],
        Some(Err(Stop::Error { message, .. })) => {
            report.problem("webhooks", &message, fix)?;
            return Ok(None);
        }
        Some(Err(stop)) => return Err(stop),
    };
    if chosen.is_empty() {
        report.warning("webhooks", "the workspace has no webhook", fix)?;
    }
    for (number, webhook) in chosen.iter().enumerate() {
        check_state(webhook, report)?;
        if number < MAX_SUBSCRIPTION_CALLS {
            check_subscriptions(access, webhook, report).await?;
        }
    }
    if chosen.len() > MAX_SUBSCRIPTION_CALLS {
        let text = format!("only those of the first {MAX_SUBSCRIPTION_CALLS} webhooks were read");
        report.unknown(
            "subscriptions",
            &text,
            "pass --webhook to check one webhook",
        )?;
    }
    check_urls(&access.webhooks, &chosen, report)?;
    Ok(Some(chosen))
}

/// A webhook in a text: its label, if it has one, and its id.
pub(super) fn name(webhook: &Webhook) -> String {
    match webhook.label.as_deref().filter(|label| !label.is_empty()) {
        Some(label) => format!("{label} ({})", webhook.id),
        None => webhook.id.to_string(),
    }
}

fn check_state(webhook: &Webhook, report: &mut Report) -> Result<(), Stop> {
    let name = name(webhook);
    let fix = format!("ptolemy-webhooks webhooks enable {}", webhook.id);
    match webhook.active {
        Some(true) => report.ok("active", &format!("{name} is active"))?,
        Some(false) => {
            let text = format!("{name} is not active: nothing is delivered to it");
            report.problem("active", &text, &fix)?;
        }
        None => {
            let text = format!("the API does not say whether {name} is active");
            report.unknown("active", &text, &fix)?;
        }
    }
    let url = webhook.url.as_deref().and_then(|url| Url::parse(url).ok());
    let fix = "register the https URL of the receiver";
    match url.as_ref().map(Url::scheme) {
        Some("https") => report.ok("url", &format!("{name} has an https URL")),
        Some(_) => {
            let text = format!("{name} has a URL without TLS: others can read what is delivered");
            report.warning("url", &text, fix)
        }
        None => report.unknown("url", &format!("{name} has no URL that can be read"), fix),
    }
}

async fn check_subscriptions(
    access: &Access,
    webhook: &Webhook,
    report: &mut Report,
) -> Result<(), Stop> {
    let name = name(webhook);
    let pages = access.client.webhooks().subscriptions(&webhook.id).list();
    let mut pages = pages.max_pages(MAX_PAGES);
    let mut types = Vec::new();
    loop {
        match pages.try_next().await {
            Ok(Some(subscription)) => types.push(subscription.event_type),
            Ok(None) => break,
            Err(error) => {
                let text = format!("{name}: {}", chain(&error));
                return report.unknown("subscriptions", &text, "try again");
            }
        }
    }
    let is_all = types.iter().flatten().any(|it| it.as_str() == "*");
    match (types.len(), is_all) {
        (0, _) => {
            let text = format!("{name} has no subscriptions, like every new webhook");
            let fix = format!(
                "`ptolemy-webhooks subscribe {} '*'` subscribes it to every event type",
                webhook.id
            );
            report.problem("subscriptions", &text, &fix)
        }
        (_, true) => report.ok(
            "subscriptions",
            &format!("{name} is subscribed to every event type"),
        ),
        (count, false) => {
            let types = plural(count as u64, "event type", "event types");
            report.ok("subscriptions", &format!("{name} is subscribed to {types}"))
        }
    }
}

/// Finds webhooks with the same URL: a receiver gets each event from all of them.
fn check_urls(all: &[Webhook], chosen: &[Webhook], report: &mut Report) -> Result<(), Stop> {
    let mut by_url = BTreeMap::<&str, Vec<String>>::new();
    for webhook in all {
        if let Some(url) = webhook.url.as_deref() {
            by_url.entry(url).or_default().push(name(webhook));
        }
    }
    let mut urls: Vec<&str> = chosen.iter().filter_map(|it| it.url.as_deref()).collect();
    urls.sort_unstable();
    urls.dedup();
    for (url, names) in by_url {
        if names.len() > 1 && urls.contains(&url) {
            let text = format!(
                "{} webhooks have the same URL, so the receiver gets events more than once, signed \
                 with different secrets: {}",
                names.len(),
                names.join(", ")
            );
            let fix = "delete all but one with `ptolemy-webhooks webhooks delete ID`";
            report.warning("same_url", &text, fix)?;
        }
    }
    Ok(())
}
