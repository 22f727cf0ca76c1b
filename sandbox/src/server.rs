//! The server of the API: an accept loop whose connections can be broken.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};

use crate::api::{self, End};
use crate::courier;
use crate::page::{self, PageBody};
use crate::state::Shared;

const MAX_BODY_BYTES: usize = 1024 * 1024;

/// How long a client may take to send a head or a body.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// The error of the service that makes hyper end the connection without an answer.
#[derive(Debug)]
struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("connection is reset as planned")
    }
}

impl std::error::Error for Broken {}

/// Accepts connections until it is dropped.
pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>) -> Infallible {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(connection(stream, Arc::clone(&shared)));
            }
            // The process is probably out of file descriptors: other connections must end first.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    // An answer is one small packet, which must not be delayed to collect more data.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| -> Answering {
        let shared = Arc::clone(&shared);
        Box::pin(answer(request, shared))
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(READ_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let ended = poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
    let stream = connection.into_parts().io.into_inner();
    if ended.is_err_and(|error| error.is_user()) {
        // The client sees a reset, not an orderly end.
        let _ = stream.set_zero_linger();
    }
}

type Answering = Pin<Box<dyn Future<Output = Result<Response<PageBody>, Broken>> + Send>>;

async fn answer(
    request: Request<Incoming>,
    shared: Arc<Shared>,
) -> Result<Response<PageBody>, Broken> {
    if let Some(page) = shared.hooks.page_of(request.uri().path()) {
        return Ok(page(request).await);
    }
    let (head, body) = request.into_parts();
    let body = tokio::time::timeout(READ_TIMEOUT, Limited::new(body, MAX_BODY_BYTES).collect());
    let body = match body.await {
        Err(_) => return Err(Broken),
        Ok(Err(error)) if !error.is::<http_body_util::LengthLimitError>() => return Err(Broken),
        Ok(body) => body.ok().map(|body| body.to_bytes()),
    };
    let end = api::handle(&mut shared.lock(), &head, body.as_deref());
    courier::send_again(&shared);
    match end {
        End::Answer(reply, remaining) => Ok(reply.into_response(remaining).map(page::boxed)),
        // hyper drops this future when the client closes the connection.
        End::Hang => std::future::pending().await,
        End::Reset => Err(Broken),
    }
}
