//! The result of a run: its counts, and the events that are still missing.

use time::OffsetDateTime;

use crate::store::catch_up::{Listed, State};

/// How many events a report lists of each kind; the rest is counted.
pub(super) const MAX_LISTED: u32 = 1_000;

/// The result of a catch-up: its counts, and the events that are still missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CatchUpReport {
    /// How many redeliveries the API accepted, or may have accepted.
    pub redelivered: u64,
    /// How many of them were in the inbox within the time limit.
    pub arrived: u64,
    /// How many events of the gap are not in the inbox although the log has a delivery of them.
    pub missing_events: u64,
    /// The oldest 1,000 of them.
    pub missing: Vec<MissingEvent>,
    /// How many events of the gap are not in the inbox and have no delivery, or only one without a
    /// time: redelivery cannot reach them. An event is counted by one completed run. Events of
    /// types that the webhook does not subscribe to are not counted.
    pub unreachable_events: u64,
    /// The oldest 1,000 of them.
    pub unreachable: Vec<UnreachableEvent>,
    /// How many events of the gap are not in the inbox and have types that the webhook does not
    /// subscribe to.
    pub unsubscribed_events: u64,
    /// How many redeliveries have no event id in the log, so that nothing shows whether they
    /// arrived.
    pub unconfirmed: u64,
    /// How many events of the logs could not be compared: without an id or a time, or with an id
    /// that another event has, as one with another type or another time of its creation, or one
    /// that the inbox had received before this one was created.
    pub not_compared: u64,
    /// Whether the event log was not read to its end, since it is not sorted by time and has more
    /// events outside of the gap than [`event_log_limit`](crate::CatchUp::event_log_limit) allows:
    /// then events that have no delivery may not be listed. It does not hold the checkpoint back.
    pub event_log_cut: bool,
    /// The checkpoint of before, if the run moved it over a time that it could not look at, since
    /// rows of that time were pruned: what was delivered from then until the start of the gap was
    /// not looked at.
    pub skipped_from: Option<OffsetDateTime>,
    /// The checkpoint, up to which nothing has to be looked at again; `None` if there is none.
    pub checkpoint: Option<OffsetDateTime>,
    /// By how many seconds the host's clock is ahead of the API's, if that is more than 60 in
    /// either direction.
    pub clock_warning: Option<i64>,
    /// How many calls were made, without attempts that the client repeated.
    pub calls: u64,
}

impl CatchUpReport {
    /// Whether nothing is missing, unreachable, unconfirmed, not compared or skipped, and the event
    /// log was read as far as the gap reaches.
    ///
    /// The checkpoint can move without it: unreachable events, and events whose three tries are
    /// used up or whose delivery the API no longer has, are reported and do not hold it back.
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
    /// The id of the event, if the log has it; as the inbox labels it, so a long one is a hash.
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
    /// It was redelivered, and did not arrive in time.
    #[non_exhaustive]
    NotArrived {
        /// How often a redelivery was asked for, by all runs together; at most 3.
        tries: u32,
    },
    /// The API rejected the redelivery.
    #[non_exhaustive]
    Rejected {
        /// The status of the answer.
        status: Option<u16>,
    },
    /// No redelivery was asked for: the log has no id of its delivery that can be sent, or it came
    /// while the run ended.
    NotTried,
}

/// An event that redelivery cannot reach.
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
