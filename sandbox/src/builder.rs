//! The settings of a sandbox, before it is started.

use std::io;
use std::time::Duration;

use crate::hosts::Hosts;
use crate::retries::Retries;
use crate::sandbox::Sandbox;
use crate::settings::Settings;
use crate::shape::Shape;

/// The settings of a [`Sandbox`], created by [`Sandbox::builder`].
///
/// # Examples
///
/// ```
/// use ptolemy_webhooks_sandbox::{Retries, Sandbox, Shape};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// let sandbox = Sandbox::builder()
///     .seed(7)
///     .retries(Retries::new().attempts(3))
///     .quota(10_000)
///     .shape(Shape::BareArrays)
///     .start()
///     .await?;
/// assert_eq!(sandbox.seed(), 7);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is started"]
pub struct Builder {
    pub(crate) settings: Settings,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            settings: Settings::new(),
        }
    }

    /// Sets the port on 127.0.0.1. By default the operating system chooses a free one.
    pub fn port(mut self, port: u16) -> Self {
        self.settings.port = port;
        self
    }

    /// Sets the seed of all ids, secrets, tokens and random faults. By default it is random, and it
    /// is printed if a test fails.
    pub fn seed(mut self, seed: u64) -> Self {
        self.settings.seed = Some(seed);
        self
    }

    /// Sets the slug of the workspace. By default it is random.
    pub fn workspace(mut self, slug: impl Into<String>) -> Self {
        self.settings.workspace = Some(slug.into());
        self
    }

    /// Sets when failed deliveries are attempted again.
    pub fn retries(mut self, retries: Retries) -> Self {
        self.settings.retries = retries;
        self
    }

    /// Sets how long an attempt may take on the host's clock, from connecting until the head of the
    /// answer; waiting for one of the 64 connections does not count. The default is the documented
    /// 10 s.
    pub fn attempt_timeout(mut self, limit: Duration) -> Self {
        self.settings.attempt_timeout = limit;
        self
    }

    /// Sets how many calls of the API are left. The default is 1,000,000.
    pub fn quota(mut self, calls: u64) -> Self {
        self.settings.quota = calls;
        self
    }

    /// Sets how many webhooks the plan allows. The default is 25.
    pub fn webhook_limit(mut self, webhooks: usize) -> Self {
        self.settings.webhook_limit = webhooks;
        self
    }

    /// Sets how many events, deliveries and calls are kept: this many of each. The default is
    /// 10,000.
    ///
    /// The oldest one is dropped first; for deliveries, the oldest one that is not pending, if
    /// there is one. A pending delivery that is dropped is not attempted again. Each delivery keeps
    /// its last 100 attempts.
    pub fn keep(mut self, records: usize) -> Self {
        self.settings.keep = records.max(1);
        self
    }

    /// Sends deliveries to any host that a webhook names.
    ///
    /// By default they go only to `localhost` and to loopback addresses, and an attempt to another
    /// host ends as [`Outcome::NotLoopback`](crate::Outcome::NotLoopback): a URL that was copied
    /// from production receives nothing from a test. A receiver in a container, for example, needs
    /// this.
    pub fn deliver_to_any_host(mut self) -> Self {
        self.settings.hosts = Hosts::Any;
        self
    }

    /// Turns one assumption into another.
    pub fn shape(mut self, shape: Shape) -> Self {
        if !self.settings.has(shape) {
            self.settings.shapes.push(shape);
        }
        self
    }

    /// Turns several assumptions into others.
    pub fn shapes(self, shapes: impl IntoIterator<Item = Shape>) -> Self {
        shapes.into_iter().fold(self, Self::shape)
    }

    /// Starts the sandbox.
    ///
    /// # Errors
    ///
    /// Returns an error if the port is in use, or if the system has run out of threads or sockets.
    pub async fn start(self) -> io::Result<Sandbox> {
        Sandbox::from_settings(self.settings)
    }
}

impl Sandbox {
    /// Starts a sandbox with the default settings.
    ///
    /// # Panics
    ///
    /// Panics if no port is free; [`Builder::start`] returns an error instead.
    #[expect(clippy::expect_used, reason = "documented, for tests")]
    pub async fn start() -> Self {
        Self::builder()
            .start()
            .await
            .expect("a free port and a thread for the sandbox")
    }

    /// Returns the default settings, which can then be changed.
    pub fn builder() -> Builder {
        Builder::new()
    }
}
