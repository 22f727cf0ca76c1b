//! The delivery log, for tests to read.

use std::fmt;
use std::time::Duration;

use ptolemy_webhooks::LogText;
use time::OffsetDateTime;

use crate::clock;

/// The status of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Status {
    /// An attempt of the schedule is due or under way.
    Pending,
    /// An attempt was answered with a 2xx. That stays so if a later redelivery fails.
    Succeeded,
    /// The last attempt of the schedule failed, or the webhook was deleted or inactive when one was
    /// due. A redelivery can still succeed.
    Failed,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pending => "pending",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        })
    }
}

/// How one attempt ended, as the sender sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// The receiver answered with this status. A 2xx is a success; a redirect is not followed and
    /// is a failure.
    Answered(u16),
    /// The receiver answered with this status, but the sender never saw it: the fault
    /// `lose_answer`.
    AnswerLost(u16),
    /// No answer came within the limit.
    TimedOut,
    /// Nothing was sent, because the host is not loopback.
    /// [`Builder::deliver_to_any_host`](crate::Builder::deliver_to_any_host) allows it.
    NotLoopback,
    /// The receiver did not accept a connection. The sandbox has no TLS, so every attempt to an
    /// `https` URL ends like this.
    NotConnected,
    /// The connection ended before an answer.
    BrokenOff,
}

impl Outcome {
    /// Returns whether the attempt was acknowledged.
    #[must_use]
    pub fn is_success(self) -> bool {
        matches!(self, Self::Answered(200..=299))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered(status) => write!(f, "answered {status}"),
            Self::AnswerLost(status) => write!(f, "answered {status}, answer lost"),
            Self::TimedOut => f.write_str("timed out"),
            Self::NotLoopback => f.write_str(
                "not sent: host is not loopback; Builder::deliver_to_any_host allows any host",
            ),
            Self::NotConnected => f.write_str("not connected"),
            Self::BrokenOff => f.write_str("broken off"),
        }
    }
}

/// One POST of a delivery.
#[derive(Clone, Debug)]
pub struct LoggedAttempt {
    pub(crate) at: OffsetDateTime,
    pub(crate) outcome: Outcome,
    pub(crate) fault: Option<&'static str>,
    pub(crate) took: Duration,
}

impl LoggedAttempt {
    /// Returns when the attempt was made, on the virtual clock.
    #[must_use]
    pub fn at(&self) -> OffsetDateTime {
        self.at
    }

    /// Returns how the attempt ended.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// Returns the status of the answer that reached the sender, if one did. The status of a lost
    /// answer is in [`Outcome::AnswerLost`].
    #[must_use]
    pub fn response_status(&self) -> Option<u16> {
        match self.outcome {
            Outcome::Answered(status) => Some(status),
            _ => None,
        }
    }

    /// Returns the name of the fault that the attempt was made with.
    #[must_use]
    pub fn fault(&self) -> Option<&'static str> {
        self.fault
    }

    /// Returns how long the attempt took, on the host's clock.
    #[must_use]
    pub fn took(&self) -> Duration {
        self.took
    }
}

/// One event on its way to one webhook.
#[derive(Clone, Debug)]
pub struct LoggedDelivery {
    pub(crate) id: String,
    pub(crate) webhook_id: String,
    pub(crate) event_id: String,
    pub(crate) event_type: String,
    pub(crate) status: Status,
    pub(crate) attempts: Vec<LoggedAttempt>,
    pub(crate) next_at: Option<OffsetDateTime>,
}

impl LoggedDelivery {
    /// Returns the id of the delivery, with which the API can send it again.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the id of the webhook.
    #[must_use]
    pub fn webhook_id(&self) -> &str {
        &self.webhook_id
    }

    /// Returns the id of the event.
    #[must_use]
    pub fn event_id(&self) -> &str {
        &self.event_id
    }

    /// Returns the type of the event; empty if the emitted JSON has none.
    #[must_use]
    pub fn event_type(&self) -> &str {
        &self.event_type
    }

    /// Returns the status of the delivery.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status
    }

    /// Returns when the next attempt of the schedule is due, on the virtual clock; `None` if none
    /// is.
    #[must_use]
    pub fn next_attempt_at(&self) -> Option<OffsetDateTime> {
        self.next_at
    }

    /// Returns the last 100 attempts, the oldest first.
    #[must_use]
    pub fn attempts(&self) -> &[LoggedAttempt] {
        &self.attempts
    }
}

/// How many deliveries have ended, and how.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ended {
    succeeded: usize,
    failed: usize,
}

impl Ended {
    /// Counts a delivery that is not attempted any more.
    pub(crate) fn count(&mut self, status: Status) {
        match status {
            Status::Succeeded => self.succeeded += 1,
            Status::Pending | Status::Failed => self.failed += 1,
        }
    }
}

/// The delivery log. `Display` prints a table.
#[derive(Clone, Debug)]
pub struct Log {
    pub(crate) attempts: usize,
    pub(crate) ended: Ended,
    pub(crate) deliveries: Vec<LoggedDelivery>,
}

impl Log {
    /// Returns how many attempts were made since the sandbox was started.
    #[must_use]
    pub fn attempts(&self) -> usize {
        self.attempts
    }

    /// Returns how many deliveries have succeeded since the sandbox was started, including those
    /// that it no longer keeps.
    #[must_use]
    pub fn succeeded(&self) -> usize {
        self.ended.succeeded
    }

    /// Returns how many deliveries have failed since the sandbox was started, including those that
    /// it no longer keeps. A delivery that was dropped while it was pending has failed.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.ended.failed
    }

    /// Returns how many deliveries are pending.
    #[must_use]
    pub fn pending(&self) -> usize {
        let deliveries = self.deliveries.iter();
        deliveries.filter(|it| it.status == Status::Pending).count()
    }

    /// Returns the deliveries that the sandbox keeps, the oldest first.
    #[must_use]
    pub fn deliveries(&self) -> &[LoggedDelivery] {
        &self.deliveries
    }
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The type may come from a body that is not Ptolemy's, and must stay on its line.
        let shown = |delivery: &LoggedDelivery| LogText::new(&delivery.event_type).to_string();
        let widths = self.deliveries.iter().map(|delivery| shown(delivery).len());
        let width = widths.fold("event type".len(), usize::max);
        writeln!(f, "{:width$}  {:9}  attempts", "event type", "status")?;
        for delivery in &self.deliveries {
            write!(f, "{:width$}  {:9}", shown(delivery), delivery.status)?;
            for (place, attempt) in delivery.attempts.iter().enumerate() {
                let separator = if place == 0 { "  " } else { "; " };
                let at = clock::to_text(attempt.at);
                write!(f, "{separator}{at} {}", attempt.outcome)?;
                if let Some(fault) = attempt.fault {
                    write!(f, " ({fault})")?;
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
