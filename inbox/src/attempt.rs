use time::OffsetDateTime;

use crate::turn::Claim;

/// Which attempt at an event this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    number: u32,
    most: u32,
    started_at: OffsetDateTime,
    received_at: OffsetDateTime,
    dedup_key: String,
}

impl Attempt {
    pub(crate) fn new(claim: &Claim, most: u32) -> Self {
        Self {
            number: claim.attempts,
            most,
            started_at: claim.started_at,
            received_at: claim.received_at,
            dedup_key: claim.key.clone(),
        }
    }

    /// Its number, counted from 1. An attempt counts when it begins, also if the process then dies.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Whether the event is dead if this attempt fails.
    #[must_use]
    pub fn is_last(&self) -> bool {
        self.number >= self.most
    }

    /// When it began, by the database's clock.
    #[must_use]
    pub fn started_at(&self) -> OffsetDateTime {
        self.started_at
    }

    /// When the delivery was accepted, by the database's clock.
    #[must_use]
    pub fn received_at(&self) -> OffsetDateTime {
        self.received_at
    }

    /// The key under which the delivery was accepted: the same in every attempt, so that it serves as an
    /// idempotency key for the services that a handler calls.
    #[must_use]
    pub fn dedup_key(&self) -> &str {
        &self.dedup_key
    }
}
