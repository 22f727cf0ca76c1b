//! Requests: signed as Ptolemy signs them, and then changed as a probe wants.

use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use ptolemy_webhooks::samples;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Sha256;
use time::OffsetDateTime;
use zeroize::Zeroizing;

/// How the id of each event begins, so that it is recognised in a receiver's store.
const EVENT_ID: &str = "ptolemy-webhooks-check";

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

    pub(crate) fn via(mut self, via: Via) -> Self {
        self.via = via;
        self
    }
}

/// Makes requests.
pub(crate) struct Forge {
    secret: Zeroizing<Vec<u8>>,
    run: i64,
    /// By how many seconds the receiver's clock is ahead.
    skew: i64,
}

impl Forge {
    pub(crate) fn new(secret: Zeroizing<Vec<u8>>) -> Self {
        Self {
            secret,
            run: OffsetDateTime::now_utc().unix_timestamp(),
            skew: 0,
        }
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

    /// Sets by how many seconds the receiver's clock is ahead.
    pub(crate) fn set_skew(&mut self, seconds: i64) {
        self.skew = seconds;
    }

    pub(crate) fn now(&self) -> i64 {
        OffsetDateTime::now_utc().unix_timestamp()
    }

    /// Seconds since 1970 on the receiver's clock, as far as it is known, plus `offset`.
    pub(crate) fn receivers_time(&self, offset: i64) -> i64 {
        let now = self.now().saturating_add(self.skew);
        now.saturating_add(offset)
    }

    /// The id of an event.
    pub(crate) fn id(&self, label: &str) -> String {
        format!("{EVENT_ID}-{}-{label}", self.run)
    }

    /// An event of a documented type, which an application can recognise by its id and by the
    /// identifier and the name of its instrument.
    pub(crate) fn event(&self, label: &str) -> Value {
        let mut event = self.sample("instrument.created", label);
        if let Some(data) = event.get_mut("data").and_then(Value::as_object_mut) {
            data.insert("identifier".to_owned(), json!(self.id(label)));
            data.insert("name".to_owned(), json!("Sent by ptolemy-webhooks check"));
        }
        event
    }

    pub(crate) fn body(&self, label: &str) -> String {
        self.event(label).to_string()
    }

    /// The sample of an event type with an id that can be recognised; an event with empty data if there is
    /// no sample.
    pub(crate) fn sample(&self, event_type: &str, label: &str) -> Value {
        let id = self.id(label);
        samples::of(event_type)
            .and_then(|sample| serde_json::from_str(&sample.with_id(&id).to_json()).ok())
            .unwrap_or_else(|| json!({"id": id, "event_type": event_type, "data": {}}))
    }

    /// The signature of a body in hex, with the webhook's secret.
    pub(crate) fn tag(&self, t: &str, body: &[u8]) -> String {
        hex::encode(mac(&self.secret, &[t.as_bytes(), b".", body]))
    }

    /// The same without `t` and the dot, as other senders sign.
    pub(crate) fn tag_of_body(&self, body: &[u8]) -> String {
        hex::encode(mac(&self.secret, &[body]))
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
    // HMAC takes a key of any length, so the error never comes; a signature of zeros would be a wrong one.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return [0; 32];
    };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
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
        assert!(forge.body("x").contains("\"id\":\"ptolemy-webhooks-check-"));
    }
}
