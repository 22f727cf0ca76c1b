//! One attempt of a call: sends it, reads a bounded answer, and classifies what went wrong.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
};
use reqwest::{Response, StatusCode, Url};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

use crate::call::Call;
use crate::error::ApiErrorKind;
use crate::retry::Fault;
use crate::server_text::{MAX_KEPT_BYTES, keep};
use crate::token::Token;

const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const MAX_REQUEST_ID_BYTES: usize = 200;

/// A call with its arguments.
pub(crate) struct Request {
    pub(crate) call: &'static Call,
    /// Within the workspace, as errors and logs show it.
    pub(crate) path: String,
    pub(crate) url: Url,
    pub(crate) body: Option<Bytes>,
}

/// The input of one attempt.
pub(crate) struct Exchange<'a> {
    pub(crate) http: &'a reqwest::Client,
    pub(crate) token: &'a Token,
    pub(crate) deadline: Instant,
    pub(crate) max_answer: usize,
}

/// An answer with a status of success.
pub(crate) struct Success {
    pub(crate) status: u16,
    pub(crate) remaining: Option<u64>,
    pub(crate) clock_offset: Option<time::Duration>,
    pub(crate) request_id: Option<String>,
    pub(crate) body: Zeroizing<Vec<u8>>,
}

/// A failed attempt.
pub(crate) struct Failure {
    pub(crate) fault: Fault,
    pub(crate) kind: ApiErrorKind,
    pub(crate) status: Option<u16>,
    pub(crate) remaining: Option<u64>,
    pub(crate) clock_offset: Option<time::Duration>,
    pub(crate) message: Option<String>,
    pub(crate) detail: Option<String>,
    pub(crate) request_id: Option<String>,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) source: Option<reqwest::Error>,
}

impl Failure {
    fn new(fault: Fault, kind: ApiErrorKind) -> Self {
        Self {
            fault,
            kind,
            status: None,
            remaining: None,
            clock_offset: None,
            message: None,
            detail: None,
            request_id: None,
            retry_after: None,
            source: None,
        }
    }

    /// The fault of an attempt that got no answer.
    fn without_answer(error: reqwest::Error) -> Self {
        // The URL is in the error already, as method and path.
        let error = error.without_url();
        let (fault, kind) = if error.is_connect() {
            (Fault::NotConnected, ApiErrorKind::NotConnected)
        } else if error.is_builder() {
            (Fault::NotConnected, ApiErrorKind::InvalidArgument)
        } else if error.is_timeout() {
            (Fault::NoAnswer, ApiErrorKind::Timeout)
        } else {
            (Fault::NoAnswer, ApiErrorKind::Broken)
        };
        Self {
            source: Some(error),
            ..Self::new(fault, kind)
        }
    }

    fn timeout() -> Self {
        Self::new(Fault::NoAnswer, ApiErrorKind::Timeout)
    }

    fn too_large(limit: usize) -> Self {
        Self {
            detail: Some(format!("the limit is {limit} bytes")),
            ..Self::new(Fault::Unreadable, ApiErrorKind::TooLarge)
        }
    }
}

impl Exchange<'_> {
    pub(crate) async fn run(&self, request: &Request) -> Result<Success, Failure> {
        let mut sending = self
            .http
            .request(request.call.method.clone(), request.url.clone())
            .header(AUTHORIZATION, self.token.header())
            .header(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(body) = &request.body {
            sending = sending
                .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
                .body(body.clone());
        }
        let response = match timeout_at(self.deadline, sending.send()).await {
            Ok(answer) => answer.map_err(Failure::without_answer)?,
            Err(_) => return Err(Failure::timeout()),
        };
        let status = response.status();
        let headers = response.headers().clone();
        let clock_offset = clock_offset(&headers, OffsetDateTime::now_utc());
        if !status.is_success() {
            return Err(Failure {
                clock_offset,
                ..self.unsuccessful(status, &headers, response).await
            });
        }
        let remaining = number(&headers, &REMAINING);
        let body = self.body(response).await.map_err(|failure| Failure {
            status: Some(status.as_u16()),
            remaining,
            clock_offset,
            request_id: self.request_id(&headers),
            ..failure
        })?;
        Ok(Success {
            status: status.as_u16(),
            remaining,
            clock_offset,
            request_id: self.request_id(&headers),
            body,
        })
    }

    async fn body(&self, mut response: Response) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let declared = response.content_length().unwrap_or(0);
        if usize::try_from(declared).map_or(true, |length| length > self.max_answer) {
            return Err(Failure::too_large(self.max_answer));
        }
        let mut body = Zeroizing::new(Vec::new());
        loop {
            let chunk = match timeout_at(self.deadline, response.chunk()).await {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Ok(None)) => return Ok(body),
                Ok(Err(error)) => return Err(Failure::without_answer(error)),
                Err(_) => return Err(Failure::timeout()),
            };
            if chunk.len() > self.max_answer.saturating_sub(body.len()) {
                return Err(Failure::too_large(self.max_answer));
            }
            append(&mut body, &chunk);
        }
    }

    /// The text of an error is read as far as it arrives: the status is known, so a body that
    /// breaks off is not a second failure.
    async fn unsuccessful(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        mut response: Response,
    ) -> Failure {
        // The buffer is allocated at once, so that it does not grow and leave copies: servers echo
        // tokens.
        let mut text = Zeroizing::new(Vec::with_capacity(MAX_KEPT_BYTES));
        while text.len() < MAX_KEPT_BYTES {
            match timeout_at(self.deadline, response.chunk()).await {
                Ok(Ok(Some(chunk))) => {
                    let room = MAX_KEPT_BYTES - text.len();
                    text.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
                }
                _ => break,
            }
        }
        let remaining = number(headers, &REMAINING);
        let (fault, kind) = classify(status, remaining);
        Failure {
            status: Some(status.as_u16()),
            remaining,
            message: Some(keep(&text, self.token.text())).filter(|text| !text.is_empty()),
            request_id: self.request_id(headers),
            retry_after: retry_after(headers, OffsetDateTime::now_utc()),
            ..Failure::new(fault, kind)
        }
    }

    fn request_id(&self, headers: &HeaderMap) -> Option<String> {
        let id = headers.get(REQUEST_ID)?.as_bytes();
        let id = id.get(..MAX_REQUEST_ID_BYTES).unwrap_or(id);
        Some(keep(id, self.token.text()))
    }
}

