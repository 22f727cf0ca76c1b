//! The sender's port: reads a request, checks it, sends it on, and passes the answer back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use http::{Extensions, HeaderValue, Method, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use ptolemy_webhooks::Rejection;
use time::OffsetDateTime;

use crate::inspect::app::App;
use crate::inspect::checker::rejected;
use crate::inspect::entry::{Checked, NewEntry, Receiver, Request, Source, exact};
use crate::inspect::relay::{BodyError, Relay, failure_line};
use crate::inspect::room::{MAX_BODY_BYTES, Room, Unread, discard};
use crate::inspect::target::{Failure, end_to_end};

/// A longer body is checked on another thread: hashing it takes a while.
const MAX_INLINE_BYTES: usize = 256 * 1024;

/// The body of an answer.
pub(crate) type AnswerBody = UnsyncBoxBody<Bytes, BodyError>;

/// The sender's port.
pub(crate) struct Forwarder {
    app: Arc<App>,
    room: Room,
}

impl Forwarder {
    pub(crate) fn new(app: Arc<App>) -> Self {
        Self {
            app,
            room: Room::new(),
        }
    }

    /// Answers one request.
    pub(crate) async fn serve(&self, request: http::Request<Incoming>) -> Response<AnswerBody> {
        let at = OffsetDateTime::now_utc();
        // Its sender sends the body only if it is asked to, which reading would do.
        let sends_body = !request.headers().contains_key(EXPECT);
        if let Some(failure) = self.not_forwarded(&request) {
            if sends_body {
                discard(request.into_body());
            }
            return failed(&failure);
        }
        let (head, mut body) = request.into_parts();
        let path = head.uri.path_and_query().map(|path| path.as_str());
        let mut arriving = Arriving {
            app: Arc::clone(&self.app),
            at,
            request: Some(Request {
                method: head.method,
                path: path.unwrap_or_default().to_owned(),
                headers: exact(&head.headers),
                body: Bytes::new(),
            }),
        };
        let (body, _permit) = match self.room.read(&mut body).await {
            Ok(read) => read,
            Err(unread) => {
                if sends_body {
                    discard(body);
                }
                return match unread {
                    Unread::NoRoom => arriving.reject_full(),
                    Unread::TooLong => arriving.reject_long(),
                    Unread::BrokenOff => arriving.reject_broken(),
                };
            }
        };
        let Some(mut request) = arriving.request.take() else {
            return empty(StatusCode::INTERNAL_SERVER_ERROR);
        };
        request.body = body;
        let request = Arc::new(request);
        let checked = check(&self.app, &request, at).await;
        let new = NewEntry {
            at,
            source: Source::Sender,
            of: None,
            request: Arc::clone(&request),
            checked: Arc::new(checked),
            receiver: Receiver::Pending,
            answer: None,
            sandbox: None,
        };
        let seq = self.app.add(new);
        exchange(&self.app, seq, &request, head.extensions, None).await
    }

    /// Returns why a request is answered here and appears in no list.
    fn not_forwarded(&self, request: &http::Request<Incoming>) -> Option<Failure> {
        let (status, text) = if request.method() == Method::CONNECT {
            (
                StatusCode::NOT_IMPLEMENTED,
                "this server does not open tunnels",
            )
        } else if self.app.target.as_ref()?.sent(request.headers()) {
            let text = "the request came back from the receiver: --forward points to this port";
            (StatusCode::LOOP_DETECTED, text)
        } else {
            return None;
        };
        let text = text.to_owned();
        Some(Failure { status, text })
    }
}

/// Checks a request as a receiver with the library does: by the headers that are sent on to it.
pub(crate) async fn check(app: &Arc<App>, request: &Arc<Request>, at: OffsetDateTime) -> Checked {
    if request.body.len() <= MAX_INLINE_BYTES {
        return app
            .checker
            .check(&end_to_end(&request.headers), &request.body, at);
    }
    let (owned, kept) = (Arc::clone(app), Arc::clone(request));
    let work = tokio::task::spawn_blocking(move || {
        let headers = end_to_end(&kept.headers);
        owned.checker.check(&headers, &kept.body, at)
    });
    match work.await {
        Ok(checked) => checked,
        // The command ends.
        Err(_) => rejected(&Bytes::new(), &Rejection::not_configured()),
    }
}

