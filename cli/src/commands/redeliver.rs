//! `redeliver`: deliveries that Ptolemy sends again.

mod plan;
mod sending;
mod tally;

use clap::{ArgGroup, Args, builder::NonEmptyStringValueParser};
use ptolemy_webhooks_client::{ApiErrorKind, Client};
use time::OffsetDateTime;

use self::plan::{Plan, Planned};
use crate::api::Api;
use crate::confirm;
use crate::delivery_filter::{DeliveryFilter, Verdict, plural};
use crate::listing::{self, MAX_PAGE_SIZE, MAX_PAGES};
use crate::notice::{self, Progress};
use crate::output::Output;
use crate::since;
use crate::stop::Stop;
use crate::webhook_name::{self, resolve};

/// The calls of the month's quota that are kept if no floor is given.
const QUOTA_FLOOR: u64 = 1_000;

/// More failed deliveries than this are not read, because all of them are in memory before the
/// first one is sent.
const MAX_DELIVERIES: usize = 100_000;

/// Have Ptolemy redeliver deliveries
///
/// Several deliveries are sent oldest first, after a plan with the number of calls and a
/// question. It stops after 5 deliveries in a row that fail, and keeps a part of the month's quota.
/// The API answers 202, which means accepted, not delivered: `deliveries` shows what became of it.
/// That it requires the role Admin is assumed.
///
/// Ptolemy does not document the fields of a delivery. With --failed, a delivery that lacks the
/// field for an option is not sent again; name it by its id.
///
/// Exit code 3 if it is not known whether a delivery was sent, otherwise 1 if one failed or was not
/// sent.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("which").required(true).args(["ids", "failed"])), after_help = "\
Examples:
  ptolemy-webhooks redeliver 0198c7a2-4a54-7c1e-9d5f-2f1c1a3b4d5e
  ptolemy-webhooks redeliver --failed --since 2h --dry-run
  ptolemy-webhooks redeliver --failed --webhook production --limit 100 --yes")]
pub(crate) struct Redeliver {
    #[command(flatten)]
    api: Api,
    /// The ids of deliveries, as `deliveries` lists them
    #[arg(value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    ids: Vec<String>,
    /// All deliveries with the status `failed` that pass the other options
    #[arg(long)]
    failed: bool,
    /// Only deliveries to this webhook: its id, label or URL
    #[arg(long, value_name = "NAME", value_parser = webhook_name::parse, conflicts_with = "ids")]
    webhook: Option<String>,
    /// Only deliveries since then: a span before now, such as 30m, 2h or 7d, or a time, such as
    /// 2026-04-15T09:30:00Z. It is compared with `delivered_at` by this tool
    #[arg(long, value_name = "SPAN|TIME", value_parser = since::point, conflicts_with = "ids")]
    since: Option<OffsetDateTime>,
    /// Only the latest N deliveries
    #[arg(long, value_name = "N", value_parser = listing::limit, conflicts_with = "ids")]
    limit: Option<usize>,
    /// Print the plan and the deliveries, and send nothing
    #[arg(long)]
    dry_run: bool,
    /// Send without asking; needed for several deliveries without a terminal
    #[arg(long)]
    yes: bool,
    /// Stop if no more than N calls are left in the month's quota, also while the list of failed
    /// deliveries is read. Ptolemy documents only the number that is left, not the size of the
    /// quota, so the floor is a number too [default: 1000, without a check before the first call if
    /// one delivery is named]
    #[arg(long, value_name = "N")]
    quota_floor: Option<u64>,
}

impl Redeliver {
    /// Whether the exit code is an answer.
    pub(crate) fn answers(&self) -> bool {
        !self.dry_run
    }

    pub(crate) async fn run(&self, output: &Output) -> Result<(), Stop> {
        let client = self.api.client()?;
        let mut filter = None;
        let deliveries = if self.failed {
            let filter = filter.insert(self.filter(&client).await?);
            self.read_failed(&client, filter).await?
        } else {
            self.named(&client).await?
        };
        // Deliveries that could not be checked are not sent, so the command was not carried out
        // completely.
        let is_all = filter.as_ref().is_none_or(|filter| !filter.is_unclear());
        let ended = self.send(&client, output, deliveries).await;
        match ended {
            Ok(()) if !is_all && !self.dry_run => Err(Stop::said_failed()),
            ended => ended,
        }
    }

