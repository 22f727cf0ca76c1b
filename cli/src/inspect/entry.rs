//! One request, its verdict and the receiver's answer, as they are kept.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use serde::Serialize;
use time::OffsetDateTime;

use crate::since;
use crate::text;

/// A name or an id that is longer is cut when it is kept.
const MAX_LABEL_CHARS: usize = 256;

/// Where a request came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Source {
    Sender,
    Sandbox,
    /// Sent again from the page, as it was.
    Replay,
    /// Sent again from the page, with a new signature.
    SignedAnew,
}

/// The verdict of a receiver with the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    Accepted,
    Rejected,
    MalformedData,
    NotAnEvent,
    /// No secret was given.
    NotChecked,
}

/// A request as it arrived.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    /// The path and the query.
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Request {
    fn bytes(&self) -> usize {
        self.path.len() + self.body.len() + bytes_of(&self.headers)
    }
}

/// The result of the check of a request.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) verdict: Verdict,
    /// The stable code of the rejection.
    pub(crate) reason: Option<&'static str>,
    /// The text of the rejection.
    pub(crate) summary: Option<String>,
    /// Of a request that is rejected too: then nothing proves it.
    pub(crate) event_type: Option<String>,
    pub(crate) event_id: Option<String>,
    /// The path of the field that could not be decoded, and why.
    pub(crate) malformed: Option<(String, String)>,
}

impl Checked {
    fn bytes(&self) -> usize {
        let texts = [&self.summary, &self.event_type, &self.event_id];
        let texts = texts.into_iter().flatten().map(String::len);
        let malformed = self.malformed.as_ref();
        texts.sum::<usize>() + malformed.map_or(0, |(path, reason)| path.len() + reason.len())
    }
}

/// The state of the request at the receiver.
#[derive(Clone, Debug)]
pub(crate) enum Receiver {
    Pending,
    Answered { status: u16, took: Duration },
    Failed { error: String, took: Duration },
    NotSent { error: String },
}

/// The receiver's answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// The beginning of the body.
    pub(crate) body: Bytes,
    /// Whether the body was longer.
    pub(crate) is_cut: bool,
    /// Why it ended before its end.
    pub(crate) broken: Option<String>,
}

impl Answer {
    fn bytes(&self) -> usize {
        self.body.len() + bytes_of(&self.headers)
    }
}

/// A request when it is added to the ring.
#[derive(Debug)]
pub(crate) struct NewEntry {
    pub(crate) at: OffsetDateTime,
    pub(crate) source: Source,
    pub(crate) of: Option<u64>,
    pub(crate) request: Arc<Request>,
    pub(crate) checked: Arc<Checked>,
    pub(crate) receiver: Receiver,
    pub(crate) answer: Option<Arc<Answer>>,
    pub(crate) sandbox: Option<Arc<FromSandbox>>,
}

/// Facts about an attempt that only the sandbox knows.
#[derive(Debug)]
pub(crate) struct FromSandbox {
    pub(crate) delivery_id: String,
    pub(crate) webhook_id: String,
    pub(crate) fault: Option<&'static str>,
}

/// A request in the ring. Clones share all long parts.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) seq: u64,
    /// Greater than the number of every earlier change of any entry.
    pub(crate) change: u64,
    /// Counts the kept requests with this event id, from 1.
    pub(crate) attempt: u64,
    pub(crate) at: OffsetDateTime,
    pub(crate) source: Source,
    pub(crate) of: Option<u64>,
    pub(crate) request: Arc<Request>,
    pub(crate) checked: Arc<Checked>,
    pub(crate) receiver: Receiver,
    pub(crate) answer: Option<Arc<Answer>>,
    pub(crate) sandbox: Option<Arc<FromSandbox>>,
}

impl Entry {
    /// How much memory it needs, in bytes, roughly.
    pub(crate) fn bytes(&self) -> usize {
        self.request.bytes()
            + self.checked.bytes()
            + self.answer.as_ref().map_or(0, |answer| answer.bytes())
    }

    /// The line of the list.
    pub(crate) fn line(&self) -> Line<'_> {
        let (state, status, took, error) = match &self.receiver {
            Receiver::Pending => ("pending", None, None, None),
            Receiver::Answered { status, took } => ("answered", Some(*status), Some(*took), None),
            Receiver::Failed { error, took } => ("failed", None, Some(*took), Some(&**error)),
            Receiver::NotSent { error } => ("not_sent", None, None, Some(&**error)),
        };
        Line {
            seq: self.seq,
            change: self.change,
            at: since::rfc3339(self.at),
            source: self.source,
            of: self.of,
            method: self.request.method.as_str(),
            path: text::without_secrets(&self.request.path).into_owned(),
            event_type: self.checked.event_type.as_deref().map(label),
            event_id: self.checked.event_id.as_deref().map(label),
            attempt: self.attempt,
            body_bytes: self.request.body.len(),
            verdict: self.checked.verdict,
            reason: self.checked.reason,
            summary: self.checked.summary.as_deref(),
            receiver: ReceiverLine {
                state,
                status,
                ms: took.map(millis),
                error,
                broken: self.answer.as_ref().and_then(|it| it.broken.as_deref()),
            },
            fault: self.sandbox.as_ref().and_then(|it| it.fault),
            delivery_id: self.sandbox.as_ref().map(|it| &*it.delivery_id),
        }
    }
}

/// Milliseconds with one digit after the point.
pub(crate) fn millis(took: Duration) -> f64 {
    (took.as_secs_f64() * 10_000.0).round() / 10.0
}

fn label(text: &str) -> String {
    shortened(&text::without_secrets(text))
}

/// The beginning of a text that can be as long as a body.
pub(crate) fn shortened(text: &str) -> String {
    let mut cut: String = text.chars().take(MAX_LABEL_CHARS).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    cut
}

/// A map needs about this much for each value beside its text.
const BYTES_PER_HEADER: usize = 64;

fn bytes_of(headers: &HeaderMap) -> usize {
    let each = headers.iter();
    each.map(|(name, value)| name.as_str().len() + value.len() + BYTES_PER_HEADER)
        .sum()
}

/// The same headers in buffers of their own: a value of a connection is a part of its buffer, all
/// of which it would keep.
pub(crate) fn exact(headers: &HeaderMap) -> HeaderMap {
    let mut copied = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let copy = HeaderValue::from_bytes(value.as_bytes());
        copied.append(name.clone(), copy.unwrap_or_else(|_| value.clone()));
    }
    copied
}

/// An entry as the list shows it. The names are those of the page's API.
#[derive(Serialize)]
pub(crate) struct Line<'a> {
    seq: u64,
    change: u64,
    pub(crate) at: String,
    source: Source,
    of: Option<u64>,
    pub(crate) method: &'a str,
    pub(crate) path: String,
    pub(crate) event_type: Option<String>,
    event_id: Option<String>,
    attempt: u64,
    body_bytes: usize,
    pub(crate) verdict: Verdict,
    pub(crate) reason: Option<&'static str>,
    summary: Option<&'a str>,
    pub(crate) receiver: ReceiverLine<'a>,
    fault: Option<&'static str>,
    delivery_id: Option<&'a str>,
}

#[derive(Serialize)]
pub(crate) struct ReceiverLine<'a> {
    state: &'static str,
    pub(crate) status: Option<u16>,
    pub(crate) ms: Option<f64>,
    pub(crate) error: Option<&'a str>,
    /// Why the answer ended before its end.
    pub(crate) broken: Option<&'a str>,
}
