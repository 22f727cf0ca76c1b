//! `deliveries`: the delivery log.

use clap::Args;
use ptolemy_webhooks_client::WebhookDelivery;
use serde::Serialize;
use time::OffsetDateTime;

use super::webhooks::{or_unknown, time_or_unknown};
use crate::api::Api;
use crate::delivery_filter::{DeliveryFilter, Verdict};
use crate::listing::{self, Step};
use crate::notice;
use crate::output::{Output, Record};
use crate::since;
use crate::stop::Stop;
use crate::webhook_name::{self, resolve};

/// List deliveries from the delivery log, the latest first
///
/// Ptolemy documents that deliveries are filtered by webhook and status and sorted by time, but not
/// which fields a delivery has. `?` stands for a field that the API did not send, and `-` for no
/// answer of the receiver, or none that the API shows. A delivery that lacks the field for an
/// option is listed, with a warning. Deliveries that Ptolemy abandoned because the workspace was
/// over its quota are not among the failed ones.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ptolemy-webhooks deliveries
  ptolemy-webhooks deliveries --failed --since 2h
  ptolemy-webhooks deliveries --webhook production --limit 200 --json")]
pub(crate) struct Deliveries {
    #[command(flatten)]
    api: Api,
    /// Only deliveries with the status `failed`
    #[arg(long)]
    failed: bool,
    /// Only deliveries to this webhook: its id, label or URL
    #[arg(long, value_name = "NAME", value_parser = webhook_name::parse)]
    webhook: Option<String>,
    /// Only deliveries since then: a span before now, such as 30m, 2h or 7d, or a time, such as
    /// 2026-04-15T09:30:00Z. It is compared with `delivered_at` by this tool
    #[arg(long, value_name = "SPAN|TIME", value_parser = since::point)]
    since: Option<OffsetDateTime>,
    /// How many deliveries are listed at most
    #[arg(long, value_name = "N", default_value = "50", value_parser = listing::limit)]
    limit: usize,
}

impl Deliveries {
    pub(crate) async fn run(&self, output: &Output) -> Result<(), Stop> {
        let client = self.api.client()?;
        let webhook = match &self.webhook {
            Some(name) => Some(resolve(&client, name).await?.id),
            None => None,
        };
        let mut filter = DeliveryFilter::new(self.failed, webhook, self.since);
        let size = match self.since {
            Some(_) => listing::MAX_PAGE_SIZE,
            None => listing::page_size(self.limit),
        };
        let pages = filter.pages(&client).page_size(size);
        let mut listed = 0;
        let printed = listing::print(output, pages, Some(self.limit), |delivery| {
            let verdict = filter.check(&delivery);
            listed += usize::from(verdict != Verdict::Unwanted);
            match verdict {
                Verdict::Wanted => Step::Print(DeliveryRow::new(&delivery, Vec::new())),
                Verdict::Unclear(options) => {
                    // One more than the limit is read, to see whether there are more.
                    if listed <= self.limit {
                        filter.count_unclear(&options);
                    }
                    Step::Print(DeliveryRow::new(&delivery, options))
                }
                Verdict::Unwanted if filter.is_past() => Step::End,
                Verdict::Unwanted => Step::Skip,
            }
        })
        .await?;
        if printed == 0 {
            notice::note("no deliveries match");
        }
        filter.report_unclear("listed anyway");
        Ok(())
    }
}

#[derive(Serialize)]
struct DeliveryRow {
    id: String,
    webhook_id: Option<String>,
    event_id: Option<String>,
    event_type: Option<String>,
    status: Option<String>,
    attempts: Option<u64>,
    response_status: Option<u16>,
    delivered_at: Option<String>,
    next_attempt_at: Option<String>,
    /// The options against which it could not be checked.
    unchecked: Vec<&'static str>,
}

impl DeliveryRow {
    fn new(delivery: &WebhookDelivery, unchecked: Vec<&'static str>) -> Self {
        fn text(id: Option<&impl AsRef<str>>) -> Option<String> {
            id.map(|id| id.as_ref().to_owned())
        }
        Self {
            id: delivery.id.as_str().to_owned(),
            webhook_id: text(delivery.webhook_id.as_ref()),
            event_id: text(delivery.event_id.as_ref()),
            event_type: text(delivery.event_type.as_ref()),
            status: delivery.status.as_ref().map(|it| it.as_str().to_owned()),
            attempts: delivery.attempts,
            response_status: delivery.response_status,
            delivered_at: delivery.delivered_at.map(since::rfc3339),
            next_attempt_at: delivery.next_attempt_at.map(since::rfc3339),
            unchecked,
        }
    }
}

impl Record for DeliveryRow {
    const COLUMNS: &'static [&'static str] = &[
        "DELIVERED AT",
        "STATUS",
        "ANSWER",
        "ATTEMPTS",
        "EVENT TYPE",
        "WEBHOOK",
        "ID",
    ];

    fn cells(&self) -> Vec<String> {
        let answer = self.response_status.map(|status| status.to_string());
        let attempts = self.attempts.map(|attempts| attempts.to_string());
        vec![
            time_or_unknown(self.delivered_at.as_deref()),
            or_unknown(self.status.as_deref()),
            // "No answer" is a known state of a delivery, but looks the same as an unknown one.
            answer.unwrap_or_else(|| "-".to_owned()),
            or_unknown(attempts.as_deref()),
            or_unknown(self.event_type.as_deref()),
            or_unknown(self.webhook_id.as_deref()),
            self.id.clone(),
        ]
    }
}
