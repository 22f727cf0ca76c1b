//! Sends requests to one URL, at the set rate.

use std::error::Error;
use std::iter::successors;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{future, stream};
use ptolemy_webhooks::SIGNATURE_HEADER;
use reqwest::header::{CONTENT_TYPE, DATE, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Body, Client, ClientBuilder, Response, Url};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use tokio::time::{Instant, sleep_until, timeout};

use super::forge::{Forge, Request, Via, contains};
use crate::stop::{Stop, chain};
use crate::text;

/// How long Ptolemy waits for an answer.
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// How long a probe waits: longer than Ptolemy does, so that a late answer is seen as one.
const PATIENCE: Duration = Duration::from_secs(12);

/// How long the first request waits, since it may have to wake a sleeping application.
const FIRST_PATIENCE: Duration = Duration::from_secs(30);

/// How much of an answer is searched for secrets.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

const CHUNK_BYTES: usize = 100;

/// The answer to a request, or its absence.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) came: Came,
    pub(crate) took: Duration,
    /// The receiver's clock minus this one's, in seconds.
    pub(crate) skew: Option<i64>,
    pub(crate) shows_secret: bool,
    /// The answer contains the right signature of a request that did not contain it.
    pub(crate) shows_signature: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    Status(u16),
    /// Nothing within this time.
    Nothing(Duration),
    /// The connection was closed or failed.
    Broken,
    /// No connection could be made.
    Unreachable(String),
}

impl Answer {
    pub(crate) fn status(&self) -> Option<u16> {
        match self.came {
            Came::Status(status) => Some(status),
            _ => None,
        }
    }

    pub(crate) fn is_accepted(&self) -> bool {
        matches!(self.came, Came::Status(200..300))
    }

    pub(crate) fn is_rejected(&self) -> bool {
        matches!(self.came, Came::Status(400..500))
    }

    pub(crate) fn is_in_time(&self) -> bool {
        self.took <= ANSWER_LIMIT
    }
}

/// The connection to a receiver.
pub(crate) struct Wire {
    own_connection: Client,
    lower_case: Client,
    kept_connection: Client,
    url: Url,
    per_second: u32,
    patience: Duration,
    next: Instant,
}

impl Wire {
    pub(crate) fn new(url: Url, per_second: u32) -> Result<Self, Stop> {
        // Only this URL is requested: no redirects, no proxy, no second attempt.
        let builder = || {
            Client::builder()
                .redirect(Policy::none())
                .no_proxy()
                .retry(reqwest::retry::never())
                .referer(false)
                .http1_only()
                .connect_timeout(ANSWER_LIMIT)
                .user_agent(concat!(
                    "ptolemy-webhooks-check/",
                    env!("CARGO_PKG_VERSION")
                ))
        };
        let build = |builder: ClientBuilder| {
            let built = builder.build();
            built.map_err(|error| Stop::failed(format!("HTTP client: {}", chain(&error))))
        };
        Ok(Self {
            own_connection: build(
                builder()
                    .http1_title_case_headers()
                    .pool_max_idle_per_host(0),
            )?,
            lower_case: build(builder().pool_max_idle_per_host(0))?,
            kept_connection: build(builder().http1_title_case_headers())?,
            url,
            per_second,
            patience: FIRST_PATIENCE,
            next: Instant::now(),
        })
    }

    /// Records that the receiver has answered, so it is running.
    pub(crate) fn is_awake(&mut self) {
        self.patience = PATIENCE;
    }

    /// Waits until a request may be sent.
    pub(crate) async fn turn(&self) {
        sleep_until(self.next).await;
    }

    /// Waits until requests may be sent, and counts them.
    pub(crate) async fn take(&mut self, requests: u32) {
        self.turn().await;
        let begin = self.next.max(Instant::now());
        let pause = Duration::from_secs(1) / self.per_second.max(1);
        self.next = begin + pause.saturating_mul(requests);
    }

