//! The client and its settings.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::{Url, redirect, retry};
use zeroize::Zeroizing;

use crate::config_error::ConfigError;
use crate::environment;
use crate::id::segment;
use crate::token::Token;

/// The documented base of Ptolemy's API.
const DEFAULT_URL: &str = "https://api.ptolemy.cloud/v1";

/// Stands for "no answer has had this header yet".
const NOT_SEEN: u64 = u64::MAX;

/// A client for one workspace.
///
/// A clone is cheap and shares everything: connections, token and the last quota that was seen.
///
/// # Examples
///
/// ```
/// use ptolemy_webhooks_client::Client;
///
/// let client = Client::builder("ptk_live_0123456789abcdef", "acme-capital").build()?;
/// assert_eq!(client.remaining(), None);
/// assert!(!format!("{client:?}").contains("ptk_live"));
///
/// let error = Client::builder("whsec_0123456789abcdef", "acme-capital").build().unwrap_err();
/// assert!(error.to_string().contains("is the secret of a webhook"));
/// # Ok::<(), ptolemy_webhooks_client::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    http: reqwest::Client,
    token: Token,
    /// Base and workspace, without a slash at the end.
    root: String,
    settings: Settings,
    remaining: AtomicU64,
}

/// Limits of calls.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) attempts: u32,
    pub(crate) first_delay: Duration,
    pub(crate) longest_delay: Duration,
    pub(crate) attempt_timeout: Duration,
    pub(crate) call_timeout: Duration,
    pub(crate) max_answer: usize,
}

impl Client {
    /// Makes a client from environment variables.
    ///
    /// - `PTOLEMY_API_TOKEN`, or `PTOLEMY_API_TOKEN_FILE` with the path of a file, of which one line
    ///   end is removed;
    /// - `PTOLEMY_WORKSPACE`: the id or the slug of the workspace, such as `acme-capital`;
    /// - `PTOLEMY_API_URL`, if the server is not `https://api.ptolemy.cloud/v1`.
    ///
    /// # Errors
    ///
    /// Returns an error that names the variable if one is missing or wrong.
    pub fn from_env() -> Result<Self, ConfigError> {
        Builder::from_env()?.build()
    }

    /// Begins a client with a token and the id or the slug of a workspace.
    ///
    /// The token is wiped when the last clone of the client and the last request are dropped.
    #[must_use = "a builder does nothing until `build` is called"]
    pub fn builder(token: impl Into<String>, workspace: impl Into<String>) -> Builder {
        Builder::new(
            Zeroizing::new(token.into()),
            "token",
            workspace.into(),
            "workspace",
        )
    }

    /// Returns how many calls were left in the month's quota according to the last answer that said
    /// so (`X-RateLimit-Remaining`); `None` before the first one.
    #[must_use]
    pub fn remaining(&self) -> Option<u64> {
        Some(self.0.remaining.load(Ordering::Relaxed)).filter(|&calls| calls != NOT_SEEN)
    }

    pub(crate) fn note_remaining(&self, calls: Option<u64>) {
        if let Some(calls) = calls {
            self.0.remaining.store(calls, Ordering::Relaxed);
        }
    }

    pub(crate) fn http(&self) -> &reqwest::Client {
        &self.0.http
    }

    pub(crate) fn token(&self) -> &Token {
        &self.0.token
    }

    pub(crate) fn root(&self) -> &str {
        &self.0.root
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.0.settings
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("url", &self.0.root)
            .field("settings", &self.0.settings)
            .finish_non_exhaustive()
    }
}

/// The settings of a [`Client`].
#[must_use = "a builder does nothing until `build` is called"]
pub struct Builder {
    token: Zeroizing<String>,
    token_place: &'static str,
    workspace: String,
    workspace_place: &'static str,
    url: String,
    url_place: &'static str,
    http: Option<reqwest::ClientBuilder>,
    settings: Settings,
}

impl Builder {
    fn new(
        token: Zeroizing<String>,
        token_place: &'static str,
        workspace: String,
        workspace_place: &'static str,
    ) -> Self {
        Self {
            token,
            token_place,
            workspace,
            workspace_place,
            url: DEFAULT_URL.to_owned(),
            url_place: "url",
            http: None,
            settings: Settings {
                attempts: 5,
                first_delay: Duration::from_millis(500),
                longest_delay: Duration::from_secs(30),
                attempt_timeout: Duration::from_secs(30),
                call_timeout: Duration::from_secs(120),
                max_answer: 32 * 1024 * 1024,
            },
        }
    }

