use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

/// An error that several share.
pub(crate) type SharedError = Arc<dyn Error + Send + Sync>;

/// An error from an inbox operation.
///
/// With the features `axum` and `actix-web` it converts into a response: [`status`](Self::status),
/// the text of `Display`, and `Retry-After: 5` on a 503. Ptolemy retries deliveries that are not
/// answered with a 2xx, so a handler that returns this error loses nothing.
///
/// The database's own message is in [`source`](Error::source); `Display` does not quote it.
#[derive(Clone, Debug)]
pub struct InboxError {
    kind: InboxErrorKind,
    /// Shared by all accepts of one commit.
    source: Option<SharedError>,
}

/// The kind of an [`InboxError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InboxErrorKind {
    /// The database is down, full, or read-only.
    Unavailable,
    /// The database did not answer within the limit. The operation may still happen.
    #[non_exhaustive]
    TimedOut {
        /// The limit.
        limit: Duration,
    },
    /// The key is empty, longer than 255 bytes, or has a NUL.
    InvalidKey,
    /// The source is empty, longer than 64 bytes, or has a `/` or an unprintable character.
    InvalidSource,
}

impl InboxError {
    /// Returns the kind of the error.
    #[must_use]
    pub fn kind(&self) -> InboxErrorKind {
        self.kind
    }

    /// Returns the status code of the response: 503 if the database failed, and 500 otherwise.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self.kind {
            InboxErrorKind::Unavailable | InboxErrorKind::TimedOut { .. } => 503,
            InboxErrorKind::InvalidKey | InboxErrorKind::InvalidSource => 500,
        }
    }

    /// Returns how many seconds the sender should wait, if a retry may help.
    #[cfg(any(feature = "actix-web", feature = "axum"))]
    pub(crate) fn retry_after(&self) -> Option<&'static str> {
        (self.status() == 503).then_some("5")
    }

    pub(crate) fn new(kind: InboxErrorKind) -> Self {
        Self { kind, source: None }
    }

    pub(crate) fn unavailable(source: impl Into<BoxError>) -> Self {
        Self {
            kind: InboxErrorKind::Unavailable,
            source: Some(source.into().into()),
        }
    }

    pub(crate) fn timed_out(limit: Duration) -> Self {
        Self::new(InboxErrorKind::TimedOut { limit })
    }

    /// Adds the reason why the database did not answer, if it is known.
    pub(crate) fn because_of(self, source: Option<SharedError>) -> Self {
        Self { source, ..self }
    }

    /// Returns the error and its source as one line for the log.
    pub(crate) fn with_source(&self) -> String {
        match &self.source {
            Some(source) => format!("{self}: {source}"),
            None => self.to_string(),
        }
    }
}

impl fmt::Display for InboxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            InboxErrorKind::Unavailable => f.write_str("the inbox's database is not available"),
            InboxErrorKind::TimedOut { limit } => {
                write!(f, "the inbox's database did not answer within {limit:?}")
            }
            InboxErrorKind::InvalidKey => {
                f.write_str("the key is empty, longer than 255 bytes, or has a NUL")
            }
            InboxErrorKind::InvalidSource => f.write_str(
                "the source is empty, longer than 64 bytes, or has a `/` or an unprintable character",
            ),
        }
    }
}

impl Error for InboxError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.source.as_deref()?)
    }
}

/// Why an inbox could not be opened.
///
/// The database's own message is in [`source`](Error::source).
pub struct ConnectError {
    kind: ConnectErrorKind,
    source: Option<BoxError>,
}

