//! Which probes are sent, and with which events.

use std::collections::BTreeSet;

use clap::Args;
use zeroize::Zeroizing;

use crate::check::{Forge, GOOD_DELIVERY, Needs, Probe, probes};
use crate::notice;
use crate::stop::Stop;
use crate::text;

#[derive(Args, Debug)]
pub(super) struct Selection {
    /// The event types that the webhook subscribes to, separated by commas: the first one is sent.
    /// Without this option: instrument.created, and one event of each other resource
    #[arg(long, value_name = "TYPE", value_delimiter = ',', value_parser = event_type)]
    event: Vec<String>,

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

    /// Also send signed requests that Ptolemy does not send and that can break the processing after
    /// the signature check, such as a queue: bodies that are not JSON, nested deeply, compressed or
    /// without a field
    #[arg(long)]
    hostile: bool,
}

/// The resource and the action of an event type.
fn event_type(text: &str) -> Result<String, &'static str> {
    let is_word = |word: &str| {
        let is_right =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        !word.is_empty() && word.bytes().all(is_right)
    };
    match text.split_once('.') {
        Some((resource, action)) if is_word(resource) && is_word(action) => Ok(text.to_owned()),
        _ => Err("expected an event type, such as instrument.created"),
    }
}

impl Selection {
    /// What makes the requests.
    pub(super) fn forge(&self, secret: Zeroizing<Vec<u8>>) -> Forge {
        let forge = Forge::new(secret);
        match self.event.first() {
            Some(event_type) => forge.with_event_type(event_type),
            None => forge,
        }
    }

    /// The probes to run, with a note about what is left out.
    pub(super) fn probes(&self) -> Result<Vec<&'static Probe>, Stop> {
        let mut probes = self.probes_to_list()?;
        let (left_out, has_extras) = (probes.len(), self.has_extras());
        probes.retain(|probe| probe.needs != Needs::Extras || has_extras);
        let left_out = left_out - probes.len();
        if left_out > 0 {
            notice::note(&format!(
                "{left_out} probes are left out: they put a value in `extras`, which this event type does not have"
            ));
        }
        if let Some(probe) = probes
            .iter()
            .find(|probe| self.is_named_without_leave(probe))
        {
            return Err(Stop::usage(format!(
                "{} can break a receiver: pass --hostile too",
                probe.id
            )));
        }
        probes.retain(|probe| self.hostile || !probe.is_hostile);
        if probes.is_empty() {
            return Err(nothing_left());
        }
        if !probes.iter().any(|probe| probe.id == GOOD_DELIVERY) {
            notice::note(
                "good-delivery is left out: a receiver that rejects everything passes the probes that \
                 expect a rejection",
            );
        }
        Ok(probes)
    }

    /// The probes that the options leave, hostile ones included.
    pub(super) fn probes_to_list(&self) -> Result<Vec<&'static Probe>, Stop> {
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
            .filter(|probe| self.event.is_empty() || probe.needs != Needs::OtherTypes)
            .collect();
        if probes.is_empty() {
            return Err(nothing_left());
        }
        Ok(probes)
    }

    fn is_named_without_leave(&self, probe: &Probe) -> bool {
        probe.is_hostile && !self.hostile && self.only.iter().any(|id| id == probe.id)
    }

    fn has_extras(&self) -> bool {
        self.forge(Zeroizing::default()).has_extras()
    }
}

fn nothing_left() -> Stop {
    Stop::usage("no probe matches these options: --list shows all")
}
