//! Why a call failed, and whether it may have been carried out.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use reqwest::Method;

use crate::server_text::OneLine;

/// A role in a workspace. Ptolemy documents their names. That each role includes the ones before it
/// is assumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Role {
    /// Reads.
    Viewer,
    /// The highest role that a robot's token can have.
    Member,
    /// Changes records.
    Editor,
    /// Creates webhooks and rotates secrets. A robot's token can have Viewer or Member only.
    Admin,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Whether a failed call changed something in Ptolemy.
///
/// It covers all attempts of the call: if the outcome of the first one is unknown and the second
/// one is rejected, the outcome is [`Unknown`](Self::Unknown).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// Nothing was sent: an argument is invalid, or no connection could be made.
    NotSent,
    /// The server answered that it did not carry out the call.
    Rejected,
    /// The call may have been carried out: no answer arrived, the server failed, or its answer
    /// cannot be read. Reads have this outcome too, although it does not matter for them.
    Unknown,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotSent => "nothing was sent",
            Self::Rejected => "it was not carried out",
            Self::Unknown => "it may have been carried out",
        })
    }
}

/// Why a call was not repeated again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    Permanent,
    Quota,
    MayBeCarriedOut,
    NeverRepeated,
    AttemptsUsed,
    TimeUsed,
    RetryAfterTooLong,
}

impl Stop {
    fn reason(self, attempts: u32) -> &'static str {
        match self {
            Self::Permanent => "not repeated, because the answer would be the same",
            Self::Quota => "not repeated, because the quota is used up",
            Self::MayBeCarriedOut => "not repeated, because it could be carried out twice",
            Self::NeverRepeated if attempts > 1 => {
                "not repeated again, because each rotation issues another secret"
            }
            Self::NeverRepeated => "not repeated, because each rotation issues another secret",
            Self::AttemptsUsed => "not repeated, because all attempts are used",
            Self::TimeUsed => "not repeated, because the time limit of the call is reached",
            Self::RetryAfterTooLong => {
                "not repeated, because the server asks to wait longer than the call may take"
            }
        }
    }
}

/// What went wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ApiErrorKind {
    /// An argument cannot be sent, such as an empty id. Nothing was sent.
    InvalidArgument,
    /// No connection could be made: name resolution, TCP, TLS or a proxy failed.
    NotConnected,
    /// No whole answer arrived within the time limit of an attempt, or the server's own (408).
    Timeout,
    /// The connection broke off, or the answer is not HTTP.
    Broken,
    /// A 3xx. Redirects are not followed, because the token would travel with them.
    Redirect,
    /// 401: the token is missing, expired or revoked.
    Unauthorized,
    /// 403: the token's role does not allow the call, or a limit of the plan is reached.
    Forbidden,
    /// 404.
    NotFound,
    /// 409.
    Conflict,
    /// 400 or 422.
    Invalid,
    /// 429: too many calls in a short time.
    Throttled,
    /// 429 with no calls left in the month's quota.
    OverQuota,
    /// Any other 4xx.
    Rejected,
    /// A 5xx.
    Server,
    /// A status that HTTP does not define.
    UnexpectedStatus,
    /// The answer is longer than the limit, see
    /// [`Builder::max_answer`](crate::Builder::max_answer).
    TooLarge,
    /// The answer has a success status, but not the content that the call returns.
    Unreadable,
    /// The answer to a creation or a rotation does not contain the secret.
    NoSecret,
    /// The server did not accept the cursor of a later page. Cursors can expire: list again.
    CursorExpired,
    /// The list does not lead to an end: the server sent a cursor that it sent before, one that is
    /// too long, too many empty pages, or more pages than
    /// [`Pages::max_pages`](crate::Pages::max_pages) allows.
    BadCursor,
}

/// Why a call failed.
///
/// [`outcome`](Self::outcome) says whether the call may have been carried out, and
/// [`kind`](Self::kind) what to do. `Display` is one line, with the server's text cut and escaped;
/// [`message`](Self::message) has the full text. Neither contains the token or a secret.
#[derive(Debug)]
pub struct ApiError(Box<Parts>);

#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) kind: ApiErrorKind,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) role: Role,
    pub(crate) is_role_assumed: bool,
    pub(crate) outcome: Outcome,
    pub(crate) status: Option<u16>,
    pub(crate) detail: Option<String>,
    pub(crate) message: Option<String>,
    pub(crate) request_id: Option<String>,
    pub(crate) attempts: u32,
    pub(crate) stop: Option<Stop>,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) source: Option<reqwest::Error>,
}

