//! The deliveries that are to be sent again, and the quota for them.

use std::fmt;

use ptolemy_webhooks_client::{DeliveryId, WebhookDelivery};
use time::OffsetDateTime;

use super::sending::{Sent, SentRow};
use crate::delivery_filter::plural;
use crate::output::Output;
use crate::since::{rfc3339, whole_seconds};
use crate::stop::Stop;

/// A delivery that is to be sent again.
pub(super) struct Planned {
    pub(super) id: DeliveryId,
    pub(super) delivered_at: Option<OffsetDateTime>,
}

impl Planned {
    pub(super) fn named(id: &str) -> Self {
        Self {
            id: id.into(),
            delivered_at: None,
        }
    }

    pub(super) fn read(delivery: WebhookDelivery) -> Self {
        Self {
            id: delivery.id,
            delivered_at: delivery.delivered_at,
        }
    }
}

/// The deliveries in the order in which they are sent, and the quota before the first.
pub(super) struct Plan {
    pub(super) deliveries: Vec<Planned>,
    remaining: Option<u64>,
    pub(super) quota_floor: u64,
}

impl Plan {
    pub(super) fn new(deliveries: Vec<Planned>, remaining: Option<u64>, quota_floor: u64) -> Self {
        Self {
            deliveries,
            remaining,
            quota_floor,
        }
    }

    /// The number of deliveries, with its noun.
    pub(super) fn count(&self) -> String {
        plural(self.calls(), "delivery", "deliveries")
    }

    fn calls(&self) -> u64 {
        u64::try_from(self.deliveries.len()).unwrap_or(u64::MAX)
    }

    /// Returns an error if not even one call is left above the floor.
    pub(super) fn check_quota(&self) -> Result<(), Stop> {
        check_floor(self.remaining, self.quota_floor)
    }

    /// Prints the deliveries, none of which is sent.
    pub(super) fn print(&self, output: &Output) -> Result<(), Stop> {
        let mut rows = output.records();
        for planned in &self.deliveries {
            rows.push(SentRow::new(&planned.id, Sent::Planned))?;
        }
        rows.finish()
    }

    fn write_quota(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let floor = self.quota_floor;
        let Some(remaining) = self.remaining else {
            return write!(
                f,
                "the calls that are left in the month's quota are not known, so it cannot be said that the \
                 floor of {floor} is kept"
            );
        };
        let usable = remaining.saturating_sub(floor);
        write!(f, "{} in the month's quota", are_left(remaining))?;
        if usable < self.calls() {
            let calls = plural(usable, "call", "calls");
            return write!(f, ", so it stops after {calls}: the floor is {floor}");
        }
        write!(f, ", the floor is {floor}")
    }
}

/// Returns an error if the floor is reached before the first delivery is sent.
pub(super) fn check_floor(remaining: Option<u64>, floor: u64) -> Result<(), Stop> {
    match remaining {
        Some(remaining) if remaining <= floor => Err(Stop::failed(format!(
            "nothing was sent: {} in the month's quota, and the floor is {floor}; a lower --quota-floor \
             allows more",
            are_left(remaining)
        ))),
        _ => Ok(()),
    }
}

/// How many calls are left, as a clause.
pub(super) fn are_left(calls: u64) -> String {
    let verb = if calls == 1 { "is" } else { "are" };
    format!("{} {verb} left", plural(calls, "call", "calls"))
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let calls = plural(self.calls(), "call", "calls");
        let count = self.count();
        writeln!(
            f,
            "plan: send {count} again with {calls}, more if some have to be repeated"
        )?;
        let times = || self.deliveries.iter().filter_map(|it| it.delivered_at);
        if let (Some(oldest), Some(newest)) = (times().min(), times().max()) {
            let [oldest, newest] = [oldest, newest].map(|time| whole_seconds(&rfc3339(time)));
            writeln!(
                f,
                "plan: the oldest is from {oldest}, the newest from {newest}"
            )?;
        }
        write!(f, "plan: ")?;
        self.write_quota(f)
    }
}
