//! Migrates the tables to the newest version, and keeps the record in the same way as sqlx. It uses
//! plain queries, since sqlx's own statements have names, which may belong to other statements
//! behind a pooler.

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row as _};

use crate::error::ConnectError;
use crate::store::migrate::{TABLE, migrate_error};

/// Runs the missing migrations; the caller makes sure that only one runs at a time, in a
/// transaction.
pub(super) async fn bring_to(
    migrator: &Migrator,
    tx: &mut PgConnection,
) -> Result<(), ConnectError> {
    let brought = try_bring_to(migrator, tx).await;
    brought.map_err(|error| migrate_error(error, migrator))
}

async fn try_bring_to(migrator: &Migrator, tx: &mut PgConnection) -> Result<(), MigrateError> {
    let table = format!(
        "CREATE TABLE IF NOT EXISTS {TABLE} (
             version BIGINT PRIMARY KEY,
             description TEXT NOT NULL,
             installed_on TIMESTAMPTZ NOT NULL DEFAULT now(),
             success BOOLEAN NOT NULL,
             checksum BYTEA NOT NULL,
             execution_time BIGINT NOT NULL)"
    );
    execute(tx, table).await?;
    let applied = applied(tx).await?;
    for (version, success, checksum) in &applied {
        let known = migrator.iter().find(|known| known.version == *version);
        let known = known.ok_or(MigrateError::VersionMissing(*version))?;
        if !success {
            return Err(MigrateError::Dirty(*version));
        }
        if *checksum != *known.checksum {
            return Err(MigrateError::VersionMismatch(*version));
        }
    }
    for migration in migrator.iter() {
        let version = migration.version;
        if applied.iter().any(|(applied, ..)| *applied == version) {
            continue;
        }
        let run = sqlx::raw_sql(migration.sql.clone()).execute(&mut *tx);
        run.await
            .map_err(|error| MigrateError::ExecuteMigration(error, version))?;
        let checksum = hex::encode(&migration.checksum);
        let record = format!(
            "INSERT INTO {TABLE} (version, description, success, checksum, execution_time)
             VALUES ({version}, '{}', TRUE, '\\x{checksum}', -1)",
            migration.description
        );
        execute(tx, record).await?;
    }
    Ok(())
}

async fn applied(tx: &mut PgConnection) -> Result<Vec<(i64, bool, Vec<u8>)>, MigrateError> {
    let sql = format!("SELECT version, success, checksum FROM {TABLE} ORDER BY version");
    let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(tx).await?;
    let applied = rows
        .iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)));
    applied.collect()
}

async fn execute(tx: &mut PgConnection, sql: String) -> Result<(), MigrateError> {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(tx).await?;
    Ok(())
}
