//! Webhooks as people name them: by id, by label or by URL.

use ptolemy_webhooks_client::{Client, Webhook};
use reqwest::Url;

use crate::listing::MAX_PAGES;
use crate::notice::Progress;
use crate::stop::Stop;
use crate::text;

/// How many webhooks an error lists.
const MAX_LISTED: usize = 50;

/// Reads the name of a webhook. A name without a visible character usually comes from an unset
/// variable, and would match webhooks with an empty label.
pub(crate) fn parse(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("it is empty: expected an id, a label or a URL".to_owned()),
        _ => Ok(text.to_owned()),
    }
}

/// Returns the only webhook that has this id, or else this label or this URL.
pub(crate) async fn resolve(client: &Client, name: &str) -> Result<Webhook, Stop> {
    let progress = Progress::new("webhooks read:", None);
    let mut search = Search::new(name);
    let mut list = client.webhooks().list().max_pages(MAX_PAGES);
    while let Some(webhook) = progress.during(list.try_next()).await? {
        progress.add(1);
        if search.has_id(&webhook) {
            return Ok(webhook);
        }
    }
    drop(progress);
    search.finish()
}

/// Same as [`resolve`], for webhooks that were read before.
pub(crate) fn choose(webhooks: &[Webhook], name: &str) -> Result<Webhook, Stop> {
    let mut search = Search::new(name);
    match webhooks.iter().find(|webhook| search.has_id(webhook)) {
        Some(webhook) => Ok(webhook.clone()),
        None => search.finish(),
    }
}

/// The search for a name in a list.
struct Search<'a> {
    name: &'a str,
    url: Option<Url>,
    candidates: Vec<Webhook>,
    count: u64,
}

impl<'a> Search<'a> {
    fn new(name: &'a str) -> Self {
        Self {
            name,
            url: Url::parse(name).ok(),
            candidates: Vec::new(),
            count: 0,
        }
    }

    /// Whether the webhook has the name as its id, which decides, also if another webhook has it as
    /// its label.
    fn has_id(&mut self, webhook: &Webhook) -> bool {
        self.count += 1;
        if webhook.id == *self.name {
            return true;
        }
        if webhook.label.as_deref() == Some(self.name)
            || has_url(webhook, self.name, self.url.as_ref())
        {
            self.candidates.push(webhook.clone());
        }
        false
    }

    fn finish(mut self) -> Result<Webhook, Stop> {
        if self.candidates.len() > 1 {
            return Err(ambiguous(self.name, &self.candidates));
        }
        let only = self.candidates.pop();
        only.ok_or_else(|| none(self.name, self.count))
    }
}

/// Returns the only webhook of the workspace. If there are several, the error lists them.
pub(crate) async fn only(client: &Client) -> Result<Webhook, Stop> {
    let progress = Progress::new("webhooks read:", None);
    let mut webhooks = Vec::new();
    let mut list = client.webhooks().list().max_pages(MAX_PAGES);
    while let Some(webhook) = progress.during(list.try_next()).await? {
        progress.add(1);
        webhooks.push(webhook);
    }
    drop(progress);
    if webhooks.len() > 1 {
        return Err(several(&webhooks));
    }
    webhooks.pop().ok_or_else(|| {
        Stop::failed("the workspace has no webhook: `ptolemy-webhooks register` creates one")
    })
}

fn several(webhooks: &[Webhook]) -> Stop {
    let named = webhooks.iter().take(MAX_LISTED).map(|webhook| {
        let label = webhook.label.as_deref();
        label.map_or_else(
            || webhook.id.as_str().to_owned(),
            |label| format!("{} ({label})", webhook.id),
        )
    });
    let mut list = named.collect::<Vec<_>>().join(", ");
    if webhooks.len() > MAX_LISTED {
        list.push_str(", …");
    }
    Stop::usage(text::words(&format!(
        "the workspace has {} webhooks: choose one with --webhook: {list}",
        webhooks.len()
    )))
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
