//! Hooks for a program that serves a page on the sandbox's port and shows its attempts: the command
//! line tool of this project.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use time::OffsetDateTime;

use crate::log::{LoggedAttempt, Outcome};
use crate::record::Delivery;
use crate::sandbox::Sandbox;

/// How much of an answer's body an observer gets, in bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// How long the body of an answer may take: an attempt has ended with its head.
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// The body of a page's answer.
#[doc(hidden)]
pub type PageBody = UnsyncBoxBody<Bytes, Box<dyn Error + Send + Sync>>;

/// An answer that is awaited.
#[doc(hidden)]
pub type PageAnswer = Pin<Box<dyn Future<Output = Response<PageBody>> + Send>>;

type Page = Arc<dyn Fn(Request<Incoming>) -> PageAnswer + Send + Sync>;

type Observer = Arc<dyn Fn(SentAttempt) + Send + Sync>;

/// One attempt as it was sent, and its answer.
#[doc(hidden)]
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SentAttempt {
    /// When it was sent, on the host's clock.
    pub at: OffsetDateTime,
    pub delivery_id: String,
    pub webhook_id: String,
    /// The URL of the webhook at that time.
    pub url: String,
    pub fault: Option<&'static str>,
    /// The headers as they were sent, without those of the connection.
    pub headers: HeaderMap,
    pub body: Bytes,
    pub outcome: Outcome,
    pub took: Duration,
    pub answer: Option<AttemptAnswer>,
}

/// The answer to an attempt.
#[doc(hidden)]
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AttemptAnswer {
    pub status: u16,
    pub headers: HeaderMap,
    /// At most 64 KiB of the body, as far as it came within a second.
    pub body: Bytes,
    /// Whether there was more.
    pub is_cut: bool,
}

/// One attempt of a delivery, for a program that prints each of them.
#[doc(hidden)]
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MadeAttempt {
    /// Counts the attempts of the sandbox, from 1.
    pub number: u64,
    /// Counts the attempts of the delivery, from 1.
    pub of_delivery: u32,
    pub delivery_id: String,
    pub webhook_id: String,
    pub event_id: String,
    pub event_type: String,
    pub attempt: LoggedAttempt,
}

/// The last attempts, in the order in which they ended. Deliveries keep only their own last ones.
#[derive(Default)]
pub(crate) struct Journal {
    last: VecDeque<MadeAttempt>,
    count: u64,
}

impl Journal {
    /// Keeps an attempt, and drops the oldest one if there are more than `keep`.
    pub(crate) fn push(&mut self, delivery: &Delivery, attempt: LoggedAttempt, keep: usize) {
        self.count += 1;
        self.last.push_back(MadeAttempt {
            number: self.count,
            of_delivery: delivery.made,
            delivery_id: delivery.id.clone(),
            webhook_id: delivery.webhook_id.clone(),
            event_id: delivery.event_id.clone(),
            event_type: delivery.event_type.clone(),
            attempt,
        });
        while self.last.len() > keep {
            self.last.pop_front();
        }
    }

    fn after(&self, number: u64) -> Vec<MadeAttempt> {
        let begin = self.last.partition_point(|made| made.number <= number);
        self.last.range(begin..).cloned().collect()
    }
}

/// The hooks that a program has set.
#[derive(Default)]
pub(crate) struct Hooks {
    page: Mutex<Option<Page>>,
    observer: Mutex<Option<Observer>>,
}

impl Hooks {
    /// Returns the page if it serves this path.
    pub(crate) fn page_of(&self, path: &str) -> Option<Page> {
        let is_its_own = ["/", "/api", "/favicon.ico"].contains(&path)
            || path.starts_with("/api/")
            || path.starts_with("/page.");
        let page = is_its_own.then(|| self.page.lock().unwrap_or_else(PoisonError::into_inner));
        page.and_then(|page| page.clone())
    }

    pub(crate) fn observer(&self) -> Option<Observer> {
        let observer = self.observer.lock();
        observer.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").finish_non_exhaustive()
    }
}

impl Sandbox {
    /// Hands on the requests for `/`, `/page.…`, `/api/…` and `/favicon.ico`, which are otherwise
    /// answered 401 or 501. `page` runs on the sandbox's thread and must not wait there.
    #[doc(hidden)]
    pub fn serve_page(
        &self,
        page: impl Fn(Request<Incoming>) -> PageAnswer + Send + Sync + 'static,
    ) {
        let hook = self.shared.hooks.page.lock();
        *hook.unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(page));
    }

    /// Calls `observer` after each attempt, on the sandbox's thread, where it must not wait.
    #[doc(hidden)]
    pub fn observe_attempts(&self, observer: impl Fn(SentAttempt) + Send + Sync + 'static) {
        let hook = self.shared.hooks.observer.lock();
        *hook.unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(observer));
    }

    /// Returns the attempts after the one with this number, in the order in which they ended: as
    /// many of them as are kept.
    #[doc(hidden)]
    #[must_use]
    pub fn attempts_after(&self, number: u64) -> Vec<MadeAttempt> {
        self.shared.lock().journal.after(number)
    }
}

/// Makes the body of an answer of the API one of a page's type.
pub(crate) fn boxed(body: Full<Bytes>) -> PageBody {
    body.map_err(|never| match never {}).boxed_unsync()
}

/// Reads what an observer gets of an answer.
pub(crate) async fn beginning(answer: Response<Incoming>) -> AttemptAnswer {
    let (head, mut body) = answer.into_parts();
    let (mut kept, mut is_cut) = (Vec::new(), false);
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            let Ok(data) = frame.into_data() else {
                continue;
            };
            let room = MAX_ANSWER_BYTES - kept.len();
            kept.extend_from_slice(data.get(..room).unwrap_or(&data));
            if data.len() > room {
                is_cut = true;
                return;
            }
        }
    };
    let in_time = tokio::time::timeout(ANSWER_TIME, reading).await;
    AttemptAnswer {
        status: head.status.as_u16(),
        headers: head.headers,
        body: Bytes::from(kept.into_boxed_slice()),
        is_cut: is_cut || in_time.is_err(),
    }
}
