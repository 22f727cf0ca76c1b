//! The result of a run: its counts, and the events that are still missing.

use time::OffsetDateTime;

use crate::store::catch_up::{Listed, State};

/// How many events of each kind a report lists; it only counts the others.
pub(super) const MAX_LISTED: u32 = 1_000;

/// The result of a catch-up: its counts, and the events that are still missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CatchUpReport {
    /// How many redeliveries the API accepted, or may have accepted.
    pub redelivered: u64,
    /// How many of them were in the inbox within the time limit.
    pub arrived: u64,
    /// How many events of the gap are not in the inbox although the delivery log has them.
    pub missing_events: u64,
    /// The oldest 1,000 of them.
    pub missing: Vec<MissingEvent>,
    /// How many events of the gap are not in the inbox and have no delivery, or only one without a
    /// time: redelivery cannot bring them. Each event is counted by one completed run only. Events
    /// of types that the webhook does not subscribe to are not counted.
    pub unreachable_events: u64,
    /// The oldest 1,000 of them.
    pub unreachable: Vec<UnreachableEvent>,
    /// How many events of the gap are not in the inbox and have types that the webhook does not
    /// subscribe to.
    pub unsubscribed_events: u64,
    /// How many redeliveries have no event id in the log, so that nothing shows whether they
    /// arrived.
    pub unconfirmed: u64,
    /// How many events of the logs could not be compared: they have no id or no time, or they share
    /// their id with another event, that is, one with another type or creation time, or one that
    /// the inbox received before this one was created.
    pub not_compared: u64,
    /// Whether the event log was not read to its end, since it is not sorted by time and has more
    /// events outside of the gap than [`event_log_limit`](crate::CatchUp::event_log_limit) allows:
    /// then events that have no delivery may not be listed. It does not hold the checkpoint back.
    pub event_log_cut: bool,
    /// The previous checkpoint, if the run moved it past a span that it could not check, since rows
    /// of that time were pruned: deliveries from then until the start of the gap were not checked.
    pub skipped_from: Option<OffsetDateTime>,
    /// The checkpoint, before which nothing needs to be checked again; `None` if there is none.
    pub checkpoint: Option<OffsetDateTime>,
    /// By how many seconds the host's clock is ahead of the API's, if that is more than 60 in
    /// either direction.
    pub clock_warning: Option<i64>,
    /// How many calls were made, not counting the client's retries.
    pub calls: u64,
}

impl CatchUpReport {
    /// Returns whether nothing is missing, unreachable, unconfirmed, not compared or skipped, and
    /// the event log was read as far as the gap reaches.
    ///
    /// The checkpoint can move even if this is false: unreachable events, and events whose three
    /// tries are used up or whose delivery the API no longer has, are reported and do not hold it
    /// back.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let unknown = [self.unreachable_events, self.unconfirmed, self.not_compared];
        let is_read = !self.event_log_cut && self.skipped_from.is_none();
        self.missing_events == 0 && unknown == [0; 3] && is_read
    }
}

/// An event whose redelivery did not reach the inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MissingEvent {
    /// The id of the event, if the log has it; in the form that the inbox stores, so a long one is
    /// a hash.
    pub event_id: Option<String>,
    /// The type of the event, if the log has it.
    pub event_type: Option<String>,
    /// The id of the newest delivery; `None` if it is too long to be stored, or unsafe to print.
    pub delivery_id: Option<String>,
    /// Why it is missing.
    pub why: MissingReason,
}

/// Why an event is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MissingReason {
    /// It was redelivered but did not arrive in time.
    #[non_exhaustive]
    NotArrived {
        /// How often a redelivery was requested, by all runs together; at most 3.
        tries: u32,
    },
    /// The API rejected the redelivery.
    #[non_exhaustive]
    Rejected {
        /// The status of the answer.
        status: Option<u16>,
    },
    /// No redelivery was requested: the log has no usable id of its delivery, or the entry appeared
    /// while the run ended.
    NotTried,
}

/// An event that redelivery cannot bring.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnreachableEvent {
    /// The id of the event.
    pub event_id: String,
    /// The type of the event, if the log has it.
    pub event_type: Option<String>,
}

impl MissingEvent {
    /// `None` for a delivery without an event id that was redelivered: it is unconfirmed.
    pub(super) fn read(listed: Listed, state: State) -> Option<Self> {
        let why = match state {
            State::Rejected => MissingReason::Rejected {
                status: listed.answer,
            },
            _ if listed.tries == 0 => MissingReason::NotTried,
            // By an earlier run.
            _ if listed.answer.is_some() => MissingReason::Rejected {
                status: listed.answer,
            },
            _ => {
                listed.event_id.as_ref()?;
                MissingReason::NotArrived {
                    tries: listed.tries,
                }
            }
        };
        Some(Self {
            event_id: listed.event_id,
            event_type: listed.event_type,
            delivery_id: listed.delivery_id,
            why,
        })
    }
}
