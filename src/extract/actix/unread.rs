use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use bytes::Bytes;
use futures_core::Stream as _;

/// How many rejected payloads a worker keeps, each with at most what actix-web buffers (32 KiB,
/// and the last read).
const MAX_KEPT: usize = 64;

thread_local! {
    static KEPT: RefCell<VecDeque<Payload>> = const { RefCell::new(VecDeque::new()) };
}

/// A payload that outlives its request if that is rejected before the payload's end.
///
/// actix-web discards the rest of a body itself, for `client_disconnect_timeout`, and then closes
/// the connection: but if the body is chunked, only if the payload still exists when the response
/// is written. Otherwise it reads on until the client ends the body, which may be never. So the
/// last [`MAX_KEPT`] payloads of each worker are kept. They are not read, and they do not keep the
/// connection open.
pub(super) struct Unread {
    payload: Payload,
    has_ended: bool,
}

impl Unread {
    /// Reads nothing yet.
    pub(super) fn new(payload: Payload) -> Self {
        Self {
            payload,
            has_ended: false,
        }
    }

    pub(super) async fn chunk(&mut self) -> Option<Result<Bytes, PayloadError>> {
        let chunk = poll_fn(|cx| Pin::new(&mut self.payload).poll_next(cx)).await;
        self.has_ended = !matches!(chunk, Some(Ok(_)));
        chunk
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let payload = self.payload.take();
        // HTTP/2 resets the stream. A stream of a layer may own more than memory.
        if self.has_ended || !matches!(payload, Payload::H1 { .. }) {
            return;
        }
        // At the end of the thread there is nothing left to keep it in.
        let _ = KEPT.try_with(|kept| {
            let Ok(mut kept) = kept.try_borrow_mut() else {
                return;
            };
            kept.push_back(payload);
            if kept.len() > MAX_KEPT {
                kept.pop_front();
            }
        });
    }
}
