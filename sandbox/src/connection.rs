//! One HTTP/1.1 connection to a plain-text server.

use std::io;

use bytes::Bytes;
use http::Uri;
use http::uri::Scheme;
use http_body::Body;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Connects to the host of a URL. A task drives the connection until it ends.
///
/// # Errors
///
/// Returns an error if the URL is not plain HTTP, and if the server does not accept the connection.
pub(crate) async fn connect<B>(url: &Uri) -> io::Result<SendRequest<B>>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let host = match (url.scheme(), url.host()) {
        (Some(scheme), Some(host)) if *scheme == Scheme::HTTP => host,
        _ => return Err(io::Error::other("URL is not plain HTTP with a host")),
    };
    // `Uri` keeps the brackets of an IPv6 address, which the resolver does not accept.
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, url.port_u16().unwrap_or(80))).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    tokio::spawn(async move {
        // The request reports the error.
        let _ = connection.await;
    });
    Ok(sender)
}
