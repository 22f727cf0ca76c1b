//! The parts of a probe.

use serde::Serialize;

use super::forge::{Forge, Request};
use super::seen::Seen;
use super::verdict::Verdict;

/// How much an unexpected answer weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Weight {
    /// A request that Ptolemy did not send is accepted.
    Security,
    /// A delivery of Ptolemy's is lost or sent again and again.
    Correctness,
    /// Worth knowing; never sets the exit code.
    Advice,
}

impl Weight {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Security => "security",
            Self::Correctness => "correctness",
            Self::Advice => "advice",
        }
    }
}

/// What an expectation rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Basis {
    /// Ptolemy's public documentation.
    Documented,
    /// A standard: HTTP or JSON.
    Standard,
    /// Usual practice in security; Ptolemy documents nothing about it.
    SecurityPractice,
    /// An assumption about what Ptolemy sends.
    Assumed,
    /// A choice of this project where the documentation is silent.
    OwnChoice,
}

impl Basis {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Documented => "documented",
            Self::Standard => "standard",
            Self::SecurityPractice => "security practice",
            Self::Assumed => "assumed",
            Self::OwnChoice => "own choice",
        }
    }

    pub(crate) fn sentence(self) -> &'static str {
        match self {
            Self::Documented => "Ptolemy documents this.",
            Self::Standard => "This is a rule of HTTP or JSON.",
            Self::SecurityPractice => "This is usual security practice.",
            Self::Assumed => "Ptolemy does not document this: it is assumed.",
            Self::OwnChoice => "Ptolemy does not document this: it is this project's own choice.",
        }
    }
}

/// What should come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// 2xx within 10 s.
    Accepted,
    /// 4xx.
    Rejected,
    /// Anything but 2xx.
    NotAccepted,
    /// 2xx or 4xx: neither a server error nor silence.
    NoFault,
    /// 4xx or a closed connection.
    RejectedOrClosed,
    /// Nothing is sent: the answers to the other probes are looked at.
    OfAnswers(&'static str),
}

impl Expected {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "2xx within 10 s",
            Self::Rejected => "4xx",
            Self::NotAccepted => "not 2xx",
            Self::NoFault => "2xx or 4xx",
            Self::RejectedOrClosed => "4xx or closed",
            Self::OfAnswers(expected) => expected,
        }
    }
}

/// The requests of a probe.
pub(crate) struct Plan {
    pub(crate) requests: Vec<Request>,
    pub(crate) order: Order,
}

/// In which order the requests of a plan are sent, and which answers count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// One after the other; each answer counts.
    InTurn,
    /// One after the other; the last answer counts.
    LastCounts,
    /// All at the same time; each answer counts.
    AtOnce,
}

impl From<Request> for Plan {
    fn from(request: Request) -> Self {
        Self::in_turn(vec![request])
    }
}

impl Plan {
    pub(crate) fn in_turn(requests: Vec<Request>) -> Self {
        let order = Order::InTurn;
        Self { requests, order }
    }

    /// How many requests the plan sends.
    pub(crate) fn cost(&self) -> u32 {
        u32::try_from(self.requests.len()).unwrap_or(u32::MAX)
    }
}

/// Requirements of a probe beyond events of the type that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    Nothing,
    /// Events of other types.
    OtherTypes,
    /// Values in `extras`, which not every event type has.
    Extras,
}

/// How a probe comes to its verdict.
#[derive(Clone, Copy)]
pub(crate) enum Action {
    Send(fn(&Forge) -> Plan),
    /// The same at the edge of the time window, where a second decides: sent on both clocks if they
    /// differ.
    SendAtEdge(fn(&Forge) -> Plan),
    Observe(fn(&Seen) -> Verdict),
}

/// A question to a receiver.
#[derive(Clone, Copy)]
pub(crate) struct Probe {
    /// Part of the tool's interface: it never changes.
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    pub(crate) weight: Weight,
    pub(crate) basis: Basis,
    pub(crate) expected: Expected,
    /// Whether a correct receiver may accept a request and store its event.
    pub(crate) stores: bool,
    /// Whether the request is validly signed and such that it can break what comes after the
    /// signature.
    pub(crate) is_hostile: bool,
    pub(crate) needs: Needs,
    /// What to change if something else comes.
    pub(crate) fix: &'static str,
    pub(crate) action: Action,
}

impl Probe {
    /// A request that Ptolemy did not send, by what it documents.
    pub(super) const fn forged(
        id: &'static str,
        title: &'static str,
        fix: &'static str,
        plan: fn(&Forge) -> Plan,
    ) -> Self {
        Self {
            id,
            title,
            weight: Weight::Security,
            basis: Basis::Documented,
            expected: Expected::Rejected,
            stores: false,
            is_hostile: false,
            needs: Needs::Nothing,
            fix,
            action: Action::Send(plan),
        }
    }

    /// A delivery that must be accepted, by what Ptolemy documents.
    pub(super) const fn delivery(
        id: &'static str,
        title: &'static str,
        fix: &'static str,
        plan: fn(&Forge) -> Plan,
    ) -> Self {
        Self {
            weight: Weight::Correctness,
            expected: Expected::Accepted,
            stores: true,
            ..Self::forged(id, title, fix, plan)
        }
    }

    /// Something to look for in the answers to all probes.
    pub(super) const fn observed(
        id: &'static str,
        title: &'static str,
        expected: &'static str,
        fix: &'static str,
        observe: fn(&Seen) -> Verdict,
    ) -> Self {
        Self {
            id,
            title,
            weight: Weight::Correctness,
            basis: Basis::Documented,
            expected: Expected::OfAnswers(expected),
            stores: false,
            is_hostile: false,
            needs: Needs::Nothing,
            fix,
            action: Action::Observe(observe),
        }
    }

    /// Makes a probe advice, on this basis.
    pub(super) const fn advice(self, basis: Basis) -> Self {
        Self {
            weight: Weight::Advice,
            basis,
            ..self
        }
    }

    pub(super) const fn basis(self, basis: Basis) -> Self {
        Self { basis, ..self }
    }

    pub(super) const fn security(self) -> Self {
        Self {
            weight: Weight::Security,
            ..self
        }
    }

    /// Sends it only if that is asked for.
    pub(super) const fn hostile(self) -> Self {
        let is_hostile = true;
        Self { is_hostile, ..self }
    }

    pub(super) const fn needs(self, needs: Needs) -> Self {
        Self { needs, ..self }
    }

    /// Sends it on both clocks if the receiver's differs.
    pub(super) const fn at_edge(self) -> Self {
        let action = match self.action {
            Action::Send(plan) => Action::SendAtEdge(plan),
            other => other,
        };
        Self { action, ..self }
    }

    /// Expects something else. Only a probe whose request a receiver may accept is said to store.
    pub(super) const fn expect(self, expected: Expected, stores: bool) -> Self {
        Self {
            expected,
            stores,
            ..self
        }
    }

    /// Whether a request counts that Ptolemy did not send.
    pub(crate) fn is_forgery(&self) -> bool {
        self.weight == Weight::Security && self.expected == Expected::Rejected
    }

    /// How many requests the probe sends at most.
    pub(crate) fn cost(&self, forge: &Forge) -> u32 {
        match self.action {
            Action::Send(plan) => plan(forge).cost(),
            Action::SendAtEdge(plan) => plan(forge).cost().saturating_mul(2),
            Action::Observe(_) => 0,
        }
    }
}
