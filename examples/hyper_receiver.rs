//! A receiver on bare hyper: the way for every server without an extractor here.
//!
//! Reads the secret from `PTOLEMY_WEBHOOK_SECRET` and listens on 127.0.0.1:3000. It shows what an
//! extractor does for you, and leaves out what the other receivers show: queue and shutdown.

use std::convert::Infallible;
use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http::header::EXPECT;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use ptolemy_webhooks::{Delivery, SIGNATURE_HEADER, Verifier, VerifyError, only_header};
use tokio::net::TcpListener;
use tokio::time::timeout;

const BODY_LIMIT: usize = 1024 * 1024;
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Bounds on reading the body of a rejected request.
const DISCARD_LIMIT: usize = 16 * 1024 * 1024;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);

type Refusal = (StatusCode, String);

/// Refuses what header and clock show before it reads any of the body.
async fn receive(
    verifier: &Verifier,
    headers: &HeaderMap,
    body: &mut Incoming,
) -> Result<Delivery, Refusal> {
    let header = signature(headers).map_err(unauthorized)?;
    let _ = verifier.begin(header).map_err(unauthorized)?;

    let too_large = || (StatusCode::PAYLOAD_TOO_LARGE, "body is too long".to_owned());
    if body.size_hint().lower() > BODY_LIMIT as u64 {
        return Err(too_large());
    }
    let body = match timeout(BODY_TIMEOUT, Limited::new(body, BODY_LIMIT).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(too_large()),
        Ok(Err(_)) => return Err((StatusCode::BAD_REQUEST, "body broke off".to_owned())),
        Err(_) => return Err((StatusCode::REQUEST_TIMEOUT, "body is too slow".to_owned())),
    };
    verifier.receive(header, body).map_err(unauthorized)
}

/// `get` would take the first of two headers; `get_all` sees both, and `only_header` refuses them.
fn signature(headers: &HeaderMap) -> Result<&[u8], VerifyError> {
    only_header(headers.get_all(SIGNATURE_HEADER)).map(|header| header.as_bytes())
}

fn unauthorized(error: VerifyError) -> Refusal {
    (StatusCode::UNAUTHORIZED, error.to_string())
}

/// Reads what is left of a body, beside the response. If it were dropped, hyper would close the
/// connection, and a proxy that is still sending reports 502 in place of the response.
fn discard(headers: &HeaderMap, mut body: Incoming) {
    // A client that waits for 100 sends nothing, unless it is asked to by a read.
    if body.is_end_stream() || headers.contains_key(EXPECT) {
        return;
    }
    tokio::spawn(timeout(DISCARD_TIMEOUT, async move {
        let mut left = DISCARD_LIMIT;
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(length) {
                Some(rest) => left = rest,
                None => break,
            }
        }
    }));
}

async fn answer(verifier: Verifier, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (parts, mut body) = request.into_parts();
    let (status, text) = match receive(&verifier, &parts.headers, &mut body).await {
        Err(refusal) => {
            discard(&parts.headers, body);
            refusal
        }
        Ok(delivery) => match delivery.event() {
            Ok(event) => {
                println!("{}", event.event_type);
                (StatusCode::NO_CONTENT, String::new())
            }
            Err(error) => (StatusCode::UNPROCESSABLE_ENTITY, error.to_string()),
        },
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let verifier = Verifier::from_env()?;
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    eprintln!("listening on http://{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        let verifier = verifier.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let verifier = verifier.clone();
                async move { Ok::<_, Infallible>(answer(verifier, request).await) }
            });
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                eprintln!("connection: {error}");
            }
        });
    }
}
