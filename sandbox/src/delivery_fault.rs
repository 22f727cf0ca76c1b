//! What can go wrong with a delivery.

use std::time::Duration;

use crate::random::Random;

/// One fault of one attempt, or of when it is made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum DeliveryFault {
    LoseAnswer,
    Slow(Duration),
    Drip(Duration),
    BreakOff,
    Duplicate,
    DuplicateLater(Duration),
    Hold(Duration),
    WrongSecret,
    PreviousSecret,
    BothSecrets,
    Tampered,
    Stale,
    Future,
    Milliseconds,
    NoHeader,
    HeaderTwice,
    LargeBody(usize),
}

impl DeliveryFault {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::LoseAnswer => "lose_answer",
            Self::Slow(_) => "slow",
            Self::Drip(_) => "drip",
            Self::BreakOff => "break_off",
            Self::Duplicate => "duplicate",
            Self::DuplicateLater(_) => "duplicate_later",
            Self::Hold(_) => "hold",
            Self::WrongSecret => "wrong_secret",
            Self::PreviousSecret => "previous_secret",
            Self::BothSecrets => "both_secrets",
            Self::Tampered => "tampered",
            Self::Stale => "stale",
            Self::Future => "future",
            Self::Milliseconds => "milliseconds",
            Self::NoHeader => "no_header",
            Self::HeaderTwice => "header_twice",
            Self::LargeBody(_) => "large_body",
        }
    }

    /// Whether the fault delays a new delivery, instead of changing an attempt.
    fn is_delay(self) -> bool {
        matches!(self, Self::Hold(_))
    }
}

/// Which attempts a fault is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum When {
    /// This many next ones.
    Next(usize),
    /// Any one, with this probability.
    Chance(f64),
}

/// New deliveries that are kept back as a group.
pub(crate) struct Group {
    pub(crate) order: Order,
    /// How many more deliveries the group needs.
    pub(crate) missing: usize,
    pub(crate) deliveries: Vec<String>,
}

/// How the deliveries of a group are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// One after another, the last one first.
    Reversed,
    /// All at the same time.
    AtOnce,
}

/// The faults of future deliveries.
#[derive(Default)]
pub(crate) struct DeliveryFaults {
    faults: Vec<(DeliveryFault, When)>,
    groups: Vec<Group>,
}

impl DeliveryFaults {
    pub(crate) fn plan(&mut self, fault: DeliveryFault, when: When) {
        self.faults.push((fault, when));
    }

    pub(crate) fn plan_group(&mut self, order: Order, deliveries: usize) {
        if deliveries > 0 {
            self.groups.push(Group {
                order,
                missing: deliveries,
                deliveries: Vec::new(),
            });
        }
    }

    /// Takes the fault of an attempt.
    pub(crate) fn take(&mut self, random: &mut Random) -> Option<DeliveryFault> {
        self.take_if(random, |fault| !fault.is_delay())
    }

    /// Takes the delay of a new delivery.
    pub(crate) fn take_hold(&mut self, random: &mut Random) -> Option<Duration> {
        match self.take_if(random, DeliveryFault::is_delay)? {
            DeliveryFault::Hold(delay) => Some(delay),
            _ => None,
        }
    }

    /// Puts a new delivery into the group that is waiting, if there is one.
    pub(crate) fn join(&mut self, delivery: &str) -> bool {
        let mut groups = self.groups.iter_mut();
        let Some(group) = groups.find(|group| group.missing > 0) else {
            return false;
        };
        group.missing -= 1;
        group.deliveries.push(delivery.to_owned());
        true
    }

    /// Takes the groups that are complete, in the order in which they were planned.
    pub(crate) fn complete_groups(&mut self) -> Vec<Group> {
        self.groups
            .extract_if(.., |group| group.missing == 0)
            .collect()
    }

    /// Takes the groups that have a delivery, complete or not.
    pub(crate) fn begun_groups(&mut self) -> Vec<Group> {
        self.groups
            .extract_if(.., |group| !group.deliveries.is_empty())
            .collect()
    }

    /// Takes the first planned fault, or otherwise the first random one that occurs.
    fn take_if(
        &mut self,
        random: &mut Random,
        fits: impl Fn(DeliveryFault) -> bool,
    ) -> Option<DeliveryFault> {
        let faults = || self.faults.iter().enumerate();
        let planned = faults()
            .find(|(_, (fault, when))| fits(*fault) && matches!(when, When::Next(1..)))
            .map(|(place, (fault, _))| (place, *fault));
        let Some((place, fault)) = planned else {
            return faults().find_map(|(_, (fault, when))| match when {
                When::Chance(chance) if fits(*fault) && random.chance(*chance) => Some(*fault),
                _ => None,
            });
        };
        if let Some((_, When::Next(left))) = self.faults.get_mut(place) {
            *left -= 1;
        }
        self.faults
            .retain(|(_, when)| !matches!(when, When::Next(0)));
        Some(fault)
    }
}
