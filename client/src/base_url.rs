//! The base URL of the API.

use std::net::IpAddr;

use reqwest::Url;

/// Reads the base URL. No message quotes it: it may contain a password.
pub(crate) fn base(url: &str) -> Result<Url, &'static str> {
    let url = Url::parse(url).map_err(|_| "it is not a URL")?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it contains a user name or a password");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("it has a query or a fragment");
    }
    match (url.scheme(), url.host_str()) {
        (_, None) => Err("it has no host"),
        ("https", Some(_)) => Ok(url),
        ("http", Some(host)) if is_loopback(host) => Ok(url),
        ("http", Some(_)) => Err(
            "it is http, which would send the token unencrypted; only loopback hosts may use http",
        ),
        _ => Err("it is neither https nor http"),
    }
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let address = host.parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_hosts_may_use_plain_http() {
        for url in [
            "https://api.ptolemy.cloud/v1",
            "http://127.0.0.1:8080/v1",
            "http://127.8.9.1/",
            "http://[::1]:80",
            "http://localhost:1",
            "http://2130706433/", // 127.0.0.1 as one number
        ] {
            assert!(base(url).is_ok(), "{url}");
        }
        for url in [
            "http://api.ptolemy.cloud/v1",
            "http://127.0.0.1.example.com",
            "http://localhost.example.com",
            "http://0.0.0.0",
            "ftp://localhost",
            "https://user:password@example.com",
            "https://example.com/?a=b",
            "https://example.com/#a",
            "unix:/socket",
            "api.ptolemy.cloud",
            "",
        ] {
            assert!(base(url).is_err(), "{url}");
        }
    }
}
