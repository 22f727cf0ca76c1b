//! `catch-up`: has the deliveries redelivered that an inbox missed during an outage.

mod failure;
mod plan;
mod progress;
mod result;

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use ptolemy_webhooks_client::{Client, WebhookId};
use ptolemy_webhooks_inbox::{CatchUpPlan, CatchUpReport, Inbox};
use time::OffsetDateTime;
use tokio::time::MissedTickBehavior;

use self::failure::stopped;
use self::progress::Shown;
use self::result::Outcome;
use crate::api::Api;
use crate::confirm;
use crate::database::Database;
use crate::notice::{self, IfInterrupted};
use crate::output::Output;
use crate::since;
use crate::stop::{Code, Stop};
use crate::webhook_name::{only, resolve};

const INTERRUPTED: &str = "interrupted: nothing is lost, and the same command continues";

/// The gap of a span moves with the time at which the command starts.
const INTERRUPTED_SINCE: &str = "interrupted: nothing is lost, and the same command continues; if its \
     --since is a span, make it longer, since it counts from the start of the command";

/// Have Ptolemy redeliver what an inbox missed, and list what is still missing
///
/// For receivers that use ptolemy-webhooks-inbox. After an outage, start the receiver first: the
/// deliveries go to it. This command reads the delivery log from --since or the last checkpoint to
/// 2 minutes ago, prints a plan, asks, and has Ptolemy redeliver the events that the inbox does not
/// have, oldest first and each at most three times. At the end it compares the inbox with the event
/// log, and lists the events that are missing. It can be interrupted at any time: the same command
/// continues.
///
/// Ptolemy documents the delivery log, its order and redelivery. The fields of its entries, and
/// that a redelivery needs the role Admin, are assumed.
///
/// Exit code 0 if nothing is missing; 1 if an event is missing, unreachable, unconfirmed or not
/// compared, if the event log was not read to its end, if a time was skipped, or if the run failed;
/// 2 if the start of the gap is not known or cannot be used, or an option is invalid; 4 if the API
/// rejects the token or its role.
#[derive(Args, Debug)]
#[command(after_help = "\
The first run needs --since. A successful run sets a checkpoint, from which the next one continues.

Examples:
  ptolemy-webhooks catch-up --since 6h --dry-run
  ptolemy-webhooks catch-up --since 6h --yes
  ptolemy-webhooks catch-up --webhook production --database sqlite://inbox.db --yes --json")]
pub(crate) struct CatchUp {
    #[command(flatten)]
    api: Api,
    #[command(flatten)]
    database: Database,
    /// The webhook of the receiver: its id, label or URL. Without this option, the only webhook of
    /// the workspace
    #[arg(long, value_name = "NAME")]
    webhook: Option<String>,
    /// The start of the gap, before the outage: a span before now, such as 30m, 2h or 7d, or a
    /// time, such as 2026-04-15T09:30:00Z. Without this option, 15 minutes before the checkpoint.
    /// With a start after the checkpoint, the checkpoint stays
    #[arg(long, value_name = "SPAN|TIME", value_parser = since::point)]
    since: Option<OffsetDateTime>,
    /// The end of the gap; 2 minutes ago without this option, since the log may lag
    #[arg(long, value_name = "SPAN|TIME", value_parser = since::point)]
    until: Option<OffsetDateTime>,
    /// If the delivery log shows no times, send every failed delivery without one again, of any
    /// age. Events whose rows were pruned are then handled again
    #[arg(long)]
    all_failed: bool,
    /// Stop before a call that could, with all its attempts, leave fewer than N calls of the
    /// month's quota. Over quota and with overage off, Ptolemy abandons deliveries; 0 keeps none
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    quota_floor: u64,
    /// If the event log is not sorted by time, read no more than N of its events outside the gap;
    /// 200 events are one call
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    event_log_limit: u64,
    /// Count only events as arrived that the inbox has from this source, if the receiver names one
    #[arg(long, value_name = "SOURCE")]
    source: Option<String>,
    /// Reset how often events were tried, for events that the receiver could not accept then
    #[arg(long)]
    retry_missing: bool,
    /// How long a delivery may take until the inbox has it: a number and s, m, h or d
    #[arg(long, value_name = "SPAN", default_value = "30s", value_parser = since::interval)]
    arrival_timeout: Duration,
    /// Print the plan, and send nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask; required without a terminal
    #[arg(long)]
    yes: bool,
    /// Run repeatedly with this time between the starts, such as 15m, until Ctrl-C; needs --yes. A
    /// failed run is reported, and the next one follows. --since counts until the checkpoint has
    /// passed it, --retry-missing for the first plan. Each run makes at least 4 calls
    #[arg(
        long,
        value_name = "SPAN",
        value_parser = since::interval,
        requires = "yes",
        conflicts_with_all = ["dry_run", "until"]
    )]
    every: Option<Duration>,
}