    /// Sends a request that was counted before.
    pub(crate) async fn send(&self, forge: &Forge, request: &Request) -> Answer {
        let begin = Instant::now();
        let mut answer = match timeout(self.patience, self.response(request)).await {
            Ok(Ok(response)) => self.read(forge, request, response, begin).await,
            Ok(Err(came)) => Answer::without_response(came),
            Err(_) => Answer::without_response(Came::Nothing(self.patience)),
        };
        if answer.took.is_zero() {
            answer.took = begin.elapsed();
        }
        answer
    }

    pub(crate) async fn send_at_once(&self, forge: &Forge, requests: &[Request]) -> Vec<Answer> {
        future::join_all(requests.iter().map(|request| self.send(forge, request))).await
    }

    async fn response(&self, request: &Request) -> Result<Response, Came> {
        let client = match request.via {
            Via::OwnConnection => &self.own_connection,
            Via::LowerCase => &self.lower_case,
            Via::KeptConnection => &self.kept_connection,
        };
        let mut builder = client.request(request.method.clone(), self.url.clone());
        if let Some(content_type) = request.content_type {
            builder = builder.header(CONTENT_TYPE, content_type);
        }
        for (name, value) in &request.headers {
            builder = builder.header(*name, *value);
        }
        for signature in &request.signatures {
            let value = HeaderValue::from_bytes(signature).map_err(|_| Came::Broken)?;
            builder = builder.header(SIGNATURE_HEADER, value);
        }
        let body = if request.chunked {
            in_chunks(request.body.clone())
        } else {
            Body::from(request.body.clone())
        };
        let sent = builder.body(body).send().await;
        sent.map_err(|error| {
            if error.is_connect() {
                Came::Unreachable(cause(&error))
            } else {
                Came::Broken
            }
        })
    }

    /// Examines an answer, and keeps only the facts that the verdicts need.
    async fn read(
        &self,
        forge: &Forge,
        request: &Request,
        response: Response,
        begin: Instant,
    ) -> Answer {
        let took = begin.elapsed();
        let status = response.status().as_u16();
        let skew = skew(&response);
        let mut seen = Vec::new();
        for value in response.headers().values() {
            seen.extend_from_slice(value.as_bytes());
            seen.push(b'\n');
        }
        // An endless body is cut off, by length and by time.
        let rest = self.patience.saturating_sub(took);
        let _ = timeout(rest, read_body(response, &mut seen)).await;
        let tag = forge.tag(&request.t, &request.body);
        let sent_tag = |value: &Vec<u8>| contains(&value.to_ascii_lowercase(), tag.as_bytes());
        let in_base64 = forge.tag_in_base64(&request.t, &request.body);
        Answer {
            came: Came::Status(status),
            took,
            skew,
            shows_secret: forge.is_shown(&seen),
            shows_signature: !request.signatures.iter().any(sent_tag)
                && (contains(&seen.to_ascii_lowercase(), tag.as_bytes())
                    || in_base64.iter().any(|tag| contains(&seen, tag.as_bytes()))),
        }
    }
}

impl Answer {
    fn without_response(came: Came) -> Self {
        Self {
            came,
            took: Duration::ZERO,
            skew: None,
            shows_secret: false,
            shows_signature: false,
        }
    }
}

fn in_chunks(body: Bytes) -> Body {
    let chunks: Vec<_> = body
        .chunks(CHUNK_BYTES)
        .map(|chunk| Ok::<_, std::io::Error>(body.slice_ref(chunk)))
        .collect();
    Body::wrap_stream(stream::iter(chunks))
}

async fn read_body(mut response: Response, into: &mut Vec<u8>) {
    while let Ok(Some(chunk)) = response.chunk().await {
        into.extend_from_slice(&chunk);
        if into.len() > MAX_ANSWER_BYTES {
            return;
        }
    }
}

/// Returns the innermost cause of an error: the outer ones only say that a request failed.
fn cause(error: &(dyn Error + 'static)) -> String {
    let innermost = successors(Some(error), |&error| error.source()).last();
    text::words(&innermost.unwrap_or(error).to_string())
}

/// The `Date` of the answer minus the time here.
fn skew(response: &Response) -> Option<i64> {
    let date = response.headers().get(DATE)?.to_str().ok()?;
    let date = OffsetDateTime::parse(date, &Rfc2822).ok()?;
    Some((date - OffsetDateTime::now_utc()).whole_seconds())
}
