//! The inbox of a command: the database that an option or the environment names.

use std::env;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;
use ptolemy_webhooks_inbox::sqlx;
use ptolemy_webhooks_inbox::{ConnectError, ConnectErrorKind, Inbox, InboxError, InboxErrorKind};

use crate::secret_mode;
use crate::stop::{Stop, chain};

const VARIABLE: &str = "DATABASE_URL";
const FILE_VARIABLE: &str = "DATABASE_URL_FILE";

/// Longer than any URL; stops reading at `/dev/zero`.
const MAX_URL_BYTES: u64 = 64 * 1024;

/// Where the inbox is.
#[derive(Args, Debug)]
pub(crate) struct Database {
    /// The database of the inbox: sqlite://FILE, or postgres://USER@HOST/DATABASE without a password.
    /// Without this option the URL is read from DATABASE_URL, or from the file named by
    /// DATABASE_URL_FILE; a password can also be in PGPASSWORD or in ~/.pgpass
    #[arg(long, value_name = "URL", global = true)]
    database: Option<String>,
}

impl Database {
    /// Opens the inbox as it is: nothing is created or migrated.
    pub(crate) async fn open(&self) -> Result<Inbox, Stop> {
        let (url, place) = self.url()?;
        let opened = Inbox::open_existing(&url).await;
        opened.map_err(|error| not_opened(&error).while_doing(place))
    }

    /// Creates or migrates the tables.
    pub(crate) async fn migrate(&self) -> Result<Inbox, Stop> {
        let (url, place) = self.url()?;
        let migrated = Inbox::connect(&url).await;
        migrated.map_err(|error| not_opened(&error).while_doing(place))
    }

    fn url(&self) -> Result<(String, &'static str), Stop> {
        match &self.database {
            Some(url) => Ok((url.clone(), "--database")),
            None => {
                if let Some(path) = file() {
                    secret_mode::warn_before_reading(&path);
                }
                from_env()?.ok_or_else(|| {
                    Stop::usage(format!(
                        "no inbox is given: set {VARIABLE} (such as sqlite://inbox.db), {FILE_VARIABLE}, or pass --database"
                    ))
                })
            }
        }
    }
}

/// The file that has the URL, if the environment names one.
pub(crate) fn file() -> Option<PathBuf> {
    let path = env::var_os(FILE_VARIABLE).filter(|path| !path.is_empty());
    path.map(PathBuf::from)
}

/// Returns the URL that the environment names, and the name of the variable.
pub(crate) fn from_env() -> Result<Option<(String, &'static str)>, Stop> {
    let url = env::var_os(VARIABLE).filter(|text| !text.is_empty());
    match (url, file()) {
        (Some(_), Some(_)) => Err(Stop::usage(format!(
            "{VARIABLE}: URL is set twice, in this variable and in {FILE_VARIABLE}; unset one"
        ))),
        (Some(url), None) => match url.into_string() {
            Ok(url) => Ok(Some((url, VARIABLE))),
            // The error would show the value.
            Err(_) => Err(Stop::usage(format!("{VARIABLE}: it is not Unicode"))),
        },
        (None, Some(path)) => Ok(Some((from_file(&path)?, FILE_VARIABLE))),
        (None, None) => Ok(None),
    }
}

fn from_file(path: &Path) -> Result<String, Stop> {
    let fault = |fault: String| Stop::usage(format!("{FILE_VARIABLE}: {fault}"));
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MAX_URL_BYTES).read_to_string(&mut text))
        .map_err(|error| fault(error.to_string()))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(fault("the file is empty".to_owned())),
        url => Ok(url.to_owned()),
    }
}

/// Says why an inbox was not opened, with the next step.
pub(crate) fn not_opened(error: &ConnectError) -> Stop {
    let text = match error.kind() {
        ConnectErrorKind::NoInbox => {
            "the database has no inbox: start the receiver once or run `inbox migrate`, which create \
             its tables, or name another database"
                .to_owned()
        }
        ConnectErrorKind::OlderSchema { found, known, .. } => format!(
            "the inbox's tables are at version {found}, and this tool needs {known}: start the new \
             version of the receiver once or run `inbox migrate`, or use the tool of their version"
        ),
        ConnectErrorKind::NewerSchema { found, known, .. } => format!(
            "the inbox's tables are at version {found}, and this tool knows them up to {known}: \
             upgrade the tool"
        ),
        _ => chain(error),
    };
    match error.kind() {
        ConnectErrorKind::Unavailable | ConnectErrorKind::Migration => Stop::failed(text),
        _ => Stop::usage(text),
    }
}

/// Says why a query of the inbox failed.
pub(crate) fn not_read(error: InboxError) -> Stop {
    Stop::failed(chain(&error))
}

/// Says why a change failed. It may have happened, unless the database itself answered that it did
/// not.
pub(crate) fn not_changed(error: InboxError) -> Stop {
    let cause = std::error::Error::source(&error);
    let answered = match cause.and_then(|cause| cause.downcast_ref::<sqlx::Error>()) {
        Some(cause) => matches!(cause, sqlx::Error::Database(_) | sqlx::Error::PoolTimedOut),
        // A wrong argument: no query was made.
        None => !matches!(
            error.kind(),
            InboxErrorKind::TimedOut { .. } | InboxErrorKind::Unavailable
        ),
    };
    if answered {
        return Stop::failed(chain(&error));
    }
    Stop::unknown(format!(
        "{}; the change may have happened: look at `inbox stats` before repeating it",
        chain(&error)
    ))
}