    async fn send(
        &self,
        client: &Client,
        output: &Output,
        deliveries: Vec<Planned>,
    ) -> Result<(), Stop> {
        if deliveries.is_empty() {
            notice::note("nothing is to be sent again");
            return Ok(());
        }
        let plan = Plan::new(deliveries, client.remaining(), self.floor());
        // A single delivery was named by its id, so no plan is needed.
        let is_single = !self.failed && plan.deliveries.len() == 1;
        if !is_single || self.dry_run || self.quota_floor.is_some() {
            notice::note(&plan.to_string());
        }
        if self.dry_run {
            return plan.print(output);
        }
        plan.check_quota()?;
        if !is_single && !self.yes {
            let count = plan.count();
            confirm::ask(format!("send {count} again?")).await?;
        }
        sending::send(client, output, plan).await
    }

    async fn filter(&self, client: &Client) -> Result<DeliveryFilter, Stop> {
        let webhook = match &self.webhook {
            Some(name) => Some(resolve(client, name).await?.id),
            None => None,
        };
        Ok(DeliveryFilter::new(true, webhook, self.since))
    }

    /// The deliveries that were named, each once. For several deliveries, or with a floor, a read
    /// shows the quota before the first call.
    async fn named(&self, client: &Client) -> Result<Vec<Planned>, Stop> {
        let mut deliveries: Vec<Planned> = Vec::new();
        for id in &self.ids {
            if !deliveries.iter().any(|planned| planned.id == *id.as_str()) {
                deliveries.push(Planned::named(id));
            }
        }
        if deliveries.len() > 1 || self.quota_floor.is_some() {
            let mut list = client.webhooks().list().page_size(1).max_pages(1);
            match notice::waiting(list.try_next()).await {
                // The quota was in the head of the answer, and how the list continues is not used.
                Err(error) if error.kind() == ApiErrorKind::BadCursor => {}
                read => drop(read?),
            }
        }
        Ok(deliveries)
    }

    /// All failed deliveries, the oldest first. They are read before the first is sent: one that is
    /// sent again leaves the list, and if the cursor counts records, the next page would skip some.
    async fn read_failed(
        &self,
        client: &Client,
        filter: &mut DeliveryFilter,
    ) -> Result<Vec<Planned>, Stop> {
        let pages = filter.pages(client).page_size(MAX_PAGE_SIZE);
        let mut pages = pages.max_pages(MAX_PAGES);
        let progress = Progress::new("deliveries read:", None);
        let mut deliveries = Vec::new();
        let mut is_first = true;
        loop {
            // Reading uses up the quota too. The first page shows how many calls are left.
            if !is_first && pages.needs_call() {
                plan::check_floor(client.remaining(), self.floor())?;
            }
            is_first = false;
            let Some(delivery) = progress.during(pages.try_next()).await? else {
                break;
            };
            progress.add(1);
            match filter.check(&delivery) {
                Verdict::Wanted => deliveries.push(Planned::read(delivery)),
                Verdict::Unclear(options) => filter.count_unclear(&options),
                Verdict::Unwanted if filter.is_past() => break,
                Verdict::Unwanted => {}
            }
            // The latest of an unsorted list can be at its end.
            let is_enough = self.limit.is_some_and(|limit| deliveries.len() >= limit);
            if is_enough && filter.is_descending() {
                break;
            }
            if deliveries.len() > MAX_DELIVERIES {
                let count = plural(MAX_DELIVERIES as u64, "delivery", "deliveries");
                return Err(Stop::usage(format!(
                    "more than {count} match: pass {}; nothing was sent",
                    match self.limit {
                        // The list is not sorted, or the limit is not reached.
                        Some(_) => "--since, or --webhook",
                        None => "--limit, --since or --webhook",
                    }
                )));
            }
        }
        drop(progress);
        filter.report_unclear("not sent again; name them by id to send them");
        Ok(self.oldest_first(deliveries))
    }

    fn floor(&self) -> u64 {
        self.quota_floor.unwrap_or(QUOTA_FLOOR)
    }

    /// Sorts the deliveries, which the server should have sent latest first, and keeps the latest
    /// up to the limit. Deliveries without a time stay in the server's order, before all others.
    fn oldest_first(&self, mut deliveries: Vec<Planned>) -> Vec<Planned> {
        deliveries.reverse();
        deliveries.sort_by_key(|planned| planned.delivered_at);
        let has_no_time = |it: &&Planned| it.delivered_at.is_none();
        let without = deliveries.iter().filter(has_no_time).count() as u64;
        let left_out = deliveries
            .len()
            .saturating_sub(self.limit.unwrap_or(usize::MAX));
        if without > 0 && deliveries.len() > 1 {
            let count = plural(without, "delivery", "deliveries");
            let done = match left_out {
                0 => "taken as the oldest",
                _ => "taken as the oldest, which --limit leaves out first",
            };
            notice::warning(&format!(
                "{count} without a readable `delivered_at`: the order is not known, {done}"
            ));
        }
        deliveries.drain(..left_out);
        deliveries
    }
}
