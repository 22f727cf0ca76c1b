use std::pin::Pin;
use std::task::{Context, Poll};

use axum_core::Error;
use axum_core::body::Body;
use bytes::Bytes;
use http::Version;
use http::header::EXPECT;
use http::request::Parts;
use http_body::Body as _;
use http_body_util::BodyExt as _;
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::extract::drain::{MAX_TIME, Place, discard};

/// A body whose rest is drained in a task if this is dropped before the end: when the request is
/// rejected, or when a layer around the extractor, such as a time limit, drops it.
pub(super) struct Unread {
    /// `None` after the end or an error.
    body: Option<Body>,
    /// In HTTP/2 the server resets one stream, with NO_ERROR, and the connection stays open.
    is_http1: bool,
    /// The client sends nothing before it is asked to, and a read would make the server ask.
    awaits_continue: bool,
}

impl Unread {
    /// Reads nothing yet.
    pub(super) fn new(head: &Parts, body: Body) -> Self {
        Self {
            body: Some(body),
            is_http1: head.version < Version::HTTP_2,
            awaits_continue: head.headers.contains_key(EXPECT),
        }
    }

    /// The next chunk. Trailers are skipped: no signature covers them.
    pub(super) async fn chunk(&mut self) -> Option<Result<Bytes, Error>> {
        self.awaits_continue = false;
        while let Some(body) = &mut self.body {
            match body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(chunk) = frame.into_data() {
                        return Some(Ok(chunk));
                    }
                }
                Some(Err(error)) => {
                    self.body = None;
                    return Some(Err(error));
                }
                None => self.body = None,
            }
        }
        None
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let Some(mut body) = self.body.take() else {
            return;
        };
        if !self.is_http1 || self.awaits_continue || body.is_end_stream() {
            return;
        }
        // Without a runtime or a free place the server closes the connection.
        let (Ok(runtime), Some(place)) = (Handle::try_current(), Place::take()) else {
            return;
        };
        runtime.spawn(async move {
            let rest = discard(move |cx| poll_length(&mut body, cx));
            let _ = timeout(MAX_TIME, rest).await;
            drop(place);
        });
    }
}

/// The length of the next frame; `None` after the end or an error.
fn poll_length(body: &mut Body, cx: &mut Context<'_>) -> Poll<Option<usize>> {
    let frame = Pin::new(body).poll_frame(cx);
    frame.map(|frame| Some(frame?.ok()?.data_ref().map_or(0, Bytes::len)))
}
