//! Faults of deliveries, as the command line names them.

use std::str::FromStr;
use std::time::Duration;

use ptolemy_webhooks_sandbox::{NextDeliveries, Sandbox};

use crate::since;

/// A fault and its probability.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    kind: Kind,
    probability: f64,
}

type Plan = fn(NextDeliveries<'_>);

type TimedPlan = fn(NextDeliveries<'_>, Duration);

#[derive(Clone, Copy, Debug)]
enum Kind {
    Plain(Plan),
    Timed(TimedPlan, Duration),
    LargeBody(usize),
}

/// The faults without an argument.
const PLAIN: &[(&str, Plan)] = &[
    ("lose-answer", |next| next.lose_answer()),
    ("break-off", |next| next.break_off()),
    ("duplicate", |next| next.duplicate()),
    ("wrong-secret", |next| next.wrong_secret()),
    ("previous-secret", |next| next.previous_secret()),
    ("both-secrets", |next| next.both_secrets()),
    ("tampered", |next| next.tampered()),
    ("stale", |next| next.stale()),
    ("future", |next| next.future()),
    ("milliseconds", |next| next.milliseconds()),
    ("no-header", |next| next.no_header()),
    ("header-twice", |next| next.header_twice()),
];

/// The faults with a time.
const TIMED: &[(&str, TimedPlan)] = &[
    ("slow", |next, time| next.slow(time)),
    ("drip", |next, time| next.drip(time)),
    ("duplicate-later", |next, time| next.duplicate_later(time)),
    ("hold", |next, time| next.hold(time)),
];

const LARGE_BODY: &str = "large-body";

impl Kind {
    fn plan(self, next: NextDeliveries<'_>) {
        match self {
            Self::Plain(plan) => plan(next),
            Self::Timed(plan, time) => plan(next, time),
            Self::LargeBody(bytes) => next.large_body(bytes),
        }
    }
}

impl Fault {
    /// Plans the fault for any delivery from now on.
    pub(super) fn plan(&self, sandbox: &Sandbox) {
        self.kind.plan(sandbox.random_deliveries(self.probability));
    }
}

/// The faults with the kind of argument that each needs.
pub(crate) fn fault_names() -> Vec<(&'static str, Option<&'static str>)> {
    let plain = PLAIN.iter().map(|(name, _)| (*name, None));
    let timed = TIMED.iter().map(|(name, _)| (*name, Some("span")));
    plain
        .chain(timed)
        .chain([(LARGE_BODY, Some("bytes"))])
        .collect()
}

/// Plans a fault for the next deliveries. An error is one clause.
pub(crate) fn plan_fault(
    sandbox: &Sandbox,
    name: &str,
    argument: Option<&str>,
    times: usize,
) -> Result<(), String> {
    let names = fault_names();
    let known = names.iter().find(|(known, _)| *known == name);
    let kind = match (known, argument) {
        (None, _) => return Err("no fault has this name".to_owned()),
        (Some((_, None)), Some(_)) => return Err("this fault takes no argument".to_owned()),
        (Some(_), None) => name.parse::<Fault>()?.kind,
        (Some(_), Some(argument)) if argument.contains(':') => {
            return Err("expected one argument".to_owned());
        }
        (Some(_), Some(argument)) => format!("{name}:{argument}").parse::<Fault>()?.kind,
    };
    kind.plan(sandbox.next_deliveries(times));
    Ok(())
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split(':');
        let name = parts.next().unwrap_or_default();
        let mut argument = |example: &str| {
            let argument = parts.next();
            argument.ok_or_else(|| format!("{name} needs an argument, such as {name}:{example}"))
        };
        let kind = if let Some((_, plan)) = PLAIN.iter().find(|(known, _)| *known == name) {
            Kind::Plain(*plan)
        } else if let Some((_, plan)) = TIMED.iter().find(|(known, _)| *known == name) {
            Kind::Timed(*plan, since::span(argument("2s")?)?)
        } else if name == LARGE_BODY {
            let bytes = argument("1000000")?.parse();
            Kind::LargeBody(bytes.map_err(|_| "expected a number of bytes".to_owned())?)
        } else {
            return Err(format!("unknown; known are {}", known().join(", ")));
        };
        let probability = match (parts.next(), parts.next()) {
            (None, _) => 1.0,
            (Some(text), None) => probability(text)?,
            (Some(_), Some(_)) => return Err("too many colons".to_owned()),
        };
        Ok(Self { kind, probability })
    }
}

fn probability(text: &str) -> Result<f64, String> {
    let number = text.parse().ok();
    let number = number.filter(|number| (0.0..=1.0).contains(number));
    number.ok_or_else(|| "expected a probability from 0 to 1, such as 0.1".to_owned())
}

fn known() -> Vec<String> {
    let plain = PLAIN.iter().map(|(name, _)| (*name).to_owned());
    let timed = TIMED.iter().map(|(name, _)| format!("{name}:SPAN"));
    let large = format!("{LARGE_BODY}:BYTES");
    plain.chain(timed).chain([large]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_has_a_name_its_argument_and_a_probability() {
        for (name, _) in PLAIN {
            assert!(name.parse::<Fault>().is_ok_and(|it| it.probability == 1.0));
            let half = format!("{name}:0.5").parse::<Fault>();
            assert!(half.is_ok_and(|it| it.probability == 0.5));
        }
        for (name, _) in TIMED {
            assert!(format!("{name}:2s:0.5").parse::<Fault>().is_ok());
            let missing = name.parse::<Fault>().unwrap_err();
            assert!(missing.contains(&format!("{name}:2s")), "{missing}");
        }
        assert!("large-body:1000:1".parse::<Fault>().is_ok());
        for wrong in [
            "",
            "nonsense",
            "stale:2",
            "stale:-0.1",
            "stale:NaN",
            "stale:0.1:0.2",
            "slow:x",
            "large-body:-1",
            "slow:2s:0.1:0.1",
        ] {
            assert!(wrong.parse::<Fault>().is_err(), "{wrong}");
        }
        let unknown = "nonsense".parse::<Fault>().unwrap_err();
        assert!(unknown.contains("lose-answer") && unknown.contains("hold:SPAN"));
    }
}
