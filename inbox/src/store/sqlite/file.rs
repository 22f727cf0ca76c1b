//! The file of a URL: created for its owner alone, and an error that names it if it cannot be used.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqlitePool};
use sqlx::{Connection as _, Executor as _};

use super::code;
use crate::error::{BoxError, ConnectError, ConnectErrorKind};

/// Whether the file of a URL is created if it is missing: also if the URL does not say so.
pub(super) fn is_to_be_created(url: &str) -> bool {
    match url.split_once('?') {
        Some((_, query)) => !query.contains("mode=") || query.contains("mode=rwc"),
        None => true,
    }
}

/// Whether a URL names a file at all, rather than memory or what another VFS makes of it.
fn is_of_a_file(url: &str) -> bool {
    let (database, query) = url.split_once('?').unwrap_or((url, ""));
    !database.ends_with(":memory:") && !query.contains("mode=memory") && !query.contains("vfs=")
}

/// Creates the file of a URL, or sees that it is there.
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
    // Closing a file releases the locks that this process has on it. So no connection of another
    // task may open it between the two.
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

/// Returns an error if the file cannot be written, which SQLite says at the first write.
pub(super) async fn must_be_writable(pool: &SqlitePool) -> Result<(), ConnectError> {
    let options = pool.connect_options();
    // Another writer that is busy is a sign that it can be.
    let at_once = SqliteConnectOptions::clone(&options).busy_timeout(Duration::ZERO);
    let probe = async {
        let mut probe = SqliteConnection::connect_with(&at_once).await?;
        // On a file that can only be read, even `BEGIN IMMEDIATE` only reads.
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

/// The error of a file that SQLite cannot use, or that the database is not available otherwise.
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
