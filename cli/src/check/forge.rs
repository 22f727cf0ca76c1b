//! Requests: signed as Ptolemy signs them, and then changed as a probe wants.

use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::Method;
use serde_json::Value;
use sha2::Sha256;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::marked::Marks;

/// The event type of the probes, unless another one is asked for.
const EVENT_TYPE: &str = "instrument.created";

/// How many bodies are tried until a signature begins with a zero: all of them fail once in a
/// million runs.
const MAX_TRIES: usize = 3_600;

/// A request, before it is sent.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) method: Method,
    /// The values of the `Ptolemy-Signature` headers, one for each header line.
    pub(crate) signatures: Vec<Vec<u8>>,
    /// The text of `t`, to look for the right signature of this request in the answer.
    pub(crate) t: String,
    pub(crate) body: Bytes,
    pub(crate) content_type: Option<&'static str>,
    /// Other headers.
    pub(crate) headers: Vec<(&'static str, &'static str)>,
    /// Sends the body in chunks, without a `Content-Length`.
    pub(crate) chunked: bool,
    pub(crate) via: Via,
}

/// How a request travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    /// On a new connection, so that no probe disturbs another.
    OwnConnection,
    /// The same, with the names of the headers in lower case.
    LowerCase,
    /// On the connection of the request before, if the receiver leaves it open.
    KeptConnection,
}

impl Request {
    /// Replaces the header.
    pub(crate) fn signature(mut self, value: impl Into<Vec<u8>>) -> Self {
        self.signatures = vec![value.into()];
        self
    }

    /// Sends another body than the one that was signed.
    pub(crate) fn sending(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn with_header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(crate) fn by(self, method: Method) -> Self {
        Self { method, ..self }
    }

    pub(crate) fn of_type(self, content_type: Option<&'static str>) -> Self {
        Self {
            content_type,
            ..self
        }
    }

    pub(crate) fn in_chunks(self) -> Self {
        let chunked = true;
        Self { chunked, ..self }
    }

    pub(crate) fn via(mut self, via: Via) -> Self {
        self.via = via;
        self
    }
}

/// Makes requests.
pub(crate) struct Forge {
    secret: Zeroizing<Vec<u8>>,
    marks: Marks,
    event_type: String,
    /// By how many seconds the clock is ahead that the probes at the edge of the window go by.
    skew: i64,
}

impl Forge {
    pub(crate) fn new(secret: Zeroizing<Vec<u8>>) -> Self {
        Self {
            secret,
            marks: Marks::new(),
            event_type: EVENT_TYPE.to_owned(),
            skew: 0,
        }
    }

    /// Sends events of this type.
    pub(crate) fn with_event_type(self, event_type: &str) -> Self {
        let event_type = event_type.to_owned();
        Self { event_type, ..self }
    }

    /// Whether the data of the events has the free-form object in which many probes put a value.
    pub(crate) fn has_extras(&self) -> bool {
        self.event("").pointer("/data/extras").is_some()
    }

    /// Without a secret, to count requests.
    pub(crate) fn for_counting() -> Self {
        Self::new(Zeroizing::new(b"whsec_0".to_vec()))
    }

    pub(crate) fn secret(&self) -> &[u8] {
        &self.secret
    }

    /// Whether a text contains the secret. A short rest behind the prefix may be there by chance.
    pub(crate) fn is_shown(&self, text: &[u8]) -> bool {
        let rest = self.secret_without_prefix();
        let part = if rest.len() < 8 { self.secret() } else { rest };
        contains(text, part)
    }

    /// The secret without the prefix.
    pub(crate) fn secret_without_prefix(&self) -> &[u8] {
        self.secret.strip_prefix(b"whsec_").unwrap_or(self.secret())
    }

    /// Sets by how many seconds the clock is ahead that the probes at the edge of the window go by.
    pub(crate) fn set_skew(&mut self, seconds: i64) {
        self.skew = seconds;
    }

    pub(crate) fn skew(&self) -> i64 {
        self.skew
    }

    pub(crate) fn now(&self) -> i64 {
        OffsetDateTime::now_utc().unix_timestamp()
    }

    /// Seconds since 1970 on that clock, plus `offset`.
    pub(crate) fn receivers_time(&self, offset: i64) -> i64 {
        let now = self.now().saturating_add(self.skew);
        now.saturating_add(offset)
    }

    /// The id of an event.
    pub(crate) fn id(&self, label: &str) -> String {
        self.marks.id(label)
    }

    /// An event that an application can recognise by its ids and, if its type has them, by
    /// identifier and name.
    pub(crate) fn event(&self, label: &str) -> Value {
        self.event_of(&self.event_type, label)
    }

    pub(crate) fn body(&self, label: &str) -> String {
        self.event(label).to_string()
    }

    /// The same of another type.
    pub(crate) fn event_of(&self, event_type: &str, label: &str) -> Value {
        self.marks.event(event_type, label)
    }

