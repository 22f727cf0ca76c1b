//! A request as it is sent, and as it is printed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ptolemy_webhooks::samples;
use reqwest::Url;
use serde_json::json;
use time::OffsetDateTime;

use crate::commands::send::fault::{Fault, Faults};
use crate::mac;
use crate::marked_id::marked_id;
use crate::secret::GivenSecret;
use crate::stop::Stop;

/// How the id of each new event begins, so that it is recognised in a receiver's store.
const ID_PREFIX: &str = "5e4d5e4d";

/// A secret that no receiver has.
const FOREIGN_SECRET: &str = "whsec_not_the_secret_of_the_receiver";

/// The length of half of a tag, in hex digits.
const HALF_TAG: usize = 32;

/// The body of a request.
pub(crate) enum Body {
    Event {
        event_type: String,
        /// `None` is a new one for each request.
        id: Option<String>,
    },
    Bytes(Vec<u8>),
}

/// Makes requests.
pub(crate) struct Maker {
    body: Body,
    faults: Faults,
    /// The key, checked; `None` if nothing is signed.
    secret: Option<GivenSecret>,
}

/// One request.
pub(crate) struct Request {
    pub(crate) url: Url,
    /// The id of the event, if it has one.
    pub(crate) event_id: Option<String>,
    pub(crate) signatures: Vec<String>,
    pub(crate) body: Vec<u8>,
    pub(crate) is_chunked: bool,
    pub(crate) breaks_off: bool,
    /// How much time passes in the middle of the body.
    pub(crate) pause: Option<Duration>,
}

impl Maker {
    /// Signs with `secret`; without one, with a foreign secret or not at all, as the faults say.
    pub(crate) fn new(
        body: Body,
        faults: Faults,
        secret: Option<GivenSecret>,
    ) -> Result<Self, Stop> {
        let secret = match secret {
            None if faults.is_foreign() => Some(GivenSecret {
                bytes: FOREIGN_SECRET.as_bytes().to_vec().into(),
                place: "another secret".to_owned(),
                had_line_end: false,
            }),
            secret => secret,
        };
        if let Some(secret) = &secret {
            secret.checked()?;
        }
        Ok(Self {
            body,
            faults,
            secret,
        })
    }

    pub(crate) fn request(&self, url: &Url) -> Result<Request, Stop> {
        let (event_id, mut body) = self.body();
        if let Some(length) = self.faults.length() {
            // White space after the JSON leaves the event as it is.
            body.resize(length.max(body.len()), b' ');
        }
        let signatures = self.signatures(&body)?;
        if self.faults.has(Fault::Tampered) {
            let last = body.last_mut();
            *last.ok_or_else(|| {
                Stop::usage("the fault `tampered` needs a body that is not empty")
            })? ^= 1;
        }
        Ok(Request {
            url: url.clone(),
            event_id,
            signatures,
            body,
            is_chunked: self.faults.has(Fault::Chunked),
            breaks_off: self.faults.has(Fault::BreakOff),
            pause: self.faults.pause(),
        })
    }

    fn body(&self) -> (Option<String>, Vec<u8>) {
        let (event_type, id) = match &self.body {
            Body::Bytes(bytes) => return (id_of(bytes), bytes.clone()),
            Body::Event { event_type, id } => (event_type, id),
        };
        let id = id.clone().unwrap_or_else(new_id);
        let body = match samples::of(event_type) {
            Some(sample) => sample.with_id(id.clone()).to_json(),
            None => json!({"id": id, "event_type": event_type, "data": {}}).to_string(),
        };
        (Some(id), body.into_bytes())
    }

    /// The values of the signature headers.
    fn signatures(&self, body: &[u8]) -> Result<Vec<String>, Stop> {
        let Some(secret) = &self.secret else {
            return Ok(Vec::new());
        };
        let signed_at = OffsetDateTime::now_utc()
            .checked_sub(time::Duration::seconds(self.faults.age()))
            .ok_or_else(|| Stop::usage("the fault `age` is out of range"))?;
        let t = match self.faults.has(Fault::Milliseconds) {
            true => (signed_at.unix_timestamp_nanos() / 1_000_000).to_string(),
            false => signed_at.unix_timestamp().to_string(),
        };
        let tag = |key: &[u8]| mac::hex_tag(key, &[t.as_bytes(), b".", body]);
        let mut value = format!("t={t}");
        if self.faults.has(Fault::BothSecrets) {
            value.push_str(&format!(",v1={}", tag(FOREIGN_SECRET.as_bytes())));
        }
        value.push_str(&format!(",v1={}", tag(&secret.bytes)));
        if self.faults.has(Fault::TruncateSignature) {
            value.truncate(value.len().saturating_sub(HALF_TAG));
        }
        let count = 1 + usize::from(self.faults.has(Fault::HeaderTwice));
        Ok(vec![value; count])
    }
}

/// An id that no other event has.
fn new_id() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed).to_string();
    let now = OffsetDateTime::now_utc().unix_timestamp_nanos().to_string();
    marked_id(ID_PREFIX, &[&now, &std::process::id().to_string(), &count])
}

/// The id of an event in JSON.
fn id_of(body: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(body).ok()?;
    value.get("id")?.as_str().map(str::to_owned)
}

impl Request {
    /// The two halves of the body, between which it pauses or breaks off.
    pub(crate) fn halves(&self) -> (&[u8], &[u8]) {
        self.body
            .split_at_checked(self.body.len() / 2)
            .unwrap_or_default()
    }

    /// The request as HTTP/1.1 has it.
    pub(crate) fn raw(&self) -> Vec<u8> {
        let path = self.url.path();
        let query = self
            .url
            .query()
            .map(|query| format!("?{query}"))
            .unwrap_or_default();
        let host = self.url.host_str().unwrap_or_default();
        let port = self
            .url
            .port()
            .map(|port| format!(":{port}"))
            .unwrap_or_default();
        let mut head = format!(
            "POST {path}{query} HTTP/1.1\r\nHost: {host}{port}\r\nContent-Type: application/json\r\n"
        );
        for signature in &self.signatures {
            head.push_str(&format!("Ptolemy-Signature: {signature}\r\n"));
        }
        let (first, second) = self.halves();
        let second = if self.breaks_off { None } else { Some(second) };
        let mut raw = head.into_bytes();
        if self.is_chunked {
            raw.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            for chunk in [Some(first), second].into_iter().flatten() {
                if !chunk.is_empty() {
                    raw.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                    raw.extend_from_slice(chunk);
                    raw.extend_from_slice(b"\r\n");
                }
            }
            if second.is_some() {
                raw.extend_from_slice(b"0\r\n\r\n");
            }
        } else {
            let length = format!("Content-Length: {}\r\n\r\n", self.body.len());
            raw.extend_from_slice(length.as_bytes());
            raw.extend_from_slice(first);
            raw.extend_from_slice(second.unwrap_or_default());
        }
        raw
    }
}
