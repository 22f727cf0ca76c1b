//! `check`: the conformance test of a receiver.

mod help;
mod report;
mod results;
mod selection;

use clap::Args;
use reqwest::Url;

use crate::check::{Conformance, Forge, Probe, Silence, Wire};
use crate::output::Output;
use crate::receiver_url;
use crate::secret::SecretSource;
use crate::stop::Stop;
use report::{Listed, Result as Row};
use results::Results;
use selection::Selection;

#[derive(Args, Debug)]
#[command(after_help = help::AFTER_HELP)]
pub(crate) struct Check {
    /// The URL of the receiver, http or https
    #[arg(required_unless_present = "list")]
    url: Option<String>,

    #[command(flatten)]
    secret: SecretSource,

    #[command(flatten)]
    selection: Selection,

    /// Send nothing and exit with 2 if the probes need more requests than this number
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    requests: u32,

    /// Send at most this number of requests a second, apart from the 50 of `50-at-once`
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rate: u32,

    /// Print the probes, those of --hostile included, and send nothing
    #[arg(long)]
    list: bool,
}

impl Check {
    /// Whether the exit code is an answer.
    pub(crate) fn answers(&self) -> bool {
        !self.list
    }

    pub(crate) async fn run(&self, output: &Output) -> Result<(), Stop> {
        if self.list {
            return list(&self.selection.probes_to_list()?, *output);
        }
        let probes = self.selection.probes()?;
        let url = self.url()?;
        let forge = self.selection.forge(self.secret.bytes()?);
        self.check_budget(&probes, &forge)?;
        let mut conformance = Conformance::new(forge, Wire::new(url, self.rate)?);
        let results = run(&mut conformance, &probes, *output).await?;
        let is_failed = results.has_failure();
        results.finish()?;
        match conformance.stopped_at() {
            Some(silence) => Err(Stop::failed(stopped(&silence))),
            None if is_failed => Err(Stop::said_failed()),
            None => Ok(()),
        }
    }

    /// A check that leaves probes out must not look like one that passed.
    fn check_budget(&self, probes: &[&'static Probe], forge: &Forge) -> Result<(), Stop> {
        // At the edge of the window a request more may be sent first, to learn the receiver's
        // clock.
        let needed = probes
            .iter()
            .map(|probe| probe.cost(forge))
            .fold(1_u32, u32::saturating_add);
        if needed <= self.requests {
            return Ok(());
        }
        Err(Stop::usage(format!(
            "these probes need up to {needed} requests: pass --requests {needed}, or choose fewer probes with \
             --only or --skip"
        )))
    }

    fn url(&self) -> Result<Url, Stop> {
        let text = self.url.as_deref().unwrap_or_default();
        receiver_url::parse(text)
            .map_err(|why| Stop::usage(format!("the URL of the receiver {why}")))
    }
}

/// Runs the probes.
async fn run(
    conformance: &mut Conformance,
    probes: &[&'static Probe],
    output: Output,
) -> Result<Results, Stop> {
    let mut results = Results::new(output, probes.len());
    for probe in probes {
        let verdict = conformance.run(probe).await;
        let verdict = verdict.map_err(|unreachable| Stop::failed(no_connection(&unreachable.0)))?;
        results.push(Row::new(probe, verdict))?;
    }
    Ok(results)
}

fn no_connection(why: &str) -> String {
    let next_step = receiver_url::certificate_step(why).unwrap_or("Start it, or correct the URL");
    format!("no connection to the receiver: {why}. {next_step}")
}

/// Where the receiver stopped answering: one of these two requests may be why.
fn stopped(silence: &Silence) -> String {
    let mut text = "the receiver stopped answering: the check is not complete".to_owned();
    if let Some(id) = silence.last_answered {
        text.push_str(&format!(". The last probe that it answered is {id}"));
    }
    if let Some(id) = silence.first_silent {
        text.push_str(&format!(", the first one without an answer is {id}"));
    }
    text
}

fn list(probes: &[&'static Probe], output: Output) -> Result<(), Stop> {
    let forge = Forge::for_counting();
    let mut records = output.records();
    for probe in probes {
        records.push(Listed::new(probe, &forge))?;
    }
    records.finish()
}
