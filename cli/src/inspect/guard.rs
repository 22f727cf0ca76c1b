//! The checks that a request to the page must pass before it is answered.
//!
//! 1. `Host` names this server: a loopback name or the bound address, with the port. Any other name
//!    may be one that an attacker's DNS points here (421).
//! 2. The API requires the token of the run, which is in the fragment of the printed URL (403).
//! 3. A change requires a JSON body, which a form of another page cannot send (403).
//! 4. A change comes from the page itself: `Origin` and `Sec-Fetch-Site` say so (403).
//!
//! Every answer, including rejections, has the same security headers, and no CORS headers.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use axum::body::Body;
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::stop::Stop;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const TOKEN_BYTES: usize = 32;

/// The token of a run.
pub(crate) struct Token(Zeroizing<String>);

impl Token {
    pub(crate) fn random() -> Result<Self, Stop> {
        let mut bytes = Zeroizing::new([0; TOKEN_BYTES]);
        getrandom::fill(bytes.as_mut_slice())
            .map_err(|error| Stop::failed(format!("no random numbers: {error}")))?;
        Ok(Self(Zeroizing::new(hex::encode(bytes.as_slice()))))
    }

    /// A name of the run that says nothing about the token.
    pub(crate) fn run_name(&self) -> String {
        let tag = crate::mac::hex_tag(self.0.as_bytes(), &[b"the name of this run"]);
        tag.chars().take(16).collect()
    }

    /// The URL with the token in its fragment, which browsers do not send.
    pub(crate) fn url(&self, address: SocketAddr) -> Zeroizing<String> {
        Zeroizing::new(format!("http://{}/#token={}", reachable(address), *self.0))
    }

    /// Whether the header `Authorization` is `Bearer` and the token. The comparison takes constant
    /// time.
    fn is_in(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return false;
        };
        let sent = value.as_bytes().strip_prefix(b"Bearer ");
        sent.is_some_and(|sent| bool::from(sent.ct_eq(self.0.as_bytes())))
    }
}

/// The address that a browser on this machine can open: the one that stands for every address of
/// the machine is none.
pub(crate) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Names of this server.
#[derive(Debug)]
pub(crate) struct Hosts {
    names: Vec<String>,
    /// The port, if every address of the machine is bound: then a literal address is a name too,
    /// which no DNS can point here.
    any_address: Option<u16>,
}

impl Hosts {
    pub(crate) fn of(bound: SocketAddr) -> Self {
        let port = bound.port();
        let mut names = vec![
            format!("127.0.0.1:{port}"),
            format!("localhost:{port}"),
            format!("[::1]:{port}"),
            bound.to_string(),
        ];
        if port == 80 {
            let without_port = names.iter().filter_map(|name| name.strip_suffix(":80"));
            let without_port: Vec<_> = without_port.map(str::to_owned).collect();
            names.extend(without_port);
        }
        Self {
            names,
            any_address: bound.ip().is_unspecified().then_some(port),
        }
    }

    fn has(&self, name: &str) -> bool {
        let is_named = self.names.iter().any(|it| it.eq_ignore_ascii_case(name));
        let address = name.parse::<SocketAddr>().ok();
        is_named || address.is_some_and(|address| Some(address.port()) == self.any_address)
    }

    /// Whether the one `Host`, and the authority of the target if it has one, are names of this
    /// server.
    fn are_in<B>(&self, request: &Request<B>) -> bool {
        let mut values = request.headers().get_all(HOST).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return false;
        };
        let authority = request.uri().authority();
        value.to_str().is_ok_and(|name| self.has(name))
            && authority.is_none_or(|authority| self.has(authority.as_str()))
    }
}

