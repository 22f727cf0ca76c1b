//! The receiver: requests are sent to its URL only, unchanged.

use std::error::Error;
use std::io;
use std::iter::successors;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Uri, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use reqwest::Url;
use tokio::net::lookup_host;

use crate::inspect::entry::Request;
use crate::inspect::guard::Token;
use crate::receiver_url;
use crate::stop::{Stop, chain};

/// How long a connection may be idle before it is closed: less than servers allow, which could
/// otherwise close it while a request is on its way.
const MAX_IDLE: Duration = Duration::from_secs(1);

/// Headers that are about one connection only (RFC 9110, section 7.6.1), and the one that announces
/// trailers, which are not sent on.
const HOP_BY_HOP: [HeaderName; 7] = [
    CONNECTION,
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("keep-alive"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// How long the receiver's name may take to be resolved at the start.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);

/// The receiver, and the connections to it.
pub(crate) struct Target {
    url: Url,
    uri: Uri,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    timeout: Duration,
    /// The value of `Via` by which a request of this run is recognized if it comes back.
    via: HeaderValue,
}

/// The reason why the receiver did not answer, and the status for the sender.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    pub(crate) text: String,
}

impl Target {
    pub(crate) fn new(url: Url, timeout: Duration) -> Result<Self, Stop> {
        let uri = url.as_str().parse();
        let uri = uri.map_err(|_| Stop::usage("--forward: the URL cannot be read"))?;
        let run = Token::random()?.run_name();
        let via = HeaderValue::try_from(format!("1.1 ptolemy-{run}"))
            .map_err(|_| Stop::failed("the name of the run is not a header value"))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_platform_verifier(provider)
            .map_err(|error| Stop::failed(format!("TLS: {}", chain(&error))))?
            .https_or_http()
            .enable_http1();
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(timeout));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(MAX_IDLE)
            .http1_preserve_header_case(true)
            .build(connector.wrap_connector(http));
        Ok(Self {
            url,
            uri,
            client,
            timeout,
            via,
        })
    }

    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Whether a request with these headers was sent by this run.
    pub(crate) fn sent(&self, headers: &HeaderMap) -> bool {
        let via = self.via.as_bytes();
        let mut values = headers.get_all(VIA).iter();
        // Another proxy may have joined its own value.
        values.any(|value| value.as_bytes().windows(via.len()).any(|part| part == via))
    }

    /// Returns an error if the receiver's address is one of these, which would send each request
    /// to this program again. A host that cannot be resolved yet is not an error.
    pub(crate) async fn check_addresses(&self, bound: &[SocketAddr]) -> Result<(), Stop> {
        let host = self.url.host_str().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = self.url.port_or_known_default().unwrap_or_default();
        let lookup = tokio::time::timeout(LOOKUP_TIMEOUT, lookup_host((host, port))).await;
        let Ok(Ok(addresses)) = lookup else {
            return Ok(());
        };
        for address in addresses {
            if let Some(bound) = bound.iter().find(|bound| reaches(address, **bound)) {
                let text = format!("--forward: {address} is this command's own port, {bound}");
                return Err(Stop::usage(text));
            }
        }
        Ok(())
    }

    /// Sends a request on, and waits for the head of the answer. `extensions` has the spelling of
    /// the header names if the request came from a connection.
    pub(crate) async fn send(
        &self,
        request: &Request,
        extensions: Extensions,
    ) -> Result<Response<Incoming>, Failure> {
        let mut outgoing = http::Request::new(Full::new(request.body.clone()));
        *outgoing.method_mut() = request.method.clone();
        *outgoing.uri_mut() = self.uri.clone();
        *outgoing.version_mut() = Version::HTTP_11;
        *outgoing.headers_mut() = onward(&request.headers, request.body.len());
        outgoing.headers_mut().append(VIA, self.via.clone());
        *outgoing.extensions_mut() = extensions;
        match tokio::time::timeout(self.timeout, self.client.request(outgoing)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(Failure {
                status: StatusCode::BAD_GATEWAY,
                text: reason(&error),
            }),
            Err(_) => Err(Failure {
                status: StatusCode::GATEWAY_TIMEOUT,
                text: format!(
                    "the receiver did not answer within {} s",
                    self.timeout.as_secs_f64()
                ),
            }),
        }
    }
}

/// Whether a connection to an address arrives at a bound one.
fn reaches(address: SocketAddr, bound: SocketAddr) -> bool {
    let (to, at) = (address.ip().to_canonical(), bound.ip().to_canonical());
    let is_local = |ip: IpAddr| ip.is_loopback() || ip.is_unspecified();
    let is_same = to == at || (to.is_unspecified() && is_local(at));
    address.port() == bound.port() && (is_same || (at.is_unspecified() && is_local(to)))
}