/// State that all runs of a command share or update.
struct Runs<'a> {
    options: &'a CatchUp,
    client: Client,
    inbox: Inbox,
    webhook: WebhookId,
    since: Option<OffsetDateTime>,
    retry_missing: bool,
    shown: Arc<Shown>,
}

impl CatchUp {
    /// Whether the exit code is an answer.
    pub(crate) fn answers(&self) -> bool {
        !self.dry_run
    }

    pub(crate) async fn run(&self, output: &Output) -> Result<(), Stop> {
        // An error here would recur at the next run, so it ends the command, also with --every.
        let client = self.api.client()?;
        let inbox = self.database.open().await?;
        let webhook = match &self.webhook {
            Some(name) => resolve(&client, name).await?,
            None => only(&client).await?,
        };
        let runs = Runs {
            options: self,
            client,
            inbox,
            webhook: webhook.id,
            since: self.since,
            retry_missing: self.retry_missing,
            shown: Arc::new(Shown::new(self.every.is_none())),
        };
        let if_interrupted = IfInterrupted::new(match self.since {
            Some(_) => INTERRUPTED_SINCE,
            None => INTERRUPTED,
        });
        let ended = match self.every {
            Some(every) => runs.repeat(every, output).await,
            None => runs.once(output).await,
        };
        if_interrupted.ended();
        ended
    }
}

impl Runs<'_> {
    async fn once(mut self, output: &Output) -> Result<(), Stop> {
        let plan = self.plan().await?;
        plan::note(&plan, self.options.quota_floor);
        if self.options.dry_run {
            let printed = plan::print(&plan, output);
            // If it fails, the lease ends by itself within a minute.
            let _ = plan.release().await;
            return printed;
        }
        if !self.options.yes {
            confirm::ask(plan::question(&plan)).await?;
        }
        let outcome = Outcome::new(&plan);
        let report = self.finish(plan).await?;
        let printed = outcome.print(&report, output);
        result::explain(&report, &outcome);
        // A closed pipe does not make it complete.
        match report.is_complete() {
            true => printed,
            false => Err(Stop::said_failed()),
        }
    }

    async fn repeat(mut self, every: Duration, output: &Output) -> Result<(), Stop> {
        let mut ticks = tokio::time::interval(every);
        // After a long run, missed runs are not made up.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let ended = self.run_again(output).await;
            let Err(stop) = ended else { continue };
            let is_final = matches!(
                &stop,
                Stop::ClosedPipe
                    | Stop::Error {
                        code: Code::Usage | Code::NotAllowed,
                        ..
                    }
            );
            let stop = stop.while_doing(&now());
            if is_final {
                return Err(stop);
            }
            stop.report();
        }
    }

    /// Makes one of several runs, and reports it in one line.
    async fn run_again(&mut self, output: &Output) -> Result<(), Stop> {
        let plan = self.plan().await?;
        plan::warn(&plan);
        let outcome = Outcome::new(&plan);
        let report = self.finish(plan).await?;
        notice::note(&format!("{}: {}", now(), result::line(&report, &outcome)));
        // A checkpoint before the start belongs to a gap that was left out on purpose.
        if report.checkpoint > self.since {
            self.since = None;
        }
        outcome.print(&report, output)
    }

    async fn plan(&mut self) -> Result<CatchUpPlan, Stop> {
        let options = self.options;
        let shown = Arc::clone(&self.shown);
        let mut catch_up = self
            .inbox
            .catch_up(&self.client, self.webhook.clone())
            .quota_floor(options.quota_floor)
            .event_log_limit(options.event_log_limit)
            .arrival_timeout(options.arrival_timeout)
            .on_progress(move |progress| shown.update(progress));
        if let Some(since) = self.since {
            catch_up = catch_up.since(since);
        }
        if let Some(until) = options.until {
            catch_up = catch_up.until(until);
        }
        if options.all_failed {
            catch_up = catch_up.all_failed();
        }
        if self.retry_missing {
            catch_up = catch_up.retry_missing();
        }
        if let Some(source) = &options.source {
            catch_up = catch_up.source(source);
        }
        let planned = self.shown.during("planning", catch_up.plan()).await;
        let plan = planned.map_err(|error| stopped(&error, &self.webhook))?;
        self.retry_missing = false;
        self.shown.expect(plan.redeliveries());
        Ok(plan)
    }

    async fn finish(&self, plan: CatchUpPlan) -> Result<CatchUpReport, Stop> {
        let ended = self.shown.during("catching up", plan.run()).await;
        ended.map_err(|error| stopped(&error, &self.webhook))
    }
}

/// The time of a line about a run.
fn now() -> String {
    since::whole_seconds(&since::rfc3339(OffsetDateTime::now_utc()))
}
