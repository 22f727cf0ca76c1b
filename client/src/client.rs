//! The client.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::token::Token;

/// Means "no answer has had this header yet".
const NOT_SEEN: u64 = u64::MAX;

/// Means "no answer has had a date yet".
const NO_DATE: i64 = i64::MIN;

/// A client for one workspace.
///
/// A clone is cheap and shares everything: the connections, the token and the last quota that was
/// seen.
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
    created: Instant,
    /// When `remaining` was seen, in milliseconds after the creation.
    remaining_at: AtomicU64,
    /// In milliseconds.
    clock_offset: AtomicI64,
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
    pub(crate) fn new(
        http: reqwest::Client,
        token: Token,
        root: String,
        settings: Settings,
    ) -> Self {
        Self(Arc::new(Inner {
            http,
            token,
            root,
            settings,
            remaining: AtomicU64::new(NOT_SEEN),
            created: Instant::now(),
            remaining_at: AtomicU64::new(0),
            clock_offset: AtomicI64::new(NO_DATE),
        }))
    }

    /// Returns how many calls were left in the month's quota according to the last answer that said
    /// so (`X-RateLimit-Remaining`); `None` before the first one.
    #[must_use]
    pub fn remaining(&self) -> Option<u64> {
        Some(self.0.remaining.load(Ordering::Relaxed)).filter(|&calls| calls != NOT_SEEN)
    }

    /// Returns how long ago the answer of [`remaining`](Self::remaining) came; `None` before the
    /// first one.
    #[must_use]
    pub fn remaining_age(&self) -> Option<Duration> {
        let seen = Duration::from_millis(self.0.remaining_at.load(Ordering::Relaxed));
        self.remaining()?;
        Some(self.0.created.elapsed().saturating_sub(seen))
    }

    /// Returns how often a call is attempted at most, as set with
    /// [`Builder::attempts`](crate::Builder::attempts). Each attempt may use up a call of the
    /// month's quota.
    #[must_use]
    pub fn max_attempts(&self) -> u32 {
        self.0.settings.attempts.max(1)
    }

    pub(crate) fn note_remaining(&self, calls: Option<u64>) {
        if let Some(calls) = calls {
            let seen = u64::try_from(self.0.created.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.0.remaining_at.store(seen, Ordering::Relaxed);
            self.0.remaining.store(calls, Ordering::Relaxed);
        }
    }

    /// Returns how far the host's clock is ahead of the API's, according to the `Date` of the last
    /// answer that had one; negative if it is behind, `None` before the first one.
    ///
    /// A date in HTTP is truncated to whole seconds, so the value is too high by up to a second
    /// plus the time that the answer took. A receiver rejects deliveries whose time differs from
    /// its own clock by more than 300 s: if the value is more than a few seconds, correct the
    /// host's clock.
    #[must_use]
    pub fn clock_offset(&self) -> Option<time::Duration> {
        let millis = self.0.clock_offset.load(Ordering::Relaxed);
        (millis != NO_DATE).then(|| time::Duration::milliseconds(millis))
    }

    pub(crate) fn note_clock_offset(&self, offset: Option<time::Duration>) {
        if let Some(offset) = offset {
            let millis = i64::try_from(offset.whole_milliseconds()).unwrap_or(i64::MAX);
            self.0.clock_offset.store(millis, Ordering::Relaxed);
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
