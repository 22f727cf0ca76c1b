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

/// Clocks that differ by so many seconds count as equal: a `Date` is cut to seconds, and answers
/// travel. The probes at the edge of the window are 5 s away from it.
const SMALL_SKEW: i64 = 2;

/// How long a connection may take after an answer until the HTTP client uses it again.
const UNTIL_IDLE: Duration = Duration::from_millis(50);

/// Why no connection could be made.
#[derive(Debug)]
pub(crate) struct Unreachable(pub(crate) String);

/// Where a receiver stopped answering.
#[derive(Debug)]
pub(crate) struct Silence {
    /// The last probe that was answered.
    pub(crate) last_answered: Option<&'static str>,
    /// The first probe that was not.
    pub(crate) first_silent: Option<&'static str>,
}

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

    /// Where the receiver stopped answering, if probes were left out because of it.
    pub(crate) fn stopped_at(&self) -> Option<Silence> {
        self.has_stopped.then_some(Silence {
            last_answered: self.seen.last_answered,
            first_silent: self.seen.first_silent,
        })
    }

    /// Runs a probe.
    pub(crate) async fn run(&mut self, probe: &Probe) -> Result<Verdict, Unreachable> {
        let plan = match probe.action {
            Action::Observe(observe) => return Ok(observe(&self.seen)),
            Action::Send(plan) | Action::SendAtEdge(plan) => plan,
        };
        if let Some(why) = self.why_not(probe) {
            return Ok(Verdict::skipped(why));
        }
        self.forge.set_skew(0);
        if !matches!(probe.action, Action::SendAtEdge(_)) {
            return self.verdict(probe, plan).await;
        }
        if self.seen.answers == 0 {
            self.look_at_clock().await?;
        }
        let here = self.verdict(probe, plan).await?;
        // A Date can be the one of a proxy, so it is not known whose clock the receiver goes by.
        let Some(skew) = self.seen.skew.filter(|skew| skew.abs() > SMALL_SKEW) else {
            return Ok(here);
        };
        self.forge.set_skew(skew);
        let there = self.verdict(probe, plan).await?;
        Ok(weigh::on_two_clocks(skew, here, there))
    }

    /// Sends a request that must be rejected, to learn the receiver's clock from the answer.
    async fn look_at_clock(&mut self) -> Result<(), Unreachable> {
        let plan = |forge: &Forge| {
            let mut request = forge.signed(forge.body("clock"));
            request.signatures.clear();
            Plan::from(request)
        };
        let clock = super::probes().into_iter().find(|it| it.id == super::CLOCK);
        match clock {
            Some(probe) => self.answers(probe, plan).await.map(drop),
            None => Ok(()),
        }
    }

    /// Sends the requests of a plan, and weighs the answers.
    async fn verdict(
        &mut self,
        probe: &Probe,
        plan: fn(&Forge) -> Plan,
    ) -> Result<Verdict, Unreachable> {
        let (order, answers) = self.answers(probe, plan).await?;
        let verdict = weigh::verdict(probe, counted(order, &answers));
        Ok(self.in_the_light_of_good(probe, verdict))
    }

    async fn answers(
        &mut self,
        probe: &Probe,
        plan: fn(&Forge) -> Plan,
    ) -> Result<(Order, Vec<Answer>), Unreachable> {
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
            self.seen.add(probe, plan.order, answer);
        }
        if self.seen.answers > 0 {
            self.wire.is_awake();
        }
        Ok((plan.order, answers))
    }

    /// Why a probe is not sent.
    fn why_not(&mut self, probe: &Probe) -> Option<String> {
        match self.good {
            Good::Hopeless => return Some("good-delivery failed".to_owned()),
            Good::Rejected if !probe.is_forgery() => {
                return Some("good-delivery was rejected".to_owned());
            }
            Good::NotSent | Good::Accepted | Good::Rejected => {}
        }
        self.has_stopped |= self.seen.silent >= MAX_SILENT;
        self.has_stopped
            .then(|| format!("{MAX_SILENT} requests got no answer"))
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
                // An answer that came late is wrong, and shows nevertheless that the delivery was
                // accepted.
                (Outcome::Pass, _) | (_, Some(200..300)) => Good::Accepted,
                (_, Some(404 | 405 | 410 | 300..400) | None) => Good::Hopeless,
                (_, Some(_)) => Good::Rejected,
            };
            return verdict;
        }
        // A receiver that rejects everything rejects forgeries too.
        let says_nothing = matches!(self.good, Good::Rejected)
            && probe.expected == Expected::Rejected
            && verdict.outcome != Outcome::Fail;
        if says_nothing {
            let actual = format!("{}, as good-delivery", verdict.actual);
            return Verdict {
                outcome: Outcome::Skipped,
                actual,
                ..verdict
            };
        }
        verdict
    }
}

impl Seen {
    /// Adds an answer to a request of the probe.
    fn add(&mut self, probe: &Probe, order: Order, answer: &Answer) {
        if matches!(answer.came, Came::Nothing(_) | Came::Unreachable(_)) {
            self.silent += 1;
        }
        let Some(status) = answer.status() else {
            // A receiver that ends closes the connection first, and then no other can be made.
            self.first_silent.get_or_insert(probe.id);
            return;
        };
        self.answers += 1;
        if self.silent == 0 {
            self.last_answered = Some(probe.id);
            self.first_silent = None;
        }
        // The burst does not count: Ptolemy does not document how many deliveries come at once.
        if answer.is_accepted() && order != Order::AtOnce {
            self.slowest = self.slowest.max(Some(answer.took));
        }
        // 405 and 415 are right for another method and another `Content-Type`.
        if probe.is_forgery() && answer.is_rejected() && !matches!(status, 405 | 415) {
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