/// The kind of a [`ConnectError`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectErrorKind {
    /// The URL does not name an engine that the inbox supports.
    #[error("the URL of the inbox begins with neither `sqlite:` nor `postgres:`")]
    UnknownEngine,
    /// The URL names an engine whose feature is off.
    #[error("the URL of the inbox needs the feature `{feature}` of ptolemy-webhooks-inbox")]
    #[non_exhaustive]
    FeatureOff {
        /// The name of the feature.
        feature: &'static str,
    },
    /// The URL is not valid for its engine.
    #[error("the URL of the inbox is malformed: {reason}")]
    #[non_exhaustive]
    MalformedUrl {
        /// What is wrong and how to correct it; it does not quote the URL.
        reason: &'static str,
    },
    /// The URL has an unknown parameter.
    #[error("the URL of the inbox has the unknown parameter `{name}`: {hint}")]
    #[non_exhaustive]
    UnknownParameter {
        /// The name of the parameter, or `…` if it is not plain.
        name: String,
        /// What to do.
        hint: &'static str,
    },
    /// The database's settings would lose acknowledged deliveries in a crash.
    #[error(
        "the inbox would not survive a crash: `{setting}` is `{value}`, and has to be {wanted}"
    )]
    #[non_exhaustive]
    NotDurable {
        /// The name of the setting.
        setting: &'static str,
        /// Its value.
        value: String,
        /// The required value.
        wanted: &'static str,
    },
    /// A newer version of this crate has changed the tables.
    #[error(
        "the inbox's tables are at version {found}, and this version of ptolemy-webhooks-inbox knows \
         them up to {known}: upgrade it"
    )]
    #[non_exhaustive]
    NewerSchema {
        /// The version of the tables.
        found: i64,
        /// The newest version that this crate supports.
        known: i64,
    },
    /// The tables are of an older version, and only `connect` migrates them.
    #[error(
        "the inbox's tables are at version {found}, and this version of ptolemy-webhooks-inbox needs \
         {known}: open it with `Inbox::connect` to migrate it"
    )]
    #[non_exhaustive]
    OlderSchema {
        /// The version of the tables.
        found: i64,
        /// The version that this crate needs.
        known: i64,
    },
    /// The database has no inbox, and only `connect` creates one.
    #[error("the database has no inbox: open it with `Inbox::connect` to create one")]
    NoInbox,
    /// The tables could not be created or migrated, or do not match their recorded version.
    #[error("the inbox's tables could not be created or migrated")]
    Migration,
    /// The database cannot store all characters of events and errors: its encoding is not UTF-8.
    #[error("the inbox's database has the encoding {encoding}, and has to have UTF8")]
    #[non_exhaustive]
    Encoding {
        /// The encoding of the database.
        encoding: String,
    },
    /// The file of a SQLite database cannot be opened, created or written.
    #[error("the inbox's file `{}` {reason}", path.display())]
    #[non_exhaustive]
    File {
        /// The absolute path of the file.
        path: PathBuf,
        /// Why, such as `is a folder`.
        reason: &'static str,
    },
    /// The database did not accept the connection, or a statement.
    #[error("the inbox's database is not available")]
    Unavailable,
}

impl ConnectError {
    /// Returns the kind of the error.
    #[must_use]
    pub fn kind(&self) -> &ConnectErrorKind {
        &self.kind
    }

    pub(crate) fn new(kind: ConnectErrorKind) -> Self {
        Self { kind, source: None }
    }

    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub(crate) fn with(kind: ConnectErrorKind, source: impl Into<BoxError>) -> Self {
        Self {
            kind,
            source: Some(source.into()),
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

/// Prints the text of `Display` and the source, which is what a `main` that returns the error
/// shows.
impl fmt::Debug for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl Error for ConnectError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.source.as_deref()?)
    }
}

/// The error of a worker in transactions of one engine when the inbox is on the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the inbox is on {engine}, so its handlers cannot run in a transaction of {wanted}")]
pub struct WrongEngine {
    engine: &'static str,
    wanted: &'static str,
}

impl WrongEngine {
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub(crate) fn new(engine: &'static str, wanted: &'static str) -> Self {
        Self { engine, wanted }
    }

    /// Returns the engine of the inbox: `SQLite` or `PostgreSQL`.
    #[must_use]
    pub fn engine(&self) -> &'static str {
        self.engine
    }
}
