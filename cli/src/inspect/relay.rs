//! The body of an answer on its way from the receiver to the sender, whose beginning is kept.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::inspect::app::App;
use crate::inspect::entry::Answer;
use crate::inspect::target::Failure;

/// How much of an answer's body is kept, in bytes.
pub(crate) const MAX_KEPT_BYTES: usize = 64 * 1024;

/// Passes a body on, and adds the answer to the entry when it ends.
pub(crate) struct Relay {
    body: Incoming,
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
        status: u16,
        headers: HeaderMap,
        body: Incoming,
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
        };
        // A server does not look at a body that is empty.
        if relay.body.is_end_stream() {
            relay.finish();
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

    fn finish(&mut self) {
        if let Some(end) = self.end.take() {
            let answer = Answer {
                status: end.status,
                headers: end.headers,
                body: Bytes::from(end.kept.into_boxed_slice()),
                is_cut: end.is_cut,
            };
            end.app.answer_ended(end.seq, answer);
        }
    }
}

impl Body for Relay {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.keep(data);
                }
                if self.body.is_end_stream() {
                    self.finish();
                }
            }
            Some(Err(_)) | None => self.finish(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Relay {
    /// The sender went away, or wanted no body.
    fn drop(&mut self) {
        self.finish();
    }
}

/// The failure of an answer as a line of text.
pub(crate) fn failure_line(failure: &Failure) -> Bytes {
    Bytes::from(format!("{}\n", failure.text))
}
