//! The settings of a client, from the program and from its environment.

use std::fmt;
use std::time::Duration;

use reqwest::{redirect, retry};
use zeroize::Zeroizing;

use crate::base_url::base;
use crate::client::{Client, Settings};
use crate::config_error::ConfigError;
use crate::environment;
use crate::id::segment;
use crate::server_text::blank;
use crate::token::Token;

/// The documented base of Ptolemy's API.
const DEFAULT_URL: &str = "https://api.ptolemy.cloud/v1";

impl Client {
    /// Creates a client from environment variables.
    ///
    /// - `PTOLEMY_API_TOKEN`, or `PTOLEMY_API_TOKEN_FILE` with the path of a file, from which one
    ///   line ending is removed;
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
        Self::new(token, place, workspace, environment::WORKSPACE).with_url_from_env()
    }

    /// Begins with the token and the URL of [`Client::from_env`], and with this workspace.
    /// `PTOLEMY_WORKSPACE` is not read.
    ///
    /// # Errors
    ///
    /// Returns an error that names the variable if one is missing.
    pub fn from_env_with_workspace(workspace: impl Into<String>) -> Result<Self, ConfigError> {
        let (token, place) = environment::token()?;
        Self::new(token, place, workspace.into(), "workspace").with_url_from_env()
    }

    fn with_url_from_env(self) -> Result<Self, ConfigError> {
        Ok(match environment::variable(environment::URL)? {
            Some(url) => Self {
                url,
                url_place: environment::URL,
                ..self
            },
            None => self,
        })
    }

    /// Sets the base URL of the API, `https://api.ptolemy.cloud/v1` by default.
    ///
    /// It must be `https`, unless the host is `localhost` or a loopback address.
    pub fn url(self, url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            ..self
        }
    }

    /// Sets the HTTP configuration: a private CA, a client certificate, a proxy, a user agent.
    ///
    /// This makes reqwest part of the crate's public API. [`build`](Self::build) replaces some of
    /// its settings: redirects, repetitions, `Referer` and the log of all bytes
    /// (`connection_verbose`) are off, the time limit of a connection is a third of an attempt's,
    /// and plain HTTP, which only loopback hosts may use, has no proxy.
    pub fn http(self, http: reqwest::ClientBuilder) -> Self {
        Self {
            http: Some(http),
            ..self
        }
    }

    /// Sets how often a call is attempted: 5 times by default, including the first attempt. 0 means
    /// 1.
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

    /// Creates the client. It does not connect yet.
    ///
    /// # Errors
    ///
    /// Returns an error if the token, the workspace or the URL is invalid, and if reqwest cannot
    /// set up TLS.
    pub fn build(mut self) -> Result<Client, ConfigError> {
        let text = std::mem::take(&mut *self.token);
        let token = Token::new(text).map_err(|fault| ConfigError::new(self.token_place, fault))?;
        let workspace = segment(&self.workspace)
            .map_err(|fault| ConfigError::new(self.workspace_place, format!("it {fault}")))?;
        if ["ptk_", "whsec_"]
            .iter()
            .any(|prefix| self.workspace.starts_with(prefix))
        {
            // It would become part of every URL.
            let fault = "it looks like a token or a secret; the arguments may be swapped";
            return Err(ConfigError::new(self.workspace_place, fault));
        }
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
            // It would log the requests, with the token.
            .connection_verbose(false)
            .https_only(!plain)
            // An attempt that reaches its limit before it is connected was certainly not sent.
            .connect_timeout(self.settings.attempt_timeout / 3);
        let http = if plain { http.no_proxy() } else { http };
        let http = http
            .build()
            .map_err(|error| ConfigError::new("http", "cannot be set up").caused_by(error))?;
        let root = format!(
            "{}/workspaces/{workspace}",
            base.as_str().trim_end_matches('/')
        );
        Ok(Client::new(http, token, root, self.settings))
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("workspace", &blank(&self.workspace))
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
