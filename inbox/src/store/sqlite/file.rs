//! The file of a URL: creates it for its owner only, and returns an error that names it if it
//! cannot be used.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqlitePool};
use sqlx::{Connection as _, Executor as _};

use super::code;
use crate::error::{BoxError, ConnectError, ConnectErrorKind};

/// Whether to create the file of a URL if it is missing, even if the URL does not ask for that.
pub(super) fn is_to_be_created(url: &str) -> bool {
    match url.split_once('?') {
        Some((_, query)) => !query.contains("mode=") || query.contains("mode=rwc"),
        None => true,
    }
}

/// Whether a URL names a file rather than memory or something that another VFS interprets.
fn is_of_a_file(url: &str) -> bool {
    let (database, query) = url.split_once('?').unwrap_or((url, ""));
    !database.ends_with(":memory:") && !query.contains("mode=memory") && !query.contains("vfs=")
}

/// Creates the file of a URL, or checks that it exists.
pub(super) fn prepare(
    url: &str,
    options: &SqliteConnectOptions,
    create: bool,
) -> Result<(), ConnectError> {
    if !is_of_a_file(url) {
        return Ok(());
    }
    let file = options.get_filename();
    match fs::metadata(file) {
        Ok(found) if found.is_dir() => Err(ConnectError::new(kind(file, "is a folder"))),
        Ok(_) => Ok(()),
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(ConnectError::with(kind(file, "cannot be reached"), error))
        }
        Err(error) if !create => Err(ConnectError::with(kind(file, "does not exist"), error)),
        Err(_) => create_private(file).map_err(|error| {
            let reason = match error.kind() {
                ErrorKind::NotFound => "cannot be created, since its folder does not exist",
                _ => "cannot be created",
            };
            ConnectError::with(kind(file, reason), error)
        }),
    }
}

/// Creates an empty file, which is an empty database. SQLite gives the `-wal` and `-shm` files the
/// permissions of the database.
fn create_private(file: &Path) -> io::Result<()> {
    // Closing a file releases all locks of this process on it. So no connection of another task may
    // open it in between.
    static CREATING: Mutex<()> = Mutex::new(());
    let _creating = CREATING.lock().unwrap_or_else(PoisonError::into_inner);
    if fs::exists(file)? {
        return Ok(());
    }
    let mut options = fs::OpenOptions::new();
    // Not `create_new`, which does not follow a link to a file that is missing.
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(file).map(drop)
}

/// Returns an error if the file cannot be written, which SQLite would report only at the first
/// write.
pub(super) async fn must_be_writable(pool: &SqlitePool) -> Result<(), ConnectError> {
    let options = pool.connect_options();
    // A busy writer shows that it can be written.
    let at_once = SqliteConnectOptions::clone(&options).busy_timeout(Duration::ZERO);
    let probe = async {
        let mut probe = SqliteConnection::connect_with(&at_once).await?;
        // On a read-only file, even `BEGIN IMMEDIATE` only reads.
        let write = "BEGIN IMMEDIATE; CREATE TABLE ptolemy_inbox_probe (x); ROLLBACK";
        probe.execute(write).await?;
        probe.close().await
    };
    match probe.await {
        Ok(()) => Ok(()),
        Err(error) => match unusable(&options, error) {
            error if error.kind() == &ConnectErrorKind::Unavailable => Ok(()),
            error => Err(error),
        },
    }
}

/// Returns the error of a file that SQLite cannot use; for other causes, that the database is
/// unavailable.
pub(super) fn unusable(options: &SqliteConnectOptions, error: sqlx::Error) -> ConnectError {
    let error: BoxError = error.into();
    let code = code(&*error).unwrap_or_default();
    let reason = match (code, code & 0xff) {
        // SQLITE_READONLY_DIRECTORY, SQLITE_READONLY, SQLITE_CANTOPEN, SQLITE_NOTADB.
        (1544, _) => "cannot be written, since its folder cannot be written",
        (_, 8) => "cannot be written",
        (_, 14) => "cannot be opened, or its folder cannot be written",
        (_, 26) => "is not a database",
        _ => return ConnectError::with(ConnectErrorKind::Unavailable, error),
    };
    ConnectError::with(kind(options.get_filename(), reason), error)
}

fn kind(file: &Path, reason: &'static str) -> ConnectErrorKind {
    ConnectErrorKind::File {
        path: std::path::absolute(file).unwrap_or_else(|_| file.to_owned()),
        reason,
    }
}