/// The headers without those of the connection that they came on, without its `Host`, and with the
/// length of the body if they had one or there is a body.
fn onward(headers: &HeaderMap, body_len: usize) -> HeaderMap {
    let mut onward = HeaderMap::with_capacity(headers.len());
    // `HeaderMap::remove` changes the order.
    let kept = end_to_end(headers);
    for (name, value) in kept.iter().filter(|(name, _)| **name != HOST) {
        onward.append(name.clone(), value.clone());
    }
    if body_len > 0 || onward.contains_key(CONTENT_LENGTH) {
        onward.insert(CONTENT_LENGTH, HeaderValue::from(body_len));
    }
    onward
}

/// The headers without those that are meant for one connection. Order and repetitions stay.
pub(crate) fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let listed: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let is_kept = |name: &HeaderName| !HOP_BY_HOP.contains(name) && !listed.contains(name);
    let mut kept = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers.iter().filter(|(name, _)| is_kept(name)) {
        kept.append(name.clone(), value.clone());
    }
    kept
}

/// One clause, without the URL, and the next step if it is known.
fn reason(error: &hyper_util::client::legacy::Error) -> String {
    if error.is_connect() {
        let cause = innermost(error);
        return match receiver_url::certificate_step(&cause) {
            Some(step) => format!("no connection to the receiver: {cause}. {step}"),
            None => format!("the receiver did not accept a connection: {cause}"),
        };
    }
    let first: &(dyn Error + 'static) = error;
    let causes: Vec<_> = successors(Some(first), |&error| error.source()).collect();
    let hyper_error = causes
        .iter()
        .find_map(|cause| cause.downcast_ref::<hyper::Error>());
    match hyper_error {
        Some(error) if error.is_incomplete_message() => {
            "the receiver closed the connection before it answered".to_owned()
        }
        Some(error) if error.is_parse() => "the receiver's answer is not HTTP".to_owned(),
        _ => match causes.iter().any(|cause| cause.is::<io::Error>()) {
            true => format!("the receiver broke the connection: {}", innermost(error)),
            false => "the receiver broke the connection".to_owned(),
        },
    }
}

/// The innermost cause; an error of the system without its number, if its kind has a name.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let innermost = successors(Some(error), |&error| cause(error)).last();
    let innermost = innermost.unwrap_or(error);
    let system_error = innermost.downcast_ref::<io::Error>();
    let kind = system_error.map(|error| error.kind().to_string());
    match kind.filter(|kind| !["other error", "uncategorized error"].contains(&&**kind)) {
        Some(kind) => kind,
        None => chain(innermost),
    }
}

/// The next cause. An I/O error hides the error that it wraps from `source`, which returns the
/// source of that one.
fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>() {
        Some(error) => error.get_ref().map(|inner| inner as &(dyn Error + 'static)),
        None => error.source(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reaches_a_port_that_is_bound_to_it_or_to_every_address() {
        for (to, bound, expected) in [
            ("127.0.0.1:4040", "127.0.0.1:4040", true),
            ("127.0.0.1:4041", "127.0.0.1:4040", false),
            ("127.0.0.1:4040", "0.0.0.0:4040", true),
            ("[::1]:4040", "[::]:4040", true),
            ("0.0.0.0:4040", "127.0.0.1:4040", true),
            ("192.0.2.1:4040", "127.0.0.1:4040", false),
            ("[::ffff:192.0.2.1]:4040", "192.0.2.1:4040", true),
        ] {
            let reached = reaches(to.parse().unwrap(), bound.parse().unwrap());
            assert_eq!(reached, expected, "{to} {bound}");
        }
    }

    #[test]
    fn headers_of_the_connection_are_left_out_and_the_rest_keeps_its_order() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("host", "here"),
            ("x-b", "1"),
            ("connection", "keep-alive, X-Hop"),
            ("x-a", "2"),
            ("x-b", "3"),
            ("x-hop", "4"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("te", "trailers"),
            ("trailer", "x-end"),
            ("upgrade", "h2c"),
            ("proxy-connection", "close"),
            ("expect", "100-continue"),
        ] {
            let name = HeaderName::from_static(name);
            headers.append(name, HeaderValue::from_static(value));
        }
        let kept = onward(&headers, 7);
        let kept: Vec<_> = kept
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        let expected = [
            ("x-b", "1"),
            ("x-b", "3"),
            ("x-a", "2"),
            ("expect", "100-continue"),
            ("content-length", "7"),
        ];
        assert_eq!(kept, expected);
        assert!(onward(&HeaderMap::new(), 0).is_empty());
    }
}
