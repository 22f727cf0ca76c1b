//! A request body that is sent in steps.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

use crate::delivery_fault::DeliveryFault;

/// The maximum number of pieces of a dripping body.
const PIECES: usize = 20;

/// How long after the first half the connection breaks.
const HALF_TIME: Duration = Duration::from_millis(20);

enum Step {
    Send(Bytes),
    Wait(Duration),
    Break,
}

/// A body of known length that waits, drips or breaks off.
pub(crate) struct Steps {
    steps: VecDeque<Step>,
    wait: Option<Pin<Box<Sleep>>>,
    length: u64,
}

impl Steps {
    pub(crate) fn new(mut body: Bytes, fault: Option<DeliveryFault>) -> Self {
        let length = body.len();
        let mut steps = VecDeque::new();
        match fault {
            Some(DeliveryFault::Slow(delay)) => steps.push_back(Step::Wait(delay)),
            Some(DeliveryFault::BreakOff) => {
                steps.push_back(Step::Send(body.split_to(length / 2)));
                steps.push_back(Step::Wait(HALF_TIME));
                steps.push_back(Step::Break);
            }
            Some(DeliveryFault::Drip(time)) => {
                let piece = length.div_ceil(PIECES).max(1);
                let pieces = u32::try_from(length.div_ceil(piece)).unwrap_or(u32::MAX);
                while body.len() > piece {
                    steps.push_back(Step::Send(body.split_to(piece)));
                    steps.push_back(Step::Wait(time / pieces.max(1)));
                }
                steps.push_back(Step::Wait(time / pieces.max(1)));
            }
            _ => {}
        }
        steps.push_back(Step::Send(body));
        Self {
            steps,
            wait: None,
            length: u64::try_from(length).unwrap_or(u64::MAX),
        }
    }
}

impl Body for Steps {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            if let Some(wait) = &mut self.wait {
                ready!(wait.as_mut().poll(cx));
                self.wait = None;
            }
            match self.steps.pop_front() {
                Some(Step::Send(bytes)) if bytes.is_empty() => {}
                Some(Step::Send(bytes)) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Some(Step::Wait(delay)) => self.wait = Some(Box::pin(tokio::time::sleep(delay))),
                Some(Step::Break) => {
                    return Poll::Ready(Some(Err(io::Error::other("body breaks off as planned"))));
                }
                None => return Poll::Ready(None),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.length == 0
    }

    fn size_hint(&self) -> SizeHint {
        // hyper asks once, for the `Content-Length`.
        SizeHint::with_exact(self.length)
    }
}
