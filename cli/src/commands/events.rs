//! `events`: the events of the workspace, from the API.

use clap::{Args, Subcommand};
use ptolemy_webhooks_client::{Client, EventRecord, Filter};
use serde::Serialize;
use serde_json::value::RawValue;

use super::webhooks::{or_unknown, time_or_unknown};
use crate::api::Api;
use crate::listing::{self, Step};
use crate::notice;
use crate::output::{Output, Record};
use crate::since;
use crate::stop::Stop;
use crate::text;

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ptolemy-webhooks events list --limit 10
  ptolemy-webhooks events count

Ptolemy keeps events for 90 days, 365 days or for good, by the plan.")]
pub(crate) struct Events {
    #[command(flatten)]
    api: Api,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List events, in the order in which the API returns them, which is not documented
    #[command(after_help = "\
Examples:
  ptolemy-webhooks events list
  ptolemy-webhooks events list --limit 500 --json")]
    List {
        /// How many events are listed at most
        #[arg(long, value_name = "N", default_value = "50", value_parser = listing::limit)]
        limit: usize,
    },
    /// Show one event with its JSON
    ///
    /// Whether the JSON equals the body of a delivery is not documented.
    #[command(after_help = "\
Examples:
  ptolemy-webhooks events show 0198c7a2-4a54-7c1e-9d5f-2f1c1a3b4d5e")]
    Show {
        /// The id of the event
        id: String,
    },
    /// Count all events of the workspace
    #[command(after_help = "\
Examples:
  ptolemy-webhooks events count
  ptolemy-webhooks events count --json")]
    Count,
}

impl Events {
    pub(crate) async fn run(&self, output: &Output) -> Result<(), Stop> {
        let client = self.api.client()?;
        match &self.action {
            Action::List { limit } => list(&client, output, *limit).await,
            Action::Show { id } => {
                let event = notice::waiting(client.events().get(id.as_str())).await?;
                output.record(&Shown::new(&event)?)
            }
            Action::Count => {
                let count = notice::waiting(client.events().count(Filter::new())).await?;
                if output.is_json() {
                    return output.object(&Count { count });
                }
                output.line(&count.to_string())
            }
        }
    }
}

async fn list(client: &Client, output: &Output, limit: usize) -> Result<(), Stop> {
    let pages = client.events().list().page_size(listing::page_size(limit));
    let row = |event: EventRecord| Step::Print(EventRow::new(&event));
    if listing::print(output, pages, Some(limit), row).await? == 0 {
        notice::note("no events in this workspace");
    }
    Ok(())
}

#[derive(Serialize)]
struct Count {
    count: u64,
}

#[derive(Serialize)]
struct EventRow {
    id: Option<String>,
    event_type: Option<String>,
    created_at: Option<String>,
}

impl EventRow {
    fn new(event: &EventRecord) -> Self {
        Self {
            id: event.id.as_ref().map(|id| id.as_str().to_owned()),
            event_type: event.event_type.as_ref().map(|it| it.as_str().to_owned()),
            created_at: event.created_at.map(since::rfc3339),
        }
    }
}

impl Record for EventRow {
    const COLUMNS: &'static [&'static str] = &["CREATED AT", "EVENT TYPE", "ID"];

    fn cells(&self) -> Vec<String> {
        vec![
            time_or_unknown(self.created_at.as_deref()),
            or_unknown(self.event_type.as_deref()),
            or_unknown(self.id.as_deref()),
        ]
    }
}

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    row: EventRow,
    event: Box<RawValue>,
}

impl Shown {
    fn new(event: &EventRecord) -> Result<Self, Stop> {
        let json = RawValue::from_string(text::compact(event.raw.as_str()));
        Ok(Self {
            row: EventRow::new(event),
            event: json.map_err(|_| Stop::failed("the JSON of the event cannot be shown"))?,
        })
    }
}

impl Record for Shown {
    const COLUMNS: &'static [&'static str] = &["CREATED AT", "EVENT TYPE", "ID", "JSON"];

    fn cells(&self) -> Vec<String> {
        let mut cells = self.row.cells();
        cells.push(self.event.get().to_owned());
        cells
    }
}