impl ApiError {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Box::new(parts))
    }

    pub(crate) fn with_kind(mut self, kind: ApiErrorKind) -> Self {
        self.0.kind = kind;
        self
    }

    /// Says why the last of several requests was not repeated.
    pub(crate) fn stopped_by(mut self, stop: Stop) -> Self {
        self.0.stop = Some(stop);
        self
    }

    /// Returns what went wrong.
    #[must_use]
    pub fn kind(&self) -> ApiErrorKind {
        self.0.kind
    }

    /// Returns whether the call may have been carried out.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.0.outcome
    }

    /// Returns the method of the call, such as `POST`.
    #[must_use]
    pub fn method(&self) -> &str {
        self.0.method.as_str()
    }

    /// Returns the path of the call within the workspace, such as `/webhooks`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.0.path
    }

    /// Returns the status of the last answer, if one arrived.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }

    /// Returns the server's text: at most 64 KiB of the body, with invalid UTF-8 replaced and
    /// secrets and tokens removed.
    #[must_use]
    pub fn message(&self) -> Option<&str> {
        self.0.message.as_deref()
    }

    /// Returns the value of `X-Request-Id`, if the server sends this header. Ptolemy does not
    /// document one.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.0.request_id.as_deref()
    }

    /// Returns how many times the call was attempted; 0 if an argument is invalid.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// Returns how long the server asked to wait, if the last answer says so.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Returns the role that the call requires. It is documented, except for the delivery log, for
    /// which it is assumed.
    #[must_use]
    pub fn role(&self) -> Role {
        self.0.role
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = &*self.0;
        write!(f, "{} {}: ", parts.method, parts.path)?;
        if let Some(status) = parts.status {
            write!(f, "status {status}, ")?;
        }
        parts.write_clause(f)?;
        if let Some(detail) = &parts.detail {
            write!(f, ": {}", OneLine(detail))?;
        }
        if let Some(message) = parts.message.as_deref().filter(|text| !text.is_empty()) {
            write!(f, "; the server says: {}", OneLine(message))?;
        }
        if let Some(id) = &parts.request_id {
            write!(f, "; request id {}", OneLine(id))?;
        }
        match parts.attempts {
            0 => {}
            1 => f.write_str("; 1 attempt")?,
            attempts => write!(f, "; {attempts} attempts")?,
        }
        if let Some(stop) = parts.stop {
            write!(f, ", {}", stop.reason(parts.attempts))?;
        }
        write!(f, "; {}", parts.outcome)
    }
}

impl Error for ApiError {
    /// Returns the `reqwest::Error` of an attempt that got no answer.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source.as_ref().map(|source| source as _)
    }
}

impl Parts {
    fn write_clause(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clause = match self.kind {
            ApiErrorKind::InvalidArgument => "an argument is invalid",
            ApiErrorKind::NotConnected => "no connection",
            ApiErrorKind::Timeout => "no complete answer within the time limit of an attempt",
            ApiErrorKind::Broken => "the connection broke off or did not carry HTTP",
            ApiErrorKind::Redirect => {
                "a redirect, which is not followed because it could send the token to another host; check the URL of the API"
            }
            ApiErrorKind::Unauthorized => {
                "the token is missing, expired or revoked; an API token begins with ptk_live_, and the secret of a webhook (whsec_) is not one"
            }
            ApiErrorKind::Forbidden => return self.write_forbidden(f),
            ApiErrorKind::NotFound => "not found in this workspace",
            ApiErrorKind::Conflict => "a conflict with the current state",
            ApiErrorKind::Invalid => "the server did not accept the request",
            ApiErrorKind::Throttled => "too many calls in a short time",
            ApiErrorKind::OverQuota => "no calls are left in the month's quota",
            ApiErrorKind::Rejected => "rejected",
            ApiErrorKind::Server => "the server failed",
            ApiErrorKind::UnexpectedStatus => "a status that HTTP does not define",
            ApiErrorKind::TooLarge => "the answer is too long",
            ApiErrorKind::Unreadable => "the answer cannot be read",
            ApiErrorKind::NoSecret => "the secret was not found in the answer",
            ApiErrorKind::CursorExpired => {
                "the cursor of a later page is no longer accepted; list again"
            }
            ApiErrorKind::BadCursor => "the list cannot be read to its end",
        };
        f.write_str(clause)
    }

    fn write_forbidden(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_role_assumed {
            write!(
                f,
                "forbidden: the call probably requires the role {}",
                self.role
            )?;
        } else {
            write!(f, "forbidden: the call requires the role {}", self.role)?;
        }
        if self.role == Role::Admin {
            f.write_str(", which a robot's token cannot have")?;
        }
        f.write_str("; a limit of the plan has this status too")
    }
}