/// Sends a kept request to the receiver, and records the result. With `total`, the body of the
/// answer must end within that time, too.
pub(crate) async fn exchange(
    app: &Arc<App>,
    seq: u64,
    request: &Request,
    extensions: Extensions,
    total: Option<Duration>,
) -> Response<AnswerBody> {
    let mut sending = Sending {
        app: Arc::clone(app),
        seq,
        begun: Instant::now(),
        is_ended: false,
    };
    let Some(target) = &app.target else {
        return empty(StatusCode::BAD_GATEWAY);
    };
    match target.send(request, extensions).await {
        Err(failure) => {
            sending.end(|took| Receiver::Failed {
                error: failure.text.clone(),
                took,
            });
            failed(&failure)
        }
        Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            let failure = Failure {
                status: StatusCode::BAD_GATEWAY,
                text: "the receiver switched to another protocol, which was not requested"
                    .to_owned(),
            };
            sending.end(|took| Receiver::Failed {
                error: failure.text.clone(),
                took,
            });
            failed(&failure)
        }
        Ok(response) => {
            let status = response.status().as_u16();
            sending.end(|took| Receiver::Answered { status, took });
            let (mut head, body) = response.into_parts();
            let kept = exact(&head.headers);
            head.headers = end_to_end(&head.headers);
            let relay = Relay::new(app, seq, (status, kept), body, (target.timeout(), total));
            Response::from_parts(head, UnsyncBoxBody::new(relay))
        }
    }
}

/// A request that was sent to the receiver. If it is dropped before its end, the sender
/// disconnected, which is recorded.
struct Sending {
    app: Arc<App>,
    seq: u64,
    begun: Instant,
    is_ended: bool,
}

impl Sending {
    fn end(&mut self, receiver: impl FnOnce(Duration) -> Receiver) {
        self.is_ended = true;
        self.app
            .receiver_ended(self.seq, receiver(self.begun.elapsed()));
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if !self.is_ended {
            let error = "the sender disconnected before the receiver answered".to_owned();
            self.end(|took| Receiver::Failed { error, took });
        }
    }
}

/// A request whose body is arriving. If it is dropped before its end, it is kept as an aborted
/// request.
struct Arriving {
    app: Arc<App>,
    at: OffsetDateTime,
    request: Option<Request>,
}

impl Arriving {
    fn reject_long(&mut self) -> Response<AnswerBody> {
        let text = format!("the body is longer than {MAX_BODY_BYTES} bytes, and was not forwarded");
        self.reject(&Rejection::body_too_large(), &text);
        let mut answer = failed(&Failure {
            status: StatusCode::PAYLOAD_TOO_LARGE,
            text,
        });
        // The rest of the body would be read as the next request.
        let close = HeaderValue::from_static("close");
        answer.headers_mut().insert(CONNECTION, close);
        answer
    }

    fn reject_full(&mut self) -> Response<AnswerBody> {
        let text =
            "64 MiB of bodies are already in transit, and this one was not forwarded".to_owned();
        self.reject(&Rejection::body_incomplete("no room"), &text);
        let mut answer = failed(&Failure {
            status: StatusCode::SERVICE_UNAVAILABLE,
            text,
        });
        let close = HeaderValue::from_static("close");
        answer.headers_mut().insert(CONNECTION, close);
        answer
    }

    fn reject_broken(&mut self) -> Response<AnswerBody> {
        let text = "the body broke off before its end, and was not forwarded".to_owned();
        self.reject(
            &Rejection::body_incomplete("the sender disconnected"),
            &text,
        );
        failed(&Failure {
            status: StatusCode::BAD_REQUEST,
            text,
        })
    }

    fn reject(&mut self, rejection: &Rejection, error: &str) {
        let Some(request) = self.request.take() else {
            return;
        };
        self.app.add(NewEntry {
            at: self.at,
            source: Source::Sender,
            of: None,
            checked: Arc::new(rejected(&request.body, rejection)),
            request: Arc::new(request),
            receiver: Receiver::NotSent {
                error: error.to_owned(),
            },
            answer: None,
            sandbox: None,
        });
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        drop(self.reject_broken());
    }
}

/// An answer of this program: one clause.
fn failed(failure: &Failure) -> Response<AnswerBody> {
    let line = failure_line(failure);
    let length = HeaderValue::from(line.len());
    let body = Full::new(line).map_err(|never| match never {});
    let mut answer = Response::new(UnsyncBoxBody::new(body));
    *answer.status_mut() = failure.status;
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, text);
    answer.headers_mut().insert(CONTENT_LENGTH, length);
    answer
}

fn empty(status: StatusCode) -> Response<AnswerBody> {
    let body = Full::default().map_err(|never| match never {});
    let mut answer = Response::new(UnsyncBoxBody::new(body));
    *answer.status_mut() = status;
    answer
}
