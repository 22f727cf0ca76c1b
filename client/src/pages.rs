//! Lists: streams over pages.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::future::poll_fn;
use std::hash::{BuildHasher as _, RandomState};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use ptolemy_webhooks::RawJson;

use crate::attempts::{Answer, Budget, invalid_argument};
use crate::call::Call;
use crate::client::Client;
use crate::error::{ApiError, ApiErrorKind};
use crate::filter::Filter;
use crate::page::{Page, PageFault};

/// The longest page that Ptolemy documents.
const MAX_PAGE_SIZE: u32 = 200;

/// How many records a page has by default.
const PAGE_SIZE: u32 = 100;

/// How many empty pages in a row a list may have before it is an error.
const MAX_EMPTY_PAGES: u32 = 1_000;

/// How many pages a list may have that is read to its end before anything is done with it.
pub(crate) const MAX_PAGES: u32 = 1_000;

/// Reads one record.
pub(crate) type Parse<T> = fn(RawJson) -> Result<T, &'static str>;

/// A list of records, read page by page as it is consumed.
///
/// It is a `Stream`, and [`try_next`](Self::try_next) reads it without another crate. An empty page
/// does not end it. After an error it ends: list again, because cursors expire.
///
/// # Examples
///
/// ```no_run
/// # async fn print(client: ptolemy_webhooks_client::Client) -> Result<(), ptolemy_webhooks_client::ApiError> {
/// let mut webhooks = client.webhooks().list().page_size(200);
/// while let Some(webhook) = webhooks.try_next().await? {
///     assert!(!webhook.id.as_str().is_empty());
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "a list is read as it is consumed"]
pub struct Pages<T> {
    reader: PageReader<T>,
    ready: VecDeque<T>,
}

impl<T: 'static> Pages<T> {
    pub(crate) fn new(reader: PageReader<T>) -> Self {
        Self {
            reader,
            ready: VecDeque::new(),
        }
    }

    /// Sets how many records are read at once, 1 to 200, and 100 by default. Any other number is an
    /// error of the first read.
    pub fn page_size(mut self, records: u32) -> Self {
        self.reader.set_page_size(records);
        self
    }

    /// Makes a list with more pages than this an error of the kind
    /// [`BadCursor`](ApiErrorKind::BadCursor), at least 1. Without it, a server that sends ever new
    /// cursors is read without an end, even if its pages have one record each.
    pub fn max_pages(mut self, pages: u32) -> Self {
        self.reader.limit_pages(pages);
        self
    }

    /// Same as [`max_pages`](Self::max_pages) with 1,000 pages, for a list that is read to its end
    /// before it is used.
    pub(crate) fn limited(self) -> Self {
        self.max_pages(MAX_PAGES)
    }

    /// Returns whether a call is needed to read the next record, or to see that there is none.
    #[must_use]
    pub fn needs_call(&self) -> bool {
        self.ready.is_empty() && !matches!(self.reader.state, State::Ended)
    }

    /// Returns the next record, or `None` after the last one.
    ///
    /// It can be dropped before it is done: the next call continues with the same page.
    ///
    /// # Errors
    ///
    /// Returns the error of the call that reads a page, and an error if the list never ends: see
    /// [`ApiErrorKind::CursorExpired`] and [`ApiErrorKind::BadCursor`].
    pub async fn try_next(&mut self) -> Result<Option<T>, ApiError> {
        poll_fn(|cx| self.poll_record(cx)).await.transpose()
    }

    fn poll_record(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T, ApiError>>> {
        loop {
            if let Some(record) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(record)));
            }
            match ready!(self.reader.poll_page(cx)) {
                Some(Ok(page)) => self.ready.extend(page),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }
}

impl<T: Unpin + 'static> Stream for Pages<T> {
    type Item = Result<T, ApiError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_record(cx)
    }
}

impl<T> fmt::Debug for Pages<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages")
            .field("call", &self.reader.call.to_string())
            .finish_non_exhaustive()
    }
}

type PendingPage = Pin<Box<dyn Future<Output = Result<Answer, ApiError>> + Send + Sync>>;

/// Reads the pages of one list, one after another.
pub(crate) struct PageReader<T> {
    client: Client,
    call: &'static Call,
    ids: Vec<String>,
    /// `None` for a `GET`, which has the page in its query.
    filter: Option<Filter>,
    parse: Parse<T>,
    page_size: u32,
    state: State,
    /// Hashes of the cursors so far, to detect a list that repeats itself.
    seen: HashSet<u64>,
    hasher: RandomState,
    empty_pages: u32,
    pages: u32,
    max_pages: Option<u32>,
}

enum State {
    /// The next page begins after the cursor, or is the first one.
    Next(Option<String>),
    Reading(PendingPage),
    Ended,
}