/// Grows the buffer by hand, because a vector that reallocates leaves a copy behind that is not
/// wiped.
fn append(body: &mut Zeroizing<Vec<u8>>, chunk: &[u8]) {
    let length = body.len() + chunk.len();
    if length > body.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(length.max(2 * body.capacity())));
        larger.extend_from_slice(body);
        *body = larger;
    }
    body.extend_from_slice(chunk);
}

fn classify(status: StatusCode, remaining: Option<u64>) -> (Fault, ApiErrorKind) {
    match status.as_u16() {
        300..=399 => (Fault::Unexpected, ApiErrorKind::Redirect),
        400 | 422 => (Fault::Rejected, ApiErrorKind::Invalid),
        401 => (Fault::Rejected, ApiErrorKind::Unauthorized),
        403 => (Fault::Rejected, ApiErrorKind::Forbidden),
        404 => (Fault::Rejected, ApiErrorKind::NotFound),
        // A server sends it when it stops waiting for the request, which it may have begun to
        // serve.
        408 => (Fault::NoAnswer, ApiErrorKind::Timeout),
        409 => (Fault::Rejected, ApiErrorKind::Conflict),
        429 if remaining == Some(0) => (Fault::OverQuota, ApiErrorKind::OverQuota),
        429 => (Fault::Throttled, ApiErrorKind::Throttled),
        400..=499 => (Fault::Rejected, ApiErrorKind::Rejected),
        500..=599 => (Fault::ServerError, ApiErrorKind::Server),
        _ => (Fault::Unexpected, ApiErrorKind::UnexpectedStatus),
    }
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

/// Returns how far `now` is ahead of `Date`.
fn clock_offset(headers: &HeaderMap, now: OffsetDateTime) -> Option<time::Duration> {
    let date = headers.get(DATE)?.to_str().ok()?.trim();
    Some(now - OffsetDateTime::parse(date, &Rfc2822).ok()?)
}

/// Reads `Retry-After`: whole seconds, or a date in the form that RFC 9110 requires of senders.
fn retry_after(headers: &HeaderMap, now: OffsetDateTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number that does not fit is a longer time than any call may take.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let date = OffsetDateTime::parse(text, &Rfc2822).ok()?;
    Some(Duration::try_from(date - now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = OffsetDateTime::from_unix_timestamp(784_111_777).unwrap();
        let read = |text: &str| {
            let value = HeaderValue::from_str(text).unwrap();
            retry_after(&HeaderMap::from_iter([(RETRY_AFTER, value)]), now)
        };
        assert_eq!(read("120"), Some(Duration::from_secs(120)));
        assert_eq!(
            read("Sun, 06 Nov 1994 08:49:47 GMT"),
            Some(Duration::from_secs(10))
        );
        assert_eq!(read("Sun, 06 Nov 1994 08:49:27 GMT"), Some(Duration::ZERO));
        assert_eq!(
            read("99999999999999999999"),
            Some(Duration::from_secs(u64::MAX))
        );
        for text in ["", "-1", "1.5", "soon"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn the_clock_offset_is_positive_if_the_host_is_ahead() {
        let now = OffsetDateTime::from_unix_timestamp(784_111_777).unwrap();
        let read = |text: &str| {
            let value = HeaderValue::from_str(text).unwrap();
            clock_offset(&HeaderMap::from_iter([(DATE, value)]), now)
        };
        let ahead = read("Sun, 06 Nov 1994 08:49:27 GMT");
        assert_eq!(ahead, Some(time::Duration::seconds(10)));
        let behind = read("Sun, 06 Nov 1994 08:59:37 GMT");
        assert_eq!(behind, Some(time::Duration::seconds(-600)));
        let earliest = read("Sat, 01 Jan 1900 00:00:00 GMT");
        assert!(earliest.is_none_or(|offset| offset.is_positive()));
        for text in ["", "now", "784111777", "Sun, 06 Nov 1994 25:49:27 GMT"] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(clock_offset(&HeaderMap::new(), now), None);
    }

    #[test]
    fn a_408_may_have_been_carried_out() {
        let (fault, kind) = classify(StatusCode::REQUEST_TIMEOUT, None);
        assert_eq!(fault.outcome(), crate::error::Outcome::Unknown);
        assert_eq!(kind, ApiErrorKind::Timeout);
    }

    #[test]
    fn a_429_without_quota_is_not_a_burst() {
        let too_many = StatusCode::TOO_MANY_REQUESTS;
        assert_eq!(classify(too_many, Some(0)).0, Fault::OverQuota);
        assert_eq!(classify(too_many, Some(1)).0, Fault::Throttled);
        assert_eq!(classify(too_many, None).0, Fault::Throttled);
    }
}
