//! Logs whether the database can be reached: one line when the connection is lost, with the cause,
//! and one when it is back.

use std::fmt::Display;
use std::time::Duration;

use tokio::time::Instant;

/// The messages.
#[derive(Debug)]
pub(crate) struct Lines {
    pub(crate) lost: &'static str,
    pub(crate) back: &'static str,
}

pub(crate) const ACCEPTS: Lines = Lines {
    lost: "deliveries are not accepted",
    back: "deliveries are accepted again",
};

pub(crate) const WORKER: Lines = Lines {
    lost: "the worker cannot reach the database; retrying",
    back: "the worker reaches the database again",
};

#[derive(Debug)]
pub(crate) struct Reach {
    lines: Lines,
    lost_at: Option<Instant>,
}

impl Reach {
    pub(crate) fn new(lines: Lines) -> Self {
        Self {
            lines,
            lost_at: None,
        }
    }

    /// Records a failure.
    pub(crate) fn lost(&mut self, cause: &dyn Display) {
        if self.lost_at.is_some() {
            tracing::debug!(%cause, "{}", self.lines.lost);
            return;
        }
        self.lost_at = Some(Instant::now());
        tracing::warn!(%cause, "{}", self.lines.lost);
    }

    /// Whether the last record is a failure.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost_at.is_some()
    }

    /// Records a success.
    pub(crate) fn back(&mut self) {
        if let Some(lost_at) = self.lost_at.take() {
            // Fractions of a millisecond are noise.
            let millis = lost_at.elapsed().as_millis();
            let after = Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX));
            tracing::info!(?after, "{}", self.lines.back);
        }
    }
}
