//! Runs probes, one after the other.

use std::time::Duration;

use tokio::time::sleep;

use super::forge::Forge;
use super::probe::{Action, Expected, Order, Plan, Probe};
use super::seen::Seen;
use super::verdict::{Outcome, Verdict};
use super::weigh;
use super::wire::{Answer, Came, Wire};

/// After so many requests without an answer nothing more is sent: each one takes 12 s.
const MAX_SILENT: u32 = 3;

/// Clocks that differ by so many seconds count as equal: a `Date` is cut to seconds, and answers travel.
const SMALL_SKEW: i64 = 2;

/// How long a connection may take after an answer until the HTTP client uses it again.
const UNTIL_IDLE: Duration = Duration::from_millis(50);

/// Why no connection could be made.
#[derive(Debug)]
pub(crate) struct Unreachable(pub(crate) String);

/// The fate of `good-delivery`, on which the meaning of most other probes depends.
enum Good {
    /// It was not sent.
    NotSent,
    Accepted,
    /// A forgery that is accepted can still be found; all else has no meaning.
    Rejected,
    /// Nothing has a meaning.
    Hopeless,
}

/// A conformance test in progress.
pub(crate) struct Conformance {
    forge: Forge,
    wire: Wire,
    seen: Seen,
    good: Good,
    has_stopped: bool,
}

impl Conformance {
    pub(crate) fn new(forge: Forge, wire: Wire) -> Self {
        Self {
            forge,
            wire,
            seen: Seen::default(),
            good: Good::NotSent,
            has_stopped: false,
        }
    }

    /// Whether probes were left out because the receiver no longer answered.
    pub(crate) fn has_stopped(&self) -> bool {
        self.has_stopped
    }

    /// Runs a probe.
    pub(crate) async fn run(&mut self, probe: &Probe) -> Result<Verdict, Unreachable> {
        let plan = match probe.action {
            Action::Observe(observe) => return Ok(observe(&self.seen)),
            Action::Send(plan) => plan,
        };
        let cost = probe.cost(&self.forge);
        if let Some(why) = self.why_not(probe, cost) {
            return Ok(Verdict::skipped(why));
        }
        // Made when its turn has come: signatures at the edge of the window are valid for 5 s.
        self.wire.turn().await;
        let plan = plan(&self.forge);
        let answers = self.send(&plan).await;
        if self.seen.answers == 0
            && let Some(Came::Unreachable(why)) = answers.first().map(|answer| &answer.came)
        {
            return Err(Unreachable(why.clone()));
        }
        for answer in &answers {
            self.seen.add(probe, answer);
        }
        let skew = self.seen.skew.filter(|skew| skew.abs() > SMALL_SKEW);
        self.forge.set_skew(skew.unwrap_or(0));
        let verdict = weigh::verdict(probe, counted(plan.order, &answers));
        Ok(self.in_the_light_of_good(probe, verdict))
    }

    /// Why a probe is not sent.
    fn why_not(&mut self, probe: &Probe, cost: u32) -> Option<String> {
        match self.good {
            Good::Hopeless => return Some("good-delivery failed".to_owned()),
            Good::Rejected if !probe.is_forgery() => {
                return Some("good-delivery was rejected".to_owned());
            }
            Good::NotSent | Good::Accepted | Good::Rejected => {}
        }
        if self.seen.silent >= MAX_SILENT {
            self.has_stopped = true;
            return Some(format!("{MAX_SILENT} requests got no answer"));
        }
        let left = self.wire.budget();
        (cost > left).then(|| format!("needs {cost} of the budget, {left} left"))
    }

    async fn send(&mut self, plan: &Plan) -> Vec<Answer> {
        if plan.order == Order::AtOnce {
            self.wire.take(plan.cost()).await;
            return self.wire.send_at_once(&self.forge, &plan.requests).await;
        }
        let mut answers = Vec::new();
        for request in &plan.requests {
            self.wire.take(1).await;
            if plan.order == Order::LastCounts && !answers.is_empty() {
                sleep(UNTIL_IDLE).await;
            }
            answers.push(self.wire.send(&self.forge, request).await);
        }
        answers
    }

    fn in_the_light_of_good(&mut self, probe: &Probe, verdict: Verdict) -> Verdict {
        if probe.id == super::GOOD_DELIVERY {
            self.good = match (verdict.outcome, verdict.status) {
                (Outcome::Pass, _) => Good::Accepted,
                (_, Some(404 | 405 | 410 | 200..400) | None) => Good::Hopeless,
                (_, Some(_)) => Good::Rejected,
            };
            return verdict;
        }
        // A receiver that rejects everything rejects forgeries too.
        let says_nothing = matches!(self.good, Good::Rejected)
            && probe.expected == Expected::Rejected
            && verdict.outcome != Outcome::Fail;
        if says_nothing {
            let came = format!("{}, as good-delivery", verdict.came);
            return Verdict {
                outcome: Outcome::Skipped,
                came,
                ..verdict
            };
        }
        verdict
    }
}

impl Seen {
    /// Adds an answer to a request of the probe.
    fn add(&mut self, probe: &Probe, answer: &Answer) {
        if matches!(answer.came, Came::Nothing | Came::Unreachable(_)) {
            self.silent += 1;
        }
        let Some(status) = answer.status() else {
            return;
        };
        self.answers += 1;
        if answer.is_accepted() {
            self.slowest = self.slowest.max(Some(answer.took));
        }
        if probe.is_forgery() && answer.is_rejected() {
            self.rejected_with.insert(status);
        }
        // The clock that is the least off: a `Date` is cut to seconds, and an answer can be late.
        if let Some(skew) = answer.skew
            && self.skew.is_none_or(|least| skew.abs() < least.abs())
        {
            self.skew = Some(skew);
        }
        if answer.shows_secret {
            self.shows_secret.push(probe.id);
        }
        // A receiver may show a signature to the one who made it.
        if answer.shows_signature && probe.expected != Expected::Accepted {
            self.shows_signature.push(probe.id);
        }
    }
}

/// The answers that count.
fn counted(order: Order, answers: &[Answer]) -> &[Answer] {
    match (order, answers) {
        (Order::LastCounts, [.., last]) => std::slice::from_ref(last),
        _ => answers,
    }
}