impl<T> PageReader<T> {
    pub(crate) fn new(
        client: &Client,
        call: &'static Call,
        ids: &[&str],
        filter: Option<Filter>,
        parse: Parse<T>,
    ) -> Self {
        Self {
            client: client.clone(),
            call,
            ids: ids.iter().map(|&id| id.to_owned()).collect(),
            filter,
            parse,
            page_size: PAGE_SIZE,
            state: State::Next(None),
            seen: HashSet::new(),
            hasher: RandomState::new(),
            empty_pages: 0,
            pages: 0,
            max_pages: None,
        }
    }

    pub(crate) fn set_page_size(&mut self, records: u32) {
        self.page_size = records;
    }

    pub(crate) fn limit_pages(&mut self, pages: u32) {
        self.max_pages = Some(pages.max(1));
    }

    /// Returns the records of the next page, possibly none, or `None` after the last page.
    pub(crate) fn poll_page(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Vec<T>, ApiError>>> {
        loop {
            match &mut self.state {
                State::Ended => return Poll::Ready(None),
                State::Next(cursor) => {
                    let cursor = cursor.take();
                    match self.begin(cursor) {
                        Ok(reading) => self.state = State::Reading(reading),
                        Err(error) => return Poll::Ready(Some(Err(self.end(error)))),
                    }
                }
                State::Reading(reading) => {
                    let answer = ready!(reading.as_mut().poll(cx));
                    let page = answer.and_then(|answer| self.take(answer));
                    return Poll::Ready(Some(page.map_err(|error| self.end(error))));
                }
            }
        }
    }

    fn end(&mut self, error: ApiError) -> ApiError {
        self.state = State::Ended;
        error
    }

    fn begin(&self, cursor: Option<String>) -> Result<PendingPage, ApiError> {
        if !(1..=MAX_PAGE_SIZE).contains(&self.page_size) {
            let fault = format!("page_size is {}, not within 1 to 200", self.page_size);
            return Err(invalid_argument(self.call, fault));
        }
        let ids: Vec<&str> = self.ids.iter().map(String::as_str).collect();
        let body = self
            .filter
            .as_ref()
            .map(|filter| filter.body(Some(self.page_size), cursor.as_deref()));
        let mut request = self.client.request(self.call, &ids, body.as_ref())?;
        if self.filter.is_none() {
            let mut query = request.url.query_pairs_mut();
            query.append_pair("limit", &self.page_size.to_string());
            if let Some(cursor) = &cursor {
                query.append_pair("after", cursor);
            }
        }
        let client = self.client.clone();
        let is_later_page = cursor.is_some();
        Ok(Box::pin(async move {
            let answer = client.send(&request, &mut Budget::new(&client)).await;
            answer.map_err(|error| match error.status() {
                // The arguments of the first page were accepted, so the cursor must be wrong.
                Some(400 | 404 | 409 | 410 | 422) if is_later_page => {
                    error.with_kind(ApiErrorKind::CursorExpired)
                }
                _ => error,
            })
        }))
    }

    fn take(&mut self, mut answer: Answer) -> Result<Vec<T>, ApiError> {
        let json = answer.json()?;
        let page = Page::parse(&json, self.page_size).map_err(|fault| match fault {
            PageFault::Shape(detail) => answer.unreadable(ApiErrorKind::Unreadable, detail),
            PageFault::Cursor(detail) => answer.unreadable(ApiErrorKind::BadCursor, detail),
        })?;
        let items: Result<Vec<T>, &str> = page.items.into_iter().map(self.parse).collect();
        let items = items.map_err(|detail| answer.unreadable(ApiErrorKind::Unreadable, detail))?;
        self.state = match page.next {
            None => State::Ended,
            Some(cursor) => {
                self.check_progress(&cursor, items.is_empty())
                    .map_err(|detail| answer.unreadable(ApiErrorKind::BadCursor, detail))?;
                State::Next(Some(cursor))
            }
        };
        Ok(items)
    }

    fn check_progress(&mut self, cursor: &str, is_empty: bool) -> Result<(), String> {
        self.pages = self.pages.saturating_add(1);
        if let Some(max) = self.max_pages.filter(|max| self.pages >= *max) {
            let noun = if max == 1 { "page" } else { "pages" };
            return Err(format!("it has more than {max} {noun}"));
        }
        self.empty_pages = if is_empty { self.empty_pages + 1 } else { 0 };
        if self.empty_pages > MAX_EMPTY_PAGES {
            return Err(format!(
                "more than {MAX_EMPTY_PAGES} pages in a row are empty"
            ));
        }
        if !self.seen.insert(self.hasher.hash_one(cursor)) {
            return Err("the server sent a cursor that it sent before".to_owned());
        }
        Ok(())
    }
}
