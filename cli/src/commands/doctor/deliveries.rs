//! The delivery log: the last failures, and the last success.

use std::collections::BTreeMap;

use ptolemy_webhooks_client::{
    ApiError, Client, DeliveryStatus, Pages, WebhookDelivery, WebhookId,
};
use time::OffsetDateTime;

use crate::commands::doctor::finding::Report;
use crate::delivery_filter::{DeliveryFilter, Verdict, plural};
use crate::since;
use crate::stop::{Stop, chain};

/// How many entries of the log are read, in one call.
const PAGE: u32 = 200;

/// The evidence in the log about a webhook's secret.
#[derive(Default)]
pub(super) struct Log {
    /// The last entries, the latest first.
    entries: Vec<WebhookDelivery>,
}

impl Log {
    /// The latest delivery to a webhook, by its time, that has this status.
    pub(super) fn latest(
        &self,
        webhook: &WebhookId,
        is_meant: impl Fn(&WebhookDelivery) -> bool,
    ) -> Option<OffsetDateTime> {
        let entries = self.entries.iter();
        let meant = entries.filter(|it| it.webhook_id.as_ref() == Some(webhook) && is_meant(it));
        meant.filter_map(|it| it.delivered_at).max()
    }
}

/// Reads one page of failures and one of all entries; of one webhook, if one is named.
pub(super) async fn check(
    client: &Client,
    named: Option<&WebhookId>,
    report: &mut Report,
) -> Result<Log, Stop> {
    let mut filter = DeliveryFilter::new(true, named.cloned(), None);
    match page(filter.pages(client)).await {
        Ok(entries) => check_entries(entries, &mut filter, report)?,
        Err(error) => report.unknown("failures", &chain(&error), "try again")?,
    }
    // Only `failed` is a documented status, so successes are looked for here.
    let all = DeliveryFilter::new(false, named.cloned(), None);
    let entries = page(all.pages(client)).await.unwrap_or_default();
    Ok(Log { entries })
}

async fn page(pages: Pages<WebhookDelivery>) -> Result<Vec<WebhookDelivery>, ApiError> {
    let mut pages = pages.page_size(PAGE);
    let mut entries = Vec::new();
    while entries.len() < PAGE as usize {
        match pages.try_next().await? {
            Some(entry) => entries.push(entry),
            None => break,
        }
    }
    Ok(entries)
}

/// Checks the entries that the API returned, as `redeliver` does, which only sends failed
/// deliveries.
fn check_entries(
    entries: Vec<WebhookDelivery>,
    filter: &mut DeliveryFilter,
    report: &mut Report,
) -> Result<(), Stop> {
    let is_whole_page = entries.len() == PAGE as usize;
    let mut failures = Vec::new();
    let mut unclear = 0;
    for entry in entries {
        match filter.check(&entry) {
            Verdict::Wanted => failures.push(entry),
            Verdict::Unwanted => {}
            Verdict::Unclear(_) => unclear += 1,
        }
    }
    if unclear > 0 {
        let text = format!(
            "{} without a readable `status` or `webhook_id`: whether they failed is not known",
            plural(unclear, "delivery", "deliveries")
        );
        let fix =
            "look at them with `ptolemy-webhooks deliveries`; `redeliver --failed` leaves them out";
        report.unknown("failures", &text, fix)?;
    }
    if unclear == 0 || !failures.is_empty() {
        check_failures(&failures, is_whole_page, report)?;
    }
    Ok(())
}

pub(super) fn is_success(entry: &WebhookDelivery) -> bool {
    entry.status == Some(DeliveryStatus::Succeeded)
        || entry
            .response_status
            .is_some_and(|it| (200..300).contains(&it))
}

fn check_failures(
    failures: &[WebhookDelivery],
    is_whole_page: bool,
    report: &mut Report,
) -> Result<(), Stop> {
    if failures.is_empty() {
        return report.ok("failures", "the log has no failed delivery");
    }
    let mut counts = BTreeMap::<Option<u16>, usize>::new();
    for failure in failures {
        *counts.entry(failure.response_status).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let reasons: Vec<_> = counts
        .iter()
        .map(|(status, count)| match status {
            Some(status) => format!("{count} answered {status}"),
            None => format!("{count} without a status of an answer"),
        })
        .collect();
    let more = if is_whole_page { "the last " } else { "" };
    let last = failures.iter().filter_map(|it| it.delivered_at).max();
    let last = last.map_or(String::new(), |last| {
        format!(
            ", the last one at {}",
            since::whole_seconds(&since::rfc3339(last))
        )
    });
    let text = format!(
        "{more}{}: {}{last}",
        plural(
            failures.len() as u64,
            "failed delivery",
            "failed deliveries"
        ),
        reasons.join(", ")
    );
    let fixes: Vec<_> = counts.iter().take(2).map(|(it, _)| fix(*it)).collect();
    let fix = format!(
        "{}; then `ptolemy-webhooks redeliver --failed` sends them again",
        fixes.join("; ")
    );
    report.warning("failures", &text, &fix)
}

/// The usual meaning of the status of an answer.
fn fix(status: Option<u16>) -> &'static str {
    match status {
        None => "no status: check that the receiver can be reached and answers within 10 s",
        Some(401 | 403) => {
            "401, 403: the secret or the clock of the receiver is wrong, or a proxy changes the body; \
             `ptolemy-webhooks why` explains a request"
        }
        Some(404 | 405) => "404, 405: the path of the URL is not the receiver's",
        Some(413) => "413: the receiver or a proxy limits the size of the body too much",
        Some(300..=399) => "3xx: register the URL to which the receiver redirects",
        Some(500..=599) => "5xx: look at the log of the receiver or of the proxy in front of it",
        Some(200..=299) => "2xx: the receiver answered too late; it has 10 s",
        Some(_) => "look at the log of the receiver",
    }
}
