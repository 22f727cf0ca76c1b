//! The conformance test of a receiver: probes, the requests that they send, and the verdicts.
//!
//! A probe is data: its requests, the expected answer, its weight and its basis. Each group of
//! probes has a file, and a new probe is a few lines in one of them.

mod body;
mod clock;
mod event;
mod forge;
mod header;
mod key;
mod marked;
mod observed;
mod probe;
mod run;
mod seen;
mod transport;
mod verdict;
mod weigh;
mod wire;

pub(crate) use forge::Forge;
pub(crate) use probe::{Basis, Needs, Probe, Weight};
pub(crate) use run::{Conformance, Silence};
pub(crate) use verdict::{Outcome, Verdict};
pub(crate) use wire::Wire;

/// The id of the delivery on which the meaning of most others depends.
pub(crate) const GOOD_DELIVERY: &str = "good-delivery";

/// The id of the probe of the receiver's clock.
const CLOCK: &str = "clock";

/// All probes in the order in which they run. The first delivery is good, because most others mean
/// something only if that one is accepted. The burst is the last one that sends, so the work that
/// it leaves in a receiver's queue disturbs no other.
pub(crate) fn probes() -> Vec<&'static Probe> {
    let groups = [
        event::GOOD,
        body::PROBES,
        key::PROBES,
        clock::PROBES,
        header::PROBES,
        event::PROBES,
        transport::PROBES,
        observed::PROBES,
    ];
    groups.into_iter().flatten().collect()
}
