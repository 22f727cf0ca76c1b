//! Versions of the tables.

#[cfg(feature = "sqlite")]
use std::ops::Deref;

#[cfg(feature = "sqlite")]
use sqlx::Acquire;
use sqlx::SqlSafeStr as _;
#[cfg(feature = "sqlite")]
use sqlx::migrate::Migrate;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};

use crate::error::{ConnectError, ConnectErrorKind};
#[cfg(feature = "sqlite")]
use crate::store::BoxFuture;

/// The record of the versions. sqlx's own name for it is left to the user's migrations.
pub(crate) const TABLE: &str = "ptolemy_inbox_migrations";

/// Runs the migrations. Not on PostgreSQL, since sqlx gives its statements names. In a separate
/// function, since the compiler cannot see that a future that contains this one is `Send`.
#[cfg(feature = "sqlite")]
pub(crate) fn run<'c, A>(
    migrator: &'c Migrator,
    connection: A,
) -> BoxFuture<'c, Result<(), ConnectError>>
where
    A: Acquire<'c> + Send + 'c,
    <A::Connection as Deref>::Target: Migrate,
    A::Connection: Send,
{
    Box::pin(async move {
        migrator
            .run(connection)
            .await
            .map_err(|error| migrate_error(error, migrator))
    })
}

/// Returns the migrator for the newest version. The caller makes sure that only one runs at a time.
pub(crate) fn migrator(versions: &[&'static str]) -> Migrator {
    let migrations = (1..)
        .zip(versions)
        .map(|(version, sql)| {
            let sql = sql.into_sql_str();
            Migration::new(version, "inbox".into(), MigrationType::Simple, sql, false)
        })
        .collect();
    let mut migrator = Migrator::with_migrations(migrations);
    migrator.dangerous_set_table_name(TABLE);
    migrator.set_locking(false);
    migrator
}

/// Whether nothing needs to be migrated.
pub(crate) fn is_newest(version: Option<i64>, versions: &[&str]) -> bool {
    version.and_then(|version| usize::try_from(version).ok()) == Some(versions.len())
}

/// Returns an error unless the tables are at the newest version.
pub(crate) fn must_be_newest(version: Option<i64>, versions: &[&str]) -> Result<(), ConnectError> {
    let known = i64::try_from(versions.len()).unwrap_or(i64::MAX);
    let kind = match version {
        None => ConnectErrorKind::NoInbox,
        Some(found) if found > known => ConnectErrorKind::NewerSchema { found, known },
        Some(found) if found < known => ConnectErrorKind::OlderSchema { found, known },
        Some(_) => return Ok(()),
    };
    Err(ConnectError::new(kind))
}

pub(crate) fn migrate_error(error: MigrateError, migrator: &Migrator) -> ConnectError {
    match error {
        MigrateError::VersionMissing(found) => {
            let known = migrator.iter().map(|migration| migration.version).max();
            ConnectError::new(ConnectErrorKind::NewerSchema {
                found,
                known: known.unwrap_or(0),
            })
        }
        error => ConnectError::with(ConnectErrorKind::Migration, error),
    }
}
