//! Webhooks as people name them: by id, by label or by URL.

use ptolemy_webhooks_client::{Client, Webhook};
use reqwest::Url;

use crate::notice::Progress;
use crate::stop::Stop;
use crate::text;

/// Reads the name of a webhook. One without a visible character is what a variable that is not set leaves,
/// and would be the label of webhooks that have an empty one.
pub(crate) fn parse(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("it is empty: expected an id, a label or a URL".to_owned()),
        _ => Ok(text.to_owned()),
    }
}

/// Returns the only webhook that has this id, or else this label or this URL.
pub(crate) async fn resolve(client: &Client, name: &str) -> Result<Webhook, Stop> {
    let url = Url::parse(name).ok();
    let progress = Progress::new("webhooks read:", None);
    let mut candidates = Vec::new();
    let mut count = 0_u64;
    let mut list = client.webhooks().list();
    while let Some(webhook) = progress.during(list.try_next()).await? {
        progress.add(1);
        count += 1;
        // An id decides, also if another webhook has it as its label.
        if webhook.id == *name {
            return Ok(webhook);
        }
        if webhook.label.as_deref() == Some(name) || has_url(&webhook, name, url.as_ref()) {
            candidates.push(webhook);
        }
    }
    drop(progress);
    if candidates.len() > 1 {
        return Err(ambiguous(name, &candidates));
    }
    candidates.pop().ok_or_else(|| none(name, count))
}

/// Parsed, so that `https://Example.com:443` equals `https://example.com/`.
fn has_url(webhook: &Webhook, name: &str, url: Option<&Url>) -> bool {
    webhook.url.as_deref().is_some_and(|listed| {
        listed == name || url.is_some_and(|url| Url::parse(listed).is_ok_and(|it| it == *url))
    })
}

fn ambiguous(name: &str, candidates: &[Webhook]) -> Stop {
    let ids: Vec<&str> = candidates.iter().map(|it| it.id.as_str()).collect();
    let ids = ids.join(", ");
    Stop::failed(text::words(&format!(
        "{} webhooks have the label or the URL {name}; name one by its id: {ids}",
        candidates.len(),
    )))
}

fn none(name: &str, count: u64) -> Stop {
    Stop::failed(text::words(&format!(
        "no webhook has the id, the label or the URL {name}; looked at {count}. `ptolemy-webhooks webhooks` lists them"
    )))
}
