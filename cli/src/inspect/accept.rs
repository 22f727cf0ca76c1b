//! Accepting connections, within a limit.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::stop::Stop;

/// How many connections a port serves at once; more of them wait.
const MAX_CONNECTIONS: usize = 512;

/// How long a client may take to send a head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// Binds a port of an address.
pub(crate) async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Stop> {
    let failed = |error: std::io::Error| Stop::failed(format!("{address}: {error}"));
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// Serves requests for ever. Answers are sent as they are: no header is added, and names keep the
/// spelling that their extensions have.
pub(crate) async fn serve<S, F, B>(listener: TcpListener, service: S) -> Infallible
where
    S: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        // The semaphore is never closed.
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else {
            std::future::pending::<()>().await;
            continue;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let service = service.clone();
                tokio::spawn(async move {
                    connection(stream, service).await;
                    drop(permit);
                });
            }
            // Out of file descriptors, most likely: other connections have to end first.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn connection<S, F, B>(stream: TcpStream, service: S)
where
    S: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    // Without it, the end of an answer could wait for the acknowledgement of its beginning.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let answer = service(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let connection = http1::Builder::new()
        .preserve_header_case(true)
        .auto_date_header(false)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    // A client that broke the connection off is its own affair.
    let _ = connection.await;
}
