//! How many deliveries were sent, for the end of a run and for an interrupted one.

use std::fmt;

use ptolemy_webhooks_client::DeliveryId;

use super::sending::Sent;
use crate::delivery_filter::plural;
use crate::notice;
use crate::stop::{Code, Stop};

/// How many deliveries in a row may fail.
const MAX_FAILURES_IN_A_ROW: u32 = 5;

/// Why a run ends before its last delivery.
#[derive(Debug)]
pub(super) struct End {
    code: Code,
    reason: String,
}

impl End {
    pub(super) fn new(code: Code, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self { code, reason }
    }
}

/// Counts the results of deliveries. Dropped before [`finish`](Self::finish), which is what a
/// signal does, it prints the counts so far.
#[derive(Debug)]
pub(super) struct Tally {
    total: u64,
    accepted: u64,
    failed: u64,
    unknown: u64,
    failures_in_a_row: u32,
    in_flight: Option<DeliveryId>,
    is_finished: bool,
}

impl Tally {
    pub(super) fn new(total: u64) -> Self {
        Self {
            total,
            accepted: 0,
            failed: 0,
            unknown: 0,
            failures_in_a_row: 0,
            in_flight: None,
            is_finished: false,
        }
    }

    pub(super) fn begin(&mut self, id: &DeliveryId) {
        self.in_flight = Some(id.clone());
    }

    pub(super) fn count(&mut self, sent: Sent) {
        self.in_flight = None;
        let count = match sent {
            Sent::Planned => return,
            Sent::Accepted => &mut self.accepted,
            Sent::Failed => &mut self.failed,
            Sent::Unknown => &mut self.unknown,
        };
        *count += 1;
        self.failures_in_a_row = match sent {
            Sent::Accepted => 0,
            _ => self.failures_in_a_row.saturating_add(1),
        };
    }

    pub(super) fn is_single(&self) -> bool {
        self.total == 1
    }

    pub(super) fn is_failing(&self) -> bool {
        self.failures_in_a_row >= MAX_FAILURES_IN_A_ROW
    }

    /// Ends the run with its exit code.
    pub(super) fn finish(mut self, end: Option<End>) -> Result<(), Stop> {
        self.is_finished = true;
        let code = match &end {
            _ if self.unknown > 0 => Code::OutcomeUnknown,
            Some(end) => end.code,
            None if self.failed > 0 => Code::Failed,
            None => {
                notice::note(&format!(
                    "{self}. Accepted is not delivered: `ptolemy-webhooks deliveries` shows what became of them"
                ));
                return Ok(());
            }
        };
        Err(Stop::new(
            code,
            match end {
                Some(end) if self.is_single() => end.reason,
                Some(end) => format!("{}; {self}", end.reason),
                None => self.to_string(),
            },
        ))
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = plural(self.total, "delivery", "deliveries");
        write!(f, "of {total}, {} accepted", self.accepted)?;
        let done = self.accepted + self.failed + self.unknown;
        let flying = u64::from(self.in_flight.is_some());
        let others = [
            (self.failed, "failed"),
            (self.unknown, "with an unknown outcome"),
            (self.total.saturating_sub(done + flying), "not sent"),
        ];
        for (count, what) in others.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, ", {count} {what}")?;
        }
        if let Some(id) = &self.in_flight {
            write!(f, "; {id} may have been sent or not")?;
        }
        Ok(())
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        if !self.is_finished {
            notice::note(&format!("interrupted: {self}"));
        }
    }
}
