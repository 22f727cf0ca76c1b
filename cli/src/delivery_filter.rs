//! Which deliveries of the log are wanted, checked on both sides.
//!
//! Ptolemy documents a filter of `webhook_id` and `status`, and not the fields of a delivery. So
//! the server is asked to filter, its answer is checked, and a delivery that lacks a field is
//! neither taken for a match nor left out in silence.

use std::collections::{BTreeMap, HashSet};

use ptolemy_webhooks_client::{
    Client, DeliveryId, DeliveryStatus, Filter, Pages, WebhookDelivery, WebhookId,
};
use time::OffsetDateTime;

use crate::notice;

/// How many older deliveries in a row end a list that is sorted by time: a whole page.
const MAX_OLDER_IN_A_ROW: u32 = crate::listing::MAX_PAGE_SIZE;

/// Which deliveries are wanted.
pub(crate) struct DeliveryFilter {
    pub(crate) failed: bool,
    pub(crate) webhook: Option<WebhookId>,
    pub(crate) since: Option<OffsetDateTime>,
    /// How many deliveries could not be checked against which option.
    unclear: BTreeMap<&'static str, u64>,
    /// Those that were let through: a delivery that fails while pages are read moves the ones
    /// before it to the next page, which then has some of them again.
    seen: HashSet<DeliveryId>,
    order: Order,
}

/// Whether a delivery is wanted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Wanted,
    Unwanted,
    /// It lacks the fields that these options need.
    Unclear(Vec<&'static str>),
}

impl DeliveryFilter {
    pub(crate) fn new(
        failed: bool,
        webhook: Option<WebhookId>,
        since: Option<OffsetDateTime>,
    ) -> Self {
        Self {
            failed,
            webhook,
            since,
            unclear: BTreeMap::new(),
            seen: HashSet::new(),
            order: Order::default(),
        }
    }

    /// The deliveries that the server lets through, the latest first.
    pub(crate) fn pages(&self, client: &Client) -> Pages<WebhookDelivery> {
        let mut filter = Filter::new();
        if let Some(webhook) = &self.webhook {
            filter = filter.eq("webhook_id", webhook);
        }
        if self.failed {
            filter = filter.eq("status", "failed");
        }
        client
            .deliveries()
            .filter(filter.sort_descending("delivered_at"))
    }

    /// Checks a delivery that the server let through.
    pub(crate) fn check(&mut self, delivery: &WebhookDelivery) -> Verdict {
        if self.seen.contains(&delivery.id) {
            return Verdict::Unwanted;
        }
        let verdict = self.check_new(delivery);
        if verdict != Verdict::Unwanted {
            self.seen.insert(delivery.id.clone());
        }
        verdict
    }

    fn check_new(&mut self, delivery: &WebhookDelivery) -> Verdict {
        self.order.add(delivery.delivered_at, self.since);
        let id_of = |id: &WebhookId| id.as_str().to_ascii_lowercase();
        let checks = [
            self.failed.then(|| {
                let status = delivery.status.as_ref();
                ("--failed", status.map(|it| *it == DeliveryStatus::Failed))
            }),
            self.webhook.as_ref().map(|wanted| {
                let id = delivery.webhook_id.as_ref();
                ("--webhook", id.map(|id| id_of(id) == id_of(wanted)))
            }),
            self.since.map(|since| {
                let time = delivery.delivered_at;
                ("--since", time.map(|time| time >= since))
            }),
        ];
        let checks: Vec<_> = checks.into_iter().flatten().collect();
        if checks.iter().any(|(_, passes)| *passes == Some(false)) {
            return Verdict::Unwanted;
        }
        let unclear = checks.iter().filter(|(_, passes)| passes.is_none());
        let unclear: Vec<&'static str> = unclear.map(|(option, _)| *option).collect();
        if unclear.is_empty() {
            return Verdict::Wanted;
        }
        Verdict::Unclear(unclear)
    }

    /// Counts a delivery that could not be checked, for [`report_unclear`](Self::report_unclear).
    pub(crate) fn count_unclear(&mut self, options: &[&'static str]) {
        for option in options {
            *self.unclear.entry(option).or_default() += 1;
        }
    }

    /// Whether all later deliveries are too old, as far as the order of those before shows it.
    pub(crate) fn is_past(&self) -> bool {
        self.order.is_past()
    }

    /// Whether the deliveries so far came the latest first. It is true after a whole page at the
    /// earliest, which one call reads anyway.
    pub(crate) fn is_descending(&self) -> bool {
        self.order.is_descending()
    }

    /// Whether a delivery could not be checked.
    pub(crate) fn is_unclear(&self) -> bool {
        !self.unclear.is_empty()
    }

    /// Says on standard error how many deliveries could not be checked, and what was done with
    /// them.
    pub(crate) fn report_unclear(&self, done: &str) {
        for (option, count) in &self.unclear {
            let field = match *option {
                "--failed" => "status",
                "--webhook" => "webhook_id",
                _ => "delivered_at",
            };
            let deliveries = plural(*count, "delivery", "deliveries");
            notice::warning(&format!(
                "{deliveries} without a readable `{field}` could not be checked against {option}: {done}"
            ));
        }
    }
}

/// A number and its noun.
pub(crate) fn plural(count: u64, one: &str, several: &str) -> String {
    let noun = if count == 1 { one } else { several };
    format!("{count} {noun}")
}

/// The order in which the server sends deliveries. It is asked for the latest first, and a list
/// that is not in this order is read to its end.
#[derive(Default)]
struct Order {
    last: Option<OffsetDateTime>,
    is_broken: bool,
    /// Equal times show no order.
    has_descended: bool,
    count: u32,
    older_in_a_row: u32,
}

impl Order {
    fn add(&mut self, time: Option<OffsetDateTime>, since: Option<OffsetDateTime>) {
        self.count = self.count.saturating_add(1);
        let Some(time) = time else {
            // Without the field the server cannot have sorted by it.
            self.is_broken = true;
            return;
        };
        self.is_broken |= self.last.is_some_and(|last| time > last);
        self.has_descended |= self.last.is_some_and(|last| time < last);
        self.last = Some(time);
        self.older_in_a_row = match since {
            Some(since) if time < since => self.older_in_a_row.saturating_add(1),
            _ => 0,
        };
    }

    fn is_descending(&self) -> bool {
        !self.is_broken && self.has_descended && self.count >= crate::listing::MAX_PAGE_SIZE
    }

    fn is_past(&self) -> bool {
        !self.is_broken && self.has_descended && self.older_in_a_row >= MAX_OLDER_IN_A_ROW
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::Duration;

    fn is_past_after(times: impl IntoIterator<Item = Option<i64>>) -> bool {
        let since = OffsetDateTime::UNIX_EPOCH;
        let mut order = Order::default();
        for seconds in times {
            let time = seconds.map(|seconds| since + Duration::seconds(seconds));
            order.add(time, Some(since));
        }
        order.is_past()
    }

    #[test]
    fn only_a_page_of_older_deliveries_in_descending_order_ends_a_list() {
        let older = |count: i64| (1..=count).map(|seconds| Some(-seconds));
        assert!(is_past_after(older(200)));
        assert!(!is_past_after(older(199)));
        assert!(!is_past_after([Some(-9)].into_iter().chain(older(200))));
        assert!(!is_past_after([None].into_iter().chain(older(200))));
        assert!(!is_past_after(older(199).chain([None])));
        assert!(!is_past_after((0..200).map(|_| Some(-1))));
        assert!(is_past_after([Some(5)].into_iter().chain(older(200))));
        assert!(!is_past_after((0..400).map(|seconds| Some(400 - seconds))));
    }
}