    /// Begins with the token, the workspace and the URL of [`Client::from_env`].
    ///
    /// # Errors
    ///
    /// Returns an error that names the variable if one is missing.
    pub fn from_env() -> Result<Self, ConfigError> {
        let (token, place) = environment::token()?;
        let workspace = environment::variable(environment::WORKSPACE)?
            .ok_or_else(|| ConfigError::new(environment::WORKSPACE, "not set"))?;
        let builder = Self::new(token, place, workspace, environment::WORKSPACE);
        Ok(match environment::variable(environment::URL)? {
            Some(url) => Self {
                url,
                url_place: environment::URL,
                ..builder
            },
            None => builder,
        })
    }

    /// Sets the base URL of the API, `https://api.ptolemy.cloud/v1` by default.
    ///
    /// It has to be `https`, unless the host is `localhost` or a loopback address.
    pub fn url(self, url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            ..self
        }
    }

    /// Sets up HTTP yourself: a private CA, a client certificate, a proxy, a user agent.
    ///
    /// reqwest is part of this crate's public API here. [`build`](Self::build) replaces some of
    /// its settings: redirects, repetitions and `Referer` are off, the time limit of a connection is a
    /// third of an attempt's, and plain HTTP, which only loopback hosts may use, has no proxy.
    pub fn http(self, http: reqwest::ClientBuilder) -> Self {
        Self {
            http: Some(http),
            ..self
        }
    }

    /// Sets how often a call is attempted, 5 times by default, the first attempt included.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.settings.attempts = attempts;
        self
    }

    /// Sets the delay before the first repetition, 0.5 s by default, and the longest delay, 30 s by
    /// default. Delays double, and each is drawn between zero and this value.
    pub fn delays(mut self, first: Duration, longest: Duration) -> Self {
        self.settings.first_delay = first;
        self.settings.longest_delay = longest;
        self
    }

    /// Sets how long one attempt may take, 30 s by default, from the connection to the last byte of
    /// the answer.
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.settings.attempt_timeout = timeout;
        self
    }

    /// Sets how long one call may take with all its attempts and delays, 2 minutes by default. Each
    /// page of a list is one call.
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.settings.call_timeout = timeout;
        self
    }

    /// Sets the longest answer that is read, in bytes, 32 MiB by default.
    pub fn max_answer(mut self, bytes: usize) -> Self {
        self.settings.max_answer = bytes;
        self
    }

    /// Makes the client. It does not connect yet.
    ///
    /// # Errors
    ///
    /// Returns an error if the token, the workspace or the URL cannot be right, and if reqwest cannot
    /// set up TLS.
    pub fn build(mut self) -> Result<Client, ConfigError> {
        let text = std::mem::take(&mut *self.token);
        let token = Token::new(text).map_err(|fault| ConfigError::new(self.token_place, fault))?;
        let workspace = segment(&self.workspace)
            .map_err(|fault| ConfigError::new(self.workspace_place, format!("it {fault}")))?;
        let base = base(&self.url).map_err(|fault| ConfigError::new(self.url_place, fault))?;
        let plain = base.scheme() == "http";
        let http = self
            .http
            .unwrap_or_else(|| {
                reqwest::Client::builder().user_agent(concat!(
                    "ptolemy-webhooks-client/",
                    env!("CARGO_PKG_VERSION")
                ))
            })
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .referer(false)
            .https_only(!plain)
            // An attempt that reaches its limit before it is connected was not sent for certain.
            .connect_timeout(self.settings.attempt_timeout / 3);
        let http = if plain { http.no_proxy() } else { http };
        let http = http
            .build()
            .map_err(|error| ConfigError::new("http", "cannot be set up").caused_by(error))?;
        Ok(Client(Arc::new(Inner {
            http,
            token,
            root: format!(
                "{}/workspaces/{workspace}",
                base.as_str().trim_end_matches('/')
            ),
            settings: self.settings,
            remaining: AtomicU64::new(NOT_SEEN),
        })))
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("workspace", &self.workspace)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// Reads the base URL. No message quotes it: it may contain a password.
fn base(url: &str) -> Result<Url, &'static str> {
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
            "it is http, which would show the token to the network; only loopback hosts may use it",
        ),
        _ => Err("it is neither https nor http"),
    }
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let address = host.parse::<std::net::IpAddr>();
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
