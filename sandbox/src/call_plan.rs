//! Faults that a test plans for the next calls.

use std::time::Duration;

use crate::call_fault::CallFault;
use crate::route::Route;
use crate::state::Shared;

/// The next calls of the API, for which a fault can be planned.
///
/// Each method plans one fault. Faults are used up in the order in which they were planned, one per
/// call; a call takes the first fault that fits it. A fault of a field fits an answer that has the
/// field, so it waits for one, and the faults of other kinds go first. Calls over the quota and
/// calls with another token or for another workspace take none.
/// [`register`](crate::Sandbox::register) makes calls like any client, so its calls take faults.
///
/// # Examples
///
/// ```
/// # use ptolemy_webhooks_sandbox::Sandbox;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let sandbox = Sandbox::start().await;
/// sandbox.next_calls(2).of("PUT", "/webhooks/{id}/subscriptions").too_many_requests(None);
/// sandbox.next_call().of("POST", "/webhooks").reset_after();
/// # }
/// ```
#[derive(Clone, Copy)]
#[must_use = "a plan does nothing until a fault is chosen"]
pub struct NextCalls<'a> {
    shared: &'a Shared,
    calls: usize,
    only: Option<Route>,
}

impl<'a> NextCalls<'a> {
    pub(crate) fn new(shared: &'a Shared, calls: usize) -> Self {
        Self {
            shared,
            calls,
            only: None,
        }
    }

    /// Plans for one documented call only, as the documentation writes it:
    /// `of("POST", "/webhooks/{id}/rotate-secret")`.
    ///
    /// # Panics
    ///
    /// Panics if the API does not have such a call.
    #[expect(
        clippy::panic,
        reason = "a mistake in a test, which must not go unnoticed"
    )]
    pub fn of(self, method: &str, path: &str) -> Self {
        let Some(route) = Route::of_template(method, path) else {
            panic!("{method} {path} is not a documented call");
        };
        Self {
            only: Some(route),
            ..self
        }
    }

    /// Answers with 429, with `Retry-After` in whole seconds if a delay is given. Not carried out.
    pub fn too_many_requests(self, retry_after: Option<Duration>) {
        self.plan(CallFault::TooManyRequests(retry_after));
    }

    /// Answers with 429 with `X-RateLimit-Remaining: 0`: the quota of the month is used up. Not
    /// carried out.
    pub fn no_quota(self) {
        self.plan(CallFault::NoQuota);
    }

    /// Answers with 500. Not carried out.
    pub fn internal_error_before(self) {
        self.plan(CallFault::ErrorBefore);
    }

    /// Carries the call out, and answers with 500.
    pub fn internal_error_after(self) {
        self.plan(CallFault::ErrorAfter);
    }

    /// Never answers; the connection stays open until the client closes it. Not carried out.
    pub fn hang_before(self) {
        self.plan(CallFault::HangBefore);
    }

    /// Carries the call out, and never answers.
    pub fn hang_after(self) {
        self.plan(CallFault::HangAfter);
    }

    /// Resets the connection. Not carried out.
    pub fn reset_before(self) {
        self.plan(CallFault::ResetBefore);
    }

    /// Carries the call out, and resets the connection instead of answering.
    pub fn reset_after(self) {
        self.plan(CallFault::ResetAfter);
    }

    /// Answers with 502 with a page of HTML, as a proxy does. Not carried out.
    pub fn bad_gateway(self) {
        self.plan(CallFault::BadGateway);
    }

    /// Answers with 422, because the cursor has expired, to the next list call that has a cursor.
    pub fn expired_cursor(self) {
        self.plan(CallFault::ExpiredCursor);
    }

    /// Answers the next list call that has a cursor with that same cursor as the next one.
    pub fn repeated_cursor(self) {
        self.plan(CallFault::RepeatedCursor);
    }

    /// Answers the next list call with an empty page and a cursor that continues where the page
    /// should have begun.
    pub fn empty_page(self) {
        self.plan(CallFault::EmptyPage);
    }

    /// Treats the token as a Viewer's in the next call that needs another role, and answers with
    /// 403.
    pub fn as_viewer(self) {
        self.plan(CallFault::AsViewer);
    }

    /// Carries the call out, and answers without the JSON field of this name, at any depth.
    pub fn missing_field(self, name: impl Into<String>) {
        self.plan(CallFault::MissingField(name.into()));
    }

    /// Carries the call out, and answers with the JSON field of this name, at any depth, in another
    /// type: a number for a string, a string for an array or object, an array for anything else.
    pub fn field_of_another_type(self, name: impl Into<String>) {
        self.plan(CallFault::OtherType(name.into()));
    }

    fn plan(self, fault: CallFault) {
        let mut state = self.shared.lock();
        state.call_faults.plan(fault, self.calls, self.only);
    }
}
