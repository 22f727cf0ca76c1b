//! Posts requests, each once.

use std::io;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _};
use ptolemy_webhooks::SIGNATURE_HEADER;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::redirect::Policy;
use reqwest::{Body, Client, Response, StatusCode};
use tokio::time::sleep;

use crate::commands::send::answer::{Answer, Outcome, beginning};
use crate::commands::send::request::Request;
use crate::stop::{Stop, chain};

/// How long to wait for an answer. Ptolemy waits no longer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How long to wait for a connection: less, so that a receiver that cannot be reached differs from
/// one that does not answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A break-off waits for this long, so that the first half of the body has left.
const BREAK_OFF_AFTER: Duration = Duration::from_millis(200);

const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// The connections to the receiver.
pub(crate) struct Sender(Client);

impl Sender {
    pub(crate) fn new() -> Result<Self, Stop> {
        let client = Client::builder()
            .http1_only()
            .no_proxy()
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .timeout(TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(concat!("ptolemy-webhooks/", env!("CARGO_PKG_VERSION")))
            .build();
        let client =
            client.map_err(|error| Stop::failed(format!("HTTP client: {}", chain(&error))))?;
        Ok(Self(client))
    }

    pub(crate) async fn post(&self, number: u32, request: Request) -> Answer {
        let begin = Instant::now();
        let event_id = request.event_id.clone();
        let breaks_off = request.breaks_off;
        let sent = self.send(request).await;
        let (response_status, reason, text, outcome) = match sent {
            Ok((status, text)) => {
                let outcome = if status.is_success() {
                    Outcome::Accepted
                } else {
                    Outcome::Rejected
                };
                let reason = status.canonical_reason().unwrap_or_default();
                (Some(status.as_u16()), reason, text, outcome)
            }
            Err(error) if error.is_connect() || error.is_builder() => {
                (None, "", chain(&error.without_url()), Outcome::NotConnected)
            }
            Err(_) if breaks_off => {
                let text = "broken off in the middle of the body, no answer".to_owned();
                (None, "", text, Outcome::BrokenOff)
            }
            Err(error) if error.is_timeout() => {
                let text = format!("no answer within {} s", TIMEOUT.as_secs());
                (None, "", text, Outcome::NoAnswer)
            }
            Err(error) => {
                let text = format!("no answer: {}", chain(&error.without_url()));
                (None, "", text, Outcome::NoAnswer)
            }
        };
        Answer {
            number,
            event_id,
            response_status,
            text,
            took_ms: u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX),
            outcome,
            reason,
        }
    }

    /// Returns the status and the beginning of the text.
    async fn send(&self, request: Request) -> reqwest::Result<(StatusCode, String)> {
        let mut post = self
            .0
            .post(request.url.clone())
            .header(CONTENT_TYPE, "application/json");
        for signature in &request.signatures {
            post = post.header(SIGNATURE_HEADER, signature);
        }
        if !(request.is_chunked || request.breaks_off || request.pause.is_some()) {
            return read(post.body(request.body).send().await?).await;
        }
        if !request.is_chunked {
            post = post.header(CONTENT_LENGTH, request.body.len());
        }
        let body = Body::wrap_stream(pieces(&request));
        read(post.body(body).send().await?).await
    }
}

/// The body in two pieces, with what happens between them.
fn pieces(request: &Request) -> impl Stream<Item = io::Result<Bytes>> + use<> {
    let (first, second) = request.halves();
    let (first, second) = (
        Bytes::copy_from_slice(first),
        Bytes::copy_from_slice(second),
    );
    let breaks_off = request.breaks_off;
    let pause = request.pause;
    let rest = stream::once(async move {
        if let Some(pause) = pause {
            sleep(pause).await;
        }
        if breaks_off {
            sleep(BREAK_OFF_AFTER).await;
            return Err(io::Error::other("broken off"));
        }
        Ok(second)
    });
    stream::iter([Ok(first)]).chain(rest)
}

/// Reads the beginning of an answer. A text that breaks off does not change the status.
async fn read(mut response: Response) -> reqwest::Result<(StatusCode, String)> {
    let mut text = Vec::new();
    while text.len() < MAX_ANSWER_BYTES {
        match response.chunk().await {
            Ok(Some(chunk)) => text.extend_from_slice(&chunk),
            Ok(None) | Err(_) => break,
        }
    }
    Ok((
        response.status(),
        beginning(&String::from_utf8_lossy(&text)),
    ))
}
