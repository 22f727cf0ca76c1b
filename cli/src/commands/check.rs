//! `check`: the conformance test of a receiver.

mod report;

use std::collections::BTreeSet;

use clap::Args;
use reqwest::Url;

use crate::check::{Conformance, Forge, GOOD_DELIVERY, Outcome, Pace, Probe, Wire, probes};
use crate::notice::{self, Progress};
use crate::output::Output;
use crate::secret::SecretSource;
use crate::stop::Stop;
use crate::text;
use report::{Listed, Result as Row};

const AFTER_HELP: &str = "\
Each probe sends one or more requests to the URL, and to nothing else: redirects are not followed and \
no proxy is used. The receiver can be written in any language. Probes have a weight:

  security     a request that Ptolemy did not send is accepted
  correctness  a delivery of Ptolemy's is lost, or sent again and again
  advice       worth knowing, or not documented by Ptolemy; never sets the exit code

The receiver stores the events that it accepts. Their ids begin with `ptolemy-webhooks-check-`, and so does \
the identifier of most of their instruments. If an event has effects that you cannot undo, check a staging \
system, or pass --no-stored to send only requests that must be rejected.

Exit codes: 0 if no security or correctness probe fails, 1 if one does or the receiver cannot be reached, \
2 if the command line or the configuration cannot work.

Examples:
  ptolemy-webhooks check http://127.0.0.1:3000/webhooks/ptolemy
  ptolemy-webhooks check http://127.0.0.1:3000/webhooks/ptolemy --only good-delivery,unsigned --json
  ptolemy-webhooks check http://127.0.0.1:3000/webhooks/ptolemy --no-stored --rate 50
  ptolemy-webhooks check --list";

#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Check {
    /// The URL of the receiver, http or https
    #[arg(required_unless_present = "list")]
    url: Option<String>,

    #[command(flatten)]
    secret: SecretSource,

    /// Run these probes only, separated by commas
    #[arg(
        long,
        value_name = "ID",
        value_delimiter = ',',
        conflicts_with = "skip"
    )]
    only: Vec<String>,

    /// Leave these probes out, separated by commas
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    skip: Vec<String>,

    /// Leave out the probes whose events a correct receiver may store
    #[arg(long)]
    no_stored: bool,

    /// Send at most this number of requests; a probe that needs more than are left is skipped
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    requests: u32,

    /// Send at most this number of requests a second, apart from the 50 of `50-at-once`
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rate: u32,

    /// Print the probes and send nothing
    #[arg(long)]
    list: bool,
}

impl Check {
    pub(crate) async fn run(&self, output: &Output) -> Result<(), Stop> {
        let probes = self.selected()?;
        if self.list {
            return list(&probes, *output);
        }
        let url = self.url()?;
        let pace = Pace {
            budget: self.requests,
            per_second: self.rate,
        };
        let forge = Forge::new(self.secret.bytes()?);
        let mut conformance = Conformance::new(forge, Wire::new(url, pace)?);
        let rows = self.results(&mut conformance, &probes, *output).await?;
        report::explain(&rows, self.requests);
        if conformance.has_stopped() {
            return Err(Stop::failed(
                "the receiver stopped answering: the check is not complete",
            ));
        }
        let is_failed = rows.iter().any(|row| row.outcome() == Outcome::Fail);
        if is_failed {
            return Err(Stop::said_failed());
        }
        Ok(())
    }

    /// Runs the probes and prints the results.
    async fn results(
        &self,
        conformance: &mut Conformance,
        probes: &[&'static Probe],
        output: Output,
    ) -> Result<Vec<Row>, Stop> {
        let progress = Progress::new("checking: probe", u64::try_from(probes.len()).ok());
        let mut records = output.records();
        let mut rows = Vec::new();
        for probe in probes {
            let verdict = conformance.run(probe).await.map_err(|unreachable| {
                Stop::failed(format!(
                    "no connection to the receiver: {}. Start it, or correct the URL",
                    unreachable.0
                ))
            })?;
            let row = Row::new(probe, verdict);
            records.push(row.clone())?;
            rows.push(row);
            progress.add(1);
        }
        drop(progress);
        records.finish()?;
        Ok(rows)
    }

    /// The probes that were asked for.
    fn selected(&self) -> Result<Vec<&'static Probe>, Stop> {
        let all = probes();
        let known: BTreeSet<_> = all.iter().map(|probe| probe.id).collect();
        for id in self.only.iter().chain(&self.skip) {
            if !known.contains(id.as_str()) {
                return Err(Stop::usage(format!(
                    "unknown probe `{}`: --list shows all",
                    text::words(id)
                )));
            }
        }
        let named = |ids: &[String], probe: &Probe| ids.iter().any(|id| id == probe.id);
        let probes: Vec<_> = all
            .into_iter()
            .filter(|probe| self.only.is_empty() || named(&self.only, probe))
            .filter(|probe| !named(&self.skip, probe))
            .filter(|probe| !self.no_stored || !probe.stores)
            .collect();
        if probes.is_empty() {
            return Err(Stop::usage(
                "these options leave no probe: --list shows all",
            ));
        }
        if !self.list && !probes.iter().any(|probe| probe.id == GOOD_DELIVERY) {
            notice::note(
                "good-delivery is left out: a receiver that rejects everything passes the probes that \
                 expect a rejection",
            );
        }
        Ok(probes)
    }

    fn url(&self) -> Result<Url, Stop> {
        let text = self.url.as_deref().unwrap_or_default();
        let wrong = |why: &str| Stop::usage(format!("the URL of the receiver {why}"));
        if !["http://", "https://"]
            .iter()
            .any(|scheme| text.starts_with(scheme))
        {
            return Err(wrong("must begin with http:// or https://"));
        }
        let url = Url::parse(text).map_err(|error| wrong(&format!("cannot be read: {error}")))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("must not contain a user or a password"));
        }
        Ok(url)
    }
}

fn list(probes: &[&'static Probe], output: Output) -> Result<(), Stop> {
    let forge = Forge::for_counting();
    let mut records = output.records();
    for probe in probes {
        records.push(Listed::new(probe, &forge))?;
    }
    records.finish()
}
