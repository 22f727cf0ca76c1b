//! The delivery log: filters, failed deliveries, redelivery.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use time::OffsetDateTime;

use crate::call::{FILTER_DELIVERIES, REDELIVER};
use crate::client::Client;
use crate::error::ApiError;
use crate::filter::Filter;
use crate::id::{DeliveryId, WebhookId};
use crate::pages::{MAX_PAGES, PageReader, Pages};
use crate::records::WebhookDelivery;

/// The delivery log of a workspace.
#[derive(Clone, Debug)]
pub struct Deliveries {
    client: Client,
}

impl Client {
    /// Returns the delivery log of the workspace.
    #[must_use]
    pub fn deliveries(&self) -> Deliveries {
        Deliveries {
            client: self.clone(),
        }
    }
}

impl Deliveries {
    /// Lists the deliveries that pass a filter: `POST /webhook-deliveries/filter`.
    pub fn filter(&self, filter: Filter) -> Pages<WebhookDelivery> {
        Pages::new(self.reader(filter))
    }

    /// Lists the failed deliveries of a webhook, the latest first, with the filter that Ptolemy's
    /// guide shows.
    pub fn failed(&self, webhook: impl Into<WebhookId>) -> FailedDeliveries {
        let filter = Filter::new()
            .eq("webhook_id", &webhook.into())
            .eq("status", "failed")
            .sort_descending("delivered_at");
        let mut reader = self.reader(filter);
        reader.limit_pages(MAX_PAGES);
        FailedDeliveries {
            reader,
            ready: VecDeque::new(),
            since: None,
            last: None,
            is_descending: true,
            has_descended: false,
            ended: false,
        }
    }

    fn reader(&self, filter: Filter) -> PageReader<WebhookDelivery> {
        let filter = Some(filter);
        PageReader::new(
            &self.client,
            &FILTER_DELIVERIES,
            &[],
            filter,
            WebhookDelivery::parse,
        )
    }

    /// Requests that a delivery is sent again: `POST /webhook-deliveries/{id}/redeliver`.
    ///
    /// It is repeated only if it was certainly not carried out. If the outcome is
    /// [`Unknown`](crate::Outcome::Unknown), a second call is harmless to a receiver that
    /// recognises duplicates.
    ///
    /// # Errors
    ///
    /// Returns an error of the kind [`NotFound`](crate::ApiErrorKind::NotFound) if the delivery
    /// does not exist.
    pub async fn redeliver(&self, id: impl Into<DeliveryId>) -> Result<(), ApiError> {
        let id = id.into();
        self.client
            .call(&REDELIVER, &[id.as_str()], None)
            .await
            .map(drop)
    }
}

/// The failed deliveries of one webhook.
///
/// Same as [`Pages`], with an earliest time. Deliveries that Ptolemy abandoned because the
/// workspace was over its quota are not among the failed ones.
///
/// All pages are read before the first delivery is returned: a delivery that is sent again leaves
/// the list, and if the cursor counts records, the next page would begin too late and skip some.
/// They are in memory until then; more than 1,000 pages are an error.
#[must_use = "a list is read as it is consumed"]
pub struct FailedDeliveries {
    reader: PageReader<WebhookDelivery>,
    ready: VecDeque<WebhookDelivery>,
    since: Option<OffsetDateTime>,
    /// The time of the previous record, to see whether the server sorts as it was asked to.
    last: Option<OffsetDateTime>,
    is_descending: bool,
    /// Equal times do not show an order.
    has_descended: bool,
    ended: bool,
}

impl FailedDeliveries {
    /// Leaves out deliveries whose `delivered_at` is before this time.
    ///
    /// Times are compared here. A delivery without the field, which is not documented, is returned.
    /// Reading stops after a whole page of older deliveries, if all times so far were in descending
    /// order and at least two of them differ. So a server that ignores the sort costs calls; it can
    /// hide deliveries only if its records are in descending order down to a whole page of older
    /// ones.
    pub fn since(mut self, time: OffsetDateTime) -> Self {
        self.since = Some(time);
        self
    }

    /// Same as [`Pages::page_size`].
    pub fn page_size(mut self, records: u32) -> Self {
        self.reader.set_page_size(records);
        self
    }

    /// Same as [`Pages::try_next`].
    ///
    /// # Errors
    ///
    /// Same as [`Pages::try_next`].
    pub async fn try_next(&mut self) -> Result<Option<WebhookDelivery>, ApiError> {
        poll_fn(|cx| self.poll_record(cx)).await.transpose()
    }

    fn poll_record(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<WebhookDelivery, ApiError>>> {
        loop {
            if self.ended {
                return Poll::Ready(self.ready.pop_front().map(Ok));
            }
            match ready!(self.reader.poll_page(cx)) {
                Some(Ok(page)) => self.take(page),
                Some(Err(error)) => {
                    self.ready.clear();
                    self.ended = true;
                    return Poll::Ready(Some(Err(error)));
                }
                None => self.ended = true,
            }
        }
    }

    fn take(&mut self, page: Vec<WebhookDelivery>) {
        let Some(since) = self.since else {
            self.ready.extend(page);
            return;
        };
        let mut is_all_older = !page.is_empty();
        for delivery in page {
            match delivery.delivered_at {
                Some(time) => {
                    self.is_descending &= self.last.is_none_or(|last| time <= last);
                    self.has_descended |= self.last.is_some_and(|last| time < last);
                    self.last = Some(time);
                    if time < since {
                        continue;
                    }
                }
                // Without the field the server cannot have sorted by it.
                None => self.is_descending = false,
            }
            is_all_older = false;
            self.ready.push_back(delivery);
        }
        self.ended = is_all_older && self.is_descending && self.has_descended;
    }
}

impl Stream for FailedDeliveries {
    type Item = Result<WebhookDelivery, ApiError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_record(cx)
    }
}

impl fmt::Debug for FailedDeliveries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FailedDeliveries")
            .field("since", &self.since)
            .finish_non_exhaustive()
    }
}
