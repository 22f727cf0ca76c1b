//! Detects that the database's files were removed or replaced, and that its log grows.
//!
//! SQLite keeps working in the files that it has open even after they were removed, and everything
//! written there is lost when it closes them. So the current device and inode of each path are
//! compared with those at the start. An open connection keeps them constant: SQLite removes the
//! `-wal` and `-shm` files when the last connection of all processes closes, and only then. Reading
//! the inodes of the open files would need a descriptor, and closing that would release SQLite's
//! own locks.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnection, SqlitePool};

use crate::error::BoxError;

/// A log of this size shows that SQLite cannot restart it.
const WARN_AT_LOG_BYTES: u64 = 64 * 1024 * 1024;

#[derive(Default)]
pub(super) struct Watch {
    known: Vec<(PathBuf, Id)>,
    lost: AtomicBool,
    log: PathBuf,
    warn_at: u64,
    /// The size of the log at the last warning; 0 if it is short.
    warned: AtomicU64,
    open: Mutex<Option<SqliteConnection>>,
}

/// Device and inode.
type Id = (u64, u64);

/// Why a path no longer leads to the file that is open.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    #[error("{0} was removed")]
    Removed(PathBuf),
    #[error("{0} was replaced by another file")]
    Replaced(PathBuf),
    #[error("{0} cannot be found: {1}")]
    Unknown(PathBuf, io::Error),
}

impl Watch {
    /// Notes which files the paths lead to.
    pub(super) async fn start(pool: &SqlitePool) -> Self {
        // For example in the exclusive locking mode.
        Self::open(pool).await.unwrap_or_else(|error| {
            tracing::warn!(error, "the database's files cannot be watched");
            Self::default()
        })
    }

    async fn open(pool: &SqlitePool) -> Result<Self, BoxError> {
        let options = pool.connect_options();
        let as_given = options.get_filename().to_owned();
        let mut open = SqliteConnection::connect_with(&options).await?;
        // It reads, so that it opens the log as well as the database.
        let _: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema")
            .fetch_one(&mut open)
            .await?;
        let file: String =
            sqlx::query_scalar("SELECT file FROM pragma_database_list WHERE name = 'main'")
                .fetch_one(&mut open)
                .await?;
        let beside = |end| PathBuf::from(format!("{file}{end}"));
        // SQLite resolves links in the path; the next connection resolves them again.
        let paths = [as_given, beside(""), beside("-wal"), beside("-shm")];
        let known = paths
            .into_iter()
            .filter(|_| cfg!(unix))
            .map(|path| id(&path).map(|id| (path, id)))
            .collect::<io::Result<_>>()?;
        Ok(Self {
            known,
            log: beside("-wal"),
            warn_at: WARN_AT_LOG_BYTES,
            open: Mutex::new(Some(open)),
            ..Self::default()
        })
    }

    /// Closes the connection that keeps the files; they may be removed from here on.
    pub(super) async fn close(&self) {
        let open = self
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(open) = open {
            let _ = open.close().await;
        }
    }

    /// Returns an error if a path no longer leads to the open file.
    pub(super) fn check(&self) -> Result<(), BoxError> {
        let lost = self.known.iter().find_map(|(path, id)| lost(path, *id));
        let before = self.lost.swap(lost.is_some(), Ordering::Relaxed);
        match lost {
            Some(lost) => {
                if !before {
                    tracing::error!(
                        reason = %lost,
                        "the database's files are not those that are open: nothing is accepted or \
                         handled until they are back or this process has restarted"
                    );
                }
                Err(lost.into())
            }
            None => {
                if before {
                    tracing::info!("the database's files are back");
                }
                self.look_at_log();
                Ok(())
            }
        }
    }

    /// Logs a warning about a long log, and again each time it has doubled.
    fn look_at_log(&self) {
        let bytes = std::fs::metadata(&self.log).map_or(0, |log| log.len());
        if bytes < self.warn_at {
            self.warned.store(0, Ordering::Relaxed);
        } else if bytes / 2 >= self.warned.load(Ordering::Relaxed) {
            self.warned.store(bytes, Ordering::Relaxed);
            tracing::warn!(
                bytes,
                "the database's log is long, and SQLite cannot begin it anew while a transaction \
                 reads in any process: end it"
            );
        }
    }
}

fn lost(path: &Path, known: Id) -> Option<Lost> {
    match id(path) {
        Ok(found) if found == known => None,
        Ok(_) => Some(Lost::Replaced(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Some(Lost::Removed(path.to_owned()))
        }
        Err(error) => Some(Lost::Unknown(path.to_owned(), error)),
    }
}

#[cfg(unix)]
fn id(path: &Path) -> io::Result<Id> {
    use std::os::unix::fs::MetadataExt as _;

    let found = std::fs::metadata(path)?;
    Ok((found.dev(), found.ino()))
}

#[cfg(not(unix))]
fn id(_: &Path) -> io::Result<Id> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::super::SqliteStore;
    use super::*;
    use crate::logged::Logged;
    use tracing_subscriber::filter::LevelFilter;

    #[tokio::test]
    async fn the_log_that_is_watched_is_that_of_the_database() {
        let name = format!("ptolemy-watch-{}.db", std::process::id());
        let file = std::env::temp_dir().join(name);
        let url = format!("sqlite://{}", file.display());
        let store = SqliteStore::connect(&url).await.unwrap();
        let watch = Watch::open(&store.pool).await.unwrap();
        let beside = |end| PathBuf::from(format!("{}{end}", file.display()));
        assert_eq!(
            watch.log.canonicalize().unwrap(),
            beside("-wal").canonicalize().unwrap()
        );
        assert_eq!(watch.warn_at, WARN_AT_LOG_BYTES);
        drop(watch);
        for end in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(beside(end));
        }
    }

    #[test]
    fn a_log_that_grows_is_a_warning_with_its_size_at_each_doubling() {
        let name = format!("ptolemy-watch-{}-wal", std::process::id());
        let log = std::env::temp_dir().join(name);
        let watch = Watch {
            log: log.clone(),
            warn_at: 100,
            ..Watch::default()
        };
        let (logged, guard) = Logged::take(LevelFilter::INFO);
        for bytes in [99, 120, 150, 239, 240, 300, 99, 100, 100] {
            std::fs::write(&log, vec![0; bytes]).unwrap();
            watch.check().unwrap();
        }
        std::fs::remove_file(&log).unwrap();
        watch.check().unwrap();
        drop(guard);
        let lines = logged.lines();
        assert_eq!(lines.len(), 3, "{lines:?}");
        for (line, bytes) in lines.iter().zip([120, 240, 100]) {
            assert!(line.contains("WARN"), "{line}");
            assert!(line.ends_with(&format!("end it bytes={bytes}")), "{line}");
        }
    }
}
