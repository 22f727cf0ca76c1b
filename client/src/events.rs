//! Events: list, get, filter, count.

use crate::call::{COUNT_EVENTS, FILTER_EVENTS, GET_EVENT, LIST_EVENTS};
use crate::client::Client;
use crate::error::{ApiError, ApiErrorKind};
use crate::filter::Filter;
use crate::id::EventId;
use crate::pages::{PageReader, Pages};
use crate::records::{EventRecord, count};

/// The events of a workspace. Ptolemy keeps them for 90 days, 365 days or permanently, depending on
/// the plan.
#[derive(Clone, Debug)]
pub struct Events {
    client: Client,
}

impl Client {
    /// Returns the events of the workspace.
    #[must_use]
    pub fn events(&self) -> Events {
        Events {
            client: self.clone(),
        }
    }
}

impl Events {
    /// Lists all events: `GET /events`.
    pub fn list(&self) -> Pages<EventRecord> {
        Pages::new(PageReader::new(
            &self.client,
            &LIST_EVENTS,
            &[],
            None,
            EventRecord::parse,
        ))
    }

    /// Lists the events that pass a filter: `POST /events/filter`.
    pub fn filter(&self, filter: Filter) -> Pages<EventRecord> {
        let filter = Some(filter);
        Pages::new(PageReader::new(
            &self.client,
            &FILTER_EVENTS,
            &[],
            filter,
            EventRecord::parse,
        ))
    }

    /// Returns one event: `GET /events/{id}`.
    ///
    /// # Errors
    ///
    /// Returns an error of the kind [`NotFound`](ApiErrorKind::NotFound) if there is none.
    pub async fn get(&self, id: impl Into<EventId>) -> Result<EventRecord, ApiError> {
        let id = id.into();
        let mut answer = self.client.call(&GET_EVENT, &[id.as_str()], None).await?;
        let json = answer.json()?;
        EventRecord::parse(json)
            .map_err(|detail| answer.unreadable(ApiErrorKind::Unreadable, detail))
    }

    /// Counts the events that pass a filter: `POST /events/count`.
    ///
    /// # Errors
    ///
    /// Returns an error of the kind [`Unreadable`](ApiErrorKind::Unreadable) if the answer, whose
    /// shape is assumed, does not contain a number.
    pub async fn count(&self, filter: Filter) -> Result<u64, ApiError> {
        let body = filter.body(None, None);
        let mut answer = self.client.call(&COUNT_EVENTS, &[], Some(&body)).await?;
        let json = answer.json()?;
        count(&json).ok_or_else(|| answer.unreadable(ApiErrorKind::Unreadable, "it has no count"))
    }
}
