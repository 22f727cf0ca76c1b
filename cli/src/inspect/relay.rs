//! The body of an answer on its way from the receiver to the sender, whose beginning is kept.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use crate::inspect::app::App;
use crate::inspect::entry::Answer;
use crate::inspect::target::Failure;

/// How much of an answer's body is kept, in bytes.
pub(crate) const MAX_KEPT_BYTES: usize = 64 * 1024;

/// Why a body ended before its end.
pub(crate) type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// Passes a body on, and adds the answer to the entry when it ends.
pub(crate) struct Relay {
    body: Incoming,
    /// How long the receiver may send nothing.
    idle: Duration,
    /// When the body has to have ended.
    deadline: Option<Instant>,
    timer: Pin<Box<Sleep>>,
    /// Whether the timer runs: only while the receiver is waited for, not while the sender reads.
    is_waiting: bool,
    end: Option<End>,
}

/// The kept beginning, and the entry to which it is added.
struct End {
    app: Arc<App>,
    seq: u64,
    status: u16,
    headers: HeaderMap,
    kept: Vec<u8>,
    is_cut: bool,
}

impl Relay {
    pub(crate) fn new(
        app: &Arc<App>,
        seq: u64,
        (status, headers): (u16, HeaderMap),
        body: Incoming,
        (idle, total): (Duration, Option<Duration>),
    ) -> Self {
        let mut relay = Self {
            end: Some(End {
                app: Arc::clone(app),
                seq,
                status,
                headers,
                kept: Vec::new(),
                is_cut: false,
            }),
            body,
            idle,
            deadline: total.map(|total| Instant::now() + total),
            timer: Box::pin(tokio::time::sleep(idle)),
            is_waiting: false,
        };
        // A server does not look at a body that is empty.
        if relay.body.is_end_stream() {
            relay.finish(None);
        }
        relay
    }

    fn keep(&mut self, data: &[u8]) {
        if let Some(end) = &mut self.end {
            let room = MAX_KEPT_BYTES - end.kept.len().min(MAX_KEPT_BYTES);
            let beginning = data.get(..room).unwrap_or(data);
            end.is_cut |= beginning.len() < data.len();
            end.kept.extend_from_slice(beginning);
        }
    }

    /// Returns an error if the receiver has sent nothing for too long.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<String> {
        if !self.is_waiting {
            let until = Instant::now() + self.idle;
            let until = self.deadline.map_or(until, |deadline| deadline.min(until));
            self.timer.as_mut().reset(until);
            self.is_waiting = true;
        }
        self.timer.as_mut().poll(cx).map(|()| match self.deadline {
            Some(deadline) if deadline <= Instant::now() => {
                "the receiver's answer took too long".to_owned()
            }
            _ => format!(
                "the receiver sent nothing of its answer for {} s",
                self.idle.as_secs_f64()
            ),
        })
    }

    fn finish(&mut self, broken: Option<String>) {
        if let Some(end) = self.end.take() {
            let answer = Answer {
                status: end.status,
                headers: end.headers,
                body: Bytes::from(end.kept.into_boxed_slice()),
                is_cut: end.is_cut,
                broken,
            };
            end.app.answer_ended(end.seq, answer);
        }
    }
}

impl Body for Relay {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
            return self.poll_timer(cx).map(|broken| {
                self.finish(Some(broken.clone()));
                Some(Err(broken.into()))
            });
        };
        self.is_waiting = false;
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.keep(data);
                }
                if self.body.is_end_stream() {
                    self.finish(None);
                }
            }
            Some(Err(_)) => {
                let broken = "the receiver's answer broke off before its end";
                self.finish(Some(broken.to_owned()));
            }
            None => self.finish(None),
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.finish(Some(
            "the sender disconnected before the end of the answer".to_owned(),
        ));
    }
}

/// The failure of an answer as a line of text.
pub(crate) fn failure_line(failure: &Failure) -> Bytes {
    Bytes::from(format!("{}\n", failure.text))
}
