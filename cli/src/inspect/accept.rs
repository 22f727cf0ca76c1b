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

/// How many connections a port serves at once; more of them are answered 503.
const MAX_CONNECTIONS: usize = 512;

/// How many connections get that answer at once; more of them are closed.
const MAX_TURNED_AWAY: usize = 256;

/// How long such an answer may take.
const TURN_AWAY_TIMEOUT: Duration = Duration::from_secs(1);

const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Connection: close\r\nContent-Length: 35\r\n\r\ntoo many connections are open here\n";

/// How many headers a request may have.
const MAX_HEADERS: usize = 1_000;

/// How long a client may take to send a head, and leave a connection unused.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Binds a port of an address.
pub(crate) async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Stop> {
    let failed = |error: std::io::Error| Stop::failed(format!("{address}: {error}"));
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// Serves requests forever. Answers are sent unchanged: no header is added, and names keep the
/// spelling in their extensions. `on_invalid` is called for a request that is not valid HTTP,
/// which the service does not see.
pub(crate) async fn serve<S, F, B>(
    listener: TcpListener,
    service: S,
    on_invalid: impl Fn() + Clone + Send + Sync + 'static,
) -> Infallible
where
    S: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let turned_away = Arc::new(Semaphore::new(MAX_TURNED_AWAY));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let Ok(permit) = Arc::clone(&connections).try_acquire_owned() else {
                    if let Ok(permit) = Arc::clone(&turned_away).try_acquire_owned() {
                        tokio::spawn(async move {
                            turn_away(&stream).await;
                            drop(permit);
                        });
                    }
                    continue;
                };
                let (service, on_invalid) = (service.clone(), on_invalid.clone());
                tokio::spawn(async move {
                    connection(stream, service, on_invalid).await;
                    drop(permit);
                });
            }
            // Probably out of file descriptors: other connections must end first.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// Answers 503. The request is read until the client closes the connection: bytes that nobody read
/// could discard the answer.
async fn turn_away(stream: &TcpStream) {
    let work = async {
        stream.writable().await.ok()?;
        stream.try_write(FULL).ok()?;
        let mut unread = [0; 4096];
        loop {
            stream.readable().await.ok()?;
            match stream.try_read(&mut unread) {
                Ok(0) => return None::<()>,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return None,
            }
        }
    };
    let _ = tokio::time::timeout(TURN_AWAY_TIMEOUT, work).await;
}

async fn connection<S, F, B>(stream: TcpStream, service: S, on_invalid: impl Fn())
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
        .max_headers(MAX_HEADERS)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    // A broken client connection needs no handling.
    if let Err(error) = connection.await
        && error.is_parse()
    {
        on_invalid();
    }
}