/// Returns the answer to a request that must not reach a route.
pub(crate) fn rejection<B>(
    hosts: &Hosts,
    token: &Token,
    request: &Request<B>,
) -> Option<Response<Body>> {
    if !hosts.are_in(request) {
        let mut answer = Response::new(Body::from(format!(
            "this server has another name: use {}\n",
            hosts.names.join(", ")
        )));
        *answer.status_mut() = StatusCode::MISDIRECTED_REQUEST;
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        answer.headers_mut().insert(CONTENT_TYPE, text);
        return Some(answer);
    }
    if !is_api(request.uri().path()) {
        return None;
    }
    if !token.is_in(request.headers()) {
        let clause = "the token of this run is missing: open the URL that the command printed";
        return Some(error(StatusCode::FORBIDDEN, clause));
    }
    let is_read = [Method::GET, Method::HEAD].contains(request.method());
    if !is_read && !is_json(request.headers()) {
        let clause = "a change needs the content type application/json";
        return Some(error(StatusCode::FORBIDDEN, clause));
    }
    None
}

/// Whether a path is one of the API.
pub(crate) fn is_api(path: &str) -> bool {
    path == "/api" || path.starts_with("/api/")
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    content_type.is_some_and(|text| {
        let essence = text.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case("application/json")
    })
}

/// The answer to a change that another page sent.
pub(crate) fn foreign_origin() -> Response<Body> {
    error(
        StatusCode::FORBIDDEN,
        "a change can come from this page only",
    )
}

/// An error as JSON: one clause.
pub(crate) fn error(status: StatusCode, clause: &str) -> Response<Body> {
    let body = serde_json::json!({ "error": clause }).to_string();
    let mut answer = Response::new(Body::from(body));
    *answer.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(CONTENT_TYPE, json);
    answer
}

/// Adds the security headers.
pub(crate) fn harden(headers: &mut HeaderMap) {
    let fixed = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_url_can_be_opened() {
        for (bound, expected) in [
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:1", "[::1]:1"),
            ("192.0.2.1:1", "192.0.2.1:1"),
        ] {
            let shown = reachable(bound.parse().unwrap()).to_string();
            assert_eq!(shown, expected);
        }
    }

    fn hosts(bound: &str) -> Hosts {
        Hosts::of(bound.parse().unwrap())
    }

    #[test]
    fn only_names_of_this_server_with_its_port_pass() {
        let loopback = hosts("127.0.0.1:4041");
        for name in [
            "127.0.0.1:4041",
            "localhost:4041",
            "LocalHost:4041",
            "[::1]:4041",
        ] {
            assert!(loopback.has(name), "{name}");
        }
        for name in [
            "",
            "127.0.0.1",
            "localhost",
            "127.0.0.1:4040",
            "127.0.0.1:40410",
            "127.0.0.1.evil.com:4041",
            "localhost.evil:4041",
            "localhost.:4041",
            "evil.com:4041",
            "127.0.0.1:4041@evil.com",
            "evil.com#127.0.0.1:4041",
            "127.1:4041",
            "0.0.0.0:4041",
            "10.0.0.1:4041",
        ] {
            assert!(!loopback.has(name), "{name}");
        }
        assert!(hosts("127.0.0.1:80").has("localhost"));
        let any = hosts("0.0.0.0:4041");
        assert!(any.has("10.0.0.1:4041") && any.has("[fe80::1]:4041"));
        assert!(!any.has("10.0.0.1:4040") && !any.has("evil.com:4041"));
    }

    #[test]
    fn a_token_is_64_hex_digits_and_stays_out_of_debug() {
        let (one, other) = (Token::random().unwrap(), Token::random().unwrap());
        assert_eq!(one.0.len(), 64);
        assert_ne!(*one.0, *other.0);
        assert_eq!(format!("{one:?}"), "Token(…)");
        let bearer = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, format!("Bearer {text}").parse().unwrap());
            one.is_in(&headers)
        };
        assert!(bearer(&one.0));
        assert!(!bearer(&other.0) && !bearer("") && !bearer(&one.0[..63]));
        assert!(!bearer(&format!("{}0", *one.0)));
        assert!(!one.is_in(&HeaderMap::new()));
    }
}