    /// The signature of a body in hex, with the webhook's secret.
    pub(crate) fn tag(&self, t: &str, body: &[u8]) -> String {
        hex::encode(mac(&self.secret, &[t.as_bytes(), b".", body]))
    }

    /// The same in Base64, in both alphabets and without padding.
    pub(crate) fn tag_in_base64(&self, t: &str, body: &[u8]) -> [String; 2] {
        let tag = mac(&self.secret, &[t.as_bytes(), b".", body]);
        [base64(&tag, b"+/"), base64(&tag, b"-_")]
    }

    /// The same without `t` and the dot, as other senders sign.
    pub(crate) fn tag_of_body(&self, body: &[u8]) -> String {
        hex::encode(mac(&self.secret, &[body]))
    }

    /// A request whose signature begins with a byte of zeros, by white space after its body, and
    /// the digits of the signature after this byte.
    pub(crate) fn with_zero_first(&self, label: &str) -> (Request, String) {
        let (t, mut body) = (self.now().to_string(), self.body(label));
        for _ in 0..MAX_TRIES {
            let tag = self.tag(&t, body.as_bytes());
            if let Some(rest) = tag.strip_prefix("00") {
                return (self.signed_at(&t, body), rest.to_owned());
            }
            body.push(' ');
        }
        (self.signed_at(&t, body), "0".repeat(62))
    }

    /// A request as Ptolemy sends it, signed now.
    pub(crate) fn signed(&self, body: impl Into<Bytes>) -> Request {
        self.signed_at(&self.now().to_string(), body)
    }

    /// The same with another text for `t`, which is signed too.
    pub(crate) fn signed_at(&self, t: &str, body: impl Into<Bytes>) -> Request {
        self.signed_with(&self.secret, t, body)
    }

    /// The same with another key.
    pub(crate) fn signed_with(&self, key: &[u8], t: &str, body: impl Into<Bytes>) -> Request {
        let body = body.into();
        let tag = hex::encode(mac(key, &[t.as_bytes(), b".", &body]));
        Request {
            method: Method::POST,
            signatures: vec![format!("t={t},v1={tag}").into_bytes()],
            t: t.to_owned(),
            body,
            content_type: Some("application/json"),
            headers: Vec::new(),
            chunked: false,
            via: Via::OwnConnection,
        }
    }

    /// A request whose header is made from `t` and the right signature.
    pub(crate) fn with_header(
        &self,
        label: &str,
        header: impl FnOnce(&str, &str) -> String,
    ) -> Request {
        let (t, body) = (self.now().to_string(), self.body(label));
        let value = header(&t, &self.tag(&t, body.as_bytes()));
        self.signed_at(&t, body).signature(value)
    }
}

fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    // HMAC takes a key of any length, so the error never comes; a signature of zeros would be a
    // wrong one.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return [0; 32];
    };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

fn base64(bytes: &[u8], last_two: &[u8; 2]) -> String {
    let digit = |value: u32| match u8::try_from(value & 63).unwrap_or(0) {
        value @ 0..26 => b'A' + value,
        value @ 26..52 => b'a' + (value - 26),
        value @ 52..62 => b'0' + (value - 52),
        62 => last_two[0],
        _ => last_two[1],
    };
    let mut text = String::new();
    for part in bytes.chunks(3) {
        let byte = |at: usize| u32::from(part.get(at).copied().unwrap_or(0));
        let value = byte(0) << 16 | byte(1) << 8 | byte(2);
        let digits = [18, 12, 6, 0].map(|shift| char::from(digit(value >> shift)));
        text.extend(digits.iter().take(part.len() + 1));
    }
    text
}

/// Whether a text contains another that is not empty.
pub(crate) fn contains(text: &[u8], part: &[u8]) -> bool {
    !part.is_empty() && text.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_signed_as_the_documentation_says() {
        let forge = Forge::new(Zeroizing::new(b"whsec_a3f9b2c1d4e5f6a7b8c9d0e1".to_vec()));
        let request = forge.signed_at("1776243600", r#"{"event_type":"instrument.created"}"#);
        let header =
            "t=1776243600,v1=dc2115f6520b291ddf3ee2f6165c1a83545e4bbb8e4df9bd50282a0e7763ed95";
        assert_eq!(request.signatures, [header.as_bytes()]);
        assert!(forge.body("x").contains("\"id\":\"c4ec4c4e-"));
    }

    #[test]
    fn base64_has_two_alphabets_and_no_padding() {
        assert_eq!(base64(b"abcde", b"+/"), "YWJjZGU");
        assert_eq!(base64(&[0xfb, 0xff, 0xbf, 0xff], b"+/"), "+/+//w");
        assert_eq!(base64(&[0xfb, 0xff, 0xbf, 0xff], b"-_"), "-_-__w");
    }

    #[test]
    fn a_signature_that_begins_with_a_zero_is_found() {
        let forge = Forge::for_counting();
        let (request, rest) = forge.with_zero_first("x");
        assert_eq!(forge.tag(&request.t, &request.body), format!("00{rest}"));
    }
}
