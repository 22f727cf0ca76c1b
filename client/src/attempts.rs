//! The attempts of one call.

use std::time::Duration;

use bytes::Bytes;
use ptolemy_webhooks::RawJson;
use reqwest::Url;
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

use crate::call::Call;
use crate::client::Client;
use crate::error::{ApiError, ApiErrorKind, Outcome, Parts, Stop};
use crate::exchange::{Exchange, Failure, Request};
use crate::retry::{Delays, decide};
use crate::server_text::blank;

/// The attempts and the time that a call has left. Several requests can share one budget, such as a
/// creation and the list that looks for the new record.
pub(crate) struct Budget {
    deadline: Instant,
    delays: Delays,
    attempts: u32,
    /// The worst outcome of all attempts so far: once one may have been carried out, it stays
    /// `Unknown`.
    outcome: Outcome,
}

impl Budget {
    pub(crate) fn new(client: &Client) -> Self {
        let settings = client.settings();
        let now = Instant::now();
        Self {
            // A time limit that is too long for the clock becomes a year.
            deadline: now
                .checked_add(settings.call_timeout)
                .unwrap_or(now + Duration::from_secs(365 * 86_400)),
            delays: Delays::new(
                settings.attempts,
                settings.first_delay,
                settings.longest_delay,
            ),
            attempts: 0,
            outcome: Outcome::NotSent,
        }
    }

    /// Returns the delay before the next attempt.
    ///
    /// # Errors
    ///
    /// Returns why there is none if no attempt or no time is left.
    pub(crate) fn delay(&mut self, at_least: Option<Duration>) -> Result<Duration, Stop> {
        let delay = self.delays.next(at_least).ok_or(Stop::AttemptsUsed)?;
        let left = self.deadline.saturating_duration_since(Instant::now());
        if delay >= left {
            return Err(match at_least {
                Some(asked) if asked >= left => Stop::RetryAfterTooLong,
                _ => Stop::TimeUsed,
            });
        }
        Ok(delay)
    }
}

/// The answer to a call that succeeded.
pub(crate) struct Answer {
    call: &'static Call,
    path: String,
    pub(crate) status: u16,
    attempts: u32,
    request_id: Option<String>,
    body: Zeroizing<Vec<u8>>,
}

impl Answer {
    /// Returns the body as JSON, without a copy.
    pub(crate) fn json(&mut self) -> Result<RawJson, ApiError> {
        let body = Bytes::from(std::mem::take(&mut *self.body));
        RawJson::parse(body)
            .map_err(|error| self.unreadable(ApiErrorKind::Unreadable, error.to_string()))
    }

    /// Returns the body, which is wiped on drop.
    pub(crate) fn secret_body(&self) -> &[u8] {
        &self.body
    }

    /// The error of a call whose answer has a success status but unexpected content.
    pub(crate) fn unreadable(&self, kind: ApiErrorKind, detail: impl Into<String>) -> ApiError {
        ApiError::new(Parts {
            kind,
            method: self.call.method.clone(),
            path: self.path.clone(),
            role: self.call.role,
            is_role_assumed: self.call.is_role_assumed,
            outcome: Outcome::Unknown,
            status: Some(self.status),
            detail: Some(detail.into()),
            message: None,
            request_id: self.request_id.clone(),
            attempts: self.attempts,
            stop: Some(Stop::Permanent),
            retry_after: None,
            source: None,
        })
    }
}

impl Client {
    /// Puts a call together.
    ///
    /// # Errors
    ///
    /// Returns an error if an id cannot be part of a path.
    pub(crate) fn request(
        &self,
        call: &'static Call,
        ids: &[&str],
        body: Option<&serde_json::Value>,
    ) -> Result<Request, ApiError> {
        let path = call
            .path_for(ids)
            .map_err(|fault| invalid_argument(call, fault))?;
        let url = Url::parse(&format!("{}{path}", self.root()))
            .map_err(|error| invalid_argument(call, error.to_string()))?;
        Ok(Request {
            call,
            // A token that was passed as an id by mistake is not shown either.
            path: blank(&path),
            url,
            body: body.map(|body| Bytes::from(body.to_string())),
        })
    }

    pub(crate) async fn call(
        &self,
        call: &'static Call,
        ids: &[&str],
        body: Option<&serde_json::Value>,
    ) -> Result<Answer, ApiError> {
        let request = self.request(call, ids, body)?;
        self.send(&request, &mut Budget::new(self)).await
    }

    /// Attempts a request until it succeeds, must not be repeated, or has used up the budget.
    pub(crate) async fn send(
        &self,
        request: &Request,
        budget: &mut Budget,
    ) -> Result<Answer, ApiError> {
        loop {
            budget.attempts += 1;
            let failure = match self.attempt(request, budget).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            budget.outcome = budget.outcome.max(failure.fault.outcome());
            let delay = decide(request.call.repeat, failure.fault)
                .and_then(|()| budget.delay(failure.retry_after));
            match delay {
                Ok(delay) => {
                    tracing::debug!(
                        method = %request.call.method,
                        path = %request.path,
                        status = failure.status,
                        fault = ?failure.kind,
                        ?delay,
                        attempt = budget.attempts,
                        "call is repeated after the delay"
                    );
                    sleep(delay).await;
                }
                Err(stop) => return Err(error(request, budget, failure, stop)),
            }
        }
    }

    async fn attempt(&self, request: &Request, budget: &Budget) -> Result<Answer, Failure> {
        let settings = self.settings();
        let limit = Instant::now().checked_add(settings.attempt_timeout);
        let exchange = Exchange {
            http: self.http(),
            token: self.token(),
            deadline: limit.map_or(budget.deadline, |limit| limit.min(budget.deadline)),
            max_answer: settings.max_answer,
        };
        let result = exchange.run(request).await;
        let (remaining, clock_offset) = match &result {
            Ok(success) => (success.remaining, success.clock_offset),
            Err(failure) => (failure.remaining, failure.clock_offset),
        };
        self.note_remaining(remaining);
        self.note_clock_offset(clock_offset);
        let success = result?;
        Ok(Answer {
            call: request.call,
            path: request.path.clone(),
            status: success.status,
            attempts: budget.attempts,
            request_id: success.request_id,
            body: success.body,
        })
    }
}

fn error(request: &Request, budget: &Budget, failure: Failure, stop: Stop) -> ApiError {
    ApiError::new(Parts {
        kind: failure.kind,
        method: request.call.method.clone(),
        path: request.path.clone(),
        role: request.call.role,
        is_role_assumed: request.call.is_role_assumed,
        outcome: budget.outcome,
        status: failure.status,
        detail: failure.detail,
        message: failure.message,
        request_id: failure.request_id,
        attempts: budget.attempts,
        stop: Some(stop),
        retry_after: failure.retry_after,
        source: failure.source,
    })
}

/// The error of a call that was not sent.
pub(crate) fn invalid_argument(call: &'static Call, detail: impl Into<String>) -> ApiError {
    ApiError::new(Parts {
        kind: ApiErrorKind::InvalidArgument,
        method: call.method.clone(),
        path: call.path.to_owned(),
        role: call.role,
        is_role_assumed: call.is_role_assumed,
        outcome: Outcome::NotSent,
        status: None,
        detail: Some(detail.into()),
        message: None,
        request_id: None,
        attempts: 0,
        stop: None,
        retry_after: None,
        source: None,
    })
}
