//! The progress of a run.

/// The step of a catch-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CatchUpPhase {
    /// It reads the delivery log.
    ReadingDeliveries,
    /// It requests redeliveries and waits until they arrive.
    Redelivering,
    /// It compares with the event log.
    ReadingEvents,
}

/// The progress of a catch-up, for a log line or a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CatchUpProgress {
    /// The step.
    pub phase: CatchUpPhase,
    /// How many entries of the log it has read in this phase; 0 while it redelivers.
    pub read: u64,
    /// How many redeliveries it has requested.
    pub redelivered: u64,
    /// How many of them have arrived.
    pub arrived: u64,
}
